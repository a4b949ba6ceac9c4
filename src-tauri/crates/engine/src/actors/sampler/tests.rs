use super::*;
use pilothouse_domain::{
    Timestamp,
    bench::BenchProgress,
    gauge::{Gauges, OwnUsage},
    gauge_history::Resolution,
    snapshot::EngineView,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A machine whose clock goes twenty seconds with each sample; it tells each time it is asked.
struct Machine {
    at: Timestamp,
    asked: UnboundedSender<()>,
}

impl GaugeSource for Machine {
    fn sample(&mut self, _: &[Watched]) -> Gauges {
        let _ = self.asked.send(());
        self.at += jiff::SignedDuration::from_secs(20);
        Gauges {
            at: self.at,
            interval_ms: None,
            cpu_percent: Some(50.0),
            cpu_cores: 2,
            memory_used_bytes: Some(1_000_000_000),
            memory_total_bytes: Some(2_000_000_000),
            memory_limit: None,
            memory_pressure: None,
            swap_used_bytes: None,
            swap_total_bytes: None,
            gpus: vec![],
            gpus_absent: Some("no GPU found".into()),
            orphans: vec![],
            servers: vec![],
            own: OwnUsage::default(),
            silent: vec![],
        }
    }
}

fn hub() -> Hub {
    Hub::new(EngineView::default(), pilothouse_leases::Leases::default())
}

fn machine(at_s: i64) -> (Machine, UnboundedReceiver<()>) {
    let (asked, samples) = unbounded_channel();
    (Machine { at: Timestamp::from_second(at_s).unwrap(), asked }, samples)
}

fn start(
    hub: Hub,
    source: impl GaugeSource + 'static,
    pace: Pace,
    store: Option<Store>,
) -> std::io::Result<Sampler> {
    let silences = Silences::new(hub.clone());
    Sampler::start(hub, source, pace, store, silences)
}

async fn wait_for(samples: &mut UnboundedReceiver<()>, count: usize) {
    for _ in 0..count {
        samples.recv().await.unwrap();
    }
}

/// Gives one sample and then hangs, as a driver may.
struct Hanging {
    first: Option<Machine>,
    gate: mpsc::Receiver<()>,
}

impl GaugeSource for Hanging {
    fn sample(&mut self, watched: &[Watched]) -> Gauges {
        match self.first.take() {
            Some(mut machine) => machine.sample(watched),
            None => {
                let _ = self.gate.recv();
                machine(0).0.sample(watched)
            }
        }
    }
}

/// Fast at any time, and so slow that no test would see a second sample.
const FAST: Pace = Pace { interval_ms: 1, hang_ms: 4 };
const NEVER: Pace = Pace { interval_ms: 86_400_000, hang_ms: 0 };

#[tokio::test]
async fn minutes_are_kept_and_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite3");
    // Kept minutes must be of the last 30 days.
    let first = Timestamp::now().as_second() / 60 * 60 - 3600;
    for (begin, samples) in [(first, 7), (first + 1800, 4)] {
        let store = Store::open(&path).await.unwrap().store;
        let (machine, mut asked) = machine(begin - 20);
        let sampler = start(hub(), machine, FAST, Some(store.clone())).unwrap();
        wait_for(&mut asked, samples).await;
        sampler.shutdown().await;
        store.close().await;
    }
    let store = Store::open(&path).await.unwrap().store;
    let minutes = store.minutes(first * 1000, i64::MAX, 60_000).await.unwrap();
    let at: Vec<i64> = minutes.iter().map(|minute| minute.at_ms / 1000 - first).collect();
    assert!(at.starts_with(&[0, 60, 120]), "the open minute, too: {at:?}");
    assert!(at.contains(&1800) && at.contains(&1860), "after the restart: {at:?}");
    assert_eq!(minutes[0].count, 3);
    assert!(minutes.iter().all(|minute| minute.stats[0].mean == 50.0));
    assert!(minutes.iter().all(|minute| !minute.stats[2].is_known()), "absent is not zero");
}

