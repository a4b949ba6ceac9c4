//! The small gauge in the tray icon, and the text beside it: there when they are wanted, and gone when they are not.

use crate::{
    app::start,
    desktop::Desktop,
    tools::Tools,
    tray_menu::{TrayItem, row_named},
};
use pilothouse_tests::sandbox::{Sandbox, until};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);

/// The picture that the tray shows, as a file.
async fn picture(tray: &TrayItem) -> Option<PathBuf> {
    let path = PathBuf::from(tray.icon().await);
    [path.clone(), path.with_extension("png")].into_iter().find(|file| file.is_file())
}

/// Whether it is the plain picture of a Pilothouse that has nothing to do, pixel by pixel.
async fn is_plain(desktop: &Desktop, tray: &TrayItem) -> Option<bool> {
    let picture = picture(tray).await?;
    let idle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../icons/tray/idle@2x.png");
    let (picture, idle) = (picture.to_str()?, idle.to_str()?);
    Some(desktop.output("compare", &["-metric", "AE", picture, idle, "null:"]).is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_icon_draws_memory_as_a_bar_when_the_settings_say_so() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("gauge").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start(&desktop, &sandbox, &tools);
    for server in ["llama-server", "ollama"] {
        sandbox.until_ready(&mut app, server).await;
    }
    sandbox.until_active(&mut app, "llama-server").await;
    let tray = until("the icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    let plain = || async { is_plain(&desktop, &tray).await?.then_some(()) };
    until("the plain picture", LIMIT, plain).await;
    desktop.picture("plain");

    let settings = fs::read_to_string(sandbox.settings_file()).unwrap();
    assert_eq!(tray.label().await, "", "no text beside it by default");
    fs::write(sandbox.settings_file(), format!("{settings}\n[tray]\ngauge = \"both\"\ntext = true\n"))
        .unwrap();
    until("the text beside it", LIMIT, || async { tray.label().await.ends_with(" %").then_some(()) }).await;
    until("another picture", LIMIT, || async { (!is_plain(&desktop, &tray).await?).then_some(()) }).await;
    desktop.picture("with-a-bar");
    // Kept for whoever looks: the icon itself, as the tray host got it.
    fs::copy(picture(&tray).await.unwrap(), desktop.artefact("icon-with-a-bar.png")).unwrap();

    fs::write(sandbox.settings_file(), &settings).unwrap();
    until("the plain picture again", LIMIT, plain).await;
    until("no text any more", LIMIT, || async { tray.label().await.is_empty().then_some(()) }).await;
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}
