use super::*;
use crate::{
    report::{exchange::Exchanged, seeds},
    store::tests::{folder, open},
};
use pilothouse_domain::{
    Timestamp,
    bench::{RunDetail, Trial, TrialPhase},
    settings::HistorySettings,
};

const DAY: i64 = 86_400_000;

/// A run of so many days and a moment ago, with all that can grow old.
fn run(number: i64, now: Timestamp, age_ms: i64) -> Exchanged {
    let mut detail = seeds::detail(number, "ollama", "m", 50.0);
    let started = Timestamp::from_millisecond(now.as_millisecond() - age_ms).unwrap();
    let shift = started.as_millisecond() - detail.run.started_at.as_millisecond();
    detail.run.started_at = started;
    detail.trace.iter_mut().flat_map(|trace| &mut trace.at_ms).for_each(|at| *at += shift);
    detail.cards = Some(seeds::cards());
    for trial in detail.trials.iter_mut().filter(|trial| trial.phase == TrialPhase::Measured) {
        trial.gaps_us = Some(vec![17_000, 0, 18_000 + trial.seq]);
    }
    detail.run.sum_up(&detail.trials);
    Exchanged::new(detail, 1, None)
}

/// What of a run is there: gaps, warm-ups, and "samples", "minutes" or "none" of its trace.
fn left(detail: &RunDetail) -> (bool, bool, &'static str) {
    let trace = match &detail.trace {
        None => "none",
        Some(trace) if trace.low.is_some() => "minutes",
        Some(_) => "samples",
    };
    let cards = match &detail.cards {
        None => "none",
        Some(cards) if cards.by_minute.is_some() => "minutes",
        Some(_) => "samples",
    };
    assert_eq!(trace, cards, "both go together");
    let gaps = detail.trials.iter().any(|trial| trial.gaps_us.is_some());
    (gaps, detail.trials.iter().any(|trial| !trial.is_measured()), trace)
}

async fn clean_up(store: &Store, cutoffs: &Cutoffs) -> u32 {
    let mut steps = 0;
    while store.forget_some(cutoffs).await.unwrap() {
        steps += 1;
        assert!(steps < 100, "it ends");
    }
    steps
}

#[tokio::test]
async fn each_part_of_a_run_goes_at_its_own_age_and_not_a_moment_before() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let ages = [
        (30 * DAY, (true, true, "samples")),
        (30 * DAY + 1, (true, false, "minutes")),
        (90 * DAY, (true, false, "minutes")),
        (90 * DAY + 1, (false, false, "minutes")),
        (365 * DAY, (false, false, "minutes")),
        (365 * DAY + 1, (false, false, "none")),
        (0, (true, true, "samples")),
    ];
    let (_folder, path) = folder();
    let store = open(&path).await;
    let runs: Vec<Exchanged> =
        ages.iter().zip(1..).map(|((age, _), number)| run(number, now, *age)).collect();
    store.import_runs(&runs).await.unwrap();
    let cutoffs = Cutoffs::at(now, &HistorySettings::default());
    assert!(clean_up(&store, &cutoffs).await > 3);
    for ((age, wanted), number) in ages.iter().zip(1..) {
        let detail = store.run(number).await.unwrap();
        assert_eq!(left(&detail), *wanted, "{} days", age / DAY);
        // Runs, their figures and each measured request stay.
        let figures = (&detail.run.decode_tok_s, detail.run.warmups, detail.run.gaps.map(|gaps| gaps.n));
        assert_eq!(figures, (&runs[0].run.decode_tok_s, 2, Some(30)));
        let measured = detail.trials.iter().filter(|trial| trial.is_measured()).count();
        assert_eq!(measured, 10);
    }
    assert_eq!(clean_up(&store, &cutoffs).await, 0, "then nothing is left to do");
    assert_eq!(clean_up(&store, &Cutoffs::default()).await, 0, "for ever");
}

#[tokio::test]
async fn a_trace_by_the_minute_still_draws_and_travels() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.import_runs(&[run(1, now, 40 * DAY)]).await.unwrap();
    let before = store.run(1).await.unwrap();
    clean_up(&store, &Cutoffs::at(now, &HistorySettings::default())).await;
    let after = store.run(1).await.unwrap();
    let trace = after.trace.as_ref().unwrap();
    // 22 seconds of a run are one minute.
    assert_eq!((trace.step_ms, trace.at_ms.len()), (60_000, 1));
    assert_eq!(trace.at_ms[0], after.run.started_at.as_millisecond());
    let of = before.trace.unwrap();
    let loads: Vec<f64> = of.columns.gpu_load_percent.iter().flatten().copied().collect();
    let (low, high) = (trace.low.as_ref().unwrap(), trace.high.as_ref().unwrap());
    assert_eq!((low.gpu_load_percent[0], high.gpu_load_percent[0]), (Some(3.0), Some(80.0)));
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    assert!((trace.columns.gpu_load_percent[0].unwrap() - mean).abs() < 0.5, "{mean}");
    assert_eq!(trace.columns.gpu_memory_used_bytes[0], None, "absent is not zero");
    // Out of the history and into another.
    let line = crate::report::exchange::line(&store.exchanged(1).await.unwrap()).unwrap();
    let file = crate::report::exchange::head("0.1.0") + &line;
    let (_there, path) = folder();
    let there = open(&path).await;
    there.import_runs(&crate::report::exchange::read(&file).unwrap()).await.unwrap();
    assert_eq!(left(&there.run(1).await.unwrap()), left(&after));
    let again = crate::report::exchange::line(&there.exchanged(1).await.unwrap()).unwrap();
    assert_eq!(again, line);
}

