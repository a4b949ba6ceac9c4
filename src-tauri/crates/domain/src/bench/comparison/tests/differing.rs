//! What differs besides what is compared, and how it is said.

use super::*;
use crate::bench::quiet::DisturbedBy;

/// Ten blocks in which B's decode is 17 % faster.
fn faster_b() -> (RunDetail, RunDetail) {
    let noise = &mut Noise::seeded(3);
    let (mut a, mut b) = sides();
    for block in 1..=10 {
        let speed = |noise: &mut Noise| (0.005 * noise.normal()).exp();
        a.trials.push(trial(block, 50.0 * speed(noise), 200.0 / speed(noise)));
        b.trials.push(trial(block, 58.5 * speed(noise), 200.0 / speed(noise)));
    }
    (a, b)
}

fn note(detail: &mut RunDetail, values: &[(&str, &str)]) {
    let owned = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    detail.run.fingerprint.extend(owned);
}

fn compared(of_a: &[(&str, &str)], of_b: &[(&str, &str)]) -> Comparison {
    let (mut a, mut b) = faster_b();
    note(&mut a, of_a);
    note(&mut b, of_b);
    compare(&a, &b, NoiseFloor::assumed())
}

fn verdict(comparison: &Comparison, name: &str) -> Verdict {
    comparison.metrics.iter().find(|metric| metric.name == name).unwrap().verdict
}

#[test]
fn each_difference_is_named_and_some_refuse() {
    // Key, of A, of B, what it is called, whether a verdict is left.
    let cases = [
        ("chip", "M4 Max", "M1", "chip", false),
        ("machine", "Mac16,9", "Mac13,1", "machine", false),
        ("gpus", "H100", "none found", "graphics cards", false),
        ("cpu_cores", "8", "16", "cores", false),
        ("metrics_version", "1", "2", "formulas", false),
        ("context", "8192", "4096", "context", true),
        ("parallel", "4", "1", "requests at a time", true),
        ("kv_type", "f16", "q8_0", "cache type", true),
        ("memory_bytes", "36000000000", "64000000000", "memory of the machine", true),
        ("pilothouse", "1.0.0", "1.1.0", "Pilothouse version", true),
        ("power_source", "mains", "battery", "power source", true),
        ("chip", "M4 Max", "not reported", "chip", true),
        ("something_new", "1", "2", "something new", true),
        ("quantization", "Q4_K_M", "Q8_0", "weights", true),
    ];
    for (key, of_a, of_b, what, is_judged) in cases {
        let comparison = compared(&[(key, of_a)], &[(key, of_b)]);
        let [unmatched] = &comparison.unmatched[..] else { panic!("{key}: {:?}", comparison.unmatched) };
        assert_eq!(unmatched.what, what);
        assert!(!unmatched.meaning.is_empty());
        assert_eq!(verdict(&comparison, "decode_tok_s") == Verdict::BFaster, is_judged, "{key}");
        assert_eq!(
            comparison.sentence.starts_with("Not comparable, because the"),
            !is_judged,
            "{}",
            comparison.sentence
        );
    }
    // Nothing that is equal, unknown on both sides, or the very thing that is compared.
    let same = [
        ("context", "8192"),
        ("kv_type", "not reported"),
        ("server_version", "1"),
        ("bandwidth_gb_s", "400"),
    ];
    let other = [("context", "8192"), ("server_version", "2"), ("bandwidth_gb_s", "410")];
    assert_eq!(compared(&same, &other).unmatched, []);
}

#[test]
fn the_sentence_of_the_drawing() {
    let gguf = [("format", "gguf"), ("quantization", "Q4_K_M"), ("size_bytes", "4680000000")];
    let mlx = [("format", "mlx"), ("quantization", "4bit"), ("size_bytes", "4280000000")];
    let plain = compared(&[], &[]);
    assert_eq!(plain.sentence, "lmstudio decodes 17 % faster than ollama (16 to 17 %)");
    let comparison = compared(&gguf, &mlx);
    let weights = "not the same weights, GGUF Q4_K_M (4.68 GB) against MLX 4bit (4.28 GB); per byte read the decode gap is 7 %";
    assert_eq!(comparison.sentence, format!("{}; {weights}", plain.sentence));
    assert_eq!(comparison.unmatched.len(), 1);
    assert_eq!(compared(&gguf, &gguf).unmatched, []);
    let half = compared(&gguf, &[("format", "not reported")]);
    assert_eq!((half.unmatched[0].what.as_str(), half.unmatched[0].b.as_str()), ("weights", "not reported"));
}

