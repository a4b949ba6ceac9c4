//! A scene with the mouse: applied in the tray, taken back on its notification, applied again and taken back in the tray.

use crate::{
    app::start,
    desktop::{Area, Desktop},
    tools::Tools,
    tray_menu::{Row, TrayItem, place, row_named},
};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, GGUF, Group, LIMIT, Sandbox, until};
use serde_json::{Value, json};

const SCENE: &str = "[scenes.Hybrid.roles.critical]\nserver = \"llama-server\"\nmodel = \"alpha\"\n\
    priority = \"critical\"\ncontext = 1024\n\n[scenes.Hybrid.roles.background]\nserver = \"llama-server\"\n\
    model = \"beta\"\npriority = \"background\"\ncontext = 1024\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_by_mouse_and_back_by_its_notification_and_by_the_tray() {
    let Some(tools) = Tools::find() else { return };
    let mut desktop = Desktop::start("scenes").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, SCENE);
    for name in ["alpha", "beta"] {
        let file = sandbox.home().join(format!("data/models/{name}.gguf"));
        std::fs::copy(sandbox.embedded.join(GGUF), file).unwrap();
    }
    let mut app = start(&desktop, &sandbox, &tools);
    sandbox.until_ready(&mut app, "llama-server").await;
    sandbox.until_listed("beta").await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));
    let tray = until("the tray icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    desktop.read_notifications();
    assert_eq!(asked(&sandbox, "active").await, Ok(EMBEDDED_MODEL.into()));
    assert!(asked(&sandbox, "critical").await.is_err(), "no role has this name yet");

    apply(&desktop, &tray, "menu-scenes").await;
    in_force(&sandbox, &mut app, &tray).await;
    for (name, model) in [("critical", "alpha"), ("background", "beta"), ("active", "alpha")] {
        assert_eq!(asked(&sandbox, name).await, Ok(model.into()), "{name}");
    }

    let notification =
        until("the notification of the scene", LIMIT, || async { notification(&desktop) }).await;
    desktop.picture("notification-with-undo");
    // What dunst's own settings have a middle click do: the notification's only button.
    desktop.click(notification.centre(), 2);
    put_back(&sandbox, &mut app).await;
    until("the notification to go", LIMIT, || async {
        let told = desktop.read_notifications();
        told.iter().any(|(title, _)| title.ends_with("is active again")).then_some(())
    })
    .await;

    apply(&desktop, &tray, "menu-after-undo").await;
    in_force(&sandbox, &mut app, &tray).await;
    let undo =
        until("Undo in the tray", LIMIT, || async { starting(&tray.rows().await, "Undo, back to ") }).await;
    let menu = open_menu(&desktop, "menu-with-undo").await;
    desktop.click(place(&tray.rows().await, &undo, menu), 1);
    put_back(&sandbox, &mut app).await;
    until("Undo to leave the tray", LIMIT, || async {
        starting(&tray.rows().await, "Undo").is_none().then_some(())
    })
    .await;

    dark(&mut desktop, &tray).await;
    tray.click(row_named(&tray.rows().await, "Quit Pilothouse")).await;
    assert!(sandbox.assert_clean_end(&mut app).await.success());
}

/// Once more in the dark, for the picture alone.
async fn dark(desktop: &mut Desktop, tray: &TrayItem) {
    desktop.start_dark_panel().await;
    until("the icon in the dark panel", LIMIT, || TrayItem::find(&desktop.bus)).await;
    apply(desktop, tray, "menu-scenes-dark").await;
    let rows = until("Undo in the tray", LIMIT, || async {
        let rows = tray.rows().await;
        (starting(&rows, "Undo").is_some() && starting(&rows, "Cancel").is_none()).then_some(rows)
    })
    .await;
    assert!(starting(&rows, "Hybrid").unwrap().checked);
    open_menu(desktop, "menu-with-undo-dark").await;
    desktop.press(&["Escape"]);
}

/// Clicks the scene in the menu.
async fn apply(desktop: &Desktop, tray: &TrayItem, picture: &str) {
    let row = until("a scene that can be applied", LIMIT, || async {
        let rows = tray.rows().await;
        // What ends while the menu is open moves its rows from under the mouse.
        let is_calm = starting(&rows, "Cancel").is_none();
        starting(&rows, "Hybrid").filter(|row| is_calm && row.enabled && !row.checked)
    })
    .await;
    assert!(!row.label.contains("more than fits"), "{row:?}");
    let menu = open_menu(desktop, picture).await;
    desktop.click(place(&tray.rows().await, &row, menu), 1);
}

async fn open_menu(desktop: &Desktop, picture: &str) -> Area {
    desktop.click(desktop.tray_area().unwrap().centre(), 1);
    let menu = until("the menu on the screen", LIMIT, || async { desktop.menu_area() }).await;
    desktop.picture(picture);
    menu
}

fn starting(rows: &[Row], words: &str) -> Option<Row> {
    rows.iter().find(|row| row.label.starts_with(words)).cloned()
}

/// The one notification on the screen.
fn notification(desktop: &Desktop) -> Option<Area> {
    let alone = desktop.shown_notifications() == Some(1);
    desktop.windows(&["--class", "^Dunst$"]).into_iter().find(|area| alone && area.height > 20)
}

async fn in_force(sandbox: &Sandbox, app: &mut Group, tray: &TrayItem) {
    sandbox
        .until(app, "the scene to be in force", |status| {
            (status["scene"] == "Hybrid" && active(status) == "alpha").then_some(())
        })
        .await;
    until("its check mark", LIMIT, || async {
        starting(&tray.rows().await, "Hybrid").filter(|row| row.checked)
    })
    .await;
}

/// The model before is active again and answers, and the roles are gone.
async fn put_back(sandbox: &Sandbox, app: &mut Group) {
    sandbox
        .until(app, "the model before", |status| {
            (active(status) == EMBEDDED_MODEL && status["scene"].is_null() && status["undo"].is_null())
                .then_some(())
        })
        .await;
    assert_eq!(asked(sandbox, "active").await, Ok(EMBEDDED_MODEL.into()));
    assert!(asked(sandbox, "critical").await.is_err(), "its role is gone");
}

fn active(status: &Value) -> &str {
    status["active"]["model"].as_str().unwrap_or_default()
}

/// Which model answers to a name at the gateway; else with which status nobody does.
async fn asked(sandbox: &Sandbox, name: &str) -> Result<String, u16> {
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
    let body = json!({
        "model": name,
        "messages": [{ "role": "user", "content": "Name a colour." }],
        "max_tokens": 4,
    });
    let address = format!("http://127.0.0.1:{}/v1/chat/completions", sandbox.gateway_port);
    let answer = http.post(address).json(&body).send().await.unwrap();
    let (status, by) = (answer.status(), answer.headers().get("x-pilothouse-model").cloned());
    let answer: Value = answer.json().await.unwrap();
    match by {
        Some(by) if status.is_success() => {
            assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
            Ok(by.to_str().unwrap().to_owned())
        }
        _ => Err(status.as_u16()),
    }
}
