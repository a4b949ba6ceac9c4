use super::world::FakeServer;
use crate::{
    actors::{notifier::NotifierHandle, supervisor::SupervisorWiring},
    hub::Hub,
    ports::NotifyDesktop,
    server_log::ServerLog,
};
use async_trait::async_trait;
use pilothouse_domain::{backoff::RestartPolicy, notice::Notice, snapshot::EngineView};
use pilothouse_leases::Leases;
use std::{path::Path, sync::Arc};
use tokio::sync::watch;

/// A desktop that shows nothing.
pub struct Quiet;

#[async_trait]
impl NotifyDesktop for Quiet {
    async fn show(&self, _notice: &Notice) -> Result<(), String> {
        Ok(())
    }
}

/// A hub of an engine that runs nowhere.
pub fn hub(leases: &Leases) -> Hub {
    Hub::new(EngineView::default(), leases.clone())
}

/// What the supervisor of a fake server needs. Notices go to the hub; `folder` takes its log and records.
pub fn supervisor_wiring(server: &FakeServer, hub: &Hub, leases: &Leases, folder: &Path) -> SupervisorWiring {
    let (_, enabled) = watch::channel(false);
    SupervisorWiring {
        hub: hub.clone(),
        notifier: NotifierHandle::start(hub.clone(), Arc::new(Quiet), enabled, None),
        log: Arc::new(ServerLog::new(folder, &server.id)),
        run_dir: folder.to_owned(),
        policy: RestartPolicy::default(),
        leases: leases.clone(),
        processes: Arc::new(server.clone()),
    }
}
