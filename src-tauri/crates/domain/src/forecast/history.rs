//! What benchmark runs on this machine say of the next one.

use super::{Forecast, SCALED_ERROR, reckoned};
use crate::{
    anatomy::Anatomy,
    bench::{Run, RunState, Summary, stats::median},
    machine::Machine,
};

/// Runs that count, the newest ones.
const COUNTED: usize = 3;
/// No rate is better known than this, in per cent: the next run is on another day.
const LEAST_ERROR: f64 = 1.0;

/// One rate in tokens per second, with its error in per cent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub tok_s: f64,
    pub error_percent: f64,
}

/// The rates of one model on one server of this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub decode: Rate,
    pub prefill: Option<Rate>,
    /// Runs that they are the medians of.
    pub runs: u32,
}

/// What this machine has shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Of the model in question, on its server.
    pub of_model: Option<Measured>,
    /// Of other models on that server.
    pub others: Vec<(Anatomy, Measured)>,
}

impl Measured {
    /// From runs of one model under plans that ask for the same each time, newest first. `None`: none of them is done, or has a
    /// decode rate.
    pub fn of(runs: &[Run]) -> Option<Self> {
        let done: Vec<&Run> = runs
            .iter()
            .filter(|run| run.state == RunState::Done && run.plan.repeats() && run.decode_tok_s.is_some())
            .take(COUNTED)
            .collect();
        let decode = Rate::of(done.iter().filter_map(|run| run.decode_tok_s.as_ref()))?;
        let prefill = Rate::of(done.iter().filter_map(|run| run.prefill_tok_s.as_ref()));
        Some(Self { decode, prefill, runs: done.len() as u32 })
    }

    pub(super) fn forecast(&self) -> Forecast {
        let source = match self.runs {
            1 => "one benchmark run here".to_owned(),
            runs => format!("the median of {runs} benchmark runs here"),
        };
        Forecast {
            decode_tok_s: self.decode.tok_s,
            error_percent: self.decode.error_percent,
            prefill_tok_s: self.prefill.map(|rate| rate.tok_s),
            prefill_error_percent: self.prefill.map(|rate| rate.error_percent),
            prefill_tok_s_absent: self.prefill.is_none().then(|| "the runs tell none".into()),
            measured: true,
            source,
        }
    }
}

impl Rate {
    /// The median of the medians; its error reaches as far as the intervals do.
    fn of<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Option<Self> {
        let summaries: Vec<&Summary> = summaries.filter(|summary| summary.median > 0.0).collect();
        let medians: Vec<f64> = summaries.iter().map(|summary| summary.median).collect();
        let tok_s = median(&medians)?;
        let ends = summaries.iter().flat_map(|summary| [summary.low, summary.high]);
        let furthest = ends.map(|end| (end / tok_s - 1.0).abs() * 100.0).fold(LEAST_ERROR, f64::max);
        Some(Self { tok_s, error_percent: furthest })
    }
}

impl History {
    /// Holds the other models against what would have been reckoned for them. Without any, what was reckoned stays.
    pub(super) fn corrected(
        &self,
        anatomy: &Anatomy,
        machine: &Machine,
        reckoned_here: Result<Forecast, String>,
    ) -> Result<Forecast, String> {
        match reckoned_here {
            Ok(forecast) => Ok(self.scaled(machine, forecast)),
            Err(why) => self.by_bytes(anatomy).ok_or(why),
        }
    }

    /// The forecast, faster or slower as much as the other models were.
    fn scaled(&self, machine: &Machine, forecast: Forecast) -> Forecast {
        let reckoned_for = |anatomy| reckoned(anatomy, machine).ok();
        let factors: Vec<f64> = self
            .others
            .iter()
            .filter_map(|(anatomy, measured)| {
                Some(measured.decode.tok_s / reckoned_for(anatomy)?.decode_tok_s)
            })
            .collect();
        let Some(factor) = median(&factors) else { return forecast };
        let spread = factors.iter().map(|one| (one / factor - 1.0).abs() * 100.0).fold(0.0, f64::max);
        Forecast {
            decode_tok_s: forecast.decode_tok_s * factor,
            error_percent: forecast.error_percent.max(spread),
            source: format!("{}; times {factor:.2} as {} here", forecast.source, self.told()),
            ..forecast
        }
    }

    /// Where nothing is known of the machine: the bytes per second that the model nearest in size was read with.
    fn by_bytes(&self, anatomy: &Anatomy) -> Option<Forecast> {
        let bytes = anatomy.bytes_per_token() as f64;
        let distance = |other: &Anatomy| (other.bytes_per_token() as f64 / bytes).ln().abs();
        let usable = self.others.iter().filter(|(other, _)| other.bytes_per_token() > 0 && bytes > 0.0);
        let (other, measured) = usable.min_by(|(a, _), (b, _)| distance(a).total_cmp(&distance(b)))?;
        let ratio = other.bytes_per_token() as f64 / bytes;
        Some(Forecast {
            decode_tok_s: measured.decode.tok_s * ratio,
            error_percent: SCALED_ERROR.max(measured.decode.error_percent),
            prefill_tok_s: None,
            prefill_error_percent: None,
            prefill_tok_s_absent: Some("nothing is known of how fast this machine computes".into()),
            measured: false,
            source: format!("bytes per token, as {} here; the error is a guess", self.told()),
        })
    }

    fn told(&self) -> String {
        match self.others.len() {
            1 => "another model was measured".into(),
            count => format!("{count} other models were measured"),
        }
    }
}
