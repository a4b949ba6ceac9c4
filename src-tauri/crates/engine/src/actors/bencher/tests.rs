use super::{BenchRequest, BencherHandle, BencherWiring, Neighbours, Runs};
use crate::fakes::{FakeJournal, FakeServer, Fault, Memory, Scene, Shape, wanted};
use pilothouse_domain::{
    bench::{
        BenchPlan, Run, RunDetail, RunState, TrialPhase,
        plan::WhenDisturbed,
        quiet::{CpuTimes, ProcessTime},
    },
    error::{ApiError, ErrorCode},
};
use pilothouse_system::{gauges::GaugePast, hardware::Power};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

/// `a` is active; `b` fits beside it, `huge` never does.
pub(super) async fn scene() -> (Scene, FakeServer, BencherHandle) {
    scene_beside(&Scripted::default()).await
}

/// The same beside these programs.
pub(super) async fn scene_beside(neighbours: &Scripted) -> (Scene, FakeServer, BencherHandle) {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(100))
        .with_pace(Duration::from_secs(2), Duration::from_millis(10))
        .with_model("a", 10)
        .with_model("b", 10)
        .with_model("huge", 1000);
    let (scene, bencher) = started(&one, neighbours).await;
    scene.switch("a").await.unwrap();
    (scene, one, bencher)
}

pub(super) async fn started(server: &FakeServer, neighbours: &Scripted) -> (Scene, BencherHandle) {
    let scene = Scene::start(std::slice::from_ref(server), &FakeJournal::default()).await;
    let bencher = BencherHandle::start(BencherWiring {
        hub: scene.hub.clone(),
        leases: scene.leases.clone(),
        notifier: scene.notifier.clone(),
        store: None,
        residency: scene.residency.clone(),
        supervisors: scene.supervisors.clone(),
        past: GaugePast::default(),
        neighbours: Arc::new(neighbours.clone()),
    });
    (scene, bencher)
}

pub(super) fn request(model: &str) -> BenchRequest {
    let plan = BenchPlan::named("quick", Some(5)).unwrap();
    BenchRequest {
        model: Some(model.into()),
        server: None,
        plan,
        against: None,
        replay: vec![],
        resume: vec![],
        noise: false,
    }
}

/// Programs beside the run, by script: each look takes a second, and the next of these shares of a core is used in it; then it
/// is quiet.
#[derive(Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<(CpuTimes, VecDeque<f64>, bool)>>, Arc<Mutex<Option<bool>>>);

impl Scripted {
    fn busy(shares: &[f64]) -> Self {
        Self(
            Arc::new(Mutex::new((CpuTimes::default(), shares.iter().copied().collect(), false))),
            Arc::default(),
        )
    }
}

impl Scripted {
    /// The page cache: not told, or whether it lets go of files.
    pub(super) fn cache(&self, lets_go: Option<bool>) {
        *self.1.lock().unwrap() = lets_go;
    }
}

impl Neighbours for Scripted {
    fn cached_share(&self, _files: &[std::path::PathBuf]) -> Option<f64> {
        // What was dropped is brought in again by the next look, as the load between them does.
        let told = *self.1.lock().unwrap();
        let dropped = std::mem::take(&mut self.0.lock().unwrap().2);
        told.map(|_| if dropped { 0.0 } else { 1.0 })
    }

    fn drop_from_cache(&self, _files: &[std::path::PathBuf]) -> bool {
        let lets_go = *self.1.lock().unwrap() == Some(true);
        self.0.lock().unwrap().2 = lets_go;
        lets_go
    }

    fn cpu_times(&self) -> Option<CpuTimes> {
        let mut script = self.0.lock().unwrap();
        let share = script.1.pop_front().unwrap_or(0.0);
        script.0.at_s += 1.0;
        if script.0.processes.is_empty() {
            script.0.processes.push(ProcessTime {
                pid: 4711,
                started: 1,
                name: "cc1plus".into(),
                cpu_s: 0.0,
            });
        }
        script.0.processes[0].cpu_s += share;
        Some(script.0.clone())
    }

