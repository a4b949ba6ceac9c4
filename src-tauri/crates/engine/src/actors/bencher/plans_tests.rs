//! Plans with a course of their own, by a clock that stands still while nobody waits.

use super::tests::{Scripted, request, scene, started};
use super::{BenchRequest, BencherHandle};
use crate::fakes::{FakeServer, Fault, Memory, Scene};
use pilothouse_domain::{
    bench::{
        BenchPlan, PlanAsked, PrefixUse, RunDetail, Summary, Trial, TrialPhase,
        arrivals::{ArrivalPattern, Arrivals},
        conversation::PrefixReuse,
        open_loop::MOST_UNDER_WAY,
        percentiles::Percentiles,
        replay::prompts_of,
    },
    error::{ApiError, ErrorCode},
};
use std::time::Duration;
use tokio::time::Instant;

async fn bench(bencher: &BencherHandle, plan: BenchPlan) -> Result<RunDetail, ApiError> {
    let asked = BenchRequest { plan, ..request("a") };
    Ok(bencher.bench(asked).await?.remove(0))
}

fn open(rate: f64, seconds: u32, pattern: ArrivalPattern) -> BenchPlan {
    BenchPlan { max_tokens: 4, ..BenchPlan::open(Arrivals::new(rate, Some(seconds), pattern, 7).unwrap()) }
}

