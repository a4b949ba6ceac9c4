//! How fast a model will answer, before it has. A forecast, always with its error; what was measured replaces it.
//!
//! Time per token = bytes read per token / (share of the bandwidth that arrives) + launch overhead per layer (reference:
//! telemetry, sections 6.4 and 6.5).

use crate::{
    anatomy::Anatomy,
    machine::{AppleChip, Machine},
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Tokens per second that are expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Forecast {
    pub decode_tok_s: f64,
    /// `None`: no figure of computing speed for this machine.
    pub prefill_tok_s: Option<f64>,
    /// Mean error of this way of reckoning where it could be checked, in per cent.
    pub error_percent: f64,
    pub source: String,
}

/// What arrives of the nominal bandwidth, and the overhead of one layer in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    share: f64,
    ms_per_layer: f64,
}

/// Fitted over the Apple table of llama.cpp discussion 4167 (7B, 32 layers); see the test.
const APPLE: Pace = Pace { share: 0.924, ms_per_layer: 0.170 };
const APPLE_ULTRA: Pace = Pace { share: 0.861, ms_per_layer: 0.182 };
/// From M4 on launches cost less (reference: telemetry, section 6.4).
const APPLE_FROM_M4: Pace = Pace { share: 0.887, ms_per_layer: 0.121 };
/// Mean error over that table, each chip left out of its own fit: 4.8 %; the largest was 21.5 %. Other sizes than 7B were
/// not there to be checked.
const APPLE_ERROR: f64 = 5.0;
/// NVIDIA under CUDA: what is left of the time per token at four bits beyond nine tenths of the bandwidth; see the test. Only
/// one size was there to go by.
const CUDA: Pace = Pace { share: 0.9, ms_per_layer: 0.042 };
/// Cards for data centres have more bandwidth than they can use with a single request.
const CUDA_DATA_CENTRE: Pace = Pace { share: 0.9, ms_per_layer: 0.088 };
const DATA_CENTRE: [&str; 6] = ["A100", "H100", "H200", "GH200", "B200", "V100"];
const CUDA_ERROR: f64 = 20.0;
/// A mixture of experts runs below the dense figure.
const EXPERTS_SHARE: f64 = 0.7;
const EXPERTS_ERROR: f64 = 30.0;

/// Computing speed in prefill per GPU core, TFLOP/s (reference: telemetry, section 6.5).
fn apple_core_tflops(chip: &AppleChip) -> Option<f64> {
    Some(match chip.generation() {
        "M1" => 0.22,
        "M2" => 0.24,
        "M3" => 0.26,
        "M4" => 0.30,
        "M5" => 1.09,
        _ => return None,
    })
}

/// The forecast for one request with a short context. `Err`: why there is none.
pub fn forecast(anatomy: &Anatomy, machine: &Machine) -> Result<Forecast, String> {
    let Some(bandwidth) = machine.bandwidth() else {
        return Err("the memory bandwidth of this machine is not known".into());
    };
    let (pace, mut error_percent, source) = match (machine.apple(), machine.gpus.first()) {
        (Some(chip), _) => (
            apple_pace(chip),
            APPLE_ERROR,
            "bandwidth; fitted on Apple chips with a 7B model, other sizes unchecked",
        ),
        (None, Some(gpu)) if gpu.vendor == "nvidia" => (
            cuda_pace(&gpu.name),
            CUDA_ERROR,
            "bandwidth; after other NVIDIA cards with a 7B model under CUDA, other sizes unchecked",
        ),
        _ => return Err("there are no measurements of comparable machines to go by".into()),
    };
    let mut bytes = anatomy.bytes_per_token() as f64;
    if anatomy.experts > 0 {
        bytes /= EXPERTS_SHARE;
        error_percent = EXPERTS_ERROR;
    }
    let seconds =
        bytes / (pace.share * bandwidth.value * 1e9) + pace.ms_per_layer * anatomy.layers.len() as f64 / 1e3;
    let cores = machine.gpus.first().and_then(|gpu| gpu.cores);
    let flops =
        machine.apple().and_then(apple_core_tflops).zip(cores).map(|(each, cores)| each * f64::from(cores));
    let prefill_tok_s = flops.map(|tera| {
        let dense = tera * 1e12 / (2.0 * anatomy.active_parameters().max(1) as f64);
        if anatomy.experts > 0 { dense / 2.0 } else { dense }
    });
    Ok(Forecast { decode_tok_s: 1.0 / seconds, prefill_tok_s, error_percent, source: source.into() })
}

fn apple_pace(chip: &AppleChip) -> Pace {
    match chip.generation() {
        _ if chip.is_ultra() => APPLE_ULTRA,
        "M1" | "M2" | "M3" => APPLE,
        _ => APPLE_FROM_M4,
    }
}

fn cuda_pace(name: &str) -> Pace {
    if DATA_CENTRE.iter().any(|card| name.contains(card)) { CUDA_DATA_CENTRE } else { CUDA }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Pace { share: 1.0 / slope, ms_per_layer: overhead / 32.0 }
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

    /// LLaMA 2 7B Q4_0 under CUDA (reference: telemetry, section 6.6), with the bandwidths of section 3.
    #[test]
    fn nvidia_cards_are_within_what_is_told_of_the_error() {
        let cards = [
            ("RTX 5090", 1792.0, 290.02),
            ("RTX 4090", 1008.0, 186.21),
            ("RTX 5080", 960.0, 181.99),
            ("RTX 5070 Ti", 896.0, 176.85),
            ("RTX 3090", 936.0, 158.16),
            ("RTX 5060 Ti", 448.0, 90.94),
            ("NVIDIA H100 80GB HBM3", 3350.0, 267.81),
            ("NVIDIA A100-SXM4-80GB", 2039.0, 190.88),
        ];
        for (name, bandwidth, rate) in cards {
            let off = error(cuda_pace(name), &(0, name, bandwidth, Q4_0, 1e3 / rate));
            println!("{name}: {off:.1} %");
            assert!(off < CUDA_ERROR, "{name}: {off:.1} %");
        }
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
}
