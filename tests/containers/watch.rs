//! The actor: what reaches snapshot and notices.

use crate::Scene;
use async_trait::async_trait;
use pilothouse_domain::{
    Timestamp,
    container::{ContainerProblem, Containers},
    notice::{Notice, NoticeAct},
    settings::NotificationSettings,
    snapshot::{EngineView, Snapshot},
};
use pilothouse_engine::{
    actors::{
        containers::{ContainerWatch, Intervals},
        notifier::{NotifierHandle, NotifierWiring},
        silences::Silences,
    },
    hub::Hub,
    ports::{NotifyDesktop, ShownButtons},
};
use pilothouse_leases::Leases;
use pilothouse_system::gauges::Docker;
use pilothouse_tests::sims::docker::{Container, Fault};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(60);
const QUICK: Intervals =
    Intervals { with_engine: Duration::from_millis(5), without: Duration::from_millis(5) };

struct NoDesktop;

#[async_trait]
impl NotifyDesktop for NoDesktop {
    async fn show(&self, _: &Notice, _: &[NoticeAct]) -> Result<Option<Box<dyn ShownButtons>>, String> {
        Ok(None)
    }
}

struct Watched {
    scene: Scene,
    seen: Seen,
}

impl Watched {
    fn start(containers: Vec<Container>) -> Self {
        let scene = Scene::new(containers, Fault::None);
        let seen = Seen::start(Docker::at(&scene.sim.socket), QUICK);
        Self { scene, seen }
    }
}

impl std::ops::Deref for Watched {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

/// What Pilothouse makes of an engine.
pub(crate) struct Seen {
    hub: Hub,
    actor: ContainerWatch,
    _settings: watch::Sender<NotificationSettings>,
}

impl Seen {
    pub(crate) fn start(docker: Docker, intervals: Intervals) -> Self {
        let view = EngineView {
            version: "0".into(),
            pid: 0,
            started_at: Timestamp::UNIX_EPOCH,
            gateway: None,
            gateway_absent: None,
            gateway_ollama: None,
            gateway_ollama_absent: None,
            gateway_bridges: vec![],
            gateway_ollama_bridges: vec![],
            web: None,
            data_dir: String::new(),
            settings_file: String::new(),
            tray: Default::default(),
        };
        let hub = Hub::new(view, Leases::default());
        let (settings, wanted) = watch::channel(NotificationSettings::default());
        let wiring = NotifierWiring::new(hub.clone(), Arc::new(NoDesktop), wanted);
        let notifier = NotifierHandle::start(wiring);
        let actor =
            ContainerWatch::start(&hub, &notifier, docker, &Silences::new(hub.clone()), true, intervals);
        Self { hub, actor, _settings: settings }
    }

    /// Waits for a snapshot that has what is looked for.
    pub(crate) async fn until<T>(&self, what: &str, found: impl Fn(&Snapshot) -> Option<T>) -> T {
        let mut snapshots = self.hub.snapshots();
        let looking = async {
            loop {
                if let Some(answer) = found(&snapshots.borrow_and_update().clone()) {
                    return answer;
                }
                snapshots.changed().await.unwrap();
            }
        };
        let answer = tokio::time::timeout(LIMIT, looking).await;
        answer.unwrap_or_else(|_| panic!("waited in vain for {what}: {:#?}", self.hub.now()))
    }

    /// Waits for so many readings that begin after this call, and gives the last one.
    async fn readings(&self, n: u32) -> Containers {
        let mut last = Timestamp::now();
        let mut containers = None;
        for _ in 0..n {
            let fresh = self
                .until("another reading", |snapshot| {
                    snapshot.containers.clone().filter(|containers| containers.at > last)
                })
                .await;
            last = fresh.at;
            containers = Some(fresh);
        }
        containers.unwrap()
    }

