//! Puts the actors together: [`Engine::start`] to [`Engine::shutdown`].

mod calls;
mod clicks;
mod connecting;
mod doors;
mod fitting;
mod fleet;
mod folders;
mod following;
mod lab;
mod memory;
mod model_facts;
mod options;
mod paper;
mod past;
mod requests;
mod set_setting;
mod shell;
mod trends;
mod tuning;

pub use options::EngineOptions;

use crate::{
    actors::{
        answers::Answers,
        bencher::{self, BencherHandle},
        bookkeeper::{self, Bookkeeper},
        client_keys::ClientKeys,
        containers::{ContainerWatch, Intervals},
        fetcher::Fetcher,
        forgetting,
        notifier::{Clicks, NotifierHandle, NotifierWiring},
        recorder::Recording,
        residency::{self, ResidencyHandle},
        sampler::{Pace, Sampler},
        silences::Silences,
        supervisor::SupervisorHandle,
        supervisors::Supervisors,
        tracer::Tracer,
        traffic,
        tuner::{Tuner, TunerWiring},
        update_check,
    },
    api::{Call, CallHandler, CallResult},
    hub::{Hub, Report},
    ports::Journal,
    settings::{self, InForce, SettingsFile},
    setup::Embedded,
    single_engine::EngineLock,
    store::Store,
    watching::Watching,
};
use async_trait::async_trait;
use doors::Doors;
use fleet::Fleet;
use following::{Told, follow_settings, limits, names};
use futures_util::future::join_all;
use paper::Inbox;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    server::ServerKind,
    settings::Settings,
    snapshot::{EngineView, Snapshot},
};
use pilothouse_leases::Leases;
use pilothouse_records::MetricsPage;
use pilothouse_system::{
    gauges::{Docker, MachineGauges},
    keys::Keys,
    paths::Paths,
};
use std::{fmt, sync::Arc, time::Duration};
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
    /// What was asked for besides the file.
    pub options: EngineOptions,
    pub supervisors: Supervisors,
    pub residency: ResidencyHandle,
    pub leases: Leases,
    pub bencher: BencherHandle,
    pub answers: Answers,
    pub fetcher: Fetcher,
    pub notifier: NotifierHandle,
    pub sampler: Sampler,
    pub watching: Watching,
    pub bookkeeper: Bookkeeper,
    /// The settings by which the servers start and load.
    pub in_force: InForce,
    pub tuner: Tuner,
    pub containers: ContainerWatch,
    pub store: Option<Store>,
    /// A file of runs that comes in pieces.
    pub inbox: Inbox,
    /// The settings as the file has them now.
    pub latest: watch::Receiver<Settings>,
    /// What the history's series say.
    pub trend_cache: trends::TrendCache,
    /// Requests through the one address.
    pub recording: Recording,
    /// What scrapers read at the one address.
    pub metrics: MetricsPage,
    /// Who may ask at the one address.
    pub client_keys: ClientKeys,
}

/// A running engine. Dropping it without `shutdown` leaves its servers to the next start.
pub struct Engine {
    inner: Arc<Inner>,
    doors: Doors,
    settings_task: JoinHandle<()>,
    folders_task: JoinHandle<()>,
    keys_task: JoinHandle<()>,
    traffic_task: JoinHandle<()>,
    clicks_task: JoinHandle<()>,
    /// `None`: there is no history.
    forgetting: Option<JoinHandle<()>>,
    update_check: Option<JoinHandle<()>>,
    _watch: Option<settings::WatchGuard>,
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

