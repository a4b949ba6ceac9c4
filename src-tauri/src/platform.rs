//! What differs between operating systems.

use crate::panel;
#[cfg(target_os = "linux")]
use pilothouse_engine::EngineHandle;
#[cfg(target_os = "linux")]
use std::sync::Once;
#[cfg(target_os = "linux")]
use tauri::Manager;
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

/// Whether a program can hear keys whichever other one has the focus. Under Wayland only the desktop can; what is asked of
/// the X server beside it is granted there, and never comes.
pub fn can_hear_all_keys() -> bool {
    !cfg!(target_os = "linux") || !is_wayland()
}

fn is_wayland() -> bool {
    std::env::var("WAYLAND_DISPLAY").is_ok_and(|display| !display.is_empty())
        || std::env::var("XDG_SESSION_TYPE").is_ok_and(|session| session == "wayland")
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
        if tray_host::appears().await {
            tracing::info!("a tray shows the icon");
        } else {
            tracing::info!("nobody shows tray icons here; opening the panel");
            panel::open(&app);
        }
    });
}

/// The last window has gone. Where nobody shows tray icons, nothing of Pilothouse is to be seen any more, and how to come
/// back is said once.
#[cfg(target_os = "linux")]
pub fn on_last_window_closed(app: &AppHandle) {
    static SAID: Once = Once::new();
    let Some(engine) = app.try_state::<EngineHandle>().map(|engine| engine.inner().clone()) else { return };
    tauri::async_runtime::spawn(async move {
        if !tray_host::is_present().await {
            SAID.call_once(|| engine.is_out_of_sight());
        }
    });
}

#[cfg(not(target_os = "linux"))]
pub fn watch_tray_host(_app: AppHandle) {
    let _ = panel::open;
}

#[cfg(not(target_os = "linux"))]
pub fn on_last_window_closed(_app: &AppHandle) {}

/// Who shows tray icons on Linux: a StatusNotifier host, or the tray of the X server in which the tray library shows its
/// icon when there is no such host.
#[cfg(target_os = "linux")]
mod tray_host {
    use super::is_wayland;
    use pilothouse_system::apart;
    use std::time::Duration;
    use x11rb::{errors::ReplyError, protocol::xproto::ConnectionExt};

    const LOOKS: u32 = 10;
    const BETWEEN: Duration = Duration::from_millis(300);
    /// A bus or an X server that is there answers at once.
    const LIMIT: Duration = Duration::from_secs(5);

    /// Waits a moment: at login the bar often starts after the programs that want to be in it.
    pub async fn appears() -> bool {
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            if is_present().await {
                return true;
            }
        }
        false
    }

    pub async fn is_present() -> bool {
        let status_notifier = tokio::time::timeout(LIMIT, status_notifier()).await;
        if status_notifier.is_ok_and(|there| there.unwrap_or(false)) {
            return true;
        }
        // A tray of the X server beside Wayland takes no icon of a program that draws through Wayland.
        !is_wayland()
            && apart::once("The X server", LIMIT, xembed).await.is_ok_and(|there| there.unwrap_or(false))
    }

    async fn status_notifier() -> zbus::Result<bool> {
        const WATCHER: &str = "org.kde.StatusNotifierWatcher";
        let bus = zbus::Connection::session().await?;
        let names = zbus::fdo::DBusProxy::new(&bus).await?;
        if !names.name_has_owner(WATCHER.try_into()?).await? {
            return Ok(false);
        }
        let watcher = zbus::Proxy::new(&bus, WATCHER, "/StatusNotifierWatcher", WATCHER).await?;
        // One that does not say so is taken for a host.
        Ok(watcher.get_property("IsStatusNotifierHostRegistered").await.unwrap_or(true))
    }

    /// Whether a tray of the X server takes icons: it owns this selection (System Tray Protocol Specification).
    fn xembed() -> Result<bool, ReplyError> {
        let Ok((server, screen)) = x11rb::connect(None) else { return Ok(false) };
        let name = format!("_NET_SYSTEM_TRAY_S{screen}");
        let selection = server.intern_atom(false, name.as_bytes())?.reply()?.atom;
        Ok(server.get_selection_owner(selection)?.reply()?.owner != x11rb::NONE)
    }
}
