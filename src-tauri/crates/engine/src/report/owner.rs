//! The two questions that the owner of the first machine began with, answered by what was measured: how fast each size of
//! model is, and whether Ollama or LM Studio is the better home for one. His own estimates stand beside, marked as such.

mod sizes;
mod text;

pub use sizes::{SizeClass, class_of};
pub use text::text;

use super::figures::{MachineKey, gpu_load_percent, machine_of, peak_bytes, peak_words};
use pilothouse_domain::{
    bench::{
        Run, RunDetail, Summary,
        comparison::{NoiseFloor, compare},
        stats,
        stats::Interval,
    },
    fit::{Noted, noted_sizes},
    switch::{SwitchOutcome, SwitchReport},
    units::short,
};
use serde::{Deserialize, Serialize};
use sizes::CLASSES;
use ts_rs::TS;

/// One cell: what was measured, or how it could be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OwnerCell {
    /// Of a figure over requests the median. `None`: not measured.
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What `low` and `high` are.
    pub interval: Option<Interval>,
    /// Where it was measured.
    pub run_id: Option<i64>,
    /// As people read it; "not measured" where it was not.
    pub words: String,
    /// The command that would measure it.
    pub measure: Option<String>,
}

/// One size of model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OwnerSize {
    /// "7B".
    pub size: String,
    /// The model that was measured, with its server.
    pub model: Option<String>,
    pub memory_bytes: OwnerCell,
    pub decode_tok_s: OwnerCell,
    /// Requests at a time that a sweep found best.
    pub at_a_time: OwnerCell,
    /// The owner's estimates: memory in GB, decode from and to, copies in memory at a time.
    pub noted_memory_gb: f64,
    pub noted_decode_tok_s: Option<(f64, f64)>,
    pub noted_copies: String,
}

/// One row of Ollama against LM Studio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OwnerMetric {
    pub metric: String,
    pub ollama: OwnerCell,
    pub lmstudio: OwnerCell,
    /// LM Studio against Ollama, as a ratio; only of runs that were measured in turns.
    pub difference: OwnerCell,
    /// The owner's estimates.
    pub noted_ollama: String,
    pub noted_lmstudio: String,
    pub noted_difference: String,
}

/// Both tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OwnerTables {
    /// The machine of the figures.
    pub machine: String,
    pub sizes: Vec<OwnerSize>,
    pub servers: Vec<OwnerMetric>,
}

/// What of the history the tables are filled from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// Done runs, in any order.
    pub runs: Vec<RunDetail>,
    pub switches: Vec<SwitchReport>,
}

const OLLAMA: &str = "ollama";
const LM_STUDIO: &str = "lmstudio";

/// Fills the tables from the runs of one machine.
pub fn tables(past: &Past, machine: &MachineKey, noise: &NoiseFloor) -> OwnerTables {
    let mut runs: Vec<&RunDetail> =
        past.runs.iter().filter(|detail| machine_of(&detail.run) == *machine).collect();
    runs.sort_by_key(|detail| std::cmp::Reverse(detail.run.started_at));
    OwnerTables {
        machine: machine.title(),
        sizes: CLASSES.iter().map(|class| size_row(class, &runs)).collect(),
        servers: server_rows(&runs, &past.switches, noise),
    }
}

fn size_row(class: &SizeClass, runs: &[&RunDetail]) -> OwnerSize {
    let of_class: Vec<&RunDetail> = runs.iter().copied().filter(|detail| class.holds(&detail.run)).collect();
    // The newest that has a rate; memory and rate of one line are of one run.
    let best = of_class.iter().copied().find(|detail| detail.run.decode_tok_s.is_some());
    let bench = format!("pilothouse bench {}", class.usual);
    let noted = noted_sizes().find(|(size, _)| *size == class.noted_as).map(|(_, noted)| noted);
    let noted = noted.unwrap_or(Noted { memory_gb: class.noted_gb, decode_tok_s: None });
    OwnerSize {
        size: class.title.into(),
        model: best
            .map(|detail| super::markdown::model_words(&detail.run) + " on " + detail.run.server.as_str()),
        memory_bytes: memory_cell(best, &bench),
        decode_tok_s: rate_cell(best, &bench),
        at_a_time: at_a_time_cell(&of_class, class.usual),
        noted_memory_gb: noted.memory_gb,
        noted_decode_tok_s: noted.decode_tok_s,
        noted_copies: class.noted_copies.into(),
    }
}

