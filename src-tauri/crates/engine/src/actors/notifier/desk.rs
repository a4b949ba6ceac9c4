//! Which notices go to the desktop, and what becomes of their buttons.

use super::NotifierWiring;
use crate::ports::ShownButtons;
use pilothouse_domain::{
    Timestamp,
    notice::{Notice, NoticeAct, Occasion, buttons, shown_on_desktop},
    snapshot::Snapshot,
};
use std::{future, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// How long the buttons of a notification are there: as long as something can be taken back. Each costs a connection to the
/// desktop meanwhile.
const OFFERED: Duration = Duration::from_secs(60);
/// With so many notifications whose buttons are there, the next one has none.
const MOST_WITH_BUTTONS: usize = 4;

/// The desktop as the notifier uses it.
pub(super) struct Desk {
    wiring: NotifierWiring,
    /// Ends with the notifier.
    attended: JoinSet<()>,
    silent: bool,
}

impl Desk {
    pub(super) fn new(wiring: NotifierWiring) -> Self {
        Self { wiring, attended: JoinSet::new(), silent: false }
    }

    /// Shows a notice where it is wanted.
    pub(super) async fn show(&mut self, notice: &Notice) {
        let wiring = &self.wiring;
        let occasion = Occasion { minute: (wiring.minute)(), watched_ms: wiring.watching.ago_ms() };
        if !shown_on_desktop(notice, &wiring.settings.borrow(), occasion) {
            return;
        }
        while self.attended.try_join_next().is_some() {}
        let clicks = wiring.clicks.as_ref().filter(|_| self.attended.len() < MOST_WITH_BUTTONS);
        let buttons = clicks.map(|clicks| buttons(notice, clicks.has_panel)).unwrap_or_default();
        match (wiring.desktop.show(notice, &buttons).await, clicks) {
            (Ok(Some(shown)), Some(clicks)) => {
                let undo = buttons.iter().find_map(undo_until);
                drop(self.attended.spawn(attend(shown, undo, wiring.hub.snapshots(), clicks.to.clone())));
            }
            (Ok(_), _) => {}
            (Err(reason), _) => {
                if !std::mem::replace(&mut self.silent, true) {
                    tracing::warn!(%reason, "the desktop shows no notifications");
                }
            }
        }
    }
}

fn undo_until(act: &NoticeAct) -> Option<Timestamp> {
    match act {
        NoticeAct::Undo { until } => Some(*until),
        _ => None,
    }
}

/// Hears of a click, for as long as it leads anywhere. A notice that can be taken back goes with that: what it says may not hold any
/// more. `undo`: until when.
async fn attend(
    shown: Box<dyn ShownButtons>,
    undo: Option<Timestamp>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    clicks: mpsc::Sender<NoticeAct>,
) {
    let over = async {
        match undo {
            Some(until) => {
                let other = |now: &Arc<Snapshot>| now.undo.as_ref().map(|undo| undo.until) != Some(until);
                // An error: the engine has ended.
                drop(snapshots.wait_for(other).await);
            }
            None => future::pending().await,
        }
    };
    tokio::select! {
        // First, so that no click takes back something else.
        biased;
        () = over => shown.close().await,
        click = shown.clicked() => {
            if let Some(act) = click
                && let Err(error) = clicks.try_send(act)
            {
                tracing::warn!(%error, "a click on a notification was not heard");
            }
        }
        () = tokio::time::sleep(OFFERED) => match undo {
            Some(_) => shown.close().await,
            None => shown.take_buttons_away().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actors::notifier::{Clicks, NotifierHandle},
        fakes::hub,
        hub::{Hub, Report},
        ports::NotifyDesktop,
        watching::Watching,
    };
    use async_trait::async_trait;
    use pilothouse_domain::{
        error::{ApiError, ErrorCode},
        notice::Happening,
        scene::UndoView,
        settings::NotificationSettings,
    };
    use pilothouse_leases::Leases;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    /// What became of a notification with buttons.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum End {
        Closed,
        WithoutButtons,
    }

    /// A notification on the fake's screen: its title, its buttons, and what clicks its first one.
    struct OnScreen {
        title: String,
        buttons: Vec<NoticeAct>,
        click: Option<Arc<Notify>>,
    }

    #[derive(Clone, Default)]
    struct Screen {
        shown: Arc<Mutex<Vec<OnScreen>>>,
        ended: Arc<Mutex<Vec<(String, End)>>>,
        /// It has no buttons, as some desktops.
        plain: bool,
    }

    struct Buttons {
        title: String,
        first: NoticeAct,
        click: Arc<Notify>,
        ended: Arc<Mutex<Vec<(String, End)>>>,
    }

    #[async_trait]
    impl NotifyDesktop for Screen {
        async fn show(
            &self,
            notice: &Notice,
            buttons: &[NoticeAct],
        ) -> Result<Option<Box<dyn ShownButtons>>, String> {
            let first = buttons.first().filter(|_| !self.plain).cloned();
            let click = first.as_ref().map(|_| Arc::new(Notify::new()));
            let title = notice.title.clone();
            self.shown.lock().unwrap().push(OnScreen {
                title: title.clone(),
                buttons: buttons.to_vec(),
                click: click.clone(),
            });
            let ended = self.ended.clone();
            Ok(first.zip(click).map(|(first, click)| Box::new(Buttons { title, first, click, ended }) as _))
        }
    }

    #[async_trait]
    impl ShownButtons for Buttons {
        async fn clicked(&self) -> Option<NoticeAct> {
            self.click.notified().await;
            Some(self.first.clone())
        }

        async fn close(self: Box<Self>) {
            self.ended.lock().unwrap().push((self.title.clone(), End::Closed));
        }

        async fn take_buttons_away(self: Box<Self>) {
            self.ended.lock().unwrap().push((self.title.clone(), End::WithoutButtons));
        }
    }

    /// A notifier with everything around it.
    struct World {
        hub: Hub,
        screen: Screen,
        watching: Watching,
        settings: watch::Sender<NotificationSettings>,
        notifier: NotifierHandle,
        clicks: mpsc::Receiver<NoticeAct>,
    }

    impl World {
        fn with(screen: Screen, minute: fn() -> u16) -> Self {
            let hub = hub(&Leases::default());
            let (settings, seen) = watch::channel(NotificationSettings::default());
            let (to, clicks) = mpsc::channel(4);
            let watching = Watching::default();
            let notifier = NotifierHandle::start(NotifierWiring {
                watching: watching.clone(),
                minute,
                clicks: Some(Clicks { to, has_panel: true }),
                ..NotifierWiring::new(hub.clone(), Arc::new(screen.clone()), seen)
            });
            Self { hub, screen, watching, settings, notifier, clicks }
        }

        fn start() -> Self {
            Self::with(Screen::default(), || 720)
        }

        /// Tells something, and waits until it went by the desktop: shown or not.
        async fn tell(&self, happening: Happening) {
            let mut snapshots = self.hub.snapshots();
            let newest = |now: &Snapshot| now.notices.first().map(|notice| notice.id);
            let before = newest(&snapshots.borrow_and_update());
            self.notifier.tell(happening);
            snapshots.wait_for(|now| newest(now) != before).await.unwrap();
            self.settle().await;
        }

        /// In paused time this moment comes only when nobody has anything left to do.
        async fn settle(&self) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        fn titles(&self) -> Vec<String> {
            self.screen.shown.lock().unwrap().iter().map(|one| one.title.clone()).collect()
        }

        fn ended(&self) -> Vec<End> {
            self.screen.ended.lock().unwrap().iter().map(|(_, end)| *end).collect()
        }

        fn click(&self, nth: usize) {
            self.screen.shown.lock().unwrap()[nth].click.as_ref().unwrap().notify_one();
        }

        fn can_undo(&self, until: Option<Timestamp>) {
            let view = |until| UndoView { back_to: None, done: "Hybrid is in force".into(), until };
            self.hub.report(Report::Undo(until.map(view)));
        }
    }

    fn applied(scene: &str, undo: Option<Timestamp>) -> Happening {
        Happening::SceneApplied { scene: Some(scene.into()), took_ms: 900, undo }
    }

    fn gave_up(server: &str) -> Happening {
        Happening::GaveUp { server: server.into(), server_title: server.into(), reason: "code 3".into() }
    }

    fn trouble() -> Happening {
        Happening::Trouble { error: ApiError::new(ErrorCode::System, "The disk is full.") }
    }

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_of_a_click_is_not_told_to_whoever_looks_at_the_page() {
        let world = World::start();
        world.tell(applied("One", None)).await;
        world.watching.note();
        world.tell(applied("Two", None)).await;
        world.tell(gave_up("ollama")).await;
        tokio::time::sleep(Duration::from_millis(4900)).await;
        world.tell(applied("Three", None)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.tell(applied("Four", None)).await;
        assert_eq!(
            world.titles(),
            ["One is in force", "ollama keeps stopping; not restarting", "Four is in force"]
        );
        assert_eq!(world.hub.now().notices.len(), 5, "all of them stay among the events");
    }

    #[tokio::test(start_paused = true)]
    async fn in_quiet_hours_the_desktop_shows_only_problems_and_settings_count_at_once() {
        let world = World::with(Screen::default(), || 23 * 60);
        let quiet = |enabled, quiet: &str| NotificationSettings { enabled, quiet: quiet.into() };
        world.settings.send_replace(quiet(true, "22:00-07:00"));
        world.tell(trouble()).await;
        world.tell(gave_up("ollama")).await;
        world.settings.send_replace(quiet(true, "07:00-22:00"));
        world.tell(applied("Day", None)).await;
        world.settings.send_replace(quiet(false, ""));
        world.tell(gave_up("attic")).await;
        assert_eq!(world.titles(), ["ollama keeps stopping; not restarting", "Day is in force"]);
        assert_eq!(world.hub.now().notices.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_click_on_undo_is_heard_while_it_would_take_back_the_same() {
        let mut world = World::start();
        world.can_undo(Some(time(60)));
        world.tell(applied("One", Some(time(60)))).await;
        world.click(0);
        assert_eq!(world.clicks.recv().await, Some(NoticeAct::Undo { until: time(60) }));
        // Another act takes its place: the notification of the first goes, and a click that comes with that is not heard.
        world.can_undo(Some(time(70)));
        world.tell(applied("Two", Some(time(70)))).await;
        world.can_undo(Some(time(80)));
        world.click(1);
        world.settle().await;
        assert_eq!(world.ended(), [End::Closed]);
        assert!(world.clicks.try_recv().is_err());
        // Undone elsewhere.
        world.tell(applied("Three", Some(time(80)))).await;
        world.can_undo(None);
        world.settle().await;
        assert_eq!(world.ended(), [End::Closed; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn buttons_wait_no_longer_than_a_minute_and_no_more_than_four_at_a_time() {
        let mut world = World::start();
        world.can_undo(Some(time(60)));
        world.tell(applied("One", Some(time(60)))).await;
        for server in ["a", "b", "c", "d"] {
            world.tell(gave_up(server)).await;
        }
        let buttons = |world: &World| -> Vec<usize> {
            world.screen.shown.lock().unwrap().iter().map(|one| one.buttons.len()).collect()
        };
        assert_eq!(buttons(&world), [1, 1, 1, 1, 0], "the fifth has none");
        world.click(2);
        assert_eq!(world.clicks.recv().await, Some(NoticeAct::ShowLog { server: "b".into() }));
        world.settle().await;
        world.tell(gave_up("e")).await;
        assert_eq!(buttons(&world).last(), Some(&1), "one of them is free again");
        tokio::time::sleep(OFFERED).await;
        world.settle().await;
        let mut ended = world.ended();
        ended.sort_by_key(|end| *end == End::Closed);
        assert_eq!(ended, [End::WithoutButtons, End::WithoutButtons, End::WithoutButtons, End::Closed]);
        world.tell(gave_up("f")).await;
        assert_eq!(buttons(&world).last(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_desktop_without_buttons_shows_the_words() {
        let mut world = World::with(Screen { plain: true, ..Screen::default() }, || 720);
        world.tell(gave_up("ollama")).await;
        tokio::time::sleep(2 * OFFERED).await;
        assert_eq!(world.titles().len(), 1);
        assert!(world.clicks.try_recv().is_err() && world.ended().is_empty());
    }
}