#[test]
fn sides_are_called_by_what_differs() {
    let named = |change: fn(&mut Run, &mut Run)| {
        let (mut a, mut b) = faster_b();
        change(&mut a.run, &mut b.run);
        compare(&a, &b, NoiseFloor::assumed()).sentence
    };
    type Change = fn(&mut Run, &mut Run);
    let cases: [(&str, Change); 5] = [
        ("lmstudio decodes 17 % faster than ollama", |_, b| b.model = "m-instruct".into()),
        ("m2 decodes 17 % faster than m", |a, b| (b.server, b.model) = (a.server.clone(), "m2".into())),
        ("The second measurement decodes 17 % faster than the first measurement", |a, b| {
            b.server = a.server.clone()
        }),
        ("ollama 0.2 decodes 17 % faster than ollama 0.1", |a, b| {
            b.server = a.server.clone();
            (a.server_version, b.server_version) = (Some("0.1".into()), Some("0.2".into()));
        }),
        ("m2 on lmstudio decodes 17 % faster than m on ollama", |a, b| {
            b.model = "m2".into();
            a.fingerprint.insert("quantization".into(), "Q4".into());
            b.fingerprint.insert("quantization".into(), "Q8".into());
        }),
    ];
    for (start, change) in cases {
        let sentence = named(change);
        assert!(sentence.starts_with(start), "{sentence}");
    }
}

#[test]
fn the_slower_side_is_named_second() {
    let (a, b) = faster_b();
    let comparison = compare(&b, &a, NoiseFloor::assumed());
    assert_eq!(verdict(&comparison, "decode_tok_s"), Verdict::AFaster);
    assert_eq!(comparison.sentence, "lmstudio decodes 17 % faster than ollama (16 to 17 %)");
}

#[test]
fn too_few_pairs_show_figures_and_no_verdict() {
    let (mut a, mut b) = faster_b();
    a.trials.truncate(5);
    b.trials.truncate(5);
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    let decode = &comparison.metrics[0];
    assert_eq!((decode.verdict, decode.n, decode.p), (Verdict::NotComparable, 5, None));
    let ratio = decode.ratio.unwrap();
    assert!(ratio.level == 0.0 && ratio.low < ratio.median && ratio.median < ratio.high);
    assert_eq!(
        comparison.sentence,
        "Not comparable, because there are too few for an interval: 5 pairs, and it wants 6"
    );
    // Nothing at all.
    let (a, b) = sides();
    let nothing = compare(&a, &b, NoiseFloor::assumed());
    assert!(nothing.metrics.iter().all(|metric| metric.verdict == Verdict::NotComparable));
    assert_eq!(nothing.sentence, "Not comparable, because neither side tells it");
}

#[test]
fn figures_with_one_value_a_side_have_no_interval() {
    let (mut a, mut b) = faster_b();
    (a.run.peak_memory_bytes, a.run.peak_gpu_memory_bytes) = (Some(1_000), Some(4_000));
    b.run.peak_memory_bytes = Some(4_400);
    (a.run.energy_j_per_token, b.run.energy_j_per_token) = (Some(0.70), Some(0.71));
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    let [memory, energy] = &comparison.metrics[4..] else { panic!() };
    assert_eq!(
        (memory.verdict, memory.a, memory.ratio.unwrap().level),
        (Verdict::BFaster, Some(5_000.0), 0.0)
    );
    assert_eq!(energy.verdict, Verdict::NoDifference);
    assert!(memory.reason.as_ref().unwrap().contains("no interval"));
}

#[test]
fn other_lengths_and_token_counts_are_named() {
    let (mut a, mut b) = faster_b();
    b.run.plan.max_tokens = 128;
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    assert_eq!(comparison.unmatched[0].what, "answer length");
    assert_eq!(
        comparison.sentence,
        "Not comparable, because the runs asked for another answer length (64 and 128 tokens)"
    );
    b.run.plan.max_tokens = a.run.plan.max_tokens;
    for trial in &mut b.trials {
        (trial.output_tokens, trial.prompt_tokens) = (Some(60), Some(90));
    }
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    let named: Vec<&str> = comparison.unmatched.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(named, ["prompt tokens", "output tokens"]);
    assert_eq!(verdict(&comparison, "decode_tok_s"), Verdict::BFaster);
    assert_eq!(verdict(&comparison, "e2e_ms"), Verdict::NotComparable);
    a.run.run_id = b.run.run_id;
    assert_eq!(
        compare(&a, &b, NoiseFloor::assumed()).sentence,
        "Not comparable, because it is the same run twice"
    );
}

