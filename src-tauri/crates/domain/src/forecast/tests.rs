use super::{
    pace::{APPLE, APPLE_ERROR, APPLE_FROM_M4, APPLE_ULTRA},
    *,
};
use crate::{
    anatomy::CachedLayer,
    bench::{Interval, Summary},
    machine::{Cores, Gpu, MemoryKind, Sourced},
};

const F16: f64 = 13.48;
const Q8_0: f64 = 7.16;
const Q4_0: f64 = 3.82;

/// LLaMA 2 7B on Metal, tok/s at F16, Q8_0 and Q4_0, by chip and nominal bandwidth: reference, telemetry, section 6.6.
/// Zero: not measured.
const TABLE: &[(&str, u32, f64, [f64; 3])] = &[
    ("M1", 7, 68.0, [0.0, 7.92, 14.19]),
    ("M1", 8, 68.0, [0.0, 7.91, 14.15]),
    ("M1 Pro", 14, 200.0, [12.75, 21.95, 35.52]),
    ("M1 Pro", 16, 200.0, [12.75, 22.34, 36.41]),
    ("M1 Max", 24, 400.0, [22.55, 37.81, 54.61]),
    ("M1 Max", 32, 400.0, [23.03, 40.20, 61.19]),
    ("M1 Ultra", 48, 800.0, [33.92, 55.69, 74.93]),
    ("M1 Ultra", 64, 800.0, [37.01, 59.87, 83.73]),
    ("M2", 8, 100.0, [0.0, 12.18, 21.70]),
    ("M2", 10, 100.0, [6.72, 12.21, 21.91]),
    ("M2 Pro", 16, 200.0, [12.47, 22.70, 37.87]),
    ("M2 Pro", 19, 200.0, [13.06, 23.01, 38.86]),
    ("M2 Max", 30, 400.0, [24.16, 39.97, 60.99]),
    ("M2 Max", 38, 400.0, [24.65, 41.83, 65.95]),
    ("M2 Ultra", 60, 800.0, [39.86, 62.14, 88.64]),
    ("M2 Ultra", 76, 800.0, [41.02, 66.64, 94.27]),
    ("M3", 10, 100.0, [0.0, 12.27, 21.34]),
    ("M3 Pro", 14, 150.0, [0.0, 17.44, 30.65]),
    ("M3 Pro", 18, 150.0, [9.89, 17.53, 30.74]),
    ("M3 Max", 30, 300.0, [19.54, 34.30, 56.58]),
    ("M3 Max", 40, 400.0, [25.09, 42.75, 66.31]),
    ("M3 Ultra", 60, 800.0, [42.24, 63.55, 88.40]),
    ("M3 Ultra", 80, 800.0, [39.78, 63.93, 92.14]),
    ("M4", 10, 120.0, [7.43, 13.54, 24.11]),
    ("M4 Pro", 16, 273.0, [17.19, 30.54, 49.64]),
    ("M4 Pro", 20, 273.0, [17.18, 30.69, 50.74]),
    ("M4 Max", 32, 410.0, [24.29, 43.87, 69.95]),
    ("M4 Max", 40, 546.0, [31.64, 54.05, 83.06]),
];

/// Prefill of the same model at F16 on the same chips, where it was measured (same source).
const PREFILL_F16: &[(&str, u32, f64, f64)] = &[
    ("M1 Pro", 16, 200.0, 302.14),
    ("M1 Max", 32, 400.0, 599.53),
    ("M1 Ultra", 64, 800.0, 1168.89),
    ("M2", 10, 100.0, 201.34),
    ("M2 Pro", 19, 200.0, 384.38),
    ("M2 Max", 38, 400.0, 755.67),
    ("M2 Ultra", 76, 800.0, 1401.85),
];

