use super::{
    tests::{folder, new_run, open},
    *,
};
use pilothouse_domain::{
    gauge::GaugeHistory,
    gauge_history::{Bucket, Values},
};

const MINUTE: i64 = 60_000;

/// A minute of `count` samples with this processor load; the GPU is not known.
fn minute(at_ms: i64, count: u32, cpu: f64) -> Bucket {
    let mut values = Values::default();
    values[0] = Some(cpu);
    values[1] = Some(1e9 + cpu);
    let mut minute = Bucket::one(at_ms, 1000, false, &values);
    for _ in 1..count {
        minute.fold(&Bucket::one(at_ms, 1000, false, &values));
    }
    minute
}

fn told(minutes: &[Bucket]) -> Vec<(i64, u32, f32, f32, f32)> {
    let told = |m: &Bucket| (m.at_ms / MINUTE, m.count, m.stats[0].low, m.stats[0].mean, m.stats[0].high);
    minutes.iter().map(told).collect()
}

#[tokio::test]
async fn minutes_come_back_and_a_fuller_one_stays() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let first = minute(0, 3, 10.0);
    store.add_minutes(&[first, minute(MINUTE, 60, 20.0)]).await.unwrap();
    store.add_minutes(&[first]).await.unwrap();
    store.add_minutes(&[minute(0, 2, 99.0), minute(MINUTE, 61, 30.0)]).await.unwrap();
    let kept = store.minutes(0, 10 * MINUTE, MINUTE).await.unwrap();
    assert_eq!(told(&kept), [(0, 3, 10.0, 10.0, 10.0), (1, 61, 30.0, 30.0, 30.0)]);
    assert!(!kept[0].stats[3].is_known(), "absent is not zero");
    assert_eq!(kept[0].stats[1].mean, (1e9 + 10.0) as f32);
    assert_eq!(
        told(&store.minutes(MINUTE, 2 * MINUTE, MINUTE).await.unwrap()).len(),
        1,
        "the end is not in it"
    );
}

#[tokio::test]
async fn a_span_is_thinned_as_folding_would() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let mut minutes = [
        minute(0, 60, 10.0),
        minute(MINUTE, 20, 50.0),
        minute(5 * MINUTE, 60, 7.0),
        minute(6 * MINUTE, 60, 9.0),
        minute(9 * MINUTE, 60, 1.0),
    ];
    minutes[1].after_gap = true;
    minutes[2].after_gap = true;
    // Known in one of two minutes only: the other one weighs nothing.
    minutes[1].stats[5] = minutes[1].stats[0];
    store.add_minutes(&minutes).await.unwrap();
    let thinned = store.minutes(0, i64::MAX, 5 * MINUTE).await.unwrap();
    assert_eq!(told(&thinned), [(0, 80, 10.0, 20.0, 50.0), (5, 180, 1.0, 17.0 / 3.0, 9.0)]);
    assert_eq!(told(&thinned), told(&pilothouse_domain::gauge_history::thin(&minutes, 5 * MINUTE)));
    assert_eq!(thinned.iter().map(|b| b.after_gap).collect::<Vec<_>>(), [false, true]);
    assert_eq!(thinned[0].stats[5].mean, 50.0);
}

#[tokio::test]
async fn old_minutes_are_forgotten() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.add_minutes(&[minute(0, 1, 1.0), minute(MINUTE, 1, 1.0)]).await.unwrap();
    store.forget_minutes(MINUTE).await.unwrap();
    assert_eq!(told(&store.minutes(0, i64::MAX, MINUTE).await.unwrap()).len(), 1);
    store.close().await;
    assert_eq!(store.forget_minutes(0).await.unwrap_err().code, ErrorCode::StoreUnavailable);
    assert_eq!(store.add_minutes(&[minute(0, 1, 1.0)]).await.unwrap_err().code, ErrorCode::StoreUnavailable);
}

/// A month of minutes, as the longest window asks for it.
#[tokio::test]
async fn thirty_days_are_answered_in_few_points() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let minutes: Vec<Bucket> = (0..30 * 1440).step_by(3).map(|n| minute(n * MINUTE, 2, 5.0)).collect();
    store.add_minutes(&minutes).await.unwrap();
    let step = pilothouse_domain::gauge_history::step_ms(30 * 86_400).unwrap();
    let thinned = store.minutes(0, i64::MAX, step).await.unwrap();
    assert_eq!((thinned.len(), thinned[0].count), (1440, 20));
}

#[tokio::test]
async fn a_trace_stays_with_its_run() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let run = new_run("ollama", "a");
    let id = store.begin_run(&run).await.unwrap();
    assert_eq!(store.run(id).await.unwrap().trace, None);
    let started = run.started_at.as_millisecond();
    let mut trace =
        GaugeHistory { at_ms: vec![started + 5, started + 205], step_ms: 200, ..Default::default() };
    trace.columns.push(&[Some(12.5), Some(8e9), Some(0.0), Some(99.0), Some(4e9), Some(300.25), None]);
    trace.columns.push(&Values::default());
    store.add_trace(id, &trace).await.unwrap();
    assert_eq!(store.run(id).await.unwrap().trace, Some(trace.clone()));
    assert_eq!(
        store.add_trace(7, &trace).await.unwrap_err().code,
        ErrorCode::StoreUnavailable,
        "no such run"
    );
}