/// It is killed after each of its steps, and in the middle of one.
#[tokio::test]
async fn whenever_it_ends_every_run_can_be_read_and_the_rest_is_done_later() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (_folder, path) = folder();
    let mut store = open(&path).await;
    let ages = [40 * DAY, 100 * DAY, 400 * DAY];
    let runs: Vec<Exchanged> = ages.iter().zip(1..).map(|(age, number)| run(number, now, *age)).collect();
    store.import_runs(&runs).await.unwrap();
    let cutoffs = Cutoffs::at(now, &HistorySettings::default());
    let mut steps = 0;
    loop {
        // Dropped in the middle, a step is none.
        let mut step = Box::pin(store.forget_some(&cutoffs));
        for _ in 0..3 {
            if futures_util::poll!(&mut step).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(step);
        store.close().await;
        store = open(&path).await;
        for run in 1..=3 {
            left(&store.run(run).await.unwrap());
        }
        if !store.forget_some(&cutoffs).await.unwrap() {
            break;
        }
        steps += 1;
        assert!(steps < 50, "it ends");
    }
    let wanted = [(true, false, "minutes"), (false, false, "minutes"), (false, false, "none")];
    for (run, wanted) in (1..).zip(wanted) {
        assert_eq!(left(&store.run(run).await.unwrap()), wanted);
    }
}

#[tokio::test]
async fn a_run_under_way_keeps_everything() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.import_runs(&[run(1, now, 400 * DAY)]).await.unwrap();
    query("UPDATE run SET state = 'cut_off'").execute(&store.writer).await.unwrap();
    store.reopen_run(1).await.unwrap();
    assert_eq!(clean_up(&store, &Cutoffs::at(now, &HistorySettings::default())).await, 0);
    assert_eq!(left(&store.run(1).await.unwrap()), (true, true, "samples"));
}

#[tokio::test]
async fn sizes_say_what_is_kept_and_what_goes_next() {
    use crate::api::Kept;
    let now = Timestamp::now();
    let (_folder, path) = folder();
    let store = open(&path).await;
    let runs: Vec<Exchanged> =
        [DAY, 40 * DAY, 100 * DAY].iter().zip(1..).map(|(age, number)| run(number, now, *age)).collect();
    store.import_runs(&runs).await.unwrap();
    let keep = HistorySettings { trace_minutes_days: 0, ..HistorySettings::default() };
    let told = async |store: &Store| {
        let size = store.size(&keep).await.unwrap();
        let of = |kind: Kept| {
            let kind = size.kinds.iter().find(|one| one.kind == kind).unwrap();
            (kind.rows, kind.days, kind.next_rows)
        };
        [Kept::Runs, Kept::Trials, Kept::Warmups, Kept::Gaps, Kept::Samples, Kept::Minutes].map(of)
    };
    assert_eq!(
        told(&store).await,
        [
            (3, None, 0),
            (30, None, 0),
            (6, Some(30), 4),
            (30, Some(90), 10),
            (264, Some(30), 176),
            (0, None, 0)
        ]
    );
    let size = store.size(&keep).await.unwrap();
    let gaps = size.kinds.iter().find(|one| one.kind == Kept::Gaps).unwrap();
    assert_eq!(gaps.next_bytes, gaps.bytes / 3);
    clean_up(&store, &Cutoffs::at(now, &keep)).await;
    assert_eq!(
        told(&store).await,
        [(3, None, 0), (30, None, 0), (2, Some(30), 0), (20, Some(90), 0), (88, Some(30), 0), (2, None, 0)]
    );
    store.measure_size(&keep).await.unwrap();
    assert_eq!(
        store.size(&keep).await.unwrap().measured_at,
        None,
        "a small file is measured as it is asked for"
    );
}

/// Files of this version and of those before it give room back.
#[tokio::test]
async fn what_was_taken_out_makes_the_file_smaller() {
    for version in [crate::store::open::MIGRATIONS.len(), 6, 1] {
        let (_folder, path) = folder();
        let migrations = &crate::store::open::MIGRATIONS[..version];
        Store::open_with(&path, migrations).await.unwrap().store.close().await;
        let store = open(&path).await;
        let now = Timestamp::now();
        let many = |number: i64| {
            let mut run = run(number, now, 100 * DAY + number);
            let gaps: Vec<u32> = (0..4000).map(|gap| 10_000 + gap).collect();
            let with = |trial: &mut Trial| trial.gaps_us = trial.is_measured().then(|| gaps.clone());
            run.trials.iter_mut().for_each(with);
            run
        };
        store.import_runs(&(1..=30).map(many).collect::<Vec<_>>()).await.unwrap();
        let keep = HistorySettings::default();
        let before = store.size(&keep).await.unwrap().file_bytes;
        clean_up(&store, &Cutoffs::at(now, &keep)).await;
        let mut times = 0;
        while store.give_room_back().await.unwrap() {
            times += 1;
            assert!(times < 100, "it ends");
        }
        let after = store.size(&keep).await.unwrap();
        assert!(times > 1 && after.file_bytes < before / 2, "{version}: {before}, {after:?}");
        assert!(after.free_bytes <= 256 * 4096 + 4096, "{version}: {after:?}");
        assert_eq!(store.run(30).await.unwrap().trials.len(), 10);
    }
}