    fn titles(&self) -> Vec<String> {
        self.hub.now().notices.iter().map(|notice| notice.title.clone()).collect()
    }
}

fn problems(containers: &Containers) -> Vec<(&str, ContainerProblem)> {
    containers.with_problem().map(|(one, problem)| (one.name.as_str(), problem)).collect()
}

#[tokio::test]
async fn two_unhealthy_containers_at_the_start_are_one_notice_and_stand_first() {
    let watched = Watched::start(vec![
        Container::running("database"),
        Container::unhealthy("search"),
        Container::running("vectors"),
        Container::unhealthy("admin"),
    ]);
    let notice = watched.until("a notice", |snapshot| snapshot.notices.first().cloned()).await;
    assert_eq!(notice.title, "2 containers are unhealthy");
    assert!(notice.body.starts_with("admin, search."), "{notice:?}");
    let containers = watched.readings(20).await;
    let names: Vec<&str> = containers.list.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["admin", "search", "database", "vectors"]);
    assert_eq!(watched.titles(), ["2 containers are unhealthy"], "told once");
}

#[tokio::test]
async fn one_that_turns_unhealthy_is_told_once_and_recovery_clears_it() {
    let watched = Watched::start(vec![Container::running("search")]);
    assert_eq!(problems(&watched.readings(2).await), []);
    assert_eq!(watched.titles(), Vec::<String>::new());
    for _ in 0..3 {
        watched.scene.sim.set(vec![Container::unhealthy("search")]);
        let sick = watched.readings(3).await;
        assert_eq!(problems(&sick), [("search", ContainerProblem::Unhealthy)]);
        watched.scene.sim.set(vec![Container::running("search")]);
        assert_eq!(problems(&watched.readings(3).await), [], "it has recovered");
    }
    assert_eq!(watched.titles(), ["Container search is unhealthy"], "it flaps and is told once");
}

#[tokio::test]
async fn one_that_ends_with_an_error_and_one_that_keeps_restarting_are_told() {
    let watched = Watched::start(vec![
        Container::running("job"),
        Container::running("stopped"),
        Container::running("loop"),
    ]);
    watched.readings(2).await;
    watched.scene.sim.set(vec![
        Container::exited("job", 137),
        Container::exited("stopped", 0),
        Container::restarting("loop", 5),
    ]);
    watched.until("two notices", |snapshot| (snapshot.notices.len() == 2).then_some(())).await;
    let mut titles = watched.titles();
    titles.sort();
    assert_eq!(titles, ["Container job has failed", "Container loop keeps restarting"]);
}

#[tokio::test]
async fn an_engine_that_goes_takes_the_containers_away_and_tells_why() {
    let watched = Watched::start(vec![Container::unhealthy("search")]);
    watched.readings(1).await;
    for (fault, words) in [(Fault::Garbage, "no sense"), (Fault::AlwaysFails, "HTTP 500")] {
        watched.scene.sim.set_fault(fault);
        watched
            .until(words, |snapshot| {
                let reason = snapshot.containers_absent.as_deref()?;
                (snapshot.containers.is_none() && reason.contains(words)).then_some(())
            })
            .await;
    }
    watched.scene.sim.set_fault(Fault::None);
    watched.until("the containers", |snapshot| snapshot.containers.clone()).await;
    assert_eq!(watched.hub.now().containers_absent, None);
    assert_eq!(watched.titles(), ["Container search is unhealthy"], "the same incident");
}

#[tokio::test]
async fn switched_off_nobody_is_asked_any_more() {
    let watched = Watched::start(vec![Container::running("db")]);
    watched.readings(1).await;
    watched.actor.set_wanted(false);
    watched
        .until("the reason", |snapshot| {
            snapshot.containers_absent.as_deref()?.contains("switched off").then_some(())
        })
        .await;
    let asked = watched.scene.sim.asked().len();
    watched.actor.set_wanted(true);
    watched.until("the containers", |snapshot| snapshot.containers.clone()).await;
    assert!(watched.scene.sim.asked().len() > asked);
}
