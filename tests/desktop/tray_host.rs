//! A desktop without a tray: the panel opens by itself, and the icon comes when a tray does.

use crate::{
    app::start,
    desktop::Desktop,
    tools::Tools,
    tray_menu::{TrayItem, row_named},
};
use pilothouse_tests::sandbox::{Sandbox, until};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tray_the_panel_opens_and_the_icon_comes_later() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("tray-host").await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start(&desktop, &sandbox, &tools);
    let panel = until("the panel window", LIMIT, || async {
        desktop.windows(&["--name", "^Pilothouse$"]).into_iter().find(|area| area.width > 300)
    })
    .await;
    for server in ["llama-server", "ollama"] {
        sandbox.until_ready(&mut app, server).await;
    }
    // A window that shows nothing has a handful of colours, text many.
    until("something to read in the panel", LIMIT, || async { (desktop.colours(panel) > 40).then_some(()) })
        .await;
    desktop.picture("panel-without-a-tray");

    desktop.start_panel().await;
    let tray = until("the icon in the new tray", LIMIT, || TrayItem::find(&desktop.bus)).await;
    desktop.picture("with-a-tray");
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}
