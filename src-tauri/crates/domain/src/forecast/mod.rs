//! How fast a model will answer, before it has. A forecast, always with its error. Benchmark runs on this machine replace it
//! for the model that they measured, and correct it for the others.
//!
//! Time per token = bytes read per token / (share of the bandwidth that arrives) + launch overhead per layer (reference:
//! telemetry, sections 6.4 and 6.5).

mod history;
mod pace;
#[cfg(test)]
mod tests;

pub use history::{History, Measured, Rate};

use crate::{anatomy::Anatomy, machine::Machine};
use pace::{Pace, prefill_tflops};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Sampling on the processor, in nanoseconds per token of the vocabulary. From what a vocabulary of 262 144 took longer than
/// one of 49 152 (llama-server build 10068, Vulkan, beside an H100; see the test).
const SAMPLING_NS: f64 = 4.5;
/// A mixture of experts runs below the dense figure.
const EXPERTS_SHARE: f64 = 0.7;
const EXPERTS_ERROR: f64 = 30.0;
/// Where nearly all of the time is overhead, as with the smallest models: the same model answered with 431 and 632 tok/s on
/// two hosts whose cards differ little.
const OVERHEAD_ERROR: f64 = 45.0;
/// No measurement that a pace was fitted on spent more than about this share of its time in overhead.
const CHECKED_OVERHEAD: f64 = 0.5;
/// Below so many parameters the fixed cost of a batch outweighs the computing: an H100 did a twelfth of the reckoned rate with
/// 0.1 billion and two thirds with 1 billion, but the rate with 3 and 7 billion (see the test).
const PREFILL_FROM_PARAMETERS: u64 = 2_000_000_000;
/// Over the Apple table and an H100 with models of 3 and 7 billion parameters; see the tests.
const PREFILL_ERROR: f64 = 20.0;
/// Reckoned from runs of other models where nothing is known of the machine itself. A guess, and said to be one.
const SCALED_ERROR: f64 = 40.0;

/// Tokens per second that are expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Forecast {
    pub decode_tok_s: f64,
    /// Of the decode rate, in per cent either way. Reckoned: the mean error where it could be checked. Measured: the interval
    /// of the runs.
    pub error_percent: f64,
    /// Of prompts of at least 512 tokens.
    pub prefill_tok_s: Option<f64>,
    /// Why there is no prefill rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_tok_s_absent: Option<String>,
    pub prefill_error_percent: Option<f64>,
    /// These are medians of benchmark runs of this very model here, no forecast.
    #[serde(default)]
    pub measured: bool,
    /// Where the rates come from, in words.
    pub source: String,
}

/// The rates for one request with a short context. `off_card`: it will compute on the processor although there is a GPU.
/// `Err`: why there are none.
pub fn forecast(
    anatomy: &Anatomy,
    machine: &Machine,
    off_card: bool,
    history: &History,
) -> Result<Forecast, String> {
    if let Some(measured) = &history.of_model {
        return Ok(measured.forecast());
    }
    let reckoned = match off_card {
        true => Err("it will compute on the processor, and nothing is known of that".into()),
        false => reckoned(anatomy, machine),
    };
    history.corrected(anatomy, machine, reckoned)
}

/// From the machine and the model's build alone.
fn reckoned(anatomy: &Anatomy, machine: &Machine) -> Result<Forecast, String> {
    let Some(bandwidth) = machine.bandwidth() else {
        return Err("the memory bandwidth of this machine is not known".into());
    };
    let Some(pace) = Pace::of(machine) else {
        return Err("there are no measurements of comparable machines to go by".into());
    };
    let mut bytes = anatomy.bytes_per_token() as f64;
    if anatomy.experts > 0 {
        bytes /= EXPERTS_SHARE;
    }
    let overhead = pace.ms_per_layer * anatomy.layers.len() as f64;
    let sampling = f64::from(anatomy.vocabulary) * SAMPLING_NS / 1e6;
    let ms = pace.ms_per_token(bytes, bandwidth.value, anatomy.layers.len()) + sampling;
    let error_percent = match anatomy.experts {
        0 => error_percent(pace.error_percent, (overhead + sampling) / ms),
        _ => error_percent(pace.error_percent, (overhead + sampling) / ms).max(EXPERTS_ERROR),
    };
    let prefill = prefill(anatomy, machine);
    Ok(Forecast {
        decode_tok_s: 1e3 / ms,
        error_percent,
        prefill_tok_s: prefill.as_ref().ok().copied(),
        prefill_error_percent: prefill.is_ok().then_some(PREFILL_ERROR),
        prefill_tok_s_absent: prefill.err(),
        measured: false,
        source: pace.source.into(),
    })
}

/// The more of the time is overhead, the less the error of the fit says.
fn error_percent(of_fit: f64, overhead_share: f64) -> f64 {
    let beyond = ((overhead_share - CHECKED_OVERHEAD) / (1.0 - CHECKED_OVERHEAD)).clamp(0.0, 1.0);
    of_fit + (OVERHEAD_ERROR - of_fit).max(0.0) * beyond
}

fn prefill(anatomy: &Anatomy, machine: &Machine) -> Result<f64, String> {
    let Some(tera) = prefill_tflops(machine) else {
        return Err("the computing speed of this machine is not known".into());
    };
    let parameters = anatomy.active_parameters();
    if parameters < PREFILL_FROM_PARAMETERS {
        return Err("below 2 billion parameters other things than computing speed decide".into());
    }
    let dense = tera * 1e12 / (2.0 * parameters as f64);
    Ok(if anatomy.experts > 0 { dense / 2.0 } else { dense })
}
