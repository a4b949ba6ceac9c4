//! Puts the actors together: [`Engine::start`] to [`Engine::shutdown`].

mod calls;
mod fitting;
mod fleet;
mod options;
mod past;

pub use options::EngineOptions;

use crate::{
    actors::{
        answers::Answers,
        bencher::{self, BencherHandle},
        bookkeeper::{self, Bookkeeper},
        containers::{ContainerWatch, Intervals},
        fetcher::Fetcher,
        notifier::NotifierHandle,
        residency::{self, ResidencyHandle},
        sampler::{Pace, Sampler},
        supervisor::SupervisorHandle,
        supervisors::Supervisors,
    },
    api::{Call, CallHandler, CallResult},
    http::Door,
    hub::{Hub, Report},
    ports::Journal,
    settings::{self, SettingsFile},
    setup::Embedded,
    single_engine::{EngineLock, EngineRecord},
    store::Store,
};
use async_trait::async_trait;
use fleet::Fleet;
use futures_util::future::join_all;
use pilothouse_domain::{
    Timestamp,
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    server::ServerKind,
    settings::{Settings, SwitchingSettings},
    snapshot::{EngineView, Snapshot},
};
use pilothouse_gateway::Gateway;
use pilothouse_leases::{Leases, Limits};
use pilothouse_system::{
    gauges::{Docker, MachineGauges},
    keys::Keys,
    paths::Paths,
    redact,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Everything that a call may reach.
pub(crate) struct Inner {
    pub hub: Hub,
    pub paths: Paths,
    pub keys: Keys,
    pub settings: SettingsFile,
    pub supervisors: Supervisors,
    pub residency: ResidencyHandle,
    pub leases: Leases,
    pub bencher: BencherHandle,
    pub answers: Answers,
    pub fetcher: Fetcher,
    pub sampler: Sampler,
    pub bookkeeper: Bookkeeper,
    /// The settings that the servers were started with.
    pub started_with: Settings,
    pub containers: ContainerWatch,
    pub store: Option<Store>,
}

/// A running engine. Dropping it without `shutdown` leaves its servers to the next start.
pub struct Engine {
    inner: Arc<Inner>,
    gateway: Option<Gateway>,
    door: Option<Door>,
    /// The address of the web UI with its token.
    web_url: Option<String>,
    settings_task: JoinHandle<()>,
    keys_task: JoinHandle<()>,
    _watch: Option<settings::WatchGuard>,
    lock: EngineLock,
}

/// A way into a running engine; cheap to clone.
#[derive(Clone)]
pub struct EngineHandle(Arc<Inner>);

#[async_trait]
impl CallHandler for EngineHandle {
    async fn call(&self, call: Call) -> CallResult {
        self.0.call(call).await
    }

    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.hub.snapshots()
    }
}