#[test]
fn a_server_that_counts_no_tokens_is_judged_by_its_times() {
    let (mut a, mut b) = faster_b();
    a.trials.iter_mut().for_each(|trial| (trial.decode_tok_s, trial.prefill_tok_s) = (None, None));
    b.trials.iter_mut().for_each(|trial| trial.ttft_ms = trial.ttft_ms.map(|ms| 0.8 * ms));
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    assert_eq!(comparison.metrics[0].reason.as_deref(), Some("The first side does not tell it"));
    let sentence = &comparison.sentence;
    assert!(
        sentence.starts_with("lmstudio gives its first token 20 % sooner than ollama (20 to 20 %); "),
        "{sentence}"
    );
    assert!(sentence.ends_with("; decode is not comparable: the first side does not tell it"), "{sentence}");
}

#[test]
fn another_machine_forbids_rates_and_energy_and_not_memory() {
    let (mut a, mut b) = faster_b();
    (a.run.peak_memory_bytes, b.run.peak_memory_bytes) = (Some(5_000), Some(4_000));
    (a.run.energy_j_per_token, b.run.energy_j_per_token) = (Some(0.7), Some(0.5));
    note(&mut a, &[("chip", "M4 Max")]);
    note(&mut b, &[("chip", "M1")]);
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    for metric in &comparison.metrics {
        let wanted = if metric.name == "memory_bytes" { Verdict::BFaster } else { Verdict::NotComparable };
        assert_eq!(metric.verdict, wanted, "{}", metric.name);
        assert!(metric.ratio.is_some(), "figures are shown all the same");
    }
    assert_eq!(comparison.sentence, "Not comparable, because the chip differs (M4 Max and M1)");
}

#[test]
fn trials_that_do_not_count_or_were_not_alone_are_left_out() {
    let (mut a, mut b) = faster_b();
    let before = compare(&a, &b, NoiseFloor::assumed());
    a.trials.push(Trial { flaw: Some("short".into()), ..trial(1, 5000.0, 1.0) });
    b.trials.push(Trial { concurrency: Some(4), ..trial(2, 1.0, 9000.0) });
    let after = compare(&a, &b, NoiseFloor::assumed());
    assert_eq!(before.metrics, after.metrics);
}

#[test]
fn who_disturbed_is_told_once() {
    let (mut a, mut b) = faster_b();
    let by = |name: &str, percent: f64| Disturbance {
        what: DisturbedBy::Processor,
        name: name.into(),
        pid: Some(7),
        percent: Some(percent),
        seconds: 3.0,
    };
    a.run.disturbed = vec![by("backupd", 80.0), by("mds", 20.0)];
    b.run.disturbed = vec![by("backupd", 90.0)];
    let comparison = compare(&a, &b, NoiseFloor::assumed());
    assert_eq!(comparison.disturbed, [by("backupd", 90.0), by("mds", 20.0)]);
    assert!(
        comparison.sentence.ends_with("; the machine was not quiet: backupd and mds"),
        "{}",
        comparison.sentence
    );
}

#[test]
fn the_noise_floor_is_what_nineteen_of_twenty_stay_below() {
    let of = |ratios: &[f64]| NoiseFloor::measured(ratios);
    assert_eq!(of(&[]), NoiseFloor::assumed());
    assert_eq!(of(&[1.0001]).ratio, LEAST_NOISE);
    assert!((of(&[1.01, 0.96, 1.02]).ratio - 0.04).abs() < 1e-12, "of few the largest");
    let many: Vec<f64> = (1..=100).map(|i| 1.0 + f64::from(i) / 1000.0).collect();
    assert!((of(&many).ratio - 0.095).abs() < 1e-12);
    assert_eq!(of(&many).source, "measured");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]
    #[test]
    fn sides_that_are_swapped_give_the_same_verdict_turned_round(
        seed in 0u64..1000, blocks in 0u32..18, decode in 0.9f64..1.1
    ) {
        let noise = &mut Noise::seeded(seed);
        let (mut a, mut b) = sides();
        for block in 1..=blocks {
            a.trials.push(trial(block, 50.0 * (0.02 * noise.normal()).exp(), 200.0));
            b.trials.push(trial(block, 50.0 * decode * (0.02 * noise.normal()).exp(), 200.0));
        }
        let turned = |verdict| match verdict {
            Verdict::AFaster => Verdict::BFaster,
            Verdict::BFaster => Verdict::AFaster,
            other => other,
        };
        let (one, other) = (compare(&a, &b, NoiseFloor::assumed()), compare(&b, &a, NoiseFloor::assumed()));
        for (x, y) in one.metrics.iter().zip(&other.metrics) {
            proptest::prop_assert_eq!(x.p, y.p);
            if let Some((x, y)) = x.ratio.zip(y.ratio) {
                proptest::prop_assert!((x.median * y.median - 1.0).abs() < 1e-9);
                proptest::prop_assert!(x.low <= x.median + 1e-12 && x.median <= x.high + 1e-12);
            }
        }
        proptest::prop_assert_eq!(turned(one.metrics[0].verdict), other.metrics[0].verdict);
    }
}
