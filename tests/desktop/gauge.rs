//! The small gauge in the tray icon: drawn when it is wanted, and gone when it is not.

use crate::{
    app::start,
    desktop::Desktop,
    tools::Tools,
    tray_menu::{TrayItem, row_named},
};
use pilothouse_tests::sandbox::{Sandbox, until};
use std::{fs, path::PathBuf, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

/// The picture that the tray shows, as a file.
async fn picture(tray: &TrayItem) -> Option<Vec<u8>> {
    let path = PathBuf::from(tray.icon().await);
    [path.clone(), path.with_extension("png")].iter().find_map(|file| fs::read(file).ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_icon_draws_memory_as_a_bar_when_the_settings_say_so() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("gauge").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start(&desktop, &sandbox, &tools);
    sandbox.until_active(&mut app, "llama-server").await;
    let tray = until("the icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    let plain = until("a picture", LIMIT, || picture(&tray)).await;
    desktop.picture("plain");

    let settings = fs::read_to_string(sandbox.settings_file()).unwrap();
    fs::write(sandbox.settings_file(), format!("{settings}\n[tray]\ngauge = \"both\"\n")).unwrap();
    let with_bar = until("another picture", LIMIT, || async {
        picture(&tray).await.filter(|picture| *picture != plain)
    })
    .await;
    desktop.picture("with-a-bar");
    // Kept for whoever looks: the icon itself, as the tray host got it.
    fs::write(desktop.artefact("icon-with-a-bar.png"), &with_bar).unwrap();

    fs::write(sandbox.settings_file(), &settings).unwrap();
    until("the first picture again", LIMIT, || async {
        picture(&tray).await.filter(|picture| *picture == plain)
    })
    .await;
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}
