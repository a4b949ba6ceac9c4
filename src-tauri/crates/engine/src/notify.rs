//! Desktop notifications.

use crate::ports::{NotifyDesktop, ShownButtons};
use async_trait::async_trait;
use notify_rust::{Notification, Timeout};
use pilothouse_domain::notice::{Notice, NoticeAct, NoticeLevel};
use pilothouse_system::apart;
use std::time::{Duration, Instant};

const SERVICE: &str = "The desktop's notification service";
/// A service that shows notifications answers at once; one that hangs holds up nothing.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest time that a notice stands by itself. Problems stay until somebody takes them away.
const SHOWN_MS: u32 = 8000;

/// Shows notices through the desktop's own service (D-Bus on Linux, the notification centre on macOS).
#[derive(Debug, Clone, Copy, Default)]
pub struct DesktopNotifications;

#[async_trait]
impl NotifyDesktop for DesktopNotifications {
    async fn show(
        &self,
        notice: &Notice,
        buttons: &[NoticeAct],
    ) -> Result<Option<Box<dyn ShownButtons>>, String> {
        let (notification, buttons) = (notification(notice), buttons.to_vec());
        // The library talks to the desktop's service in a blocking way.
        apart::once(SERVICE, LIMIT, move || with_buttons::show(notification, buttons))
            .await
            .map_err(|silence| format!("{silence}."))?
            .map_err(|error| format!("The desktop shows no notifications: {error}."))
    }
}

/// Notification servers of the freedesktop specification.
#[cfg(all(unix, not(target_os = "macos")))]
mod with_buttons {
    use super::{LIMIT, SERVICE};
    use crate::ports::ShownButtons;
    use async_trait::async_trait;
    use notify_rust::{Notification, NotificationHandle, NotificationResponse, error::Result};
    use pilothouse_domain::notice::NoticeAct;
    use pilothouse_system::apart;

    struct OnScreen {
        handle: NotificationHandle,
        buttons: Vec<NoticeAct>,
    }

    pub(super) fn show(
        mut notification: Notification,
        buttons: Vec<NoticeAct>,
    ) -> Result<Option<Box<dyn ShownButtons>>> {
        let buttons = if !buttons.is_empty() && has_buttons() { buttons } else { vec![] };
        for (nth, act) in buttons.iter().enumerate() {
            notification.action(&nth.to_string(), act.words());
        }
        let handle = notification.show()?;
        Ok((!buttons.is_empty()).then(|| Box::new(OnScreen { handle, buttons }) as _))
    }

    /// A server that does not say so may leave them out, or show them where nobody can click.
    fn has_buttons() -> bool {
        notify_rust::get_capabilities().is_ok_and(|able| able.iter().any(|one| one == "actions"))
    }

    #[async_trait]
    impl ShownButtons for OnScreen {
        async fn clicked(&self) -> Option<NoticeAct> {
            let mut clicked = None;
            let heard = |response: &NotificationResponse| {
                if let NotificationResponse::Action(nth) = response {
                    clicked = nth.parse().ok().and_then(|nth: usize| self.buttons.get(nth)).cloned();
                }
            };
            self.handle.wait_for_action_async(heard).await;
            clicked
        }

        async fn close(self: Box<Self>) {
            // One that hangs keeps it on the screen, and holds up nothing.
            let _ = tokio::time::timeout(LIMIT, self.handle.close_async()).await;
        }

        async fn take_buttons_away(self: Box<Self>) {
            let mut handle = self.handle;
            let update = move || {
                handle.actions.clear();
                handle.update()
            };
            match apart::once(SERVICE, LIMIT, update).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a notification keeps its buttons"),
                Err(silence) => tracing::debug!(%silence, "a notification keeps its buttons"),
            }
        }
    }
}

/// On macOS the library waits for a click by holding up a thread, for as long as the notification is there; so there are no buttons.
#[cfg(not(all(unix, not(target_os = "macos"))))]
mod with_buttons {
    use crate::ports::ShownButtons;
    use notify_rust::{Notification, error::Result};
    use pilothouse_domain::notice::NoticeAct;

    pub(super) fn show(
        notification: Notification,
        _: Vec<NoticeAct>,
    ) -> Result<Option<Box<dyn ShownButtons>>> {
        notification.show().map(|_| None)
    }
}

/// Shows something at once, before an engine is there. Waits a moment for the desktop; that it shows nothing is no error.
pub fn show_now(title: &str, body: &str) {
    let mut notification = Notification::new();
    notification.appname("Pilothouse").summary(title).body(body).icon("pilothouse");
    let mut desktop = apart::Reader::start("notification", move || {
        move |()| notification.show().map(drop).map_err(|error| error.to_string())
    });
    match desktop.read((), Instant::now() + LIMIT) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the desktop shows no notifications"),
        Err(_) => tracing::debug!("the desktop's notification service does not answer"),
    }
}

fn notification(notice: &Notice) -> Notification {
    let mut notification = Notification::new();
    notification.appname("Pilothouse").summary(&notice.title).body(&body(notice)).icon("pilothouse").timeout(
        match notice.level {
            NoticeLevel::Info | NoticeLevel::Attention => Timeout::Milliseconds(SHOWN_MS),
            NoticeLevel::Problem => Timeout::Never,
        },
    );
    #[cfg(all(unix, not(target_os = "macos")))]
    notification.urgency(match notice.level {
        NoticeLevel::Info => notify_rust::Urgency::Low,
        NoticeLevel::Attention => notify_rust::Urgency::Normal,
        NoticeLevel::Problem => notify_rust::Urgency::Critical,
    });
    notification
}

/// The body with the hint after it. Servers of the freedesktop specification read it as markup, so what would be taken
/// for a tag is escaped.
fn body(notice: &Notice) -> String {
    let text = match &notice.hint {
        Some(hint) => format!("{}\n{hint}", notice.body),
        None => notice.body.clone(),
    };
    if cfg!(all(unix, not(target_os = "macos"))) {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::notice::NoticeKind;

    fn notice(level: NoticeLevel) -> Notice {
        Notice {
            id: 1,
            at: pilothouse_domain::Timestamp::UNIX_EPOCH,
            level,
            title: "Ollama keeps stopping".into(),
            body: "It ended by <signal 9>.".into(),
            hint: Some("Look at its log.".into()),
            server: None,
            kind: NoticeKind::Server,
            acts: vec![],
            own: false,
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_hint_follows_the_body_and_markup_is_escaped() {
        let shown = notification(&notice(NoticeLevel::Problem));
        assert_eq!(shown.summary, "Ollama keeps stopping");
        assert_eq!(shown.body, "It ended by &lt;signal 9&gt;.\nLook at its log.");
        assert_eq!(shown.timeout, Timeout::Never);
        assert_eq!(shown.appname, "Pilothouse");
    }

    #[test]
    fn an_ordinary_notice_goes_by_itself() {
        assert_eq!(notification(&notice(NoticeLevel::Info)).timeout, Timeout::Milliseconds(SHOWN_MS));
    }
}
