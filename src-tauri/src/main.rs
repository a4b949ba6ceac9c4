//! The tray app: tray, panel window, life of the app. The engine does the rest.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

fn main() -> std::process::ExitCode {
    pilothouse_tray::platform::prepare_environment();
    pilothouse_tray::run()
}
