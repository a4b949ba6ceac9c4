use super::world::FakeServer;
use crate::{
    actors::{
        notifier::{NotifierHandle, NotifierWiring},
        supervisor::SupervisorWiring,
    },
    hub::Hub,
    ports::{NotifyDesktop, ShownButtons},
    server_log::ServerLog,
};
use async_trait::async_trait;
use pilothouse_domain::{
    backoff::RestartPolicy,
    notice::{Notice, NoticeAct},
    settings::NotificationSettings,
    snapshot::EngineView,
};
use pilothouse_leases::Leases;
use std::{path::Path, sync::Arc};
use tokio::sync::watch;

/// A desktop that shows nothing.
pub struct Quiet;

#[async_trait]
impl NotifyDesktop for Quiet {
    async fn show(
        &self,
        _notice: &Notice,
        _buttons: &[NoticeAct],
    ) -> Result<Option<Box<dyn ShownButtons>>, String> {
        Ok(None)
    }
}

/// A hub of an engine that runs nowhere.
pub fn hub(leases: &Leases) -> Hub {
    Hub::new(EngineView::default(), leases.clone())
}

/// A notifier that tells the hub alone.
pub fn notifier(hub: &Hub) -> NotifierHandle {
    let (_, settings) = watch::channel(NotificationSettings::default());
    NotifierHandle::start(NotifierWiring::new(hub.clone(), Arc::new(Quiet), settings))
}

/// What the supervisor of a fake server needs. Notices go to the hub; `folder` takes its log and records.
pub fn supervisor_wiring(server: &FakeServer, hub: &Hub, leases: &Leases, folder: &Path) -> SupervisorWiring {
    SupervisorWiring {
        hub: hub.clone(),
        notifier: notifier(hub),
        log: Arc::new(ServerLog::new(folder, &server.id)),
        run_dir: folder.to_owned(),
        policy: RestartPolicy::default(),
        leases: leases.clone(),
        processes: Arc::new(server.clone()),
    }
}