fn at_a_time_cell(runs: &[&RunDetail], usual: &str) -> OwnerCell {
    let sweep = format!("pilothouse sweep {usual}");
    let newest = runs.iter().find_map(|detail| Some((detail.run.run_id, detail.run.sweep.as_ref()?)));
    match newest {
        Some((run_id, sweep)) if sweep.best.is_some() => {
            let best = sweep.best.unwrap_or_default();
            OwnerCell::measured(f64::from(best), format!("{best} at a time, run {run_id}"), run_id)
        }
        Some((run_id, _)) => OwnerCell {
            run_id: Some(run_id),
            ..OwnerCell::not("no number of requests gave first tokens in time", Some(sweep))
        },
        None => OwnerCell::not_measured(sweep),
    }
}

impl OwnerCell {
    fn measured(value: f64, words: String, run_id: i64) -> Self {
        Self { value: Some(value), run_id: Some(run_id), words, ..Self::not("", None) }
    }

    fn not_measured(measure: impl Into<String>) -> Self {
        Self::not("not measured", Some(measure.into()))
    }

    fn not(words: impl Into<String>, measure: Option<String>) -> Self {
        Self {
            value: None,
            low: None,
            high: None,
            interval: None,
            run_id: None,
            words: words.into(),
            measure,
        }
    }
}

fn rate_cell(detail: Option<&RunDetail>, bench: &str) -> OwnerCell {
    let found = detail.and_then(|detail| Some((detail.run.run_id, detail.run.decode_tok_s.as_ref()?)));
    match found {
        Some((run_id, summary)) => summary_cell(summary, run_id),
        None => OwnerCell::not_measured(bench),
    }
}

fn summary_cell(summary: &Summary, run_id: i64) -> OwnerCell {
    let words = format!("{}, run {run_id}", super::spread(Some(summary)));
    OwnerCell {
        low: Some(summary.low),
        high: Some(summary.high),
        interval: Some(summary.interval),
        ..OwnerCell::measured(summary.median, words, run_id)
    }
}

fn memory_cell(detail: Option<&RunDetail>, bench: &str) -> OwnerCell {
    let found =
        detail.and_then(|detail| Some((&detail.run, peak_bytes(&detail.run)?, peak_words(&detail.run)?)));
    match found {
        Some((run, bytes, words)) => {
            OwnerCell::measured(bytes as f64, format!("{words}, run {}", run.run_id), run.run_id)
        }
        None => OwnerCell::not_measured(bench),
    }
}

/// Both sides of one size: runs in turns where there are any, else the newest of each server.
struct Sides<'a> {
    ollama: Option<&'a RunDetail>,
    lmstudio: Option<&'a RunDetail>,
    in_turns: bool,
    /// What would measure them.
    bench: [String; 3],
}

fn sides<'a>(class: &SizeClass, runs: &[&'a RunDetail]) -> Sides<'a> {
    let of = |server: &str| {
        let server = server.to_owned();
        let fits = move |detail: &&&'a RunDetail| {
            detail.run.server.as_str() == server
                && class.holds(&detail.run)
                && detail.run.decode_tok_s.is_some()
        };
        runs.iter().filter(fits).copied().collect::<Vec<_>>()
    };
    let (ollamas, studios) = (of(OLLAMA), of(LM_STUDIO));
    let are_pair = |a: &Run, b: &Run| a.against == Some(b.run_id) || b.against == Some(a.run_id);
    let pair =
        ollamas.iter().find_map(|a| studios.iter().find(|b| are_pair(&a.run, &b.run)).map(|b| (*a, *b)));
    let (ollama, lmstudio) = match pair {
        Some((a, b)) => (Some(a), Some(b)),
        None => (ollamas.first().copied(), studios.first().copied()),
    };
    let name = |side: Option<&RunDetail>, usual: &str| {
        side.map_or_else(|| usual.to_owned(), |detail| detail.run.model.clone())
    };
    let (a, b) = (name(ollama, class.usual), name(lmstudio, class.usual_lmstudio));
    Sides {
        ollama,
        lmstudio,
        in_turns: pair.is_some(),
        bench: [
            format!("pilothouse bench {a} --server {OLLAMA}"),
            format!("pilothouse bench {b} --server {LM_STUDIO}"),
            format!("pilothouse bench {OLLAMA}/{a} --against {LM_STUDIO}/{b}"),
        ],
    }
}