impl Engine {
    /// Starts everything. What is merely degraded (database, gateway port, settings file) becomes a trouble in the
    /// snapshot. Errors: already_running (names who runs), system.
    pub async fn start(options: EngineOptions) -> Result<Self, ApiError> {
        let paths = options.paths.clone();
        paths.create_all()?;
        let lock = EngineLock::acquire(&paths)?;
        let (settings_file, loaded) = SettingsFile::open(&paths.settings_file());
        let mut settings = loaded.settings;
        options.apply(&mut settings);
        let started_at = Timestamp::now();
        let leases = Leases::default();
        leases.set_limits(limits(&settings));
        let view = EngineView {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_at,
            gateway: None,
            gateway_absent: Some("starting".into()),
            web: None,
            data_dir: paths.data.display().to_string(),
            settings_file: paths.settings_file().display().to_string(),
            tray: settings.tray,
        };
        let hub = Hub::new(view, leases.clone());
        if let Some(error) = loaded.trouble {
            hub.report(Report::Trouble(error));
        }
        let store = open_store(&paths, &hub).await;
        let (notify_on, notify_wanted) = watch::channel(settings.notifications.enabled);
        let notifier =
            NotifierHandle::start(hub.clone(), store.clone(), options.desktop.clone(), notify_wanted);
        let fetcher = Fetcher::new(hub.clone(), Embedded::new(paths.embedded.clone()));
        let pace = Pace::from(&settings);
        let sampler = Sampler::start(
            hub.clone(),
            MachineGauges::new(pilothouse_servers::ollama::COMMAND_LINES),
            pace,
            store.clone(),
        )
        .map_err(|error| {
            ApiError::new(ErrorCode::System, format!("The gauges could not be started: {error}."))
        })?;
        let docker = Docker::from_env(&paths.user_home);
        let containers =
            ContainerWatch::start(&hub, &notifier, docker, settings.gauges.docker, Intervals::default());
        let keys = Keys::new(&paths);
        let supervisors = Supervisors::default();
        let fleet = Fleet {
            paths: paths.clone(),
            hub: hub.clone(),
            notifier: notifier.clone(),
            leases: leases.clone(),
            keys: keys.clone(),
            supervisors: supervisors.clone(),
        };
        fleet.start(&settings);
        let (switching, switching_settings) = watch::channel(settings.switching);
        let residency = ResidencyHandle::start(residency::Surroundings {
            hub: hub.clone(),
            notifier: notifier.clone(),
            journal: store.clone().map(|store| Arc::new(store) as Arc<dyn Journal>),
            supervisors: supervisors.clone(),
            leases: leases.clone(),
            settings: switching_settings,
        });
        let bencher = BencherHandle::start(bencher::Surroundings {
            hub: hub.clone(),
            leases: leases.clone(),
            notifier: notifier.clone(),
            store: store.clone(),
            residency: residency.clone(),
            past: sampler.past(),
        });
        let bookkeeper = Bookkeeper::start(bookkeeper::Surroundings {
            hub: hub.clone(),
            store: store.clone(),
            supervisors: supervisors.clone(),
            settings: settings.clone(),
        });
        let inner = Arc::new(Inner {
            answers: Answers::new(hub.clone(), supervisors.clone(), residency.clone(), leases.clone()),
            hub: hub.clone(),
            paths: paths.clone(),
            keys,
            settings: settings_file,
            supervisors,
            residency,
            leases,
            bencher,
            fetcher,
            sampler,
            bookkeeper,
            started_with: settings.clone(),
            containers,
            store,
        });
        let (gateway, door, token) = open_doors(&settings, &inner).await;
        let web_url =
            door.as_ref().map(|door| format!("http://{}/#token={}", door.address(), token.expose()));
        publish_record(&lock, &hub, door.as_ref(), gateway.as_ref(), &token, started_at);
        first_start(inner.clone(), &settings);
        fleet.look_around();
        let keys_task = fleet.follow_keys();
        let (watch_guard, settings_task) =
            follow_settings(inner.clone(), fleet, settings, (notify_on, switching));
        Ok(Self { inner, gateway, door, web_url, settings_task, keys_task, _watch: watch_guard, lock })
    }

    pub fn handle(&self) -> EngineHandle {
        EngineHandle(self.inner.clone())
    }

    /// The address of the web UI with its token in the fragment.
    pub fn web_url(&self) -> Option<&str> {
        self.web_url.as_deref()
    }

    /// The address for client programs.
    pub fn gateway_url(&self) -> Option<String> {
        self.inner.hub.now().engine.gateway.clone()
    }

