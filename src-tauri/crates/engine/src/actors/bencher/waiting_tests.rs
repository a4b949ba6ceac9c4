//! What a run waits for, and for how long.

use super::{
    BenchRequest,
    tests::{against, only, request, scene},
};
use crate::hub::Report;
use pilothouse_domain::{
    Timestamp,
    bench::{BenchPlan, RunState, quiet::DisturbedBy},
    gauge::{Gauges, GpuReading},
};
use std::time::Duration;

/// A card of so many degrees.
fn of_warmth(temperature_c: f64) -> Report {
    let card = GpuReading { name: "RTX".into(), temperature_c: Some(temperature_c), ..GpuReading::default() };
    Report::Gauges(Gauges {
        at: Timestamp::UNIX_EPOCH,
        interval_ms: None,
        cpu_percent: None,
        cpu_cores: 4,
        memory_used_bytes: None,
        memory_total_bytes: None,
        memory_limit: None,
        memory_pressure: None,
        swap_used_bytes: None,
        swap_total_bytes: None,
        gpus: vec![card],
        gpus_absent: None,
        servers: vec![],
        orphans: vec![],
        own: Default::default(),
        silent: vec![],
    })
}

#[tokio::test(start_paused = true)]
async fn a_card_that_has_grown_warm_is_waited_for_between_blocks_but_not_for_ever() {
    let (scene, _, bencher) = scene().await;
    let second_block = async || {
        while scene.now().bench.as_ref().and_then(|bench| bench.block).is_none_or(|(block, _)| block < 2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    scene.hub.report(of_warmth(60.0));
    let begin = || {
        let bencher = bencher.clone();
        tokio::spawn(async move { bencher.bench(against("a", "b")).await })
    };
    let running = begin();
    second_block().await;
    scene.hub.report(of_warmth(70.0));
    while scene.now().bench.as_ref().is_some_and(|bench| bench.waits_for.is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waited = scene.now().bench.clone().unwrap();
    assert!(waited.waits_for[0].name.contains("warmer than before"), "{waited:?}");
    // It waits for as long as the card is warm.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.now().bench.as_ref().unwrap().done, waited.done);
    scene.hub.report(of_warmth(62.0));
    let runs = running.await.unwrap().unwrap();
    assert!(runs.iter().all(|side| side.run.trials >= 10 && side.run.disturbed.is_empty()), "{runs:#?}");
    // One that does not cool down costs a run no more than its bound, and marks it.
    scene.hub.report(of_warmth(60.0));
    let running = begin();
    second_block().await;
    scene.hub.report(of_warmth(90.0));
    let begun = tokio::time::Instant::now();
    let runs = running.await.unwrap().unwrap();
    assert!(runs.iter().all(|side| side.run.trials >= 10), "{runs:#?}");
    let marks: Vec<_> = runs[0].run.disturbed.iter().map(|one| one.what).collect();
    assert_eq!(marks, [DisturbedBy::Heat], "{runs:#?}");
    assert!(begun.elapsed() < Duration::from_secs(1200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_its_time_is_over_and_says_so() {
    let (scene, _, bencher) = scene().await;
    for budget_s in [10, 20, 40] {
        let plan = BenchPlan { budget_s: Some(budget_s), ..BenchPlan::named("quick", Some(100)).unwrap() };
        let run = only(bencher.bench(BenchRequest { plan, ..request("a") }).await.unwrap());
        assert_eq!(run.state, RunState::Done);
        assert!((1..100).contains(&run.trials), "{}", run.trials);
        let note = run.note.unwrap();
        assert_eq!(note, format!("The time was over after {} of 100 trials.", run.trials));
        let plan = BenchPlan { budget_s: Some(budget_s), ..BenchPlan::named("ab", Some(60)).unwrap() };
        let runs = bencher.bench(BenchRequest { plan, ..against("a", "b") }).await.unwrap();
        let trials: Vec<u32> = runs.iter().map(|side| side.run.trials).collect();
        assert!(trials[0] == trials[1] && (1..60).contains(&trials[0]), "{trials:?}");
        assert!(runs.iter().all(|side| side.run.note.as_ref().unwrap().contains("time was over")));
        let plan = BenchPlan { budget_s: Some(budget_s), ..BenchPlan::named("sweep", Some(60)).unwrap() };
        let run = only(bencher.bench(BenchRequest { plan, ..request("a") }).await.unwrap());
        let (levels, note) = (run.sweep.unwrap().points.len(), run.note.unwrap());
        assert!((1..run.plan.concurrency.len()).contains(&levels), "{levels}");
        assert!(note.contains("The time was over before"), "{note}");
    }
    assert_eq!(scene.held(), ["a"]);
    // Nor does one end before that has all the time it wants.
    let plan = BenchPlan { budget_s: Some(7200), ..BenchPlan::named("quick", None).unwrap() };
    let run = only(bencher.bench(BenchRequest { plan, ..request("a") }).await.unwrap());
    assert_eq!((run.trials, run.note), (10, None));
}