    fn power(&self) -> Power {
        Power { on_battery: Some(false), mode: Some("performance".into()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_leaves_memory_as_it_was_and_answers_of_others_go_on() {
    let (scene, _, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bencher.bench(request("b")).await }
    });
    scene.rest(4).await;
    assert_eq!(scene.held(), ["a", "b"]);
    assert_eq!(scene.lease().await.unwrap().target().model, "a", "the gateway goes on");
    let refused = scene.switch("b").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    assert_eq!(bencher.bench(request("a")).await.unwrap_err().code, ErrorCode::Busy, "one at a time");
    let run = only(running.await.unwrap().unwrap());
    assert_eq!((run.model.as_str(), run.trials), ("b", 5));
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_refused_beside_a_switch_and_without_room() {
    let (scene, _, bencher) = scene().await;
    let switching = scene.click(wanted("b"));
    scene.rest(1).await;
    assert_eq!(bencher.bench(request("a")).await.unwrap_err().code, ErrorCode::Busy);
    switching.await.unwrap().unwrap();
    assert_eq!(bencher.bench(request("huge")).await.unwrap_err().code, ErrorCode::DoesNotFit);
    assert_eq!(scene.held(), ["b"]);
    assert_eq!(bencher.bench(request("nonsense")).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_hangs_ends_by_its_limit_and_memory_is_as_before() {
    let (scene, one, bencher) = scene().await;
    one.faults(|faults| faults.generate = Fault::Hang);
    let failed = bencher.bench(request("b")).await.unwrap_err();
    assert_eq!(failed.code, ErrorCode::ServerError);
    assert!(failed.message.contains("took longer than"), "{failed}");
    assert!(failed.hint.is_some_and(|hint| hint.contains("pilothouse logs one")));
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_or_failed_run_gives_back_what_it_borrowed() {
    let (scene, one, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bencher.bench(request("b")).await }
    });
    scene.rest(1).await;
    bencher.cancel().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::Cancelled, "while it was being loaded");
    scene.rest(5).await;
    assert_eq!(scene.held(), ["a"]);
    one.faults(|faults| faults.generate = Fault::Fail(ApiError::new(ErrorCode::ServerError, "no")));
    assert_eq!(bencher.bench(request("b")).await.unwrap_err().code, ErrorCode::ServerError);
    one.faults(|faults| *faults = Default::default());
    assert_eq!(scene.switch("b").await.unwrap().answers_cut, 0, "nothing is lent any more");
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_another_shape_is_measured_as_far_as_it_goes_and_nobody_else_is_blamed() {
    let (scene, one, bencher) = scene().await;
    for (shape, counts, has_rate, note) in [
        (Shape::Stream, true, true, None),
        (Shape::Batches(4), true, true, None),
        (Shape::Batches(40), true, true, None),
        (Shape::Uncounted, true, false, Some("does not tell how many tokens")),
        (Shape::Whole, false, false, Some("No trial counts: the whole answer came at once")),
    ] {
        one.faults(|faults| faults.shape = shape);
        let detail = bencher.bench(request("a")).await.unwrap().remove(0);
        let run = detail.run;
        assert_eq!(run.trials, if counts { 5 } else { 0 }, "{shape:?}");
        assert_eq!((run.ttft_ms.is_some(), run.decode_tok_s.is_some()), (counts, has_rate), "{shape:?}");
        let said = run.note.unwrap_or_default();
        assert!(note.is_none_or(|note| said.contains(note)), "{shape:?}: {said}");
        assert!(note.is_none() || run.warmups < 12, "{shape:?}: it is warm without rates");
        let flaws = detail.trials.iter().filter(|trial| trial.flaw.is_some()).count();
        assert_eq!(flaws > 0, !counts, "{shape:?}");
    }
    assert_eq!(scene.held(), ["a"]);
}

pub(super) fn only(runs: Runs) -> Run {
    assert_eq!(runs.len(), 1);
    runs.into_iter().next().unwrap().run
}

pub(super) fn against(model: &str, other: &str) -> BenchRequest {
    let plan = BenchPlan::named("ab", Some(10)).unwrap();
    BenchRequest {
        model: Some(model.into()),
        server: None,
        plan,
        against: Some((other.into(), None)),
        replay: vec![],
        resume: vec![],
        noise: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_is_a_flawed_trial_and_three_in_a_row_end_the_run() {
    let (scene, one, bencher) = scene().await;
    let fails = || Fault::Fail(ApiError::new(ErrorCode::ServerError, "out of luck"));
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bencher.bench(request("a")).await }
    });
    // Into the measured ones.
    while scene.now().bench.as_ref().is_none_or(|bench| bench.done < 2 || bench.total != 5) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.faults(|faults| faults.generate = Fault::Hang);
    let before = scene.now().bench.as_ref().unwrap().done;
    while scene.now().bench.as_ref().is_some_and(|bench| bench.done < before + 2) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    one.faults(|faults| *faults = Default::default());
    let detail = running.await.unwrap().unwrap().remove(0);
    let flaws: Vec<&str> = detail.trials.iter().filter_map(|trial| trial.flaw.as_deref()).collect();
    assert!((1..3).contains(&flaws.len()), "{flaws:?}");
    assert!(
        flaws.iter().all(|flaw| flaw.starts_with("failed: A request of the benchmark took")),
        "{flaws:?}"
    );
    assert_eq!(detail.run.trials, 5 - flaws.len() as u32);
    assert!(detail.run.note.unwrap().contains("do not count"));
    one.faults(|faults| faults.generate = fails());
    let ended = bencher.bench(request("a")).await.unwrap_err();
    assert!(ended.message.contains("one after another failed: out of luck"), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn both_sides_are_measured_in_blocks_and_memory_is_as_before() {
    let (scene, one, bencher) = scene().await;
    let runs = bencher.bench(against("a", "b")).await.unwrap();
    assert_eq!(scene.held(), ["a"]);
    assert_eq!(one.loads(), 2, "both were in memory at the same time");
    let [a, b] = &runs[..] else { panic!("two sides") };
    assert_eq!((a.run.model.as_str(), b.run.model.as_str()), ("a", "b"));
    assert_eq!((a.run.against, b.run.against), (Some(b.run.run_id), Some(a.run.run_id)));
    for side in [a, b] {
        let blocks: Vec<u32> = side.trials.iter().filter_map(|trial| trial.block).collect();
        assert_eq!(blocks, (1..=blocks.len() as u32).collect::<Vec<_>>());
        assert!(blocks.len() >= 10);
    }
    // A model against itself is one copy in memory.
    let runs = bencher.bench(against("b", "b")).await.unwrap();
    assert_eq!((runs[0].run.model.as_str(), runs[1].run.model.as_str()), ("b", "b"));
    assert_eq!((scene.held(), one.loads()), (vec!["a".to_owned()], 3));
    assert_eq!(bencher.bench(against("a", "nonsense")).await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test(start_paused = true)]
async fn without_room_for_both_each_is_loaded_for_its_trial() {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(25))
        .with_pace(Duration::from_secs(2), Duration::from_millis(10))
        .with_model("a", 10)
        .with_model("b", 10)
        .with_model("c", 10);
    let (scene, bencher) = started(&one, &Scripted::default()).await;
    scene.switch("a").await.unwrap();
    let runs = bencher.bench(against("b", "c")).await.unwrap();
    assert!(runs.iter().all(|side| side.run.trials >= 10), "{runs:#?}");
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_sends_more_and_more_at_a_time_and_one_again() {
    let (scene, _, bencher) = scene().await;
    let mut plan = BenchPlan::named("sweep", Some(5)).unwrap();
    plan.concurrency = vec![1, 2, 4];
    let sweep = BenchRequest { plan, ..request("a") };
    let detail = bencher.bench(sweep).await.unwrap().remove(0);
    let mut levels: Vec<u32> = detail.trials.iter().filter_map(|trial| trial.concurrency).collect();
    levels.dedup();
    assert_eq!(levels, [1, 2, 4, 1]);
    let at = |level: u32, phase: TrialPhase| {
        let at_level = detail.trials.iter().filter(|trial| trial.concurrency == Some(level));
        at_level.filter(|trial| trial.phase == phase).count()
    };
    assert_eq!([1, 2, 4].map(|level| at(level, TrialPhase::Measured)), [10, 8, 16]);
    assert_eq!([1, 2, 4].map(|level| at(level, TrialPhase::Warmup)), [0, 2, 4], "each worker's first");
    assert_eq!(detail.run.trials, 10, "only those that were alone are summed up");
    let points: Vec<u32> = detail.run.sweep.unwrap().points.iter().map(|point| point.concurrency).collect();
    assert_eq!(points, [1, 2, 4]);
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_is_waited_for_and_then_marked_or_left() {
    // Quiet at once, after three seconds, never.
    for (shares, stop, disturbed, error) in [
        (vec![], false, false, None),
        (vec![0.0, 0.9, 0.9, 0.9], false, false, None),
        (vec![0.9; 400], false, true, None),
        (vec![0.0, 0.9, 0.9, 0.9], true, false, None),
        (vec![0.9; 400], true, false, Some(ErrorCode::NotQuiet)),
    ] {
        let (scene, _, bencher) = scene_beside(&Scripted::busy(&shares)).await;
        let mut asked = request("b");
        asked.plan.when_disturbed = if stop { WhenDisturbed::Stop } else { WhenDisturbed::Mark };
        let result = bencher.bench(asked).await;
        assert_eq!(result.as_ref().err().map(|error| error.code), error, "{shares:?}");
        if let Err(error) = &result {
            assert!(error.message.contains("cc1plus (pid 4711) uses 90 % of a core"), "{error}");
        }
        let named = result.ok().map(|runs| only(runs).disturbed);
        assert_eq!(named.is_some_and(|named| !named.is_empty()), disturbed, "{shares:?}, {stop}");
        assert_eq!(scene.held(), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cut_off_goes_on_where_it_was() {
    let (scene, _, bencher) = scene().await;
    let cut = |mut detail: RunDetail, measured: u32| {
        detail.run.state = RunState::CutOff;
        let first = detail.trials.iter().filter(|trial| trial.phase == TrialPhase::Warmup).count();
        detail.trials.truncate(first + measured as usize);
        detail
    };
    let before = cut(bencher.bench(request("a")).await.unwrap().remove(0), 2);
    let resumed = BenchRequest { resume: vec![before.clone()], ..request("a") };
    let after = bencher.bench(resumed.clone()).await.unwrap().remove(0);
    assert_eq!((after.run.run_id, after.run.state, after.run.trials), (before.run.run_id, RunState::Done, 5));
    assert_eq!(after.trials[..before.trials.len()], before.trials[..], "nothing is measured twice");
    let numbers: Vec<u32> = after.trials.iter().map(|trial| trial.seq).collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    let begun: Vec<f64> = after.trials.iter().filter_map(|trial| trial.begun_ms).collect();
    assert!(begun.is_sorted(), "on its own time axis: {begun:?}");
    // Two sides go on with the block after the last.
    let sides = bencher.bench(against("a", "b")).await.unwrap();
    let sides: Vec<RunDetail> = sides.into_iter().zip([3, 2]).map(|(side, kept)| cut(side, kept)).collect();
    let resumed = BenchRequest { resume: sides, ..against("a", "b") };
    for side in bencher.bench(resumed).await.unwrap() {
        let blocks: Vec<u32> = side.trials.iter().filter_map(|trial| trial.block).collect();
        assert!(blocks.contains(&4) && blocks.last() >= Some(&10), "{blocks:?}");
    }
    // Another build of the server is another run.
    let mut other = before;
    other.run.fingerprint.insert("server_version".into(), "of yesterday".into());
    let refused = bencher.bench(BenchRequest { resume: vec![other], ..request("a") }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidCall);
    assert!(refused.message.contains("its server version was of yesterday"), "{refused}");
    assert_eq!(scene.held(), ["a"]);
}
