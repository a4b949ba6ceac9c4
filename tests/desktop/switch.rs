//! The main job: a click in the tray, a real token from the other server, and every client follows.

use crate::{
    app::{PythonClient, start},
    desktop::Desktop,
    tools::Tools,
    tray_menu::{TrayItem, model_row, place, row_named},
};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, Group, OLLAMA_MODEL, Sandbox, until};
use sqlx::{Connection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_click_in_the_tray_switches_every_client_to_ollama() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("switch").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start(&desktop, &sandbox, &tools);
    sandbox.add_ollama_model(&mut app).await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));
    sandbox.until_active(&mut app, "llama-server").await;

    let mut client = PythonClient::start(&tools, sandbox.gateway_port);
    let before = client.ask("Name a colour.");
    assert_eq!(before["server"], "llama-server", "{before}");
    assert!(before["chunks"].as_u64().unwrap() > 1, "it streams: {before}");

    let tray = until("the tray icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    let icon_before = tray.icon().await;
    click_with_the_mouse(&desktop, &tray, "Ollama", "menu").await;
    sandbox.until_active(&mut app, "ollama").await;
    let after = client.ask("Name another colour.");
    assert_eq!((&after["server"], &after["model"]), (&"ollama".into(), &OLLAMA_MODEL.into()), "{after}");
    assert!(after["chunks"].as_u64().unwrap() > 1, "it streams: {after}");
    assert!(!after["text"].as_str().unwrap().is_empty());

    until("a notification on the screen", LIMIT, || async {
        desktop.shown_notifications().filter(|count| *count > 0)
    })
    .await;
    desktop.picture("notification");
    let told = desktop.read_notifications();
    assert!(told.iter().any(|(title, body)| format!("{title} {body}").contains("Ollama")), "{told:?}");
    until("the check mark", LIMIT, || async {
        model_row(&tray.rows().await, "Ollama", OLLAMA_MODEL).checked.then_some(())
    })
    .await;
    assert_eq!(tray.icon().await.is_empty(), icon_before.is_empty());

    // Once more, as any other tray host does it.
    let rows = tray.rows().await;
    tray.click(model_row(&rows, "llama-server", EMBEDDED_MODEL)).await;
    sandbox.until_active(&mut app, "llama-server").await;
    let again = client.ask("And one more.");
    assert_eq!(again["server"], "llama-server", "{again}");
    assert_kept(&sandbox).await;

    // Start at login is switched on and off again, over the same menu.
    let entry = sandbox.home().parent().unwrap().join("home/.config/autostart");
    for on in [true, false] {
        tray.click(row_named(&tray.rows().await, "Start at login")).await;
        until("start at login to follow the click", LIMIT, || async {
            let there = std::fs::read_dir(&entry).is_ok_and(|files| files.count() > 0);
            let checked = row_named(&tray.rows().await, "Start at login").checked;
            (there == on && checked == on).then_some(())
        })
        .await;
    }

    quit_with_the_mouse(&desktop, &tray, &sandbox, &mut app).await;
}

async fn click_with_the_mouse(desktop: &Desktop, tray: &TrayItem, server: &str, picture: &str) {
    let rows = tray.rows().await;
    let row = model_row(&rows, server, OLLAMA_MODEL);
    assert!(row.enabled && !row.checked, "{row:?}");
    open_menu(desktop, picture).await;
    let menu = desktop.menu_area().unwrap();
    desktop.click(place(&rows, row, menu), 1);
}

async fn open_menu(desktop: &Desktop, picture: &str) {
    desktop.click(desktop.tray_area().unwrap().centre(), 1);
    until("the menu on the screen", LIMIT, || async { desktop.menu_area() }).await;
    desktop.picture(picture);
}

/// Both switches stand in the database, each with the time of the real token that proved it.
async fn assert_kept(sandbox: &Sandbox) {
    let options = SqliteConnectOptions::new().filename(sandbox.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    let rows = sqlx::query(
        "SELECT from_server, to_server, outcome, first_token_ms FROM switch ORDER BY id DESC LIMIT 2",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let kept: Vec<(String, String, String, Option<i64>)> = rows
        .iter()
        .map(|row| {
            (row.get("from_server"), row.get("to_server"), row.get("outcome"), row.get("first_token_ms"))
        })
        .collect();
    let expected = [("ollama", "llama-server"), ("llama-server", "ollama")];
    assert_eq!(kept.len(), 2);
    for ((from, to, outcome, first_token_ms), (expected_from, expected_to)) in kept.iter().zip(expected) {
        assert_eq!((from.as_str(), to.as_str(), outcome.as_str()), (expected_from, expected_to, "committed"));
        assert!(first_token_ms.is_some_and(|ms| ms > 0), "{kept:?}");
    }
}

/// Quit stops what we started, frees the ports and leaves no temporary file.
async fn quit_with_the_mouse(desktop: &Desktop, tray: &TrayItem, sandbox: &Sandbox, app: &mut Group) {
    assert!(sandbox.running().len() >= 3, "the app and its servers: {:?}", sandbox.running());
    open_menu(desktop, "menu-before-quit").await;
    let rows = tray.rows().await;
    desktop.click(place(&rows, row_named(&rows, "Quit Pilothouse"), desktop.menu_area().unwrap()), 1);
    assert!(sandbox.assert_clean_end(app).await.success());
}