fn server_rows(runs: &[&RunDetail], switches: &[SwitchReport], noise: &NoiseFloor) -> Vec<OwnerMetric> {
    let class = |title: &str| CLASSES.iter().find(|class| class.title == title).unwrap_or(&CLASSES[0]);
    let row = |metric: String, cells: [OwnerCell; 3], noted: [&str; 3]| {
        let [ollama, lmstudio, difference] = cells;
        let [noted_ollama, noted_lmstudio, noted_difference] = noted.map(str::to_owned);
        OwnerMetric { metric, ollama, lmstudio, difference, noted_ollama, noted_lmstudio, noted_difference }
    };
    let mut rows = Vec::new();
    for (size, noted) in [
        ("0.5B", ["700 MB", "600 MB", "−15 %"]),
        ("3B", ["2.5 GB", "2.0 GB", "−20 %"]),
        ("7B", ["5.0 GB", "4.0 GB", "−20 %"]),
    ] {
        let sides = sides(class(size), runs);
        let cells = [
            memory_cell(sides.ollama, &sides.bench[0]),
            memory_cell(sides.lmstudio, &sides.bench[1]),
            difference_cell(&sides, "memory_bytes", noise),
        ];
        rows.push(row(format!("{size} memory"), cells, noted));
    }
    for (size, noted) in [("0.5B", ["300", "350", "+15 %"]), ("7B", ["50", "60", "+20 %"])] {
        let sides = sides(class(size), runs);
        let cells = [
            rate_cell(sides.ollama, &sides.bench[0]),
            rate_cell(sides.lmstudio, &sides.bench[1]),
            difference_cell(&sides, "decode_tok_s", noise),
        ];
        rows.push(row(format!("tok/s {size}"), cells, noted));
    }
    // The notes name no size here; the largest that both of them ran says the most.
    let both = ["7B", "3B", "0.5B"].into_iter().map(class).find(|class| {
        let sides = sides(class, runs);
        sides.ollama.is_some() && sides.lmstudio.is_some()
    });
    let chosen = both.unwrap_or_else(|| class("7B"));
    let sides = sides(chosen, runs);
    let gpu = [gpu_cell(sides.ollama, &sides.bench[0]), gpu_cell(sides.lmstudio, &sides.bench[1])];
    let difference = points_cell(&gpu);
    let [ollama, lmstudio] = gpu;
    let metric = format!("GPU utilisation, {}", chosen.title);
    rows.push(row(metric, [ollama, lmstudio, difference], ["60–70 %", "80–90 %", ""]));
    rows.push(row(
        format!("start-up: load of {}", chosen.title),
        load_cells(&sides, switches),
        ["2 s", "1 s", ""],
    ));
    rows
}

