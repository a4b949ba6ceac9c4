//! The panel window: made when it is wanted, gone when it is closed. A closed window costs nothing.

use pilothouse_domain::server::ServerId;
use pilothouse_engine::ports::OpenPanel;
use tauri::{AppHandle, Manager, PhysicalPosition, WebviewUrl, WebviewWindow, WebviewWindowBuilder};

const LABEL: &str = "panel";
const SIZE: (f64, f64) = (400.0, 640.0);
/// Distance from the corner of the screen, in physical pixels.
const MARGIN: i32 = 12;
/// Room for a bar at the top of the screen.
const BAR: i32 = 32;

/// The panel, as the engine opens it when a notification is clicked.
pub struct Panel(pub AppHandle);

impl OpenPanel for Panel {
    fn show_log(&self, server: &ServerId) {
        open_at(&self.0, &format!("#/log/{server}"));
    }
}

/// Shows the panel. May be called from any thread.
pub fn open(app: &AppHandle) {
    show(app, None);
}

/// Shows the panel at one of its pages: "#/settings".
pub fn open_at(app: &AppHandle, page: &str) {
    show(app, Some(page.to_owned()));
}

fn show(app: &AppHandle, page: Option<String>) {
    let app = app.clone();
    // Building a window inside an event handler can lock up; a task of its own never does.
    tauri::async_runtime::spawn(async move {
        let shown = match app.get_webview_window(LABEL) {
            Some(window) => go_to(&window, page.as_deref())
                .and_then(|()| window.unminimize())
                .and_then(|()| window.show())
                .and_then(|()| window.set_focus()),
            None => build(&app, page.as_deref()),
        };
        if let Err(error) = shown {
            tracing::error!(%error, "the panel could not be opened");
        }
    });
}

/// The page follows its address.
fn go_to(window: &WebviewWindow, page: Option<&str>) -> tauri::Result<()> {
    page.map_or(Ok(()), |page| window.eval(format!("location.hash = {page:?}")))
}

fn build(app: &AppHandle, page: Option<&str>) -> tauri::Result<()> {
    let address = format!("index.html{}", page.unwrap_or_default());
    let window = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App(address.into()))
        .title("Pilothouse")
        .inner_size(SIZE.0, SIZE.1)
        .min_inner_size(360.0, 420.0)
        .visible(false)
        .build()?;
    place(&window);
    window.show()?;
    window.set_focus()
}

/// At the top right of its screen. A tray tells no place on Linux, and on Wayland the compositor decides anyway.
fn place(window: &WebviewWindow) {
    if let (Ok(Some(monitor)), Ok(size)) = (window.current_monitor(), window.outer_size()) {
        let screen = monitor.size();
        // Before it is shown, a window may tell no size yet, and would be placed beyond the edge.
        let width = size.width.max((SIZE.0 * monitor.scale_factor()) as u32);
        let x =
            monitor.position().x + i32::try_from(screen.width.saturating_sub(width)).unwrap_or(0) - MARGIN;
        let y = monitor.position().y + BAR + MARGIN;
        if let Err(error) = window.set_position(PhysicalPosition::new(x.max(0), y)) {
            tracing::debug!(%error, "the panel was not placed");
        }
    }
}
