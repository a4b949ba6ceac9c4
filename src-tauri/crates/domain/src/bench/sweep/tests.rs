//! Sweeps of simulated servers whose capacity is known.

use super::*;
use crate::bench::{comparison::tests::Noise, plan::levels as all_levels, trial::TrialPhase};

/// A server with so many slots. One request alone has all of its speed; of several each gets less (`shared`: 0 as if alone, 1
/// the speed is divided by all).
#[derive(Debug, Clone, Copy)]
struct Server {
    slots: usize,
    shared: f64,
    /// Coefficient of variation of the work of a request.
    noise: f64,
}

/// Work of one request in token times, reading the prompt included.
const WORK: f64 = 72.0;
const PREFILL: f64 = 8.0;
/// Token times by the second of a request that is alone.
const SPEED: f64 = 100.0;

/// A request under way: when it was sent, when its first token came, and what is left.
struct UnderWay {
    begun: f64,
    first: Option<f64>,
    left: f64,
    whole: f64,
}

impl Server {
    /// As many workers as the level says, each sending its next request when the last has ended.
    fn level(self, concurrency: u32, requests: u32, begin: f64, noise: &mut Noise) -> Vec<Trial> {
        let mut work = || WORK * (1.0 + self.noise * noise.normal()).max(0.2);
        let send = |at: f64, whole: f64| UnderWay { begun: at, first: None, left: whole, whole };
        let (mut now, mut sent, mut trials) = (begin, 0, vec![]);
        let mut queue: Vec<UnderWay> = vec![];
        while trials.len() < requests as usize {
            while sent < requests && queue.len() < concurrency as usize {
                queue.push(send(now, work()));
                sent += 1;
            }
            let busy = queue.len().min(self.slots);
            let speed = SPEED / (1.0 + self.shared * (busy - 1) as f64);
            let until = |one: &UnderWay| match one.first {
                None => one.left - (one.whole - PREFILL),
                Some(_) => one.left,
            };
            let next = queue[..busy].iter().map(until).fold(f64::INFINITY, f64::min).max(1e-9);
            now += next / speed * 1e3;
            for one in &mut queue[..busy] {
                one.left -= next;
                if one.first.is_none() && one.left <= one.whole - PREFILL + 1e-6 {
                    one.first = Some(now);
                }
            }
            while let Some(at) = queue.iter().position(|one| one.left <= 1e-6) {
                trials.push(ended(&queue.remove(at), now, concurrency));
            }
        }
        trials
    }

    fn sweep(self, up_to: u32, seed: u64) -> (Sweep, Vec<Trial>) {
        let noise = &mut Noise::seeded(seed);
        let mut trials: Vec<Trial> = vec![];
        let mut now = 0.0;
        for concurrency in all_levels(up_to).into_iter().chain([1]) {
            let level = self.level(concurrency, (4 * concurrency).max(6), now, noise);
            now = level.iter().filter_map(span).map(|(_, ended)| ended).fold(now, f64::max) + 1000.0;
            trials.extend(level);
        }
        for (seq, trial) in trials.iter_mut().enumerate() {
            trial.seq = seq as u32;
        }
        (Sweep::of(&trials, QUERY_MS, |_, _| LevelGauges::default()), trials)
    }
}

fn ended(one: &UnderWay, now: f64, concurrency: u32) -> Trial {
    let ttft_ms = one.first.unwrap_or(now) - one.begun;
    Trial {
        phase: TrialPhase::Measured,
        concurrency: Some(concurrency),
        begun_ms: Some(one.begun),
        late_ms: Some(0.0),
        ttft_ms: Some(ttft_ms),
        total_ms: now - one.begun,
        decode_tok_s: Some(63.0 / ((now - one.begun - ttft_ms) / 1e3)),
        output_tokens: Some(64),
        ..Trial::default()
    }
}

