//! Desktop notifications.

use crate::ports::NotifyDesktop;
use async_trait::async_trait;
use notify_rust::{Notification, Timeout};
use pilothouse_domain::notice::{Notice, NoticeLevel};
use pilothouse_system::apart;
use std::time::{Duration, Instant};

/// A service that shows notifications answers at once; one that hangs holds up nothing.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest time that a notice stands by itself. Problems stay until somebody takes them away.
const SHOWN_MS: u32 = 8000;

/// Shows notices through the desktop's own service (D-Bus on Linux, the notification centre on macOS).
#[derive(Debug, Clone, Copy, Default)]
pub struct DesktopNotifications;

#[async_trait]
impl NotifyDesktop for DesktopNotifications {
    async fn show(&self, notice: &Notice) -> Result<(), String> {
        let notification = notification(notice);
        // The library talks to the desktop's service in a blocking way.
        apart::once("The desktop's notification service", LIMIT, move || notification.show().map(drop))
            .await
            .map_err(|silence| format!("{silence}."))?
            .map_err(|error| format!("The desktop shows no notifications: {error}."))
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
