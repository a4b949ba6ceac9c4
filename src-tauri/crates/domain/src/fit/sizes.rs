//! All typical sizes and a few sets of them on one machine, beside what its owner noted before anything was measured.

use super::{Candidate, FitReport, Room, place, report, typical};
use crate::{
    estimate::Wish,
    forecast::Forecast,
    machine::{Ceiling, Machine, MemoryKind},
    server::ServerKind,
    settings::Settings,
};
use serde::{Deserialize, Serialize};

/// What an owner's notes say; guesses, to be held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    pub memory_gb: f64,
    /// Decode, from and to; `None`: nothing noted.
    pub decode_tok_s: Option<(f64, f64)>,
}

/// One size or set of sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeRow {
    /// "7b", "0.5b + 3.8b + 7b".
    pub models: String,
    /// What the set is for; `None`: a size alone.
    #[serde(default)]
    pub scenario: Option<String>,
    pub fits: bool,
    pub reason: String,
    pub needed_bytes: u64,
    /// Of a single model.
    pub forecast: Option<Forecast>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast_absent: Option<String>,
    /// `None`: the notes are of another machine.
    pub noted: Option<Noted>,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SizeTable {
    pub machine: String,
    pub ceiling: Ceiling,
    /// Tokens per request.
    pub context: u64,
    pub rows: Vec<SizeRow>,
}

/// What the set is for, names of typical models, memory in GB, decode in tok/s from and to.
type Note = (Option<&'static str>, &'static [&'static str], f64, Option<(f64, f64)>);

/// The machine of which the notes are.
const NOTED: (&str, u64) = ("Apple M4 Max", 36 << 30);
/// What the owner counts for the system (3 GB) and Docker (2 GB) beside a scenario.
const BESIDE_A_SCENARIO: u64 = 5_000_000_000;

/// Sizes and sets with the memory in GB and the decode rate in tok/s that the owner of the first Mac noted.
#[rustfmt::skip]
const NOTES: &[Note] = &[
    (None, &["0.5b"], 0.7, Some((300.0, 400.0))),
    (None, &["1.5b"], 1.5, Some((150.0, 200.0))),
    (None, &["3b"], 2.5, Some((80.0, 120.0))),
    (None, &["7b"], 5.0, Some((40.0, 60.0))),
    (None, &["13b"], 9.0, Some((20.0, 30.0))),
    (None, &["30b"], 20.0, Some((8.0, 15.0))),
    (None, &["70b:q2_k"], 30.0, Some((3.0, 6.0))),
    (Some("LM Studio, small"), &["0.5b"], 1.0, None),
    (Some("LM Studio"), &["3b"], 2.5, None),
    (Some("both servers"), &["0.5b", "3b"], 3.0, None),
    (Some("routing"), &["0.5b", "3.8b", "7b"], 8.0, None),
];

/// What the owner of the first Mac noted of each size alone, by the size's name ("7b", "70b:q2_k").
pub fn noted_sizes() -> impl Iterator<Item = (&'static str, Noted)> {
    NOTES.iter().filter_map(|(scenario, models, memory_gb, decode_tok_s)| match (scenario, models) {
        (None, [size]) => Some((*size, Noted { memory_gb: *memory_gb, decode_tok_s: *decode_tok_s })),
        _ => None,
    })
}

/// Every size alone, on a machine where nothing else takes memory of the ceiling; then the scenarios, beside system and Docker.
pub fn size_table(machine: &Machine, wish: &Wish) -> SizeTable {
    let empty = Room::empty(machine.clone());
    let left = machine.memory_bytes.saturating_sub(BESIDE_A_SCENARIO);
    // On a card of its own they take nothing of it.
    let used_bytes = match machine.memory_kind {
        MemoryKind::Unified => empty.ceiling.bytes.saturating_sub(left),
        MemoryKind::Separate if empty.ceiling.on_gpu => 0,
        MemoryKind::Separate => BESIDE_A_SCENARIO,
    };
    let beside = Room { used_bytes, ..empty.clone() };
    let place = place(&Settings::default(), ServerKind::LlamaServer, "", machine, false);
    let row = |(scenario, models, memory_gb, decode_tok_s): &Note| {
        let candidates: Vec<Candidate> = models
            .iter()
            .filter_map(|name| Some(Candidate::typical(name, typical(name)?, *wish, place)))
            .collect();
        let room = if scenario.is_some() { &beside } else { &empty };
        let FitReport { fits, reason, needed_bytes, forecast, forecast_absent, .. } =
            report(&candidates, wish, room);
        let alone = models.len() == 1;
        SizeRow {
            models: models.join(" + "),
            scenario: scenario.map(str::to_owned),
            fits,
            reason,
            needed_bytes,
            forecast: forecast.filter(|_| alone),
            forecast_absent: if alone { forecast_absent } else { Some("of a single model only".into()) },
            noted: ((machine.chip.as_str(), machine.memory_bytes) == NOTED)
                .then_some(Noted { memory_gb: *memory_gb, decode_tok_s: *decode_tok_s }),
        }
    };
    SizeTable {
        machine: machine.model.clone().unwrap_or_else(|| machine.chip.clone()),
        ceiling: machine.ceiling(),
        context: wish.context,
        rows: NOTES.iter().map(row).collect(),
    }
}