#[test]
fn the_knee_is_within_one_step_of_the_capacity() {
    for slots in [1, 2, 4, 6, 8, 12] {
        for shared in [0.0, 0.05, 0.15, 0.3] {
            for noise in [0.0, 0.05, 0.1] {
                // What has no noise is the same each time.
                for seed in 0..if noise == 0.0 { 1 } else { 2 } {
                    let server = Server { slots, shared, noise };
                    let (sweep, _) = server.sweep(16, seed);
                    let knee = sweep.knee.unwrap_or_else(|| panic!("{server:?}: {:?}", sweep.knee_absent));
                    let steps: Vec<u32> = sweep.points.iter().map(|point| point.concurrency).collect();
                    let at = |n: u32| steps.iter().position(|level| *level == n).unwrap();
                    let off = at(knee.concurrency).abs_diff(at(slots as u32));
                    assert!(off <= 1, "{server:?} seed {seed}: {knee:?}");
                }
            }
        }
    }
}

#[test]
fn a_server_that_is_not_filled_has_no_knee() {
    let server = Server { slots: 64, shared: 0.05, noise: 0.02 };
    let (sweep, _) = server.sweep(8, 1);
    assert_eq!(sweep.knee, None);
    assert_eq!(sweep.knee_absent.as_deref(), Some("still growing at 8: the knee is above what was tried"));
    // One after the other: the knee is at one.
    let (sweep, _) = Server { slots: 1, ..server }.sweep(8, 1);
    assert_eq!(sweep.knee.unwrap().concurrency, 1);
    assert_eq!(sweep.best, Some(1), "of two the second waits for the whole first");
}

#[test]
fn tokens_by_the_second_are_those_of_full_work() {
    // Without noise and without sharing four slots give four times the speed of one, whatever the end of the level is like.
    let server = Server { slots: 4, shared: 0.0, noise: 0.0 };
    let (sweep, _) = server.sweep(8, 1);
    let rate = |n: u32| sweep.points.iter().find(|point| point.concurrency == n).unwrap().out_tok_s.unwrap();
    let one = 64.0 / (WORK / SPEED);
    for (n, wanted) in [(1, one), (2, 2.0 * one), (4, 4.0 * one)] {
        assert!((rate(n) / wanted - 1.0).abs() < 0.01, "{n}: {} {wanted}", rate(n));
    }
    // Six and eight cannot give more than four slots do, and the queue behind them is not lost.
    assert!((0.9..1.02).contains(&(rate(8) / rate(4))), "{} {}", rate(8), rate(4));
}

#[test]
fn the_first_level_once_more_is_a_check_and_no_level() {
    let (sweep, mut trials) = Server { slots: 4, shared: 0.1, noise: 0.0 }.sweep(4, 1);
    assert_eq!(
        sweep.points.iter().map(|point| (point.concurrency, point.requests)).collect::<Vec<_>>(),
        [(1, 6), (2, 8), (3, 12), (4, 16)]
    );
    assert!(sweep.again.unwrap().abs() < 1e-6);
    let slower = trials.len() - 6;
    trials[slower..]
        .iter_mut()
        .for_each(|trial| trial.decode_tok_s = trial.decode_tok_s.map(|rate| rate * 0.9));
    let again = Sweep::of(&trials, QUERY_MS, |_, _| LevelGauges::default()).again.unwrap();
    assert!((again + 0.1).abs() < 1e-6, "{again}");
    trials.truncate(slower);
    assert_eq!(Sweep::of(&trials, QUERY_MS, |_, _| LevelGauges::default()).again, None);
}

