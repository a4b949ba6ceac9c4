use pilothouse_domain::tray::TrayIcon;
use tauri::image::Image;

/// The picture of a shape, at twice the size of a bar for dense screens; hosts scale it down.
pub fn image(shape: TrayIcon) -> Image<'static> {
    match shape {
        TrayIcon::Idle => tauri::include_image!("../icons/tray/idle@2x.png"),
        TrayIcon::Busy => tauri::include_image!("../icons/tray/busy@2x.png"),
        TrayIcon::Attention => tauri::include_image!("../icons/tray/warn@2x.png"),
        TrayIcon::Down => tauri::include_image!("../icons/tray/down@2x.png"),
    }
}
