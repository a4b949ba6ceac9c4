//! Start at login: a launch agent on macOS, an autostart entry on Linux.

use tauri::{AppHandle, Wry, plugin::TauriPlugin};
use tauri_plugin_autostart::{MacosLauncher, ManagerExt};

pub fn plugin() -> TauriPlugin<Wry> {
    tauri_plugin_autostart::init(MacosLauncher::LaunchAgent, None)
}

/// Whether Pilothouse starts at login; `None`: that cannot be told here.
pub fn starts_at_login(app: &AppHandle) -> Option<bool> {
    app.autolaunch()
        .is_enabled()
        .inspect_err(|error| tracing::info!(%error, "whether it starts at login is not known"))
        .ok()
}

/// Switches it over; the answer is how it stands now.
pub fn toggle(app: &AppHandle) -> Option<bool> {
    let launch = app.autolaunch();
    let done = match starts_at_login(app)? {
        true => launch.disable(),
        false => launch.enable(),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "start at login could not be changed");
    }
    starts_at_login(app)
}
