//! An engine with nothing but residency, supervisors and fake servers.

use super::{FakeJournal, FakeServer, hub, notifier, supervisor_wiring};
use crate::{
    actors::{
        notifier::NotifierHandle,
        residency::{Aim, ResidencyHandle, ResidencyWiring, RoleWanted, Wanted},
        supervisor::SupervisorHandle,
        supervisors::Supervisors,
    },
    hub::Hub,
};
use pilothouse_domain::{
    error::ApiError,
    scene::{Held, Priority, RoleSettings, SceneReport},
    settings::{MemorySettings, SwitchingSettings},
    snapshot::Snapshot,
    switch::{Active, SwitchReport},
};
use pilothouse_leases::{ActiveRoute, Asked, Lease, Leases, Limits, Refused};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

pub struct Scene {
    pub servers: Vec<FakeServer>,
    pub journal: FakeJournal,
    pub leases: Leases,
    pub hub: Hub,
    pub residency: ResidencyHandle,
    pub supervisors: Supervisors,
    pub notifier: NotifierHandle,
    settings: watch::Sender<SwitchingSettings>,
    memory_settings: watch::Sender<MemorySettings>,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// An engine that starts beside these servers and takes up this journal, all servers seen once.
    pub async fn start(servers: &[FakeServer], journal: &FakeJournal) -> Self {
        Self::start_with(servers, journal, SwitchingSettings::default()).await
    }

    /// The same, with these bounds from its first moment on: what it takes up of the journal may load at once.
    pub async fn start_with(
        servers: &[FakeServer],
        journal: &FakeJournal,
        settings: SwitchingSettings,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let leases = Leases::default();
        leases.set_limits(Limits { held: Duration::from_secs(30), ..Limits::default() });
        let hub = hub(&leases);
        let supervisors = Supervisors::default();
        for server in servers {
            let around = supervisor_wiring(server, &hub, &leases, folder.path());
            supervisors.add(SupervisorHandle::start(Arc::new(server.clone()), around, false));
        }
        let (settings, seen) = watch::channel(settings);
        let (memory_settings, memory) = watch::channel(MemorySettings::default());
        let notifier = notifier(&hub);
        let residency = ResidencyHandle::start(ResidencyWiring {
            hub: hub.clone(),
            notifier: notifier.clone(),
            journal: Some(Arc::new(journal.clone())),
            supervisors: supervisors.clone(),
            leases: leases.clone(),
            settings: seen,
            memory,
        });
        let servers = servers.to_vec();
        let scene = Self {
            servers,
            journal: journal.clone(),
            leases,
            hub,
            residency,
            supervisors,
            notifier,
            settings,
            memory_settings,
            _folder: folder,
        };
        scene.rest(6).await;
        scene
    }

    pub fn set(&self, change: impl FnOnce(&mut SwitchingSettings)) {
        self.settings.send_modify(change);
    }

    /// Lets so many seconds pass.
    pub async fn rest(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub fn now(&self) -> Arc<Snapshot> {
        self.hub.now()
    }

    pub fn active(&self) -> Option<String> {
        self.now().active.as_ref().map(|active| active.model.clone())
    }

    /// What requests for `active` meet.
    pub fn route(&self) -> String {
        match &self.leases.routes().active {
            ActiveRoute::None => "none".into(),
            ActiveRoute::Held => "held".into(),
            ActiveRoute::Open(target) => target.model.clone(),
            ActiveRoute::Down(server) => format!("{server} down"),
            ActiveRoute::Refusing(why) => format!("refusing: {why}"),
            ActiveRoute::Away(model) => format!("away: {}", model.model),
        }
    }

    pub fn held(&self) -> Vec<String> {
        let mut all: Vec<String> = self.servers.iter().flat_map(FakeServer::held).collect();
        all.sort();
        all
    }

    pub async fn switch(&self, model: &str) -> Result<SwitchReport, ApiError> {
        self.residency.switch(wanted(model)).await
    }

    /// A click whose outcome is waited for later.
    pub fn click(&self, wanted: Wanted) -> JoinHandle<Result<SwitchReport, ApiError>> {
        let residency = self.residency.clone();
        tokio::spawn(async move { residency.switch(wanted).await })
    }

    /// A role for a model of these servers.
    pub fn role(&self, role: &str, model: &str) -> RoleWanted {
        let listed = self.now().models.iter().find(|view| view.model.name == model).cloned().unwrap();
        let settings = RoleSettings {
            server: listed.model.server.to_string(),
            model: model.into(),
            context: None,
            parallel: None,
            kv_type: None,
            pinned: false,
            priority: Priority::Normal,
            idle_s: None,
        };
        RoleWanted { role: role.into(), held: Held::wanted(&settings), model: listed.model, bytes: None }
    }

    pub fn aim(&self, scene: &str, roles: &[(&str, &str)]) -> Aim {
        let roles = roles.iter().map(|(role, model)| self.role(role, model)).collect();
        Aim::Roles { scene: Some(scene.into()), roles }
    }

    pub async fn apply(&self, scene: &str, roles: &[(&str, &str)]) -> Result<SceneReport, ApiError> {
        self.residency.apply(self.aim(scene, roles), false, false).await
    }

    /// A scene whose outcome is waited for later.
    pub fn applying(&self, scene: &str, roles: &[(&str, &str)]) -> JoinHandle<Result<SceneReport, ApiError>> {
        let (residency, aim) = (self.residency.clone(), self.aim(scene, roles));
        tokio::spawn(async move { residency.apply(aim, false, false).await })
    }

    /// The roles in force, each with the copy that answers for it.
    pub fn roles(&self) -> Vec<(String, Option<String>)> {
        self.now().roles.iter().map(|view| (view.role.clone(), view.held.instance.clone())).collect()
    }

    /// What requests for a role meet.
    pub fn route_of(&self, role: &str) -> String {
        match self.leases.routes().roles.get(role).map(|role| role.route.clone()) {
            None => "unknown".into(),
            Some(ActiveRoute::Open(target)) => target.model,
            Some(ActiveRoute::Away(model)) => format!("away: {}", model.model),
            Some(ActiveRoute::Held) => "held".into(),
            Some(other) => format!("{other:?}"),
        }
    }

    pub fn set_memory(&self, change: impl FnOnce(&mut MemorySettings)) {
        self.memory_settings.send_modify(change);
    }

    pub async fn lease(&self) -> Result<Lease, Refused> {
        self.leases.take(Asked::Active).await
    }
}

pub fn wanted(model: &str) -> Wanted {
    Wanted { model: model.into(), ..Wanted::default() }
}

pub fn active(server: &str, model: &str) -> Active {
    Active { server: server.into(), model: model.into(), instance: model.into() }
}
