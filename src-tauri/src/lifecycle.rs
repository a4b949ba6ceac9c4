//! When the app ends, and how: our servers are stopped, nothing is left behind.

#[cfg(target_os = "macos")]
use crate::panel;
use crate::{RunningEngine, platform};
use pilothouse_engine::api::{ApiError, ErrorCode};
use pilothouse_system::ending;
use tauri::{AppHandle, Manager, RunEvent};

/// The app's events. Closing the last window ends nothing; Quit and signals do.
pub fn on_event(app: &AppHandle, event: RunEvent) {
    match event {
        RunEvent::ExitRequested { code: None, api, .. } => {
            api.prevent_exit();
            platform::on_last_window_closed(app);
        }
        RunEvent::Exit => {
            ending::end_within(ending::END_LIMIT, "the end");
            if let Some(engine) = app.try_state::<RunningEngine>().and_then(|running| running.take()) {
                tauri::async_runtime::block_on(engine.shutdown());
            }
            ending::end_within(ending::LAST_LIMIT, "what is left after the shutdown");
        }
        #[cfg(target_os = "macos")]
        RunEvent::Reopen { .. } => panel::open(app),
        _ => {}
    }
}

/// SIGTERM, SIGINT and SIGHUP would end the process without any clean-up.
pub fn hear_signals(app: AppHandle) {
    #[cfg(unix)]
    match ending::hear_signals() {
        Ok(heard) => drop(tauri::async_runtime::spawn(async move {
            if heard.await.is_ok() {
                app.exit(0);
            }
        })),
        Err(error) => tracing::error!(%error, "signals could not be heard"),
    }
    #[cfg(not(unix))]
    let _ = app;
}

/// The engine did not start: the person who clicked must see why.
pub fn tell_start_failed(error: &ApiError) {
    let hint = error.hint.as_deref().map(|hint| format!("\n\nhint: {hint}")).unwrap_or_default();
    complain(&format!("{}{hint}", error.message));
    let title = match error.code {
        ErrorCode::AlreadyRunning => "Pilothouse runs already",
        _ => "Pilothouse could not start",
    };
    pilothouse_engine::notify::show_now(title, &error.message);
}

#[expect(clippy::print_stderr, reason = "there is no log yet, or no window to say it in")]
pub fn complain(text: &str) {
    eprintln!("error: {text}");
}
