//! The keyring of macOS (and of Windows). Its calls block, also while the system asks a person, and cannot be cut short.

use super::keyring::{Answer, Fault, Keyring, SERVICE};
use keyring::v1::{Entry, Error};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// Calls that never came back hold a thread each; of these no more are begun.
const AT_ONCE: usize = 4;

pub(super) struct Native;

impl Keyring for Native {
    fn read(&self, user: String) -> Answer<Option<String>> {
        Box::pin(in_thread(user, |entry| match entry.get_password() {
            Ok(key) => Ok(Some(key)),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        }))
    }

    fn write(&self, user: String, key: String) -> Answer<()> {
        Box::pin(in_thread(user, move |entry| entry.set_password(&key)))
    }

    fn remove(&self, user: String) -> Answer<bool> {
        Box::pin(in_thread(user, |entry| match entry.delete_credential() {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(error),
        }))
    }

    /// The system has asked by itself.
    fn unlock(&self, _user: String) -> Answer<()> {
        Box::pin(async { Err(Fault::Locked { holds: true }) })
    }
}

/// A thread of its own: the runtime's would be waited for at the end of the program.
async fn in_thread<T: Send + 'static>(
    user: String,
    act: impl FnOnce(&Entry) -> keyring::v1::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return Err(Fault::Silent);
    }
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("keyring".into()).spawn(move || {
        let answer = Entry::new(SERVICE, &user).and_then(|entry| act(&entry));
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        let _ = tell.send(answer);
    });
    if thread.is_err() {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    match told.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Error::NoStorageAccess(_))) => Err(Fault::Locked { holds: false }),
        Ok(Err(Error::NoDefaultStore)) => Err(Fault::Absent),
        Ok(Err(error)) => Err(Fault::Broken(format!("the keyring failed ({error})"))),
        Err(_) => Err(Fault::Silent),
    }
}
