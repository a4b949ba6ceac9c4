//! Turns happenings into notices: one per incident, in the hub and, when people want it, on the desktop.

use crate::{
    hub::{Hub, Report},
    ports::NotifyDesktop,
};
use pilothouse_domain::{
    Timestamp,
    notice::{self, Happening, Notice},
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// The mailbox of the notifier.
#[derive(Clone)]
pub struct NotifierHandle(mpsc::Sender<Happening>);

impl NotifierHandle {
    /// Starts the actor. `enabled` says whether the desktop shall show notices.
    pub fn start(hub: Hub, desktop: Arc<dyn NotifyDesktop>, enabled: watch::Receiver<bool>) -> Self {
        let (sender, mailbox) = mpsc::channel(64);
        tokio::spawn(run(mailbox, hub, desktop, enabled));
        Self(sender)
    }

    /// Never waits: with 64 happenings unheard, the next one is only logged.
    pub fn tell(&self, happening: Happening) {
        if let Err(error) = self.0.try_send(happening) {
            tracing::warn!(%error, "a happening was not told");
        }
    }
}

async fn run(
    mut mailbox: mpsc::Receiver<Happening>,
    hub: Hub,
    desktop: Arc<dyn NotifyDesktop>,
    enabled: watch::Receiver<bool>,
) {
    let clock = Instant::now();
    let mut shown: HashMap<String, u64> = HashMap::new();
    let mut desktop_silent = false;
    let mut number = 0;
    while let Some(happening) = mailbox.recv().await {
        let draft = notice::draft(&happening);
        let now_ms = clock.elapsed().as_millis() as u64;
        if !notice::is_new(shown.get(&draft.incident).copied(), now_ms) {
            continue;
        }
        shown.retain(|_, at| !notice::is_new(Some(*at), now_ms));
        shown.insert(draft.incident, now_ms);
        number += 1;
        let notice = Notice {
            id: number,
            at: Timestamp::now(),
            level: draft.level,
            title: draft.title,
            body: draft.body,
            hint: draft.hint,
            server: draft.server,
        };
        tracing::info!(title = %notice.title, body = %notice.body, "notice");
        hub.report(Report::Notice(notice.clone()));
        if *enabled.borrow()
            && let Err(reason) = desktop.show(&notice).await
            && !std::mem::replace(&mut desktop_silent, true)
        {
            tracing::warn!(%reason, "the desktop shows no notifications");
        }
    }
}
