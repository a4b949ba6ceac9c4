//! The keys for the previous model: off by default, heard in every program once the settings name them, and said when they
//! cannot be.

use crate::{
    app::start_by,
    desktop::Desktop,
    tools::Tools,
    tray_menu::{TrayItem, row_named},
};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, Group, OLLAMA_MODEL, Sandbox, until};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "tray.previous_model_shortcut";

/// What is said of keys that are not heard.
fn not_heard(status: &Value) -> Option<&Value> {
    status["troubles"].as_array()?.iter().find(|trouble| trouble["code"] == "shortcut_not_heard")
}

async fn until_said(sandbox: &Sandbox, app: &mut Group, words: &str) -> Value {
    let said = |status: &Value| {
        not_heard(status).filter(|trouble| trouble["message"].as_str().unwrap().contains(words)).cloned()
    };
    sandbox.until(app, &format!("“{words}” to be said"), said).await
}

fn set(sandbox: &Sandbox, keys: &str) {
    let set = sandbox.run(&["settings", "set", KEY, keys]);
    assert_eq!(set.code, Some(0), "{set:?}");
}

/// Presses the keys until they have been heard; while a switch is under way they change nothing.
async fn press_until_active(desktop: &Desktop, sandbox: &Sandbox, keys: &str, server: &str) {
    until(&format!("{server} to be active by {keys}"), LIMIT, || async {
        let status = sandbox.ask(&["status"])?;
        let is_still = status["switching"].is_null();
        if is_still && status["active"]["server"] == server {
            return Some(());
        }
        if is_still {
            desktop.press(&[keys]);
        }
        None
    })
    .await;
}

async fn switches(sandbox: &Sandbox) -> i64 {
    let options = SqliteConnectOptions::new().filename(sandbox.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM switch").fetch_one(&mut database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_to_the_previous_model_and_back() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("shortcut").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, "");
    let mut app = start_by(&desktop, &sandbox, desktop.command(&tools.tray));
    sandbox.until_active(&mut app, "llama-server").await;
    assert_eq!(sandbox.ask(&["settings", "get", KEY]).unwrap()["value"], "");
    sandbox.add_ollama_model(&mut app).await;
    let before = switches(&sandbox).await;
    desktop.press(&["ctrl+alt+p"]);

    let broken = sandbox.run(&["settings", "set", KEY, "P"]);
    assert_eq!(broken.code, Some(2), "{broken:?}");
    assert!(broken.stdout.contains("keys such as Ctrl+Alt+P"), "{broken:?}");
    set(&sandbox, "ctrl + alt + p");

    // Nothing to go back to yet: a notification says so, because no page is looked at.
    let told = until("a refusal on the screen", LIMIT, || async {
        desktop.press(&["ctrl+alt+p"]);
        let told = desktop.read_notifications();
        told.into_iter().find(|(title, _)| title == "Not switched")
    })
    .await;
    assert!(told.1.contains("No other model was active"), "{told:?}");

    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    for server in ["llama-server", "ollama"] {
        press_until_active(&desktop, &sandbox, "ctrl+alt+p", server).await;
    }
    desktop.picture("switched");
    assert_eq!(
        switches(&sandbox).await - before,
        3,
        "one by its name, two by the keys, none while they were off"
    );
    let by_name = sandbox.run(&["switch", "--previous"]);
    assert_eq!(
        (by_name.code, &by_name.json["to"]["model"]),
        (Some(0), &EMBEDDED_MODEL.into()),
        "{by_name:?}"
    );

    // The window manager has these.
    set(&sandbox, "Ctrl+Alt+Left");
    let taken = until_said(&sandbox, &mut app, "Another program has Ctrl+Alt+Left").await;
    assert!(taken["hint"].as_str().unwrap().contains("Choose other keys"), "{taken}");
    desktop.picture("taken");
    set(&sandbox, "Ctrl+Alt+P");
    sandbox
        .until(&mut app, "the trouble to be over", |status| not_heard(status).is_none().then_some(()))
        .await;
    press_until_active(&desktop, &sandbox, "ctrl+alt+p", "ollama").await;

    let tray = until("the icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_wayland_keeps_the_keys_it_is_said_what_to_do() {
    let Some(tools) = Tools::find() else { return };
    let desktop = Desktop::start("shortcut-wayland").await;
    let sandbox = Sandbox::new(&tools.sandbox, "[tray]\nprevious_model_shortcut = \"Ctrl+Alt+P\"\n");
    let mut starter = desktop.command(&tools.tray);
    starter.env("XDG_SESSION_TYPE", "wayland");
    let mut app = start_by(&desktop, &sandbox, starter);
    let said = until_said(&sandbox, &mut app, "Wayland").await;
    assert!(said["hint"].as_str().unwrap().contains("pilothouse switch --previous"), "{said}");
    set(&sandbox, "");
    sandbox
        .until(&mut app, "the trouble to be over", |status| not_heard(status).is_none().then_some(()))
        .await;
    app.stop();
}