    /// Ends everything in less than five seconds: what is under way is cancelled and put back, our servers are
    /// stopped, adopted ones go on.
    pub async fn shutdown(self) {
        let ladder = async {
            self.settings_task.abort();
            self.keys_task.abort();
            drop(self._watch);
            let _ = self.inner.fetcher.cancel();
            self.inner.answers.shutdown();
            self.inner.leases.shutdown();
            tokio::join!(self.inner.bencher.shutdown(), self.inner.residency.shutdown());
            let doors = async {
                if let Some(gateway) = self.gateway {
                    gateway.stop().await;
                }
                if let Some(door) = self.door {
                    door.stop().await;
                }
            };
            let servers = self.inner.supervisors.all();
            let servers = join_all(servers.iter().map(SupervisorHandle::shutdown));
            self.inner.bookkeeper.shutdown().await;
            tokio::join!(doors, servers, self.inner.sampler.shutdown());
            if let Some(store) = &self.inner.store {
                store.close().await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(4800), ladder).await.is_err() {
            tracing::warn!("the shutdown took too long and was cut off");
        }
        self.lock.close();
        tracing::info!("ended");
    }
}

async fn open_store(paths: &Paths, hub: &Hub) -> Option<Store> {
    match Store::open(&paths.history_file()).await {
        Ok(opened) => {
            if let Some(error) = opened.trouble {
                hub.report(Report::Trouble(error));
            }
            if let Ok(runs) =
                opened.store.runs(&crate::store::RunFilter { limit: 1, ..Default::default() }).await
                && let Some(run) = runs.into_iter().next()
            {
                hub.report(Report::LastRun(run));
            }
            Some(opened.store)
        }
        Err(error) => {
            hub.report(Report::Trouble(error));
            None
        }
    }
}

async fn open_doors(settings: &Settings, inner: &Arc<Inner>) -> (Option<Gateway>, Option<Door>, Secret) {
    let hub = &inner.hub;
    let token = Secret::new(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
    redact::register(&token);
    let gateway = match settings.gateway.enabled {
        true => Gateway::start(settings.gateway.port, inner.leases.clone()).await,
        false => Err(ApiError::new(ErrorCode::Unsupported, "switched off in the settings")),
    };
    let door = Door::start(settings.web.port, token.clone(), Arc::new(EngineHandle(inner.clone()))).await;
    let refused = gateway.as_ref().err().filter(|_| settings.gateway.enabled);
    for error in [refused, door.as_ref().err()].into_iter().flatten() {
        hub.report(Report::Trouble(error.clone()));
    }
    hub.report(Report::Doors {
        gateway: match &gateway {
            Ok(gateway) => Ok(format!("http://{}/v1", gateway.address())),
            Err(error) => Err(error.message.clone()),
        },
        web: door.as_ref().ok().map(|door| format!("http://{}/", door.address())),
    });
    (gateway.ok(), door.ok(), token)
}

/// Tells the command line and a second start where this engine answers.
fn publish_record(
    lock: &EngineLock,
    hub: &Hub,
    door: Option<&Door>,
    gateway: Option<&Gateway>,
    token: &Secret,
    started_at: Timestamp,
) {
    let Some(door) = door else { return };
    let record = EngineRecord {
        pid: std::process::id(),
        web_url: format!("http://{}/", door.address()),
        token: token.expose().to_owned(),
        gateway_url: gateway.map(|gateway| format!("http://{}/v1", gateway.address())),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
    };
    if let Err(error) = lock.publish(&record) {
        hub.report(Report::Trouble(error));
    }
}

/// Puts changed settings in force as far as that needs no restart, and tells of mistakes.
fn follow_settings(
    inner: Arc<Inner>,
    fleet: Fleet,
    started_with: Settings,
    (notify_on, switching): (watch::Sender<bool>, watch::Sender<SwitchingSettings>),
) -> (Option<settings::WatchGuard>, JoinHandle<()>) {
    let (sender, mut changes) = mpsc::channel(4);
    let guard = settings::watch(inner.settings.path(), sender)
        .inspect_err(|error| tracing::warn!(%error, "changes of the settings file are not seen"))
        .ok();
    let task = tokio::spawn(async move {
        let mut in_force = started_with.clone();
        while let Some(change) = changes.recv().await {
            match change {
                Ok(settings) => {
                    tracing::info!("the settings file has changed");
                    inner.hub.report(Report::TroubleOver(ErrorCode::SettingsInvalid));
                    inner.hub.report(Report::Tray(settings.tray));
                    notify_on.send_replace(settings.notifications.enabled);
                    switching.send_replace(settings.switching);
                    inner.leases.set_limits(limits(&settings));
                    inner.sampler.set_pace(Pace::from(&settings));
                    inner.containers.set_wanted(settings.gauges.docker);
                    fleet.follow(&started_with, &in_force, &settings).await;
                    in_force = settings;
                }
                Err(error) => inner.hub.report(Report::Trouble(error)),
            }
        }
    });
    (guard, task)
}

/// How long requests wait, and how many.
fn limits(settings: &Settings) -> Limits {
    let gateway = &settings.gateway;
    Limits {
        queue: gateway.queue as usize,
        held: Duration::from_secs(gateway.wait_s.into()),
        turn: Duration::from_secs(gateway.queue_wait_s.into()),
    }
}

/// Where nothing was ever active: takes the embedded default.
fn first_start(inner: Arc<Inner>, settings: &Settings) {
    let embedded_wanted = settings.servers.llama_server.enabled && settings.servers.llama_server.autostart;
    tokio::spawn(async move {
        if embedded_wanted && inner.store.is_some() && !inner.residency.was_ever_used().await {
            inner.activate_first().await;
        }
    });
}

impl Inner {
    /// Makes the embedded model active when nothing ever was. Quiet when there is no embedded server.
    pub(crate) async fn activate_first(&self) {
        let embedded = self.supervisors.all().into_iter().find(|s| s.kind == ServerKind::LlamaServer);
        if let Some(supervisor) = embedded
            && supervisor.ensure_ready().await.is_ok()
        {
            supervisor.refresh().await;
            self.residency.activate_first().await;
        }
    }
}
