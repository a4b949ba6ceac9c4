//! The end of this process has a bound that nothing can exceed: not a driver that hangs, not a runtime whose threads do, not
//! what libraries do when a process exits.

use std::{io, sync::mpsc, thread, time::Duration};
use tokio::sync::oneshot;

/// From the wish to end until the process is cut off: the stop ladder and what may go on beside it (5 s), and 20 s more.
pub const END_LIMIT: Duration = Duration::from_secs(25);
/// When all is stopped and written: what is left is done by the system and by libraries.
pub const LAST_LIMIT: Duration = Duration::from_secs(3);
/// A log that cannot be written holds up nothing.
const LOG_LIMIT: Duration = Duration::from_millis(500);

/// From now on this process ends within `limit`, whatever hangs. `what`: what should have ended by then, for the log.
pub fn end_within(limit: Duration, what: &'static str) {
    let watch = move || {
        thread::sleep(limit);
        cut_off(limit, what);
    };
    if let Err(error) = thread::Builder::new().name("last resort".into()).spawn(watch) {
        tracing::error!(%error, "nothing watches over the end");
    }
}

fn cut_off(limit: Duration, what: &'static str) {
    let (told, wait) = mpsc::channel();
    let _ = thread::Builder::new().spawn(move || {
        tracing::error!(limit_s = limit.as_secs(), "{what} hangs: the process is cut off");
        let _ = told.send(());
    });
    let _ = wait.recv_timeout(LOG_LIMIT);
    leave();
}

/// Without what libraries want to do at an end.
#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no exit without the handlers of libraries")]
fn leave() {
    // SAFETY: it takes a number, ends the process and returns to nobody.
    unsafe { libc::_exit(1) }
}

#[cfg(not(unix))]
fn leave() {
    std::process::abort();
}

/// Hears SIGTERM, SIGINT and SIGHUP on a thread and a runtime of their own, which no work can hold up. The answer comes with the
/// first of them; from then on the process ends within [`END_LIMIT`]. Errors: signals cannot be heard.
#[cfg(unix)]
pub fn hear_signals() -> io::Result<oneshot::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (terminate, interrupt, hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let (tell, heard) = oneshot::channel();
    let listen = move || {
        let (mut terminate, mut interrupt, mut hangup) = (terminate, interrupt, hangup);
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        end_within(END_LIMIT, "the end");
        let _ = tell.send(());
        // Signals that come now are heard and change nothing: the end is under way.
        thread::sleep(END_LIMIT * 2);
        drop(runtime);
    };
    thread::Builder::new().name("signals".into()).spawn(listen)?;
    Ok(heard)
}
