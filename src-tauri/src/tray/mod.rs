//! Owns the tray icon. Follows the snapshots and changes the live tray only where it differs.

mod icon;
mod menu;

use crate::{login, panel, platform};
use menu::LiveMenu;
use pilothouse_domain::tray::{TrayAction, TrayModel, TrayOp, diff, tray_model};
use pilothouse_engine::{
    EngineHandle,
    api::{BenchCall, Call, CallHandler},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tauri::{App, AppHandle, tray::TrayIconBuilder};
use tokio::time::Instant;

const TRAY_ID: &str = "main";
/// The tray is changed at most this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// The live tray and what it shows.
struct LiveTray {
    shown: TrayModel,
    menu: LiveMenu,
    at_login: Option<bool>,
}

type Shared = Arc<Mutex<LiveTray>>;

/// Builds the tray and keeps it true. `false`: this desktop has none that could be built.
pub fn start(app: &App, engine: EngineHandle) -> bool {
    if let Err(reason) = platform::tray_possible() {
        tracing::warn!(%reason, "no tray");
        return false;
    }
    match build(app, &engine) {
        Ok(live) => {
            let app = app.handle().clone();
            tauri::async_runtime::spawn(follow(app, engine, live));
            true
        }
        Err(error) => {
            tracing::error!(%error, "the tray could not be built");
            false
        }
    }
}

fn build(app: &App, engine: &EngineHandle) -> tauri::Result<Shared> {
    let at_login = login::starts_at_login(app.handle());
    let shown = tray_model(&engine.snapshots().borrow(), at_login);
    let menu = LiveMenu::build(app.handle(), &shown.items)?;
    let icon = TrayIconBuilder::with_id(TRAY_ID)
        .icon(icon::image(shown.icon, shown.bars))
        .icon_as_template(true)
        .tooltip(&shown.title)
        .menu(menu.root());
    match &shown.beside {
        Some(text) => icon.title(text),
        None => icon,
    }
    .build(app)?;
    let live = Arc::new(Mutex::new(LiveTray { shown, menu, at_login }));
    let (clicked, engine) = (live.clone(), engine.clone());
    app.on_menu_event(move |app, event| on_click(app, &engine, &clicked, event.id().as_ref()));
    Ok(live)
}

fn on_click(app: &AppHandle, engine: &EngineHandle, live: &Shared, id: &str) {
    // A clicked check entry toggles itself, whatever we decide: write the true value again.
    lock(live).menu.rewrite_check(id);
    let Some(action) = TrayAction::parse(id) else {
        return;
    };
    let call = match action {
        TrayAction::OpenPanel => return panel::open(app),
        TrayAction::OpenSettings => return panel::open_at(app, "#/settings"),
        TrayAction::StartAtLogin => return toggle_login(app, engine, live),
        TrayAction::Quit => return app.exit(0),
        TrayAction::Switch(model) => {
            let (id, server) = (model.id(), Some(model.server));
            Call::Switch { model: id, server, dry_run: false, now: false, with: None }
        }
        TrayAction::CancelSwitch => Call::CancelSwitch,
        TrayAction::Scene(name) => {
            Call::ApplyScene { name: Some(name), roles: None, dry_run: false, now: false }
        }
        TrayAction::Undo => Call::Undo,
        TrayAction::Unload(model) => {
            Call::Unload { model: model.id(), server: Some(model.server), now: false, dry_run: false }
        }
        TrayAction::UnloadCopy(server, instance) => Call::UnloadCopy { server, instance },
        TrayAction::OpenScenes => return panel::open_at(app, "#/scenes"),
        TrayAction::Start(server) => Call::StartServer { server },
        TrayAction::Stop(server) => Call::StopServer { server },
        TrayAction::Restart(server) => Call::RestartServer { server },
        TrayAction::Bench => Call::Bench(BenchCall::default()),
        TrayAction::CancelBench => Call::CancelBench,
    };
    let engine = engine.clone();
    tauri::async_runtime::spawn(async move {
        // Failures reach people as notices; the log keeps what was refused at once.
        if let Err(error) = engine.call(call).await {
            tracing::info!(%error, "a click was refused");
        }
    });
}

/// No snapshot knows of this, so the menu is drawn anew at once.
fn toggle_login(app: &AppHandle, engine: &EngineHandle, live: &Shared) {
    let at_login = login::toggle(app);
    let model = tray_model(&engine.snapshots().borrow(), at_login);
    lock(live).at_login = at_login;
    apply(app, live, model);
}

async fn follow(app: AppHandle, engine: EngineHandle, live: Shared) {
    let mut snapshots = engine.snapshots();
    let mut sent = None;
    loop {
        let next = Instant::now() + AT_MOST_EVERY;
        let at_login = lock(&live).at_login;
        let model = tray_model(&snapshots.borrow_and_update(), at_login);
        if sent.as_ref() != Some(&model) {
            sent = Some(model.clone());
            let (target, app_handle) = (live.clone(), app.clone());
            if app.run_on_main_thread(move || apply(&app_handle, &target, model)).is_err() {
                return;
            }
        }
        tokio::time::sleep_until(next).await;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// Runs on the main thread, where all changes of a tray must be made. What has changed is found out only here: earlier
/// changes may have waited for this thread, and a difference from before them would leave old words standing.
fn apply(app: &AppHandle, live: &Shared, model: TrayModel) {
    let mut live = lock(live);
    let tray = app.tray_by_id(TRAY_ID);
    for op in diff(&live.shown, &model) {
        let done = match (&op, &tray) {
            (TrayOp::Icon(shape, bars), Some(tray)) => {
                tray.set_icon_with_as_template(Some(icon::image(*shape, *bars)), true)
            }
            (TrayOp::Title(title), Some(tray)) => tray.set_tooltip(Some(title)),
            (TrayOp::Beside(text), Some(tray)) => tray.set_title(text.as_deref()),
            (TrayOp::Icon(..) | TrayOp::Title(_) | TrayOp::Beside(_), None) => Ok(()),
            _ => live.menu.apply(app, &op),
        };
        if let Err(error) = done {
            tracing::warn!(%error, ?op, "the tray could not be changed");
        }
    }
    live.shown = model;
}

fn lock(live: &Shared) -> std::sync::MutexGuard<'_, LiveTray> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}
