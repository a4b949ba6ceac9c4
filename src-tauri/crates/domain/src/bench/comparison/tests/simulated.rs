//! Comparisons of simulated servers whose noise and difference are known.

use super::*;
use crate::bench::paired::SubsetMeans;

/// How a machine's speed wanders from request to request.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Each request by itself; coefficient of variation.
    White(f64),
    /// Each request takes 0.6 of the last one's deviation over.
    HangsTogether(f64),
    /// 6 % slower at the end than at the begin, and 1 % of white noise.
    Drift,
    /// 1 % of white noise, and one request in twenty takes half as long again.
    Stalls,
}

/// Speeds of the requests of a run in the order in which they were sent, around one.
fn speeds(kind: Kind, requests: usize, noise: &mut Noise) -> Vec<f64> {
    let mut state = noise.normal();
    let mut one = |at: usize| match kind {
        Kind::White(cv) => (cv * noise.normal()).exp(),
        Kind::HangsTogether(cv) => {
            state = 0.6 * state + 0.8 * noise.normal();
            (cv * state).exp()
        }
        Kind::Drift => (1.0 - 0.06 * at as f64 / requests as f64) * (0.01 * noise.normal()).exp(),
        Kind::Stalls => {
            let stalled = if noise.uniform() < 0.05 { 1.0 / 1.5 } else { 1.0 };
            stalled * (0.01 * noise.normal()).exp()
        }
    };
    (0..requests).map(&mut one).collect()
}

/// Both sides in blocks of random order; B's decode and its time to the first token differ by these factors.
fn simulated(kind: Kind, blocks: u32, decode: f64, ttft: f64, seed: u64) -> (RunDetail, RunDetail) {
    let noise = &mut Noise::seeded(seed);
    let (decodes, firsts) =
        (speeds(kind, 2 * blocks as usize, noise), speeds(kind, 2 * blocks as usize, noise));
    let (mut a, mut b) = sides();
    for (at, (speed, first)) in decodes.chunks(2).zip(firsts.chunks(2)).enumerate() {
        let block = at as u32 + 1;
        let of_a = usize::from(noise.coin());
        a.trials.push(trial(block, 50.0 * speed[of_a], 200.0 / first[of_a]));
        b.trials.push(trial(block, 50.0 * decode * speed[1 - of_a], 200.0 * ttft / first[1 - of_a]));
    }
    (a, b)
}

fn found(comparison: &Comparison) -> bool {
    comparison.metrics.iter().any(|metric| matches!(metric.verdict, Verdict::AFaster | Verdict::BFaster))
}

fn decode_verdict(comparison: &Comparison) -> Verdict {
    comparison.metrics[0].verdict
}

/// No floor helps: it is lower than any noise here.
fn no_floor() -> NoiseFloor {
    NoiseFloor { ratio: 0.0, source: "measured".into() }
}

#[test]
fn of_200_comparisons_of_a_model_with_itself_at_most_ten_find_a_difference() {
    let kinds = [
        Kind::White(0.01),
        Kind::White(0.05),
        Kind::HangsTogether(0.02),
        Kind::HangsTogether(0.05),
        Kind::Drift,
        Kind::Stalls,
    ];
    for (which, kind) in kinds.into_iter().enumerate() {
        let alarm = |seed: &u64| {
            let (a, b) = simulated(kind, 10, 1.0, 1.0, 1000 * which as u64 + seed);
            found(&compare(&a, &b, NoiseFloor::assumed()))
        };
        let false_alarms = (0..200).filter(alarm).count();
        println!("{kind:?}: {false_alarms} of 200");
        assert!(false_alarms <= 10, "{kind:?}: {false_alarms} of 200");
    }
}

#[test]
fn a_decode_difference_of_two_percent_is_found_in_ten_blocks() {
    let cases = [
        (Kind::White(0.01), NoiseFloor::assumed(), 1.02, 95),
        (Kind::White(0.01), no_floor(), 1.0 / 1.02, 95),
        (Kind::Drift, NoiseFloor::assumed(), 1.02, 90),
    ];
    for (kind, floor, faster, least) in cases {
        let wanted = if faster > 1.0 { Verdict::BFaster } else { Verdict::AFaster };
        let is_found = |seed: &u64| {
            let (a, b) = simulated(kind, 10, faster, 1.0, 77_000 + seed);
            decode_verdict(&compare(&a, &b, floor.clone())) == wanted
        };
        let hits = (0..100).filter(is_found).count();
        println!("{kind:?}, {faster}: {hits} of 100");
        assert!(hits >= least, "{kind:?} {faster}: {hits} of 100");
    }
}

#[test]
fn a_difference_of_the_first_token_alone_is_found_and_named() {
    let (a, b) = simulated(Kind::White(0.01), 10, 1.0, 0.9, 5);
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    let verdicts: Vec<Verdict> = comparison.metrics.iter().map(|metric| metric.verdict).collect();
    assert_eq!(verdicts[..3], [Verdict::NoDifference, Verdict::BFaster, Verdict::BFaster]);
    let sentence = &comparison.sentence;
    assert!(
        sentence.starts_with("No difference in decode found between ollama and lmstudio; up to"),
        "{sentence}"
    );
    assert!(sentence.contains("; lmstudio gives its first token 1"), "{sentence}");
}

#[test]
fn runs_of_different_times_are_judged_without_pairs() {
    let unpaired = |decode: f64, cv: f64, seed: u64| {
        let (mut a, mut b) = simulated(Kind::White(cv), 10, decode, 1.0, seed);
        (a.run.against, b.run.against) = (None, None);
        compare(&a, &b, NoiseFloor::assumed())
    };
    for cv in [0.01, 0.05] {
        let false_alarms = (0..40).filter(|seed| found(&unpaired(1.0, cv, 300 + seed))).count();
        assert!(false_alarms <= 2, "{cv}: {false_alarms} of 40");
    }
    let hits =
        (0..20).filter(|seed| decode_verdict(&unpaired(1.05, 0.01, 700 + seed)) == Verdict::BFaster).count();
    assert_eq!(hits, 20);
    assert!(!unpaired(1.05, 0.01, 1).paired);
}

#[test]
fn the_interval_holds_the_true_ratio_in_95_of_100() {
    let heavy = |noise: &mut Noise| noise.normal() * if noise.uniform() < 0.1 { 10.0 } else { 1.0 };
    type Draw = fn(&mut Noise) -> f64;
    let kinds: [(&str, Draw); 2] = [("normal", Noise::normal), ("heavy tails", heavy)];
    for (what, draw) in kinds {
        for (pairs, repeats) in [(6, 600), (10, 600), (20, 60)] {
            let noise = &mut Noise::seeded(9);
            let held = (0..repeats).filter(|_| {
                let values: Vec<f64> = (0..pairs).map(|_| 3.0 + draw(noise)).collect();
                let (low, high) = SubsetMeans::of(&values).unwrap().interval(0.95);
                low <= 3.0 && 3.0 <= high
            });
            let share = held.count() as f64 / f64::from(repeats);
            println!("{what}, {pairs} pairs: {share}");
            assert!(
                (0.92..=if pairs > 15 { 1.0 } else { 0.98 }).contains(&share),
                "{what}, {pairs} pairs: {share}"
            );
        }
    }
}