#[tokio::test]
async fn without_a_store_the_past_is_kept_in_memory() {
    let (machine, mut asked) = machine(1_700_000_000);
    let sampler = start(hub(), machine, FAST, None).unwrap();
    wait_for(&mut asked, 10).await;
    sampler.shutdown().await;
    assert!(sampler.past().buckets(Resolution::Minutes, 0).len() >= 3);
}

/// Waits for a second sample that the pace alone would bring tomorrow.
#[tokio::test]
async fn a_benchmark_and_new_settings_wake_the_thread() {
    let (machine, mut asked) = machine(1_700_000_000);
    let hub = hub();
    let sampler = start(hub.clone(), machine, NEVER, None).unwrap();
    wait_for(&mut asked, 1).await;
    let progress = BenchProgress { total: 6, ..BenchProgress::of(1, "ollama".into(), "a") };
    hub.report(Report::Bench(Some(progress)));
    wait_for(&mut asked, 3).await;
    let mut snapshots = hub.snapshots();
    let told =
        |snapshot: &Arc<Snapshot>| snapshot.gauges.as_ref().is_some_and(|g| g.interval_ms == Some(200));
    snapshots.wait_for(told).await.unwrap();
    sampler.shutdown().await;

    let (machine, mut asked) = self::machine(1_700_000_000);
    let sampler = start(super::tests::hub(), machine, NEVER, None).unwrap();
    wait_for(&mut asked, 1).await;
    sampler.set_pace(FAST);
    wait_for(&mut asked, 3).await;
}

#[tokio::test]
async fn a_look_makes_the_next_samples_come_at_the_pace_of_the_settings() {
    let (machine, mut asked) = machine(1_700_000_000);
    let hub = hub();
    // Unwatched, a sample would come every five seconds.
    let sampler = start(hub.clone(), machine, Pace { interval_ms: 20, hang_ms: 0 }, None).unwrap();
    wait_for(&mut asked, 1).await;
    sampler.look();
    let mut snapshots = hub.snapshots();
    let told = |snapshot: &Arc<Snapshot>| snapshot.gauges.as_ref().is_some_and(|g| g.interval_ms == Some(20));
    snapshots.wait_for(told).await.unwrap();
}

#[test]
fn only_the_first_look_after_a_while_is_news() {
    assert!(!Looks::is_recent(0, 0), "nobody ever looked");
    assert!(Looks::is_recent(1, 0));
    assert!(Looks::is_recent(1001, 1000 + LOOKS_FOR_MS - 1));
    assert!(!Looks::is_recent(1001, 1000 + LOOKS_FOR_MS));
    let looks = Looks::default();
    assert!(looks.note() && !looks.note() && looks.are_recent());
}

#[tokio::test]
async fn a_reader_that_hangs_is_told_of_and_does_not_hold_up_the_end() {
    let (go, gate) = std::sync::mpsc::channel();
    let hub = hub();
    let (machine, _asked) = machine(1_700_000_000);
    let sampler = start(hub.clone(), Hanging { first: Some(machine), gate }, FAST, None).unwrap();
    let mut snapshots = hub.snapshots();
    let troubled = |snapshot: &Arc<Snapshot>| {
        snapshot
            .troubles
            .iter()
            .any(|trouble| trouble.message.starts_with("The reader of the gauges does not"))
    };
    let seen = tokio::time::timeout(Duration::from_secs(60), snapshots.wait_for(troubled));
    seen.await.expect("nothing was said").unwrap();
    let stale = hub.now().gauges.as_ref().unwrap().stale_s(Timestamp::now());
    assert!(stale.is_some(), "by the clock it is old, although the snapshot is of that moment");
    tokio::time::timeout(Duration::from_secs(60), sampler.shutdown()).await.expect("the end waits for it");
    drop(go);
}
