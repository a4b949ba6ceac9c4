//! The keys for the previous model, heard whichever program has the focus. Nothing is asked of the system while the settings
//! name none.

use crate::platform;
use global_hotkey::{Error, GlobalHotKeyEvent, GlobalHotKeyManager, HotKeyState, hotkey::HotKey};
use pilothouse_domain::{settings::shortcut, snapshot::Snapshot};
use pilothouse_engine::{
    EngineHandle,
    api::{ApiError, CallHandler, ErrorCode},
};
use std::{cell::RefCell, time::Duration};
use tauri::AppHandle;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

/// Keys of another program may become free.
const AGAIN: Duration = Duration::from_secs(60);
/// Our own former keys are free soon after we have let go of them.
const SOON: Duration = Duration::from_millis(200);

thread_local! {
    /// What listens, on the main thread, where macOS wants it. Letting go of it frees the keys.
    static HEARD: RefCell<Option<GlobalHotKeyManager>> = const { RefCell::new(None) };
}

/// Hears the keys that the settings name, from the moment of their change.
pub fn follow(app: AppHandle, engine: EngineHandle) {
    let (pressed, mut presses) = mpsc::channel(1);
    GlobalHotKeyEvent::set_event_handler(Some(move |event: GlobalHotKeyEvent| {
        if event.state == HotKeyState::Pressed {
            // A press that waits already means the same.
            let _ = pressed.try_send(());
        }
    }));
    let switching = engine.clone();
    tauri::async_runtime::spawn(async move {
        while presses.recv().await.is_some() {
            let engine = switching.clone();
            // Not waited for: a second press finds what the first has begun.
            tauri::async_runtime::spawn(async move { engine.switch_to_previous().await });
        }
    });
    tauri::async_runtime::spawn(follow_settings(app, engine));
}

async fn follow_settings(app: AppHandle, engine: EngineHandle) {
    let mut snapshots = engine.snapshots();
    let keys_of = |snapshot: &Snapshot| shortcut(&snapshot.engine.tray.previous_model_shortcut);
    let (mut wanted, mut limit) = (None, Duration::MAX);
    loop {
        let changed = snapshots.wait_for(|snapshot| keys_of(snapshot) != wanted);
        wanted = match timeout(limit, changed).await {
            Ok(Ok(snapshot)) => keys_of(&snapshot),
            Ok(Err(_)) => return,
            Err(_) => wanted,
        };
        let heard = hear(&app, wanted.as_deref()).await;
        limit = if matches!(heard, Err(NotHeard::Taken)) { AGAIN } else { Duration::MAX };
        engine.shortcut_is(heard.map_err(|why| why.told(wanted.as_deref().unwrap_or_default())));
    }
}

/// Why keys are not heard.
#[derive(Debug)]
enum NotHeard {
    Wayland,
    Taken,
    Refused(String),
}

impl NotHeard {
    fn told(self, keys: &str) -> ApiError {
        let (message, hint) = match self {
            Self::Wayland => (
                format!("Under Wayland only the desktop hears {keys} in every program."),
                "Give these keys the command “pilothouse switch --previous” in the desktop’s keyboard settings, and empty “Keys for the previous model” here.".to_owned(),
            ),
            Self::Taken => (
                format!("Another program has {keys}."),
                "Choose other keys for the previous model in Settings, or free these there: they are tried again every minute.".to_owned(),
            ),
            Self::Refused(why) => (
                format!("{keys} cannot be heard: {why}."),
                "Choose other keys for the previous model in Settings: “Ctrl+Alt+P”, say.".to_owned(),
            ),
        };
        ApiError::new(ErrorCode::ShortcutNotHeard, message).hint(hint)
    }
}

/// Lets go of the former keys, and hears these. None: no keys.
async fn hear(app: &AppHandle, keys: Option<&str>) -> Result<(), NotHeard> {
    let hot_key = keys.map(str::parse::<HotKey>).transpose();
    let hot_key = hot_key.map_err(|error| NotHeard::Refused(error.to_string()))?;
    let hot_key = match hot_key {
        Some(_) if !platform::can_hear_all_keys() => {
            on_main_thread(app, None).await?;
            return Err(NotHeard::Wayland);
        }
        hot_key => hot_key,
    };
    match on_main_thread(app, hot_key).await {
        Err(NotHeard::Taken) => {
            sleep(SOON).await;
            on_main_thread(app, hot_key).await
        }
        heard => heard,
    }
}

async fn on_main_thread(app: &AppHandle, hot_key: Option<HotKey>) -> Result<(), NotHeard> {
    let (answer, answered) = oneshot::channel();
    let refused = || NotHeard::Refused("the app ends".into());
    app.run_on_main_thread(move || drop(answer.send(listen(hot_key)))).map_err(|_| refused())?;
    answered.await.map_err(|_| refused())?
}

fn listen(hot_key: Option<HotKey>) -> Result<(), NotHeard> {
    HEARD.with_borrow_mut(|heard| {
        *heard = None;
        let Some(hot_key) = hot_key else { return Ok(()) };
        let refused = |error: Error| match error {
            Error::AlreadyRegistered(_) => NotHeard::Taken,
            other => NotHeard::Refused(other.to_string()),
        };
        let manager = GlobalHotKeyManager::new().map_err(refused)?;
        manager.register(hot_key).map_err(refused)?;
        *heard = Some(manager);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_that_the_settings_take_are_known_to_what_listens() {
        let named = [
            "Space",
            "Enter",
            "Tab",
            "Backspace",
            "Insert",
            "Delete",
            "Home",
            "End",
            "PageUp",
            "PageDown",
            "Left",
            "Right",
            "Up",
            "Down",
        ];
        let plain = ('A'..='Z').chain('0'..='9').map(String::from);
        let function = (1..=24).map(|number| format!("F{number}"));
        let all: Vec<String> = plain.chain(function).chain(named.map(str::to_owned)).collect();
        for modifiers in ["ctrl+alt", "Option+Shift", "Win", "cmd+control"] {
            for key in &all {
                let keys = shortcut(&format!("{modifiers}+{key}")).unwrap();
                assert!(keys.parse::<HotKey>().is_ok(), "{keys}");
            }
        }
        assert!(shortcut("F9").unwrap().parse::<HotKey>().is_ok());
    }

    #[test]
    fn what_keeps_keys_from_being_heard_is_said_with_what_to_do() {
        for (why, said, hint) in [
            (NotHeard::Wayland, "Wayland", "pilothouse switch --previous"),
            (NotHeard::Taken, "Another program has Ctrl+Alt+P.", "every minute"),
            (NotHeard::Refused("no such key".into()), "no such key", "Choose other keys"),
        ] {
            let told = why.told("Ctrl+Alt+P");
            assert!(told.message.contains(said) && told.message.contains("Ctrl+Alt+P"), "{told:?}");
            assert!(told.hint.as_deref().unwrap().contains(hint), "{told:?}");
        }
    }
}
