//! The supervisor with a fake server, under paused time.

use super::*;
use crate::fakes::{FakeServer, Fault, hub, supervisor_wiring};
use crate::hub::Hub;
use pilothouse_domain::{
    endpoint::Endpoint,
    hang::{ProcessTime, ProcessWork},
    model::Expiry,
    snapshot::{ServerView, Snapshot},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use pilothouse_leases::Lease;
use pilothouse_leases::{Leases, Target};
use pilothouse_system::process::{OwnedProcess, ProcessSpec};
use std::{sync::Arc, time::Duration};

const MB: u64 = 1 << 20;
/// Far beyond every limit of a supervisor.
const LONG: Duration = Duration::from_secs(900);

struct Scene {
    server: FakeServer,
    hub: Hub,
    leases: Leases,
    supervisor: SupervisorHandle,
    _folder: tempfile::TempDir,
}

/// A server with the model "m" in memory, watched and ready.
async fn scene(server: FakeServer) -> Scene {
    let server = server.with_model("m", 100 * MB);
    let folder = tempfile::tempdir().unwrap();
    let leases = Leases::default();
    let hub = hub(&leases);
    let around = supervisor_wiring(&server, &hub, &leases, folder.path());
    let supervisor = SupervisorHandle::start(Arc::new(server.clone()), around, false);
    supervisor.ensure_ready().await.unwrap();
    server.load_by_owner("m", Expiry::Never);
    supervisor.refresh().await;
    Scene { server, hub, leases, supervisor, _folder: folder }
}

impl Scene {
    fn now(&self) -> Arc<Snapshot> {
        self.hub.now()
    }

    /// An answer of the model.
    fn under_way(&self) -> Lease {
        let openai = Endpoint { base_url: String::new(), key: None };
        let (server, model, instance) = (self.server_id(), "m".to_owned(), "m".to_owned());
        self.leases.enter(&Target { server, model, instance, openai, slots: 1 })
    }

    fn view(&self) -> ServerView {
        self.now().servers[0].clone()
    }

    fn titles(&self) -> Vec<String> {
        self.now().notices.iter().map(|notice| notice.title.clone()).collect()
    }

    async fn end(self) {
        self.supervisor.shutdown().await;
    }
}

fn silence() -> Fault {
    Fault::Fail(ApiError::new(ErrorCode::TimedOut, "It did not answer within 2 s."))
}

/// A process that has used no more processor time than this.
fn idle() -> Option<ProcessWork> {
    Some([(7, ProcessTime { cpu_s: 1.0, waited_pages: 0, wants: false })].into())
}

/// Waits until something holds, for as long as that may take; a real process ends in real time.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_whose_work_is_not_told_is_shown_and_never_ended() {
    let scene = scene(FakeServer::new("a").ours()).await;
    scene.server.set_work(None);
    scene.server.faults(|faults| faults.health = silence());
    tokio::time::sleep(LONG).await;
    let view = scene.view();
    assert_eq!(format!("{:?}", view.state), "Degraded");
    assert!(view.hint.as_ref().unwrap().contains("cannot be told"), "{view:?}");
    assert_eq!((scene.server.launches(), scene.titles()), (1, vec![]));
    scene.server.faults(|faults| faults.health = Fault::None);
    until("its recovery", || scene.view().hint.is_none()).await;
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_that_does_nothing_is_ended_and_comes_back() {
    let scene = scene(FakeServer::new("a").ours()).await;
    scene.server.set_work(idle());
    scene.server.faults(|faults| faults.health = silence());
    until("another launch", || scene.server.launches() > 1).await;
    assert!(scene.titles().iter().any(|title| title.contains("hung")), "{:?}", scene.titles());
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_that_works_is_left_alone() {
    let scene = scene(FakeServer::new("a").ours()).await;
    scene.server.faults(|faults| faults.health = silence());
    for second in 0..600 {
        let work = ProcessTime { cpu_s: f64::from(second) * 0.9, waited_pages: 0, wants: true };
        scene.server.set_work(Some([(7, work)].into()));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((scene.server.launches(), scene.titles()), (1, vec![]));
    assert!(scene.view().hint.unwrap().contains("left alone"), "{:?}", scene.view());
    scene.end().await;
}

/// The answer of a client that has left: nothing is counted as under way, and the only slot is busy with it.
#[tokio::test(start_paused = true)]
async fn no_token_is_asked_behind_an_answer_that_has_every_slot() {
    let scene = scene(FakeServer::new("a").with_slots(1).with_children().ours()).await;
    scene.server.set_work(idle());
    scene.server.leave_answer(true);
    scene.leases.trouble(&scene.server_id());
    tokio::time::sleep(LONG).await;
    assert_eq!((scene.server.tokens(), scene.server.launches()), (0, 1));
    assert_eq!(format!("{:?}", scene.view().state), "Ready");
    // Once there is a place it is asked.
    scene.server.free_slots();
    until("a token to be asked for", || scene.server.tokens() > 0).await;
    assert_eq!(scene.titles(), Vec::<String>::new());
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_come_behind_an_answer_that_gets_on_is_forgiven() {
    let scene = scene(FakeServer::new("a").with_slots(2).with_children().ours()).await;
    scene.server.set_work(idle());
    scene.server.faults(|faults| faults.generate = Fault::Hang);
    scene.leases.trouble(&scene.server_id());
    until("it to be mute", || format!("{:?}", scene.view().state) == "Degraded").await;
    scene.server.leave_answer(true);
    until("it to be forgiven", || format!("{:?}", scene.view().state) == "Ready").await;
    assert_eq!((scene.server.launches(), scene.titles()), (1, vec![]));
    scene.end().await;
}

/// A measurement runs, no health token is asked beside it, and its runner hangs.
#[tokio::test(start_paused = true)]
async fn an_answer_that_stands_still_is_found_although_it_is_under_way() {
    let scene = scene(FakeServer::new("a").with_slots(1).with_children().ours()).await;
    scene.server.set_work(idle());
    let _under_way = scene.under_way();
    scene.server.leave_answer(false);
    until("another launch", || scene.server.launches() > 1).await;
    assert_eq!(scene.server.tokens(), 0, "nobody was disturbed by a token");
    scene.end().await;
}

/// A client that reads no further keeps its answer under way for ever: that is no fault of the server's.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_ends_no_server() {
    let scene = scene(FakeServer::new("a").with_slots(1).with_children().ours()).await;
    scene.server.set_work(idle());
    let _under_way = scene.under_way();
    tokio::time::sleep(LONG).await;
    assert_eq!((scene.server.launches(), scene.titles()), (1, vec![]));
    assert!(scene.server.tokens() > 0, "a token told that it works");
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_answered_by_a_look_that_began_after_it() {
    let scene = scene(FakeServer::new("a").with_model("late", MB)).await;
    scene.server.faults(|faults| faults.list = Fault::Slow(Duration::from_secs(4)));
    let looks = scene.server.health_checks();
    until("a look under way", || scene.server.health_checks() > looks).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.server.load_by_owner("late", Expiry::Never);
    scene.supervisor.refresh().await;
    let ids: Vec<String> = scene.now().instances.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids, ["late", "m"]);
    // What the older look brings later is not taken for news.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.now().instances.len(), 2);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_odd_in_a_list_stands_in_the_log_of_the_server() {
    let server = FakeServer::new("a").with_model("m", MB);
    let folder = tempfile::tempdir().unwrap();
    let leases = Leases::default();
    let around = supervisor_wiring(&server, &hub(&leases), &leases, folder.path());
    let log = around.log.clone();
    let supervisor = SupervisorHandle::start(Arc::new(server.clone()), around, false);
    supervisor.ensure_ready().await.unwrap();
    let words = "its list of models is odd: 1 row cannot be read and is left out";
    server.faults(|faults| faults.odd = vec![words.into()]);
    for _ in 0..3 {
        supervisor.refresh().await;
    }
    assert_eq!(log.last(100).iter().filter(|line| line.line.contains(words)).count(), 1);
    supervisor.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn our_own_unload_is_no_loss_and_a_death_is_one() {
    let scene = scene(FakeServer::new("a").with_children()).await;
    assert!(scene.now().instances[0].pid.is_some());
    scene.supervisor.leaving("m").await;
    scene.server.kill_child("m");
    scene.supervisor.refresh().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(scene.now().instances.is_empty());
    assert_eq!(scene.titles(), Vec::<String>::new());
    scene.server.drop_model("m");
    scene.server.load_by_owner("m", Expiry::Never);
    scene.supervisor.refresh().await;
    scene.server.kill_child("m");
    scene.supervisor.refresh().await;
    until("a notice", || !scene.titles().is_empty()).await;
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_adopted_server_is_gone_only_when_nobody_listens_or_its_process_has_ended() {
    let broken = ApiError::new(ErrorCode::Unreachable, "The connection to a broke off.");
    let unfound = ApiError::new(ErrorCode::Unreachable, "No machine named a is found.");
    let silent = ApiError::new(ErrorCode::TimedOut, "It did not answer within 2 s.");
    let odd = ApiError::new(ErrorCode::BadAnswer, "It answered something unexpected.");
    let failing = ApiError::new(ErrorCode::ServerError, "HTTP 500");
    for error in [broken, unfound, silent, odd, failing] {
        let scene = scene(FakeServer::new("a")).await;
        let (looks, since) = (scene.server.health_checks(), scene.view().since);
        scene.server.faults(|faults| faults.health = Fault::Fail(error.clone()));
        until("one look", || scene.server.health_checks() > looks).await;
        scene.server.faults(|faults| faults.health = Fault::None);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(format!("{:?}", scene.view().state), "Ready", "once: {error}");
        assert_eq!(scene.view().since, since, "all the time: {error}");
        assert_eq!(scene.now().instances.len(), 1, "its models were not forgotten: {error}");
        scene.server.faults(|faults| faults.health = Fault::Fail(error.clone()));
        tokio::time::sleep(LONG).await;
        let view = scene.view();
        assert_eq!(format!("{:?} {:?}", view.state, view.ownership), "Degraded Some(Adopted)", "{error}");
        assert_eq!(view.reason.as_deref(), Some(error.message.as_str()));
        scene.server.faults(|faults| faults.health = Fault::None);
        until("its recovery", || format!("{:?}", scene.view().state) == "Ready").await;
        scene.server.die();
        until("its end", || format!("{:?}", scene.view().state) == "Stopped").await;
        assert_eq!(scene.view().reason.as_deref(), Some("It was stopped by somebody else."));
        scene.end().await;
    }
}

/// Another program may have taken its port meanwhile.
#[tokio::test(start_paused = true)]
async fn an_adopted_server_whose_process_has_ended_is_gone_whoever_answers_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let spec = ProcessSpec {
        program: "/bin/sleep".into(),
        args: vec!["1000".into()],
        env: vec![],
        env_remove: vec![],
        cwd: None,
    };
    let process = OwnedProcess::spawn(&spec, &folder.path().join("output")).unwrap();
    let scene = scene(FakeServer::new("a").with_pid(process.pid())).await;
    let odd = || Fault::Fail(ApiError::new(ErrorCode::BadAnswer, "It answered something unexpected."));
    scene.server.faults(|faults| faults.health = odd());
    tokio::time::sleep(LONG).await;
    assert_eq!(format!("{:?}", scene.view().state), "Degraded", "its process is there");
    process.stop(Duration::from_secs(3)).await;
    until("its end", || scene.titles().is_empty() && scene.view().ownership.is_none()).await;
    assert_eq!(scene.view().reason.as_deref(), Some("It was stopped by somebody else."));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_was_not_there_is_looked_for_again_every_minute() {
    let scene = lone(FakeServer::new("a")).await;
    assert_eq!(format!("{:?}", scene.view().state), "NotInstalled");
    scene.server.set_installed(true);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(format!("{:?}", scene.view().state), "Stopped");
    assert_eq!((scene.view().reason, scene.view().hint), (None, None));
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_was_not_there_is_looked_for_when_somebody_asks() {
    let scene = lone(FakeServer::new("a")).await;
    scene.supervisor.locate().await;
    assert_eq!(format!("{:?}", scene.view().state), "NotInstalled", "it is still missing");
    scene.server.set_installed(true);
    scene.supervisor.locate().await;
    assert_eq!(format!("{:?}", scene.view().state), "Stopped");
    // Who runs has nothing to be looked for, and nothing is held against a server that was stopped.
    scene.server.set_installed(false);
    scene.supervisor.locate().await;
    assert_eq!(format!("{:?}", scene.view().state), "Stopped");
    scene.end().await;
}

/// A server that does not run, watched.
async fn lone(server: FakeServer) -> Scene {
    server.faults(|faults| faults.down = true);
    let folder = tempfile::tempdir().unwrap();
    let leases = Leases::default();
    let hub = hub(&leases);
    let around = supervisor_wiring(&server, &hub, &leases, folder.path());
    let supervisor = SupervisorHandle::start(Arc::new(server.clone()), around, false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Scene { server, hub, leases, supervisor, _folder: folder }
}

impl Scene {
    fn server_id(&self) -> ServerId {
        self.supervisor.id.clone()
    }
}

/// A probe that stalls is overtaken by one that somebody asked for: whichever ends last, the rounds go on.
#[tokio::test(start_paused = true)]
async fn the_rounds_go_on_after_a_probe_that_was_overtaken() {
    let slow = |ms: u64| Fault::Slow(Duration::from_millis(ms));
    // What stalls of the older one: health, lists.
    let table = [
        (slow(1500), Fault::None),
        (Fault::Hang, Fault::None),
        (Fault::None, slow(5000)),
        (Fault::None, Fault::Hang),
        (slow(1500), slow(5000)),
    ];
    for (health, list) in table {
        let scene = scene(FakeServer::new("a")).await;
        let (stalls, before) = (format!("{health:?}, {list:?}"), scene.server.health_checks());
        scene.server.faults(|faults| (faults.health, faults.list) = (health, list));
        until("a round", || scene.server.health_checks() > before).await;
        scene.server.faults(|faults| *faults = Default::default());
        scene.supervisor.refresh().await;
        // By now the older one has ended, too.
        tokio::time::sleep(Duration::from_secs(15)).await;
        scene.server.die();
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(!scene.view().state.is_up(), "its end was not noticed after {stalls}");
        scene.end().await;
    }
}
