use super::*;
use pilothouse_domain::{snapshot::EngineView, traffic::TrafficFilter};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Semaphore;

fn request() -> RequestRecord {
    RequestRecord {
        server: Some("s".into()),
        model: Some("m".into()),
        at: Timestamp::now(),
        ..Default::default()
    }
}

fn hub() -> Hub {
    Hub::new(EngineView::default(), pilothouse_leases::Leases::default())
}

/// For no collector.
fn tracer() -> Tracer {
    Tracer::start(hub(), tokio::sync::watch::channel(Default::default()).1)
}

#[tokio::test]
async fn what_has_ended_is_kept_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("h.sqlite3")).await.unwrap().store;
    let recording = Recording::start(hub(), Some(store.clone()), tracer()).await;
    for _ in 0..1000 {
        recording.recorder.begin(request()).end(|_| {});
    }
    recording.shutdown().await;
    assert_eq!((recording.recorder.lost(), store.newest_request().await.unwrap()), (0, 1000));
    let late = recording.recorder.begin(request());
    late.end(|_| {});
    assert_eq!(recording.recorder.lost(), 1, "what ends later is counted");
    let again = Recording::start(hub(), Some(store.clone()), tracer()).await;
    assert_eq!(again.recorder.begin(request()).id(), 1001);
    assert_eq!(store.requests(&TrafficFilter::default(), 500).await.unwrap().len(), 500);
    again.shutdown().await;
}

#[tokio::test]
async fn a_writer_that_stands_still_loses_records_and_grows_no_further() {
    let (recorder, ended) = Recorder::new(0);
    let (gate, largest, kept) =
        (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asked, most, count) = (gate.clone(), largest.clone(), kept.clone());
    let entered = Arc::new(tokio::sync::Notify::new());
    let at_work = entered.clone();
    let keep = move |records: Vec<Arc<RequestRecord>>| {
        let (gate, most, count, entered) = (asked.clone(), most.clone(), count.clone(), at_work.clone());
        async move {
            entered.notify_one();
            drop(gate.acquire().await);
            most.fetch_max(records.len(), SeqCst);
            count.fetch_add(records.len(), SeqCst);
            Ok(())
        }
    };
    let end = CancellationToken::new();
    for _ in 0..BATCH {
        recorder.begin(request()).end(|_| {});
    }
    let writer = tokio::spawn(write(ended, recorder.clone(), end.clone(), keep));
    entered.notified().await;
    for _ in 0..100_000 {
        recorder.begin(request()).end(|_| {});
    }
    assert_eq!(recorder.lost(), 100_000 - 4096, "one batch is being written, one queue is full");
    gate.add_permits(100);
    end.cancel();
    writer.await.unwrap();
    assert_eq!((kept.load(SeqCst), largest.load(SeqCst)), (BATCH + 4096, BATCH));
}

#[tokio::test]
async fn a_batch_that_cannot_be_written_is_counted_and_the_next_one_is_written() {
    let (recorder, ended) = Recorder::new(0);
    let fails = Arc::new(AtomicBool::new(true));
    let failing = fails.clone();
    let keep = move |_: Vec<Arc<RequestRecord>>| {
        let fails = failing.swap(false, SeqCst);
        async move { if fails { Err(ApiError::internal("full")) } else { Ok(()) } }
    };
    for _ in 0..BATCH + 10 {
        recorder.begin(request()).end(|_| {});
    }
    let end = CancellationToken::new();
    end.cancel();
    write(ended, recorder.clone(), end, keep).await;
    assert_eq!(recorder.lost(), BATCH as u64);
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_what_is_under_way_and_nothing_when_it_is_over() {
    let hub = hub();
    let recording = Recording::start(hub.clone(), None, tracer()).await;
    let mut snapshots = hub.snapshots();
    let open = recording.recorder.begin(request());
    open.first_token();
    let shown = snapshots.wait_for(|now| now.traffic.answering == 1).await.unwrap().traffic.clone();
    assert_eq!((shown.in_flight, shown.live.len(), shown.live[0].id), (1, 1, 1));
    open.tokens(50);
    snapshots.wait_for(|now| now.traffic.tok_s.is_some_and(|rate| rate > 20.0)).await.unwrap();
    open.end(|_| {});
    let over = snapshots.wait_for(|now| now.traffic.in_flight == 0).await.unwrap().traffic.clone();
    assert!(over.live.is_empty());
    assert!(recording.rates().tok_s.iter().any(|rate| *rate > 20.0));
    recording.shutdown().await;
}

#[test]
fn rates_are_by_the_second_and_idle_time_is_none() {
    let begin = Instant::now();
    let after = |ms: u64| begin + Duration::from_millis(ms);
    let mut rates = Rates::default();
    assert_eq!(rates.note(begin, 0), None, "nothing is measured yet");
    assert_eq!(rates.note(after(10), 5), None, "too short a time");
    assert_eq!(rates.note(after(1000), 100), Some(100.0));
    assert_eq!(rates.note(after(1990), 100), Some(0.0));
    // Woken after half a minute by a request that has told nothing yet.
    assert_eq!(rates.note(after(31_990), 100), Some(0.0));
    assert_eq!(rates.note(after(32_990), 140), Some(40.0));
    let view = rates.view(after(33_000), Timestamp::UNIX_EPOCH);
    assert_eq!((view.tok_s.len(), view.tok_s[0], *view.tok_s.last().unwrap()), (32, 100.0, 40.0));
    let later = rates.view(after(3_600_000), Timestamp::UNIX_EPOCH);
    assert_eq!((later.tok_s.len(), later.tok_s.iter().sum::<f32>()), (RATES, 0.0));
    rates.note(after(7_200_000), 140);
    assert!(rates.tok_s.len() <= RATES);
}

#[test]
fn losses_are_said_once_a_minute() {
    let begin = Instant::now();
    let after = |s: u64| begin + Duration::from_secs(s);
    let mut losses = Losses::default();
    assert_eq!(losses.due(0, begin), None);
    assert_eq!(losses.due(10, begin), Some(10));
    assert_eq!(losses.due(500, after(30)), None);
    assert!(losses.is_behind(500));
    assert_eq!(losses.due(700, after(60)), Some(690));
    assert_eq!(losses.due(700, after(600)), None);
}