    fn metrics(&self) -> Result<String, fmt::Error> {
        self.0.metrics.text()
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
            gateway_ollama: None,
            gateway_ollama_absent: Some("starting".into()),
            gateway_bridges: vec![],
            gateway_ollama_bridges: vec![],
            web: None,
            data_dir: paths.data.display().to_string(),
            settings_file: paths.settings_file().display().to_string(),
            tray: settings.tray.clone(),
        };
        let hub = Hub::new(view, leases.clone());
        // Then the defaults are in force, and what they do not name is not gone.
        let damaged = loaded.trouble.is_some();
        if let Some(error) = loaded.trouble {
            hub.report(Report::Trouble(error));
        }
        let store = open_store(&paths, &hub).await;
        let (notifications, notification_settings) = watch::channel(settings.notifications.clone());
        let (clicked, clicks) = mpsc::channel(4);
        let watching = Watching::default();
        let notifier = NotifierHandle::start(NotifierWiring {
            store: store.clone(),
            watching: watching.clone(),
            clicks: Some(Clicks { to: clicked, has_panel: options.panel.is_some() }),
            ..NotifierWiring::new(hub.clone(), options.desktop.clone(), notification_settings)
        });
        let silences = Silences::new(hub.clone());
        let fetcher = Fetcher::new(hub.clone(), Embedded::new(paths.embedded.clone()));
        let pace = Pace::from(&settings);
        let sampler = Sampler::start(
            hub.clone(),
            MachineGauges::new(pilothouse_servers::ollama::COMMAND_LINES),
            pace,
            store.clone(),
            silences.clone(),
        )
        .map_err(|error| {
            ApiError::new(ErrorCode::System, format!("The gauges could not be started: {error}."))
        })?;
        let docker = Docker::from_env(&paths.user_home);
        let containers = ContainerWatch::start(
            &hub,
            &notifier,
            docker,
            &silences,
            settings.gauges.docker,
            Intervals::default(),
        );
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
        let (memory, memory_settings) = watch::channel(settings.memory);
        hub.report(names(&settings));
        let residency = ResidencyHandle::start(residency::ResidencyWiring {
            hub: hub.clone(),
            notifier: notifier.clone(),
            journal: store.clone().map(|store| Arc::new(store) as Arc<dyn Journal>),
            supervisors: supervisors.clone(),
            leases: leases.clone(),
            settings: switching_settings,
            memory: memory_settings,
        });
        let bencher = BencherHandle::start(bencher::BencherWiring {
            hub: hub.clone(),
            leases: leases.clone(),
            notifier: notifier.clone(),
            store: store.clone(),
            residency: residency.clone(),
            supervisors: supervisors.clone(),
            past: sampler.past(),
            neighbours: Arc::new(bencher::ThisMachine),
        });
        let in_force = InForce::new(settings.clone());
        let tuner = Tuner::new(TunerWiring {
            hub: hub.clone(),
            residency: residency.clone(),
            supervisors: supervisors.clone(),
            settings: settings_file.clone(),
            in_force: in_force.clone(),
        });
        let bookkeeper = Bookkeeper::start(bookkeeper::BookkeeperWiring {
            hub: hub.clone(),
            store: store.clone(),
            supervisors: supervisors.clone(),
            settings: in_force.clone(),
        });
        let (named, latest) = watch::channel(settings.clone());
        let forgetting = store.clone().map(|store| forgetting::start(store, hub.clone(), latest.clone()));
        let update_check = store.clone().map(|store| {
            let here = update_check::Here {
                hub: hub.clone(),
                leases: leases.clone(),
                store,
                bencher: bencher.clone(),
            };
            update_check::start(here, latest.clone())
        });
        let recording =
            Recording::start(hub.clone(), store.clone(), Tracer::start(hub.clone(), latest.clone())).await;
        let client_keys = ClientKeys::start(&hub, store.clone(), settings.gateway.require_key).await;
        let metrics =
            requests::metrics_page(hub.clone(), recording.recorder.clone(), client_keys.ring().clone());
        requests::follow_metrics(&metrics, &settings, &paths, &hub);
        let inner = Arc::new(Inner {
            answers: Answers::new(hub.clone(), supervisors.clone(), residency.clone(), leases.clone()),
            hub: hub.clone(),
            paths: paths.clone(),
            keys,
            settings: settings_file,
            options,
            supervisors,
            residency,
            leases: leases.clone(),
            bencher,
            fetcher,
            notifier,
            sampler,
            watching,
            bookkeeper,
            in_force,
            tuner,
            containers,
            store,
            inbox: Inbox::default(),
            latest: latest.clone(),
            trend_cache: trends::TrendCache::default(),
            recording,
            metrics,
            client_keys,
        });
        let doors = Doors::open(&settings, inner.clone(), lock, started_at).await;
        if !damaged {
            inner.residency.servers_are(inner.supervisors.ids()).await;
        }
        first_start(inner.clone(), &settings);
        fleet.look_around();
        let traffic_task = traffic::follow(hub.clone(), leases);
        let folders_task = folders::watch_folders(hub, latest);
        look_for_damage(&inner);
        let clicks_task = clicks::follow(inner.clone(), clicks);
        let keys_task = fleet.follow_keys();
        let (watch_guard, settings_task) =
            follow_settings(inner.clone(), fleet, settings, Told { notifications, switching, memory, named });
        Ok(Self {
            inner,
            doors,
            settings_task,
            folders_task,
            keys_task,
            traffic_task,
            clicks_task,
            forgetting,
            update_check,
            _watch: watch_guard,
        })
    }

    pub fn handle(&self) -> EngineHandle {
        EngineHandle(self.inner.clone())
    }

    /// The address of the web UI with its token in the fragment.
    pub fn web_url(&self) -> Option<String> {
        self.doors.web_url()
    }

    /// The address for client programs.
    pub fn gateway_url(&self) -> Option<String> {
        self.inner.hub.now().engine.gateway.clone()
    }

    /// Ends everything in less than five seconds: what is under way is cancelled and put back, our servers are
    /// stopped, adopted ones go on.
    pub async fn shutdown(self) {
        let mut lock = None;
        let ladder = async {
            self.settings_task.abort();
            self.folders_task.abort();
            self.keys_task.abort();
            self.traffic_task.abort();
            self.clicks_task.abort();
            // A step is taken whole or not at all.
            self.forgetting.iter().chain(&self.update_check).for_each(JoinHandle::abort);
            drop(self._watch);
            let _ = self.inner.fetcher.cancel();
            let _ = self.inner.tuner.cancel();
            self.inner.answers.shutdown();
            self.inner.leases.shutdown();
            tokio::join!(self.inner.bencher.shutdown(), self.inner.residency.shutdown());
            let servers = self.inner.supervisors.all();
            let servers = join_all(servers.iter().map(SupervisorHandle::shutdown));
            self.inner.bookkeeper.shutdown().await;
            (lock, _, _) = tokio::join!(self.doors.close(), servers, self.inner.sampler.shutdown());
            // Once no request can end any more.
            tokio::join!(self.inner.recording.shutdown(), self.inner.client_keys.shutdown());
            if let Some(store) = &self.inner.store {
                store.close().await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(4800), ladder).await.is_err() {
            tracing::warn!("the shutdown took too long and was cut off");
        }
        drop(lock);
        tracing::info!("ended");
    }
}

async fn open_store(paths: &Paths, hub: &Hub) -> Option<Store> {
    match Store::open(&paths.history_file()).await {
        Ok(opened) => {
            if let Some(error) = opened.trouble {
                hub.report(Report::Trouble(error));
            }
            if let Ok(newest) =
                opened.store.runs(&crate::store::RunFilter { limit: 1, ..Default::default() }).await
                && let Some(run) = newest.runs.into_iter().next()
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

/// Once the doors are open: it takes longer the more there is.
fn look_for_damage(inner: &Arc<Inner>) {
    let Some(store) = inner.store.clone() else { return };
    let hub = inner.hub.clone();
    tokio::spawn(async move {
        if let Err(error) = store.look_for_damage().await {
            hub.report(Report::Trouble(error));
        }
    });
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