/// Waits until so many measured requests have ended.
async fn until_done(scene: &Scene, least: u32) {
    while scene
        .now()
        .bench
        .as_ref()
        .is_none_or(|bench| bench.phase != TrialPhase::Measured || bench.done < least)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_shows_the_second_in_which_the_server_stands_still() {
    for (what, pattern, still) in [
        ("evenly", ArrivalPattern::Constant, 1000),
        ("as from many people", ArrivalPattern::Poisson, 1000),
        ("two seconds", ArrivalPattern::Constant, 2000),
        ("no stall", ArrivalPattern::Constant, 0),
    ] {
        let (scene, one, bencher) = scene().await;
        let running = tokio::spawn({
            let bencher = bencher.clone();
            async move { bench(&bencher, open(20.0, 30, pattern)).await }
        });
        until_done(&scene, 100).await;
        let until = Instant::now() + Duration::from_millis(still);
        one.faults(|faults| faults.generate = Fault::Until(until));
        let run = running.await.unwrap().unwrap().run;
        let found = run.open_loop.unwrap();
        assert_eq!((found.planned, found.sent, found.failed, run.trials), (600, 600, 0, 600), "{what}");
        let p99 = |ttft: Option<Percentiles>| ttft.unwrap().p99;
        let (due, waiting) = (p99(found.from_due.ttft_ms), p99(found.waiting.ttft_ms));
        assert!(waiting < 100.0, "{what}: without the correction it does not show: {found:#?}");
        assert_eq!(due > 400.0, still > 0, "{what}: {found:#?}");
        assert!(found.words.contains("are hidden") == (still > 0), "{what}: {}", found.words);
        assert!(!found.capped, "{what}: {found:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_sent_in_time_are_late_and_a_rate_beyond_the_server_ends() {
    // It stands still for longer than the whole plan: as many as may be are under way, the others are late.
    let (scene, one, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bench(&bencher, open(20.0, 10, ArrivalPattern::Constant)).await }
    });
    until_done(&scene, 10).await;
    one.faults(|faults| faults.generate = Fault::Until(Instant::now() + Duration::from_secs(20)));
    let detail = running.await.unwrap().unwrap();
    let found = detail.run.open_loop.unwrap();
    assert_eq!((found.sent, found.capped), (200, true), "{found:#?}");
    assert!(found.late as usize >= 180 - MOST_UNDER_WAY, "{found:#?}");
    assert!(found.most_late_ms.unwrap() > 10_000.0, "{found:#?}");
    let due: Vec<f64> = detail
        .trials
        .iter()
        .filter(|trial| trial.is_measured())
        .map(|trial| trial.begun_ms.unwrap() - trial.late_ms.unwrap())
        .collect();
    assert!(due.is_sorted(), "kept in the order in which they were due");
    assert!(due.windows(2).all(|pair| (pair[1] - pair[0] - 50.0).abs() < 0.01), "late is told from the plan");

    // One that stays slow: what would be a minute late is not sent.
    let slow = FakeServer::new("one")
        .in_memory(&Memory::of(100))
        .with_pace(Duration::ZERO, Duration::from_millis(10))
        .with_model("a", 10)
        .that_reads(Duration::from_millis(50), false);
    let (scene, bencher) = started(&slow, &Scripted::default()).await;
    scene.switch("a").await.unwrap();
    let run = bench(&bencher, open(20.0, 60, ArrivalPattern::Constant)).await.unwrap().run;
    let found = run.open_loop.unwrap();
    assert!(found.sent < 200 && found.planned == 1200, "{found:#?}");
    assert!((1..found.sent).contains(&found.failed), "some waited for too long: {found:#?}");
    assert!(run.note.unwrap().contains("did not keep the rate"));
    assert_eq!(scene.held(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_is_cancelled_and_ends_when_the_server_only_fails() {
    let (scene, one, bencher) = scene().await;
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bench(&bencher, open(10.0, 60, ArrivalPattern::Poisson)).await }
    });
    until_done(&scene, 5).await;
    bencher.cancel().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    let running = tokio::spawn({
        let bencher = bencher.clone();
        async move { bench(&bencher, open(10.0, 60, ArrivalPattern::Poisson)).await }
    });
    until_done(&scene, 5).await;
    one.faults(|faults| faults.generate = Fault::Fail(ApiError::new(ErrorCode::ServerError, "no")));
    let failed = running.await.unwrap().unwrap_err();
    assert!(
        failed.message.starts_with("16 requests of the benchmark one after another failed: no"),
        "{failed}"
    );
}

/// A server with one place that reads a word in two milliseconds, and keeps the last prompt or does not.
async fn reader(keeps: bool) -> (Scene, FakeServer, BencherHandle) {
    let one = FakeServer::new("one")
        .in_memory(&Memory::of(100))
        .with_pace(Duration::ZERO, Duration::from_millis(10))
        .with_model("a", 10)
        .that_reads(Duration::from_millis(2), keeps);
    let (scene, bencher) = started(&one, &Scripted::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one, bencher)
}

#[tokio::test(start_paused = true)]
async fn a_conversation_shows_what_its_server_keeps_turn_by_turn() {
    for (keeps, reuse) in [(true, PrefixReuse::Kept), (false, PrefixReuse::No)] {
        let (scene, _, bencher) = reader(keeps).await;
        let plan =
            PlanAsked { turns: Some(6), trials: Some(3), ..PlanAsked::default() }.plan(1, 300).unwrap();
        let detail = bench(&bencher, plan).await.unwrap();
        let measured: Vec<_> = detail.trials.iter().filter(|trial| trial.is_measured()).collect();
        assert_eq!(measured.len(), 36);
        // Six turns in a row of the same conversation, never one between them.
        for held in measured.chunks(6) {
            let turns: Vec<u32> = held.iter().filter_map(|trial| trial.turn).collect();
            assert_eq!(turns, [1, 2, 3, 4, 5, 6]);
            assert!(held.iter().all(|one| (one.block, one.prefix) == (held[0].block, held[0].prefix)));
        }
        let found = detail.run.conversation.unwrap();
        assert_eq!((found.turns.len(), found.reuse), (6, reuse), "{found:#?}");
        let times = |turn: usize| {
            let turn = &found.turns[turn - 1];
            let median = |of: &Option<Summary>| of.as_ref().unwrap().median;
            (median(&turn.ttft_cached_ms), median(&turn.ttft_cold_ms))
        };
        let ((cached, cold), (first_cached, first_cold)) = (times(6), times(1));
        assert!((first_cached / first_cold - 1.0).abs() < 0.05, "the first turn is cold in both");
        assert!(cold > 5.0 * first_cold, "it has grown: {found:#?}");
        assert_eq!(cached < 0.3 * cold, keeps, "{found:#?}");
        let cold = measured.iter().filter(|trial| trial.prefix == Some(PrefixUse::New));
        let known = cold.filter(|trial| trial.cached_tokens.unwrap_or(0) > 2).count();
        assert_eq!(known, 0, "a letter or two may be the same by chance");
        assert_eq!(detail.run.trials, 18, "the summary is of those that a program would send");
        let rated = measured.iter().filter(|trial| trial.prefill_tok_s.is_some()).count();
        assert_eq!(
            rated,
            if keeps { 36 } else { 18 + 3 },
            "no rate of a prompt of which nobody knows what was read"
        );
        assert_eq!(scene.held(), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_asks_each_prompt_once_in_its_order() {
    let (_, _, bencher) = reader(true).await;
    let file = "{\"prompt\": \"one two three\", \"max_tokens\": 3}\n{\"prompt\": \"one two three\", \"max_tokens\": 1}\n\
        {\"messages\": [{\"role\": \"user\", \"content\": \"one\"}], \"max_tokens\": 9}\n";
    let prompts = prompts_of(file).unwrap();
    let plan = PlanAsked { replay: Some((&prompts, "d")), ..PlanAsked::default() }.plan(1, 300).unwrap();
    let asked = BenchRequest { plan, replay: prompts, ..request("a") };
    let detail = bencher.bench(asked).await.unwrap().remove(0);
    let measured: Vec<_> = detail.trials.iter().filter(|trial| trial.is_measured()).collect();
    let of = |figure: fn(&Trial) -> Option<u32>| -> Vec<Option<u32>> {
        measured.iter().map(|trial| figure(trial)).collect()
    };
    assert_eq!(of(|trial| trial.block), [Some(1), Some(2), Some(3)]);
    assert_eq!(of(|trial| trial.output_tokens), [Some(3), Some(1), Some(9)]);
    assert_eq!(
        of(|trial| trial.prompt_tokens),
        [Some(16), Some(16), Some(16)],
        "thirteen letters before three words"
    );
    assert!(
        of(|trial| trial.cached_tokens).iter().all(|cached| cached.unwrap() <= 2),
        "the second is read anew"
    );
    let replay = detail.run.replay.unwrap();
    assert_eq!((replay.answered, replay.failed, detail.run.trials), (3, 0, 3), "a short answer counts");
    assert_eq!(replay.output_tokens.unwrap().p50, 3.0);
    assert_eq!(detail.run.plan.replay.unwrap().prompts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_has_no_room_is_refused_before_anything_is_measured() {
    let (scene, one, bencher) = reader(true).await;
    // The fake has a context of 4096.
    let plan = PlanAsked { turns: Some(12), ..PlanAsked::default() }.plan(1, 300).unwrap();
    let asked = one.tokens();
    let refused = bench(&bencher, plan).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidCall);
    assert!(refused.message.contains("and a has a context of 4096"), "{refused}");
    let hint = refused.hint.unwrap();
    let turns: u32 = hint.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(hint.starts_with("Take fewer turns: --turns ") && (6..12).contains(&turns), "{hint}");
    assert_eq!((one.tokens(), scene.held()), (asked, vec!["a".to_owned()]));
    let plan = PlanAsked { turns: Some(turns), ..PlanAsked::default() }.plan(1, 300).unwrap();
    assert!(bench(&bencher, plan).await.is_ok(), "as many as were offered");
}
