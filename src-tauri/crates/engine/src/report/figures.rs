//! Figures of runs as tables and plots want them. What a run does not tell stays absent.

use pilothouse_domain::{
    bench::{Fingerprint, Run, RunDetail, Trial, stats, trace},
    machine::Machine,
    units::gigabytes,
};

/// Stands for what is not known.
pub const ABSENT: &str = "–";

/// What the fingerprint of a run says of a thing; `None`: it was not told.
pub fn told<'a>(run: &'a Run, key: &str) -> Option<&'a str> {
    said(&run.fingerprint, key)
}

fn said<'a>(fingerprint: &'a Fingerprint, key: &str) -> Option<&'a str> {
    let value = fingerprint.get(key).map(String::as_str);
    value.filter(|value| !value.is_empty() && *value != "not reported")
}

/// The first of these keys that the fingerprint tells.
pub fn told_by<'a>(run: &'a Run, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| told(run, key))
}

/// Which machine a run was measured on, as far as that can be told from what stays the same over updates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineKey {
    model: String,
    chip: String,
    architecture: String,
    /// Whole GiB: the last megabytes change with the system.
    memory_gib: Option<u64>,
}

/// The machine of a run, by its fingerprint.
pub fn machine_of(run: &Run) -> MachineKey {
    MachineKey::from(&run.fingerprint)
}

impl From<&Fingerprint> for MachineKey {
    fn from(fingerprint: &Fingerprint) -> Self {
        let text = |key| said(fingerprint, key).unwrap_or_default().to_owned();
        let bytes = said(fingerprint, "memory_bytes").and_then(|bytes| bytes.parse().ok());
        Self {
            model: text("machine"),
            chip: text("chip"),
            architecture: text("architecture"),
            memory_gib: bytes.map(gibibytes),
        }
    }
}

impl MachineKey {
    /// The machine that this is, as its runs have it in their fingerprints.
    pub fn of(machine: &Machine) -> Self {
        Self {
            model: machine.model.clone().unwrap_or_default(),
            chip: machine.chip.clone(),
            architecture: std::env::consts::ARCH.into(),
            memory_gib: Some(machine.memory_bytes).filter(|bytes| *bytes > 0).map(gibibytes),
        }
    }

    /// As people read it: "Mac Studio, Apple M4 Max, 36 GiB".
    pub fn title(&self) -> String {
        let mut parts: Vec<String> = [&self.model, &self.chip]
            .into_iter()
            .filter(|part| !part.trim().is_empty())
            .map(|part| part.trim().to_owned())
            .collect();
        parts.extend(self.memory_gib.map(|gib| format!("{gib} GiB")));
        if parts.is_empty() { "a machine that was not told".into() } else { parts.join(", ") }
    }
}

fn gibibytes(bytes: u64) -> u64 {
    (bytes + (1 << 29)) >> 30
}

/// The requests that a summary is made of.
pub fn counted(detail: &RunDetail) -> impl Iterator<Item = &Trial> {
    detail.trials.iter().filter(|trial| trial.counts() && trial.is_alone())
}

/// One figure of the requests that count.
pub fn values(detail: &RunDetail, figure: fn(&Trial) -> Option<f64>) -> Vec<f64> {
    counted(detail).filter_map(figure).filter(|value| value.is_finite()).collect()
}

/// Mean and sample standard deviation (divided by n less one, as llama-bench has it); the latter of two values or more.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt())))
}

/// Prompt tokens that were computed, and tokens that came out: medians over the requests that count. `None`: nobody counts
/// them.
pub fn lengths(detail: &RunDetail) -> (Option<u32>, Option<u32>) {
    let computed = |trial: &Trial| {
        let prompt = trial.prompt_tokens?.checked_sub(trial.cached_tokens.unwrap_or(0))?;
        Some(f64::from(prompt))
    };
    let whole = |values: Vec<f64>| stats::median(&values).map(|median| median.round() as u32);
    let output = |trial: &Trial| trial.output_tokens.map(f64::from);
    (whole(values(detail, computed)), whole(values(detail, output)))
}

