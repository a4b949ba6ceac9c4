//! What differs between operating systems.

use crate::panel;
use tauri::{App, AppHandle};

/// Runs before any thread starts, because it changes the environment.
#[cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "set_var is unsafe in a program with threads; none runs yet. mallopt is C")
)]
pub fn prepare_environment() {
    // glibc gives every thread a heap of its own, each with room that only this thread can use: 2 MB for a program that
    // mostly waits.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: takes two integers, and no other thread allocates yet.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
    }
    // WebKitGTK shows an empty window with NVIDIA's own driver (tauri-apps/tauri#9304).
    #[cfg(target_os = "linux")]
    {
        const SWITCH: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
        if std::env::var_os(SWITCH).is_none() && std::path::Path::new("/proc/driver/nvidia/version").exists()
        {
            // SAFETY: called first thing in main, before any thread exists.
            unsafe { std::env::set_var(SWITCH, "1") };
        }
    }
}

/// A menu-bar app has no place in the dock.
pub fn on_set_up(app: &mut App) {
    #[cfg(target_os = "macos")]
    app.set_activation_policy(tauri::ActivationPolicy::Accessory);
    #[cfg(not(target_os = "macos"))]
    let _ = app;
}

/// Whether a tray can be built at all. Errors: why not.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the tray library is loaded by name and would end the program when it is missing"
)]
pub fn tray_possible() -> Result<(), String> {
    for name in [c"libayatana-appindicator3.so.1", c"libappindicator3.so.1"] {
        // SAFETY: the name is a valid C string; the library is one that the tray would load anyway.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
        if !library.is_null() {
            return Ok(());
        }
    }
    Err("libayatana-appindicator3 is not installed".into())
}

#[cfg(not(target_os = "linux"))]
pub fn tray_possible() -> Result<(), String> {
    Ok(())
}

/// Opens the panel when this desktop has nobody who shows tray icons. The icon itself appears by its own once somebody
/// does: the tray library waits for that.
#[cfg(target_os = "linux")]
pub fn watch_tray_host(app: AppHandle) {
    tauri::async_runtime::spawn(async move {
        match tray_host_present().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!("nobody shows tray icons here; opening the panel");
                panel::open(&app);
            }
            Err(error) => {
                tracing::info!(%error, "no session bus, so no tray; opening the panel");
                panel::open(&app);
            }
        }
    });
}

#[cfg(not(target_os = "linux"))]
pub fn watch_tray_host(_app: AppHandle) {
    let _ = panel::open;
}

/// Waits a moment: at login the bar often starts after the programs that want to be in it.
#[cfg(target_os = "linux")]
async fn tray_host_present() -> zbus::Result<bool> {
    const LOOKS: u32 = 10;
    let bus = zbus::Connection::session().await?;
    let names = zbus::fdo::DBusProxy::new(&bus).await?;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        if names.name_has_owner("org.kde.StatusNotifierWatcher".try_into()?).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