/// LM Studio against Ollama. Only what was measured in turns may be divided: drift and load hit both sides then.
fn difference_cell(sides: &Sides<'_>, name: &str, noise: &NoiseFloor) -> OwnerCell {
    let in_turns = sides.bench[2].clone();
    let (Some(ollama), Some(lmstudio), true) = (sides.ollama, sides.lmstudio, sides.in_turns) else {
        let both = sides.ollama.is_some() && sides.lmstudio.is_some();
        let words = if both { "not measured in turns" } else { "not measured" };
        return OwnerCell::not(words, Some(in_turns));
    };
    let comparison = compare(ollama, lmstudio, noise.clone());
    let found = comparison.metrics.iter().find(|metric| metric.name == name);
    match found.map(|metric| (metric.ratio, metric.reason.clone())) {
        Some((Some(ratio), _)) => {
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            let (median, low, high) = (percent(ratio.median), percent(ratio.low), percent(ratio.high));
            // One value a side has none.
            let known = ratio.low < ratio.high;
            let words = match known {
                true => format!("{median:+.0} % ({low:+.0} to {high:+.0})"),
                false => format!("{median:+.0} %, no interval"),
            };
            let words = words.replace('-', "−");
            OwnerCell {
                low: known.then_some(ratio.low),
                high: known.then_some(ratio.high),
                interval: known.then_some(Interval::Confidence95),
                ..OwnerCell::measured(ratio.median, words, lmstudio.run.run_id)
            }
        }
        Some((None, Some(why))) => OwnerCell::not(format!("not comparable: {why}"), None),
        _ => OwnerCell::not("not comparable", None),
    }
}

fn gpu_cell(detail: Option<&RunDetail>, bench: &str) -> OwnerCell {
    match detail.map(|detail| (detail.run.run_id, gpu_load_percent(detail))) {
        Some((run_id, Some(load))) => {
            OwnerCell::measured(load, format!("{load:.0} %, mean of run {run_id}"), run_id)
        }
        Some((run_id, None)) => OwnerCell {
            run_id: Some(run_id),
            ..OwnerCell::not(format!("no GPU told its load in run {run_id}"), Some(bench.to_owned()))
        },
        None => OwnerCell::not_measured(bench),
    }
}

/// How many points of a per cent lie between both.
fn points_cell(cells: &[OwnerCell; 2]) -> OwnerCell {
    match (cells[0].value, cells[1].value) {
        (Some(a), Some(b)) => OwnerCell {
            value: Some(b - a),
            ..OwnerCell::not(format!("{:+.0} points, no interval", b - a).replace('-', "−"), None)
        },
        _ => OwnerCell::not("not measured", None),
    }
}

/// Loads that switches have timed, the models being those of the sides.
fn load_cells(sides: &Sides<'_>, switches: &[SwitchReport]) -> [OwnerCell; 3] {
    let cell = |side: Option<&RunDetail>, bench: &str| {
        let Some(detail) = side else { return OwnerCell::not_measured(bench) };
        let run = &detail.run;
        let loads: Vec<f64> = switches
            .iter()
            .filter(|switch| switch.outcome == SwitchOutcome::Committed && !switch.dry_run)
            .filter(|switch| switch.to.server == run.server && switch.to.model == run.model)
            .filter_map(|switch| switch.load_ms)
            .map(|ms| ms as f64 / 1000.0)
            .collect();
        match stats::summarize(&loads, "client") {
            Some(summary) => {
                let words = format!("{} s, {} switches", super::spread(Some(&summary)), summary.n);
                let words =
                    if summary.n == 1 { format!("{} s, one switch", short(summary.median)) } else { words };
                OwnerCell {
                    value: Some(summary.median),
                    low: Some(summary.low),
                    high: Some(summary.high),
                    interval: Some(summary.interval),
                    ..OwnerCell::not(words, None)
                }
            }
            None => {
                OwnerCell::not_measured(format!("pilothouse switch {} --server {}", run.model, run.server))
            }
        }
    };
    let (ollama, lmstudio) = (cell(sides.ollama, &sides.bench[0]), cell(sides.lmstudio, &sides.bench[1]));
    let difference = match (ollama.value, lmstudio.value) {
        (Some(a), Some(b)) => OwnerCell {
            value: Some(b - a),
            ..OwnerCell::not(format!("{:+.1} s, no interval", b - a).replace('-', "−"), None)
        },
        _ => OwnerCell::not("not measured", None),
    };
    [ollama, lmstudio, difference]
}

#[cfg(test)]
mod tests;
