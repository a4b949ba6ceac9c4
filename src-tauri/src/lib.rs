//! The shell: it draws snapshots as a tray and a window and turns clicks into calls. No server protocol, no SQL, no
//! policy lives here.

pub mod ipc;
mod lifecycle;
mod login;
mod panel;
pub mod platform;
mod shortcut;
mod tray;

use pilothouse_engine::{Engine, EngineOptions, api::ApiError, logging};
use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};
use tauri::{App, Manager};

/// The running engine, taken out at the end.
pub(crate) struct RunningEngine(Mutex<Option<Engine>>);

impl RunningEngine {
    pub fn take(&self) -> Option<Engine> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// Runs the app until it is quit.
pub fn run() -> ExitCode {
    pilothouse_system::process::raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            lifecycle::complain(&format!("No runtime could be started: {error}."));
            return ExitCode::FAILURE;
        }
    };
    tauri::async_runtime::set(runtime.handle().clone());
    let builder = tauri::Builder::default()
        // First, so that a second start ends here and shows the panel of the first.
        .plugin(tauri_plugin_single_instance::init(|app, _arguments, _folder| panel::open(app)))
        .plugin(login::plugin())
        .invoke_handler(tauri::generate_handler![ipc::call])
        .setup(|app| set_up(app).map_err(|error| Box::new(error) as Box<dyn std::error::Error>));
    match builder.build(tauri::generate_context!()) {
        Ok(app) => {
            let code = app.run_return(lifecycle::on_event);
            // Else it would wait for calls into the system that may never come back.
            runtime.shutdown_background();
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(error) => {
            lifecycle::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn set_up(app: &mut App) -> Result<(), ApiError> {
    platform::on_set_up(app);
    let panel = panel::Panel(app.handle().clone());
    let options = EngineOptions { panel: Some(Arc::new(panel)), ..EngineOptions::from_env()? };
    options.paths.create_all()?;
    logging::init(&options.paths, false);
    let engine =
        tauri::async_runtime::block_on(Engine::start(options)).inspect_err(lifecycle::tell_start_failed)?;
    let handle = engine.handle();
    app.manage(RunningEngine(Mutex::new(Some(engine))));
    app.manage(handle.clone());
    lifecycle::hear_signals(app.handle().clone());
    shortcut::follow(app.handle().clone(), handle.clone());
    let has_tray = tray::start(app, handle);
    if !has_tray || std::env::args().any(|argument| argument == "--panel") {
        panel::open(app.handle());
    }
    platform::watch_tray_host(app.handle().clone());
    Ok(())
}
