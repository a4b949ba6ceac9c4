//! Runs on a real card: recorded on an NVIDIA H200 with the embedded llama-server, by `bench --plan standard`, `bench A --against A
//! --blocks 12` and `sweep --up-to 16`, and written by `pilothouse export`.

use super::{
    comparison::{NoiseFloor, Verdict, compare},
    run::RunDetail,
    sweep::{LevelGauges, QUERY_MS, Sweep},
    trace::windows,
};

fn recorded() -> Vec<RunDetail> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/fixtures/bench/h200-vulkan.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_real_card_is_seen_at_work_and_its_energy_is_that_of_the_requests() {
    let runs = recorded();
    assert_eq!(
        runs.iter().map(|detail| detail.run.plan.name.as_str()).collect::<Vec<_>>(),
        ["standard", "ab", "ab", "sweep"]
    );
    for detail in &runs {
        let cards = detail.cards.as_ref().unwrap();
        let counted = || detail.trials.iter().filter(|trial| trial.counts() && trial.is_alone());
        let at_work = windows(counted());
        let load = cards.gpu_load_percent(&at_work).unwrap();
        assert!((20.0..=100.0).contains(&load), "{load}");
        // At rest it takes 76 W, and 700 W are its limit.
        let power = cards.power_w(&at_work).unwrap();
        assert!((80.0..700.0).contains(&power), "{power}");
        let mut run = detail.run.clone();
        run.energy_j_per_token = None;
        run.weigh(&detail.trials, cards);
        let (told, kept) = (run.energy_j_per_token.unwrap(), detail.run.energy_j_per_token.unwrap());
        assert!((told / kept - 1.0).abs() < 1e-6, "{told} {kept}");
        // A token takes about as long as its rate says.
        let by_rate = power / detail.run.decode_tok_s.as_ref().unwrap().median;
        assert!((0.7..1.6).contains(&(told / by_rate)), "{told} {by_rate}");
        assert!(detail.run.peak_gpu_memory_bytes.is_some_and(|bytes| bytes > 400 << 20));
    }
}

#[test]
fn a_model_against_itself_on_a_real_card_is_no_faster_than_itself() {
    let runs = recorded();
    let comparison = compare(&runs[1], &runs[2], NoiseFloor::assumed());
    assert!(comparison.paired && comparison.unmatched.is_empty(), "{:?}", comparison.unmatched);
    for metric in comparison.metrics.iter().filter(|metric| metric.name != "memory_bytes") {
        assert_eq!(metric.verdict, Verdict::NoDifference, "{metric:?}");
    }
}

#[test]
fn a_sweep_on_a_real_card_has_its_load_and_watts_at_each_level() {
    let runs = recorded();
    let sweep = &runs[3];
    let cards = sweep.cards.as_ref().unwrap();
    let beside = |from: f64, to: f64| LevelGauges {
        memory_bytes: cards.memory_bytes(&[(from, to)]),
        gpu_load_percent: cards.gpu_load_percent(&[(from, to)]),
        power_w: cards.power_w(&[(from, to)]),
    };
    let told = Sweep::of(&sweep.trials, QUERY_MS, beside);
    assert_eq!(
        told.points.iter().map(|point| point.concurrency).collect::<Vec<_>>(),
        [1, 2, 3, 4, 6, 8, 12, 16]
    );
    for point in &told.points {
        assert!(point.power_w.is_some_and(|watts| (76.0..700.0).contains(&watts)), "{point:?}");
        assert!(point.gpu_load_percent.is_some_and(|load| load > 0.0), "{point:?}");
    }
    assert_eq!(Some(told.knee), Some(sweep.run.sweep.clone().unwrap().knee));
}
