//! One metric of one model on one server over all its runs.

use super::run::{Fingerprint, Run, RunState};
use super::stats::Summary;
use crate::{Timestamp, server::ServerId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ts_rs::TS;

/// A metric whose history is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum SeriesMetric {
    DecodeTokS,
    PrefillTokS,
    TtftMs,
    E2eMs,
    MemoryBytes,
    EnergyJPerToken,
}

impl SeriesMetric {
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::DecodeTokS | Self::PrefillTokS)
    }

    /// The least worsening that is worth a word, as a share: figures of a quiet machine move by less.
    pub fn least_change(self) -> f64 {
        match self {
            Self::DecodeTokS => 0.03,
            Self::PrefillTokS | Self::MemoryBytes => 0.05,
            Self::TtftMs | Self::E2eMs | Self::EnergyJPerToken => 0.1,
        }
    }

    /// "decode", "time to the first token".
    pub fn words(self) -> &'static str {
        match self {
            Self::DecodeTokS => "decode",
            Self::PrefillTokS => "prefill",
            Self::TtftMs => "time to the first token",
            Self::E2eMs => "time of the whole request",
            Self::MemoryBytes => "memory",
            Self::EnergyJPerToken => "energy per token",
        }
    }

    /// By how much a figure is worse than another, as a share of it; below 0 it is better.
    pub fn worse_by(self, figure: f64, than: f64) -> f64 {
        let change = figure / than - 1.0;
        if self.higher_is_better() { -change } else { change }
    }
}

/// The runs of one model on one server under one plan that say something together, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub server: ServerId,
    pub model: String,
    pub plan: String,
    pub runs: Vec<SeriesRun>,
}

/// What of a run counts in a series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesRun {
    pub run_id: i64,
    pub at: Timestamp,
    pub fingerprint: Arc<Fingerprint>,
    pub figures: Figures,
}

/// The figures of a run that are watched over the runs.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub decode_tok_s: Option<Spread>,
    pub prefill_tok_s: Option<Spread>,
    pub ttft_ms: Option<Spread>,
    pub e2e_ms: Option<Spread>,
    /// Most that it took beside the cards.
    pub peak_memory_bytes: Option<u64>,
    /// Most that it took on them.
    pub peak_gpu_memory_bytes: Option<u64>,
    pub energy_j_per_token: Option<f64>,
}

/// A median with its interval or range.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl SeriesRun {
    /// `None`: it is not done, or was disturbed.
    pub fn of(run: &Run) -> Option<Self> {
        (run.state == RunState::Done && run.disturbed.is_empty()).then(|| Self {
            run_id: run.run_id,
            at: run.started_at,
            fingerprint: Arc::new(run.fingerprint.clone()),
            figures: Figures::of(run),
        })
    }
}

impl Figures {
    fn of(run: &Run) -> Self {
        let spread = |summary: &Option<Summary>| {
            summary.as_ref().map(|one| Spread { median: one.median, low: one.low, high: one.high })
        };
        Self {
            decode_tok_s: spread(&run.decode_tok_s),
            prefill_tok_s: spread(&run.prefill_tok_s),
            ttft_ms: spread(&run.ttft_ms),
            e2e_ms: spread(&run.e2e_ms),
            peak_memory_bytes: run.peak_memory_bytes,
            peak_gpu_memory_bytes: run.peak_gpu_memory_bytes,
            energy_j_per_token: run.energy_j_per_token,
        }
    }

    /// One of them; `None`: it was not measured.
    pub fn get(&self, metric: SeriesMetric) -> Option<Spread> {
        let single =
            |value: Option<f64>| value.map(|value| Spread { median: value, low: value, high: value });
        match metric {
            SeriesMetric::DecodeTokS => self.decode_tok_s,
            SeriesMetric::PrefillTokS => self.prefill_tok_s,
            SeriesMetric::TtftMs => self.ttft_ms,
            SeriesMetric::E2eMs => self.e2e_ms,
            // What is on cards is as much the instance's as what is beside them.
            SeriesMetric::MemoryBytes => {
                let both = [self.peak_memory_bytes, self.peak_gpu_memory_bytes].into_iter().flatten();
                single(both.reduce(|sum, bytes| sum + bytes).map(|bytes| bytes as f64))
            }
            SeriesMetric::EnergyJPerToken => single(self.energy_j_per_token),
        }
    }
}

/// One run of a series, oldest first. Series are per machine, server, model, plan and metrics version; an update of the server
/// does not begin another, since it is what is suspected. Runs that were disturbed or not ended belong to none.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoint {
    pub run_id: i64,
    pub at: Timestamp,
    pub median: f64,
    pub fingerprint: Arc<Fingerprint>,
}

impl SeriesPoint {
    /// Whether it has a figure that can be held against others.
    pub fn is_valid(&self) -> bool {
        self.median.is_finite() && self.median > 0.0
    }
}

/// A key of the fingerprint that is another after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct FingerprintChange {
    pub key: String,
    pub before: String,
    pub after: String,
}

/// What differs between the fingerprints of the runs on both sides of a change.
pub fn changed(before: &Fingerprint, after: &Fingerprint) -> Vec<FingerprintChange> {
    const ABSENT: &str = "not reported";
    let value = |of: &Fingerprint, key: &str| of.get(key).cloned().unwrap_or_else(|| ABSENT.into());
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    let change = |key: &String| FingerprintChange {
        key: key.clone(),
        before: value(before, key),
        after: value(after, key),
    };
    keys.map(change).filter(|change| change.before != change.after).collect()
}

/// What changed, in words: "since then: server version 0.1, now 0.2".
pub(super) fn changes_in_words(changed: &[FingerprintChange]) -> String {
    let one = |change: &FingerprintChange| {
        format!("{} {} instead of {}", change.key.replace('_', " "), change.after, change.before)
    };
    match changed {
        [] => "nothing that Pilothouse knows of changed with it".into(),
        several => format!("with it came {}", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A series of these medians whose server's version changes with a run.
    pub(crate) fn series(medians: &[f64], updated_at: Option<usize>) -> Vec<SeriesPoint> {
        let point = |(at, median): (usize, &f64)| {
            let version = if updated_at.is_some_and(|update| at >= update) { "0.2" } else { "0.1" };
            SeriesPoint {
                run_id: at as i64,
                at: Timestamp::from_second(at as i64 * 86_400).unwrap(),
                median: *median,
                fingerprint: Arc::new(
                    [("server_version", version), ("chip", "M4")]
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
            }
        };
        medians.iter().enumerate().map(point).collect()
    }

    #[test]
    fn what_changed_is_named_also_where_a_key_came_or_went() {
        let of = |pairs: &[(&str, &str)]| -> Fingerprint {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let changes =
            changed(&of(&[("a", "1"), ("b", "1"), ("c", "1")]), &of(&[("a", "1"), ("b", "2"), ("d", "4")]));
        let told: Vec<(&str, &str, &str)> =
            changes.iter().map(|one| (one.key.as_str(), one.before.as_str(), one.after.as_str())).collect();
        assert_eq!(told, [("b", "1", "2"), ("c", "1", "not reported"), ("d", "not reported", "4")]);
        assert_eq!(changes_in_words(&changes[..1]), "with it came b 2 instead of 1");
    }
}