/// Its highest memory, RAM and cards together. `None`: neither was read.
pub fn peak_bytes(run: &Run) -> Option<u64> {
    match (run.peak_memory_bytes, run.peak_gpu_memory_bytes) {
        (None, None) => None,
        (ram, card) => Some(ram.unwrap_or(0).saturating_add(card.unwrap_or(0))),
    }
}

/// Memory in words, the part on cards beside it.
pub fn peak_words(run: &Run) -> Option<String> {
    match (run.peak_memory_bytes, run.peak_gpu_memory_bytes) {
        (Some(ram), Some(card)) if card > 0 => {
            Some(format!("{} + {} on the card", gigabytes(ram), gigabytes(card)))
        }
        _ => peak_bytes(run).map(gigabytes),
    }
}

/// Mean GPU load while its requests were measured; `None`: no card told it.
pub fn gpu_load_percent(detail: &RunDetail) -> Option<f64> {
    let windows = trace::windows(counted(detail));
    if let Some(load) = detail.cards.as_ref().and_then(|cards| cards.gpu_load_percent(&windows)) {
        return Some(load);
    }
    let trace = detail.trace.as_ref()?;
    let start = detail.run.started_at.as_millisecond() as f64;
    // Without the instants of its requests: all of the run, its warm-up included.
    let within = |at: &i64| {
        let at = *at as f64 - start;
        windows.is_empty() || windows.iter().any(|(from, to)| (*from..=*to).contains(&at))
    };
    let loads = trace.at_ms.iter().zip(&trace.columns.gpu_load_percent);
    let loads: Vec<f64> = loads.filter(|(at, _)| within(at)).filter_map(|(_, load)| *load).collect();
    mean_and_deviation(&loads).map(|(mean, _)| mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::seeds;

    #[test]
    fn mean_and_deviation_are_those_of_llama_bench() {
        assert_eq!(mean_and_deviation(&[]), None);
        assert_eq!(mean_and_deviation(&[5.0]), Some((5.0, None)), "one value has no spread");
        let (mean, deviation) = mean_and_deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!(mean, 5.0);
        assert!((deviation.unwrap() - 2.138_089_935).abs() < 1e-9);
    }

    #[test]
    fn a_machine_stays_the_same_over_an_update_of_its_system() {
        let key = |change: &dyn Fn(&mut Run)| {
            let mut run = seeds::detail(1, "ollama", "m", 50.0).run;
            change(&mut run);
            machine_of(&run)
        };
        let set = |run: &mut Run, key: &str, value: &str| {
            run.fingerprint.insert(key.into(), value.into());
        };
        let here = key(&|_| {});
        assert_eq!(key(&|run| set(run, "kernel", "7.0")), here);
        assert_eq!(key(&|run| set(run, "memory_bytes", "38654000000")), here);
        for (what, value) in [("machine", "MacBook"), ("chip", "Apple M3"), ("memory_bytes", "68719476736")] {
            assert_ne!(key(&|run| set(run, what, value)), here, "{what}");
        }
        assert_eq!(here.title(), "Mac Studio, Apple M4 Max, 36 GiB");
        assert_eq!(key(&|run| run.fingerprint.clear()).title(), "a machine that was not told");
    }

    #[test]
    fn gpu_load_is_that_of_the_measured_time() {
        let mut detail = seeds::detail(1, "ollama", "m", 50.0);
        assert_eq!(gpu_load_percent(&detail), Some(80.0), "its rest before the first request does not count");
        for trial in &mut detail.trials {
            trial.begun_ms = None;
        }
        assert!(gpu_load_percent(&detail).unwrap() < 80.0, "without instants all of it counts");
        detail.trace = None;
        assert_eq!(gpu_load_percent(&detail), None);
        let two = RunDetail { cards: Some(seeds::cards()), ..seeds::detail(1, "ollama", "m", 50.0) };
        assert!((gpu_load_percent(&two).unwrap() - 97.0).abs() < 1e-9, "that of the busiest card");
    }
}