/// One measurement: class of chip, chip, bandwidth, gigabytes, milliseconds per token.
type Point = (u8, &'static str, f64, f64, f64);

fn points() -> Vec<Point> {
    let mut points = Vec::new();
    for (chip, _, bandwidth, rates) in TABLE {
        let class = match chip {
            ultra if ultra.ends_with("Ultra") => 2,
            new if new.starts_with("M4") => 1,
            _ => 0,
        };
        for (bytes, rate) in [F16, Q8_0, Q4_0].into_iter().zip(rates).filter(|(_, rate)| **rate > 0.0) {
            points.push((class, *chip, *bandwidth, bytes, 1e3 / rate));
        }
    }
    points
}

/// Least squares of the relative error: time = slope x bytes / bandwidth + overhead.
fn fit(points: &[Point]) -> Pace {
    let (mut aa, mut ab, mut bb, mut ay, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (_, _, bandwidth, bytes, ms) in points {
        let (a, b) = (bytes / bandwidth * 1e3 / ms, 1.0 / ms);
        aa += a * a;
        ab += a * b;
        bb += b * b;
        ay += a;
        by += b;
    }
    let determinant = aa * bb - ab * ab;
    let slope = (ay * bb - by * ab) / determinant;
    let overhead = (aa * by - ab * ay) / determinant;
    Pace { share: 1.0 / slope, ms_per_layer: overhead / 32.0, ..APPLE }
}

fn error(pace: Pace, (_, _, bandwidth, bytes, ms): &Point) -> f64 {
    let reckoned = bytes / (pace.share * bandwidth) * 1e3 + pace.ms_per_layer * 32.0;
    // Of the rate, as people read it.
    (ms / reckoned - 1.0).abs() * 100.0
}

#[test]
fn the_forecast_holds_for_chips_left_out_of_its_fit() {
    let points = points();
    let mut errors = Vec::new();
    for (class, chip, ..) in &points {
        let others: Vec<Point> =
            points.iter().filter(|(other, name, ..)| other == class && name != chip).copied().collect();
        let pace = fit(&others);
        errors.extend(points.iter().filter(|(_, name, ..)| name == chip).map(|point| error(pace, point)));
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    let worst = errors.iter().copied().fold(0.0, f64::max);
    println!("held out: mean {mean:.1} %, worst {worst:.1} %");
    assert!(mean <= 10.0, "mean {mean:.1} %, worst {worst:.1} %");
    assert!(mean <= APPLE_ERROR && mean > APPLE_ERROR / 2.0, "what is told of the error: {mean:.1} %");
}

fn layers(count: usize) -> Vec<CachedLayer> {
    vec![CachedLayer { kv_heads: 8, key_length: 128, value_length: 128, window: None }; count]
}

/// A model of so many gigabytes per token and layers. llama-bench does not sample: without a vocabulary nothing is counted
/// for it.
fn model(gigabytes: f64, count: usize, vocabulary: u32, parameters: f64) -> Anatomy {
    Anatomy {
        weights_bytes: (gigabytes * 1e9) as u64,
        parameters: parameters as u64,
        vocabulary,
        layers: layers(count),
        ..Anatomy::default()
    }
}

fn llama_2_7b(gigabytes: f64) -> Anatomy {
    model(gigabytes, 32, 0, 6.74e9)
}

fn machine(chip: &str, gpu: Gpu, gb_s: f64) -> Machine {
    Machine {
        model: None,
        chip: chip.into(),
        cores: Cores::default(),
        cpu_features: None,
        memory_bytes: 64 << 30,
        memory_limit: None,
        memory_kind: if gpu.memory_shared { MemoryKind::Unified } else { MemoryKind::Separate },
        bandwidth_gb_s: Some(Sourced { value: gb_s, source: "table".into() }),
        bandwidth_gb_s_absent: None,
        gpus: vec![gpu],
        neural_engine: None,
        metal: None,
        os: None,
        driver: None,
        gpu_limit_override_bytes: None,
    }
}

fn mac(chip: &str, cores: u32, gb_s: f64) -> Machine {
    let gpu = Gpu { vendor: "apple".into(), cores: Some(cores), memory_shared: true, ..Gpu::default() };
    machine(&format!("Apple {chip}"), gpu, gb_s)
}

fn card(vendor: &str, name: &str, gb_s: f64) -> Machine {
    let gpu = Gpu {
        vendor: vendor.into(),
        name: name.into(),
        memory_bytes: Some(24 << 30),
        memory_shared: false,
        ..Gpu::default()
    };
    machine("Some processor", gpu, gb_s)
}

/// As people get it, without any run on that machine.
fn told(anatomy: &Anatomy, machine: &Machine) -> Forecast {
    forecast(anatomy, machine, false, &History::default()).unwrap()
}

fn off(reckoned: f64, measured: f64) -> f64 {
    (reckoned / measured - 1.0).abs() * 100.0
}

#[test]
fn what_is_told_of_apple_chips_is_near_the_table() {
    let mut errors = Vec::new();
    for (chip, cores, gb_s, rates) in TABLE {
        for (bytes, rate) in [F16, Q8_0, Q4_0].into_iter().zip(rates).filter(|(_, rate)| **rate > 0.0) {
            errors.push(off(told(&llama_2_7b(bytes), &mac(chip, *cores, *gb_s)).decode_tok_s, *rate));
        }
    }
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    println!("mean {mean:.1} %");
    assert!(mean <= APPLE_ERROR, "mean {mean:.1} %");
    for (chip, cores, gb_s, rate) in PREFILL_F16 {
        let forecast = told(&llama_2_7b(F16), &mac(chip, *cores, *gb_s));
        let off = off(forecast.prefill_tok_s.unwrap(), *rate);
        println!("{chip}: prefill {off:.1} %");
        assert!(off < forecast.prefill_error_percent.unwrap(), "{chip}: {off:.1} %");
    }
}

/// LLaMA 2 7B Q4_0 under CUDA and Vulkan (reference: telemetry, sections 6.4 and 6.6), with the bandwidths of sections 3 and 4.
#[test]
fn cards_are_within_what_is_told_of_the_error() {
    let of_share = |share: f64, gb_s: f64| share * gb_s / Q4_0;
    for (machine, rate) in [
        (card("nvidia", "NVIDIA GeForce RTX 5090", 1792.0), 290.02),
        (card("nvidia", "NVIDIA GeForce RTX 4090", 1008.0), 186.21),
        (card("nvidia", "NVIDIA GeForce RTX 5080", 960.0), 181.99),
        (card("nvidia", "NVIDIA GeForce RTX 5070 Ti", 896.0), 176.85),
        (card("nvidia", "NVIDIA GeForce RTX 3090", 936.0), 158.16),
        (card("nvidia", "NVIDIA GeForce RTX 5060 Ti", 448.0), 90.94),
        (card("nvidia", "NVIDIA H100 80GB HBM3", 3350.0), 267.81),
        (card("nvidia", "NVIDIA A100-SXM4-80GB", 2039.0), 190.88),
        (card("amd", "AMD Radeon RX 7900 XTX", 960.0), of_share(0.73, 960.0)),
        (card("amd", "AMD Radeon RX 9070 XT", 640.0), of_share(0.82, 640.0)),
        (card("intel", "Intel Arc B580 Graphics", 456.0), of_share(0.59, 456.0)),
    ] {
        let forecast = told(&llama_2_7b(Q4_0), &machine);
        let off = off(forecast.decode_tok_s, rate);
        println!("{}: {off:.1} % of {:.1} %", machine.gpus[0].name, forecast.error_percent);
        assert!(off < forecast.error_percent, "{}: {off:.1} %", machine.gpus[0].name);
    }
}

/// Measured on an H100 80GB HBM3 with llama-server build 10068 under Vulkan: medians of three answers of 128 tokens, and of
/// three prompts of 512. SmolLM2 135M (Q4_1), Gemma 3 270M (Q4_K_M) and three shapes of Llama 3 (Q4_K) with a vocabulary of
/// 49 152; recorded in `tests/fixtures/nvidia/h100-580.159.04/residency.jsonl`. The same SmolLM2 beside an H200: 632 tok/s.
#[test]
fn an_h100_answers_as_told_from_the_smallest_model_on() {
    let h100 = card("nvidia", "NVIDIA H100 80GB HBM3", 3350.0);
    for (name, anatomy, decode, prefill) in [
        ("SmolLM2 135M", model(0.0966, 30, 49_152, 0.135e9), 431.2, 39_779.0),
        ("Gemma 3 270M", model(0.2466, 18, 262_144, 0.268e9), 383.9, 22_515.0),
        ("1B", model(0.6302, 16, 49_152, 1.07e9), 600.9, 41_128.0),
        ("3B", model(1.7100, 28, 49_152, 2.97e9), 360.8, 20_324.0),
        ("7B", model(4.0921, 32, 49_152, 7.18e9), 219.1, 10_517.0),
    ] {
        let forecast = told(&anatomy, &h100);
        let decode_off = off(forecast.decode_tok_s, decode);
        println!("{name}: decode {decode_off:.1} % of {:.1} %", forecast.error_percent);
        assert!(decode_off < forecast.error_percent && decode_off < 15.0, "{name}: {decode_off:.1} %");
        match forecast.prefill_tok_s {
            Some(rate) => assert!(off(rate, prefill) < PREFILL_ERROR, "{name}: {rate:.0}"),
            None => assert!(forecast.prefill_tok_s_absent.is_some(), "{name}"),
        }
    }
    let h200 = card("nvidia", "NVIDIA H200", 4800.0);
    let smallest = told(&model(0.0966, 30, 49_152, 0.135e9), &h200);
    assert!(off(smallest.decode_tok_s, 632.0) < smallest.error_percent, "{smallest:?}");
}

#[test]
fn an_unknown_machine_has_no_forecast_and_says_why() {
    let why =
        |machine: &Machine| forecast(&llama_2_7b(Q4_0), machine, false, &History::default()).unwrap_err();
    let mut unknown = card("nvidia", "NVIDIA GeForce RTX 9999", 0.0);
    unknown.bandwidth_gb_s = None;
    assert!(why(&unknown).contains("bandwidth"));
    unknown = card("matrox", "Mystique", 1.0);
    assert!(why(&unknown).contains("comparable"));
    let no_speed = told(&llama_2_7b(Q4_0), &card("nvidia", "NVIDIA GeForce RTX 4070", 504.0));
    assert!(no_speed.prefill_tok_s.is_none() && no_speed.prefill_tok_s_absent.is_some());
}

fn summary(median: f64, low: f64, high: f64) -> Option<Summary> {
    Some(Summary { median, low, high, n: 5, interval: Interval::Range, source: "client".into() })
}

fn measured(tok_s: f64) -> Measured {
    Measured { decode: Rate { tok_s, error_percent: 2.0 }, prefill: None, runs: 1 }
}

fn run(state: crate::bench::RunState, decode_tok_s: Option<Summary>) -> crate::bench::Run {
    use crate::bench::{BenchPlan, Run};
    let plan = BenchPlan::named("quick", None).unwrap();
    let mut run = Run::begun(1, crate::Timestamp::UNIX_EPOCH, plan, "llama-server".into(), "m");
    run.state = state;
    run.prefill_tok_s = decode_tok_s.clone().map(|s| Summary {
        median: s.median * 10.0,
        low: s.low * 10.0,
        high: s.high * 10.0,
        ..s
    });
    run.decode_tok_s = decode_tok_s;
    run
}

#[test]
fn runs_of_the_same_model_replace_the_forecast() {
    use crate::bench::RunState::{Cancelled, Done};
    let runs = [
        run(Cancelled, summary(999.0, 999.0, 999.0)),
        run(Done, summary(110.0, 108.0, 112.0)),
        run(Done, None),
        run(Done, summary(100.0, 99.0, 101.0)),
        run(Done, summary(120.0, 119.0, 121.0)),
        run(Done, summary(10.0, 9.0, 11.0)),
    ];
    let history = History { of_model: Measured::of(&runs), others: Vec::new() };
    let mut unknown = card("nvidia", "NVIDIA GeForce RTX 9999", 0.0);
    unknown.bandwidth_gb_s = None;
    let forecast = forecast(&llama_2_7b(Q4_0), &unknown, false, &history).unwrap();
    assert_eq!((forecast.decode_tok_s, forecast.prefill_tok_s), (110.0, Some(1100.0)));
    assert!(forecast.measured && forecast.source.contains("3 benchmark runs"), "{forecast:?}");
    assert!((forecast.error_percent - 10.0).abs() < 0.01, "the furthest end: {forecast:?}");
    assert_eq!(Measured::of(&runs[..1]), None, "a cancelled run says nothing");
}

#[test]
fn runs_of_other_models_correct_it() {
    let mac = mac("M4 Max", 32, 410.0);
    let (small, large) = (model(1.0, 20, 0, 2e9), llama_2_7b(Q4_0));
    let first = told(&large, &mac);
    let of_small = told(&small, &mac).decode_tok_s;
    let history = |rates: &[f64]| History {
        of_model: None,
        others: rates.iter().map(|rate| (small.clone(), measured(*rate))).collect(),
    };
    let slower = forecast(&large, &mac, false, &history(&[of_small * 0.8])).unwrap();
    assert!((slower.decode_tok_s / first.decode_tok_s - 0.8).abs() < 1e-9, "{slower:?}");
    assert!(!slower.measured && slower.source.contains("0.80"), "{slower:?}");
    assert_eq!(slower.error_percent, first.error_percent);
    let apart = forecast(&large, &mac, false, &history(&[of_small, of_small * 0.8, of_small * 1.3])).unwrap();
    assert!((apart.decode_tok_s - first.decode_tok_s).abs() < 1e-9);
    assert!((apart.error_percent - 30.0).abs() < 0.01, "they disagree by that much: {apart:?}");
}

#[test]
fn what_computes_beside_the_card_is_not_reckoned_by_the_card() {
    let h100 = card("nvidia", "NVIDIA H100 80GB HBM3", 3350.0);
    let small = model(1.0, 20, 0, 2e9);
    let why = forecast(&small, &h100, true, &History::default()).unwrap_err();
    assert!(why.contains("processor"), "{why}");
    let history = History { of_model: None, others: vec![(model(2.0, 28, 0, 4e9), measured(27.0))] };
    assert_eq!(forecast(&small, &h100, true, &history).unwrap().decode_tok_s, 54.0);
}

#[test]
fn where_nothing_is_known_the_nearest_model_in_size_counts() {
    let mut unknown = card("matrox", "Mystique", 1.0);
    unknown.bandwidth_gb_s = None;
    let others = vec![(model(0.1, 30, 0, 1e8), measured(90.0)), (model(2.0, 30, 0, 4e9), measured(8.0))];
    let history = History { of_model: None, others };
    let forecast = forecast(&model(4.0, 32, 0, 8e9), &unknown, false, &history).unwrap();
    assert_eq!((forecast.decode_tok_s, forecast.error_percent), (4.0, SCALED_ERROR));
    assert!(forecast.source.contains("guess") && forecast.prefill_tok_s_absent.is_some(), "{forecast:?}");
}

#[test]
fn the_constants_are_those_of_the_fit() {
    let points = points();
    for (class, told) in [(0, APPLE), (1, APPLE_FROM_M4), (2, APPLE_ULTRA)] {
        let of: Vec<Point> = points.iter().filter(|(other, ..)| *other == class).copied().collect();
        let pace = fit(&of);
        println!("{class}: {pace:?}");
        assert!((pace.share - told.share).abs() < 0.002, "{class}: {pace:?}");
        assert!((pace.ms_per_layer - told.ms_per_layer).abs() < 0.001, "{class}: {pace:?}");
    }
}