#[test]
fn late_failed_and_absent_are_told_apart() {
    let trial = |seq: u32, ttft: f64, late: f64| Trial {
        seq,
        concurrency: Some(2),
        begun_ms: Some(f64::from(seq) * 100.0),
        ttft_ms: Some(ttft),
        late_ms: Some(late),
        total_ms: 400.0,
        output_tokens: Some(10),
        ..Trial::default()
    };
    let failed = Trial { flaw: Some("no text came".into()), ..trial(3, 1.0, 0.0) };
    let warmup = Trial { phase: TrialPhase::Warmup, ..trial(0, 1.0, 0.0) };
    let trials = [warmup, trial(1, 200.0, 0.0), trial(2, 200.0, 150.0), failed, trial(4, 100.0, 0.0)];
    let beside = |from: f64, to: f64| LevelGauges { power_w: Some(to - from), ..LevelGauges::default() };
    let sweep = Sweep::of(&trials, QUERY_MS, beside);
    let [point] = &sweep.points[..] else { panic!("{sweep:?}") };
    assert_eq!((point.requests, point.failed, point.goodput), (3, 1, Some(0.5)));
    let ttft = point.ttft_ms.unwrap();
    assert_eq!((ttft.median, ttft.p95), (200.0, 350.0), "from due, and the greatest of few");
    assert_eq!(
        (ttft.low, ttft.high, ttft.n, ttft.interval),
        (Some(100.0), Some(350.0), Some(3), Some(Interval::Range)),
        "of three there is a range and no interval"
    );
    assert_eq!((point.decode_tok_s, &point.decode), (None, &None), "absent is not zero");
    let timed: Vec<Trial> =
        trials.iter().cloned().map(|one| Trial { decode_tok_s: Some(one.total_ms / 10.0), ..one }).collect();
    let levels = Sweep::of(&timed, QUERY_MS, beside).points;
    let decode = levels[0].decode.as_ref().unwrap();
    assert_eq!((Some(decode.median), decode.n), (levels[0].decode_tok_s, 3));
    for (slo_ms, in_time) in [(50, 0.0), (100, 0.25), (200, 0.5), (349, 0.5), (350, 0.75), (60_000, 0.75)] {
        let sweep = Sweep::of(&trials, slo_ms, beside);
        assert_eq!((sweep.points[0].goodput, sweep.slo_ms), (Some(in_time), slo_ms), "{slo_ms} ms");
    }
    assert_eq!((point.power_w, point.memory_bytes), (Some(700.0), None));
    let uncounted: Vec<Trial> =
        trials.iter().cloned().map(|one| Trial { output_tokens: None, ..one }).collect();
    let sweep = Sweep::of(&uncounted, QUERY_MS, beside);
    assert_eq!((sweep.points[0].out_tok_s, sweep.best), (None, None), "absent is not zero");
    assert!(sweep.knee.is_none() && sweep.knee_absent.is_some());
    assert_eq!(Sweep::of(&[], QUERY_MS, beside).points, []);
}

#[test]
fn of_many_the_ninety_fifth_of_a_hundred_is_told() {
    let values: Vec<f64> = (0..=100).map(f64::from).collect();
    let hundred = spread(values).unwrap();
    assert_eq!((hundred.median, hundred.p95), (50.0, 95.0));
    assert_eq!(hundred.interval, Some(Interval::Confidence95));
    assert!(hundred.low < Some(50.0) && hundred.high > Some(50.0), "{hundred:?}");
    assert_eq!(spread(vec![1.0; 58]).map(|spread| spread.p95), Some(1.0));
    assert_eq!(spread(vec![]), None);
}

#[test]
fn sweeps_of_earlier_versions_are_read() {
    let old = r#"{"points":[{"concurrency":1,"requests":6,"failed":0,"out_tok_s":9.5,"decode_tok_s":10.5,
        "ttft_ms":{"median":200,"p95":250},"memory_bytes":null,"gpu_load_percent":null,"power_w":null,"goodput":1}],
        "knee":null,"knee_absent":"too few","best":1,"again":null}"#;
    let sweep: Sweep = serde_json::from_str(old).unwrap();
    assert_eq!((sweep.slo_ms, sweep.points[0].decode.is_none()), (300, true));
    assert_eq!(sweep.points[0].ttft_ms.unwrap().interval, None);
}
