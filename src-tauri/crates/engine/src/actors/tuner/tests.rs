use super::*;
use crate::fakes::{FakeJournal, FakeServer, Fault, Memory, Scene};
use pilothouse_domain::{model::Expiry, settings::Settings};

/// `a` is active on a server of ours that answers two at a time; `b` fits beside it.
struct Stage {
    scene: Scene,
    one: FakeServer,
    tuner: Tuner,
    folder: tempfile::TempDir,
}

const TEXT: &str = "# mine\n[servers.ollama]\nparallel = 2 # two\n";

impl Stage {
    async fn with(server: FakeServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, TEXT).unwrap();
        let (settings, loaded) = SettingsFile::open(&path);
        let scene = Scene::start(std::slice::from_ref(&server), &FakeJournal::default()).await;
        let tuner = Tuner::new(TunerWiring {
            hub: scene.hub.clone(),
            residency: scene.residency.clone(),
            supervisors: scene.supervisors.clone(),
            settings,
            in_force: InForce::new(loaded.settings),
        });
        Self { scene, one: server, tuner, folder }
    }

    async fn ours() -> Self {
        let one = FakeServer::new("one")
            .ours()
            .with_slots(2)
            .in_memory(&Memory::of(100))
            .with_pace(Duration::from_secs(2), Duration::from_millis(10))
            .with_model("a", 10)
            .with_model("b", 10)
            .with_model("huge", 1000);
        let stage = Self::with(one).await;
        let supervisor = stage.scene.supervisors.get(&"one".into()).unwrap();
        supervisor.ensure_ready().await.unwrap();
        supervisor.refresh().await;
        stage.scene.switch("a").await.unwrap();
        stage
    }

    fn model(&self, name: &str) -> Model {
        let snapshot = self.scene.now();
        snapshot.models.iter().find(|view| view.model.name == name).unwrap().model.clone()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("settings.toml")).unwrap()
    }

    fn in_force(&self) -> u32 {
        self.tuner.0.around.in_force.now().servers.ollama.parallel
    }

    async fn slots(&self, model: &str) -> Option<u32> {
        self.scene.rest(10).await;
        self.scene.now().instances.iter().find(|one| one.model == model)?.slots
    }

    /// Everything is as `ours` left it.
    async fn want_untouched(&self, what: &str) {
        assert_eq!((self.text().as_str(), self.in_force()), (TEXT, 2), "{what}");
        assert_eq!(self.slots("a").await, Some(2), "{what}");
        assert_eq!((self.scene.held(), self.scene.route()), (vec!["a".to_owned()], "a".to_owned()), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_written_when_the_model_has_answered_and_undone_within_a_minute() {
    let stage = Stage::ours().await;
    let report = stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap();
    assert_eq!((report.before, report.parallel, report.changed, report.undo_s), (2, 6, true, 60));
    assert_eq!(report.key, "servers.ollama.parallel");
    assert!(report.first_token_ms.is_some());
    assert_eq!(stage.text(), "# mine\n[servers.ollama]\nparallel = 6 # two\n");
    assert_eq!((stage.slots("a").await, stage.in_force()), (Some(6), 6));
    assert_eq!((stage.scene.held(), stage.scene.route()), (vec!["a".to_owned()], "a".to_owned()));
    let again = stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap();
    assert_eq!((again.changed, again.parallel, stage.one.launches()), (false, 6, 2), "it was so already");

    stage.scene.rest(30).await;
    let undone = stage.tuner.undo().await.unwrap();
    assert_eq!((undone.before, undone.parallel, undone.undo_s), (6, 2, 0));
    stage.want_untouched("undone").await;
    assert_eq!(stage.tuner.undo().await.unwrap_err().code, ErrorCode::NotFound, "only once");

    stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap();
    stage.scene.rest(61).await;
    let late = stage.tuner.undo().await.unwrap_err();
    assert_eq!((late.code, stage.in_force()), (ErrorCode::NotFound, 6), "a minute is over");
    assert!(late.hint.is_some_and(|hint| hint.contains("60 s")));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_was_not_in_memory_leaves_it_again_and_the_others_come_back() {
    let stage = Stage::ours().await;
    stage.tuner.use_parallel(stage.model("b"), 4).await.unwrap();
    assert_eq!((stage.scene.held(), stage.scene.route()), (vec!["a".to_owned()], "a".to_owned()));
    assert_eq!((stage.slots("a").await, stage.in_force()), (Some(4), 4));
}

fn failing(code: ErrorCode) -> Fault {
    Fault::Fail(ApiError::new(code, "It will not."))
}

/// What goes wrong and when, and with which error it ends.
type Row = (&'static str, fn(&FakeServer), ErrorCode);

#[tokio::test(start_paused = true)]
async fn whatever_fails_settings_and_memory_are_as_before() {
    let table: [Row; 5] = [
        (
            "the load is refused",
            |one| one.faults(|faults| faults.next_loads.push_back(failing(ErrorCode::LoadFailed))),
            ErrorCode::LoadFailed,
        ),
        (
            "it does not fit with so many",
            |one| one.faults(|faults| faults.next_loads.push_back(failing(ErrorCode::DoesNotFit))),
            ErrorCode::DoesNotFit,
        ),
        (
            "no token",
            |one| one.faults(|faults| faults.generate = failing(ErrorCode::ServerError)),
            ErrorCode::ServerError,
        ),
        (
            "a token that never comes",
            |one| one.faults(|faults| faults.generate = Fault::Hang),
            ErrorCode::ProofFailed,
        ),
        ("the setting is not taken over", |one| one.ignore_parallel(), ErrorCode::ProofFailed),
    ];
    for (what, fault, code) in table {
        let stage = Stage::ours().await;
        fault(&stage.one);
        let error = stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap_err();
        assert_eq!(error.code, code, "{what}: {error}");
        stage.want_untouched(what).await;
        assert_eq!(
            stage.tuner.undo().await.unwrap_err().code,
            ErrorCode::NotFound,
            "{what}: nothing to undo"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_writes_meanwhile_is_not_overwritten() {
    let stage = Stage::ours().await;
    let change = tokio::spawn({
        let (tuner, model) = (stage.tuner.clone(), stage.model("a"));
        async move { tuner.use_parallel(model, 6).await }
    });
    stage.scene.rest(1).await;
    let theirs = TEXT.replace('2', "3");
    std::fs::write(stage.folder.path().join("settings.toml"), &theirs).unwrap();
    let refused = change.await.unwrap().unwrap_err();
    assert_eq!((refused.code, stage.text(), stage.in_force()), (ErrorCode::Busy, theirs, 2));
    assert_eq!((stage.slots("a").await, stage.scene.route()), (Some(2), "a".to_owned()));

    // The same for the way back: it stays as it is.
    std::fs::write(stage.folder.path().join("settings.toml"), TEXT).unwrap();
    stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap();
    let theirs = stage.text().replace('6', "7");
    std::fs::write(stage.folder.path().join("settings.toml"), &theirs).unwrap();
    let refused = stage.tuner.undo().await.unwrap_err();
    assert_eq!((refused.code, stage.text(), stage.in_force()), (ErrorCode::Busy, theirs, 6));
    assert_eq!((stage.slots("a").await, stage.scene.route()), (Some(6), "a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_puts_everything_back_and_changes_exclude_each_other_and_switches() {
    let stage = Stage::ours().await;
    assert_eq!(stage.tuner.cancel().unwrap_err().code, ErrorCode::NotFound);
    let begin = || {
        let (tuner, model) = (stage.tuner.clone(), stage.model("a"));
        tokio::spawn(async move { tuner.use_parallel(model, 6).await })
    };
    let change = begin();
    stage.scene.rest(1).await;
    assert_eq!(stage.scene.route(), "held", "requests wait for it");
    assert_eq!(stage.tuner.use_parallel(stage.model("b"), 3).await.unwrap_err().code, ErrorCode::Busy);
    assert_eq!(stage.scene.switch("b").await.unwrap_err().code, ErrorCode::Busy);
    stage.tuner.cancel().unwrap();
    assert_eq!(change.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    stage.want_untouched("cancelled").await;

    // Also when the model is in memory already and the proof is waited for.
    stage.one.faults(|faults| faults.generate = Fault::Slow(Duration::from_secs(50)));
    let change = begin();
    stage.scene.rest(20).await;
    assert_eq!(stage.scene.held(), ["a"]);
    stage.tuner.cancel().unwrap();
    assert_eq!(change.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    stage.one.faults(|faults| faults.generate = Fault::None);
    stage.want_untouched("cancelled during the proof").await;

    // Whoever asked and went away does not stop it.
    let change = begin();
    stage.scene.rest(1).await;
    change.abort();
    stage.scene.rest(60).await;
    assert_eq!((stage.in_force(), stage.scene.route()), (6, "a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_of_somebody_else_is_left_alone() {
    let theirs = FakeServer::new("one").with_model("a", 10).with_slots(2);
    theirs.load_by_owner("a", Expiry::Never);
    let stage = Stage::with(theirs).await;
    let refused = stage.tuner.use_parallel(stage.model("a"), 6).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOurs);
    assert!(refused.hint.is_some_and(|hint| hint.contains("OLLAMA_NUM_PARALLEL=6")));
    assert_eq!((stage.text().as_str(), stage.in_force(), stage.one.unloads()), (TEXT, 2, 0));
    assert_eq!(stage.scene.held(), ["a"]);
    assert_eq!(Settings::default().servers.ollama.parallel, 0);
}
