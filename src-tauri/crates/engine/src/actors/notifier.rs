//! Turns happenings into notices: one per incident, in the hub, in the history and, when people want it, on the desktop.

mod desk;

use crate::{
    hub::{Hub, Report},
    ports::NotifyDesktop,
    store::Store,
    watching::Watching,
};
use desk::Desk;
use pilothouse_domain::{
    Timestamp,
    notice::{self, Happening, Notice, NoticeAct},
    settings::NotificationSettings,
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// The mailbox of the notifier.
#[derive(Clone)]
pub struct NotifierHandle(mpsc::Sender<Happening>);

/// What the notifier needs of others.
pub struct NotifierWiring {
    pub hub: Hub,
    pub desktop: Arc<dyn NotifyDesktop>,
    pub settings: watch::Receiver<NotificationSettings>,
    /// `None`: notices are not kept.
    pub store: Option<Store>,
    pub watching: Watching,
    /// The minute of the day by the machine's own time.
    pub minute: fn() -> u16,
    /// `None`: nobody would hear of a click, so that there are no buttons.
    pub clicks: Option<Clicks>,
}

/// Where clicks on the desktop's notifications go.
#[derive(Clone)]
pub struct Clicks {
    pub to: mpsc::Sender<NoticeAct>,
    /// There is a window that can show a log.
    pub has_panel: bool,
}

impl NotifierWiring {
    /// Keeps nothing, hears no clicks and knows of no page.
    pub fn new(
        hub: Hub,
        desktop: Arc<dyn NotifyDesktop>,
        settings: watch::Receiver<NotificationSettings>,
    ) -> Self {
        let watching = Watching::default();
        Self { hub, desktop, settings, store: None, watching, minute: local_minute, clicks: None }
    }
}

impl NotifierHandle {
    /// Starts the actor.
    pub fn start(wiring: NotifierWiring) -> Self {
        let (sender, mailbox) = mpsc::channel(64);
        tokio::spawn(run(mailbox, wiring));
        Self(sender)
    }

    /// Never waits: with 64 happenings unheard, the next one is only logged.
    pub fn tell(&self, happening: Happening) {
        if let Err(error) = self.0.try_send(happening) {
            tracing::warn!(%error, "a happening was not told");
        }
    }
}

fn local_minute() -> u16 {
    let now = jiff::Zoned::now();
    u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).unwrap_or_default()
}

async fn run(mut mailbox: mpsc::Receiver<Happening>, wiring: NotifierWiring) {
    let clock = Instant::now();
    let mut shown: HashMap<String, u64> = HashMap::new();
    let (hub, store) = (wiring.hub.clone(), wiring.store.clone());
    let mut desk = Desk::new(wiring);
    // A history that cannot be read costs the numbers of before, no more.
    let mut number = match &store {
        Some(store) => store.newest_event().await.unwrap_or_default(),
        None => 0,
    };
    let history = store.map(keeper);
    while let Some(happening) = mailbox.recv().await {
        let draft = notice::draft(&happening);
        let now_ms = clock.elapsed().as_millis() as u64;
        if !notice::is_new(shown.get(&draft.incident).copied(), now_ms) {
            continue;
        }
        shown.retain(|_, at| !notice::is_new(Some(*at), now_ms));
        shown.insert(draft.incident.clone(), now_ms);
        number += 1;
        let notice = draft.numbered(number, Timestamp::now());
        tracing::info!(title = %notice.title, body = %notice.body, "notice");
        hub.report(Report::Notice(notice.clone()));
        if let Some(history) = &history
            && history.try_send(notice.clone()).is_err()
        {
            tracing::warn!("a notice was not kept");
        }
        desk.show(&notice).await;
    }
}

/// Writes notices down beside whoever tells them: a history that another program holds makes nobody wait.
fn keeper(store: Store) -> mpsc::Sender<Notice> {
    let (sender, mut mailbox) = mpsc::channel::<Notice>(64);
    tokio::spawn(async move {
        while let Some(notice) = mailbox.recv().await {
            if let Err(error) = store.keep_event(&notice).await {
                tracing::warn!(%error, "a notice was not kept");
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ShownButtons;
    use async_trait::async_trait;
    use pilothouse_domain::{notice::NoticeLevel, snapshot::EngineView};
    use pilothouse_leases::Leases;

    struct NoDesktop;

    #[async_trait]
    impl NotifyDesktop for NoDesktop {
        async fn show(&self, _: &Notice, _: &[NoticeAct]) -> Result<Option<Box<dyn ShownButtons>>, String> {
            Err("There is none.".into())
        }
    }

    fn happening() -> Happening {
        Happening::CrashedAndBack {
            server: "ollama".into(),
            server_title: "Ollama".into(),
            reason: "signal 9".into(),
            away_ms: 900,
        }
    }

    /// One engine's life: a notice is told and kept. Returns its number.
    async fn told(store: &Store) -> u64 {
        let hub = Hub::new(EngineView::default(), Leases::default());
        let (_settings, settings) = watch::channel(NotificationSettings::default());
        let wiring = NotifierWiring::new(hub.clone(), Arc::new(NoDesktop), settings);
        let notifier = NotifierHandle::start(NotifierWiring { store: Some(store.clone()), ..wiring });
        notifier.tell(happening());
        let mut snapshots = hub.snapshots();
        let notice =
            snapshots.wait_for(|snapshot| !snapshot.notices.is_empty()).await.unwrap().notices[0].clone();
        assert_eq!(notice.level, NoticeLevel::Info, "a recovery is no warning");
        while store.newest_event().await.unwrap() < notice.id {
            tokio::task::yield_now().await;
        }
        notice.id
    }

    #[tokio::test]
    async fn numbers_go_on_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("history.db")).await.unwrap().store;
        assert_eq!((told(&store).await, told(&store).await), (1, 2));
        let kept = store.events(&crate::store::EventFilter::default()).await.unwrap();
        assert_eq!((kept.events.len(), kept.total), (2, 2));
    }
}
