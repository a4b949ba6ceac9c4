//! A desktop without a tray, as GNOME is: the panel opens by itself, who closes it is told how to come back, a second start
//! brings it back, and the icon comes when a tray does.

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
async fn without_a_tray_the_panel_opens_comes_back_and_the_icon_comes_later() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("tray-host").await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start(&desktop, &sandbox, &tools);
    let shown = || desktop.windows(&["--name", "^Pilothouse$"]).into_iter().find(|area| area.width > 300);
    let panel = until("the panel window", LIMIT, || async { shown() }).await;
    for server in ["llama-server", "ollama"] {
        sandbox.until_ready(&mut app, server).await;
    }
    // A window that shows nothing has a handful of colours, text many.
    until("something to read in the panel", LIMIT, || async { (desktop.colours(panel) > 40).then_some(()) })
        .await;
    desktop.picture("panel-without-a-tray");

    desktop.read_notifications();
    desktop.click((panel.x + panel.width / 2, panel.y + 8), 1);
    desktop.press(&["alt+F4"]);
    until("the panel to go", LIMIT, || async { shown().is_none().then_some(()) }).await;
    let told = until("a word on how to come back", LIMIT, || async {
        let shown = desktop.shown_notifications().filter(|count| *count > 0);
        if shown.is_some() {
            desktop.picture("out-of-sight");
        }
        desktop.read_notifications().into_iter().find(|(title, _)| title == "Pilothouse goes on")
    })
    .await;
    assert!(told.1.contains("start Pilothouse again or run “pilothouse open”"), "{told:?}");
    assert!(app.ended().is_none(), "closing the window ends nothing");
    let mut second = start(&desktop, &sandbox, &tools);
    until("the panel of the first start", LIMIT, || async { shown() }).await;
    until("the end of the second start", LIMIT, || std::future::ready(second.ended())).await;

    desktop.start_panel().await;
    let tray = until("the icon in the new tray", LIMIT, || TrayItem::find(&desktop.bus)).await;
    desktop.picture("with-a-tray");
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}
