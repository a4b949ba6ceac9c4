//! All typical sizes and a few sets of them on one machine, beside what its owner noted before anything was measured.

use super::{Candidate, FitReport, Room, place, report, typical};
use crate::{
    estimate::Wish,
    forecast::Forecast,
    machine::{Ceiling, Machine},
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
    pub fits: bool,
    pub reason: String,
    pub needed_bytes: u64,
    /// Of a single model.
    pub forecast: Option<Forecast>,
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

/// Names of typical models, memory in GB, decode in tok/s from and to.
type Note = (&'static [&'static str], f64, Option<(f64, f64)>);

/// The machine of which the notes are.
const NOTED_CHIP: &str = "Apple M4 Max";

/// Sizes and sets with the memory in GB and the decode rate in tok/s that the owner of the first Mac noted.
#[rustfmt::skip]
const NOTES: &[Note] = &[
    (&["0.5b"], 0.7, Some((300.0, 400.0))),
    (&["1.5b"], 1.5, Some((150.0, 200.0))),
    (&["3b"], 2.5, Some((80.0, 120.0))),
    (&["7b"], 5.0, Some((40.0, 60.0))),
    (&["13b"], 9.0, Some((20.0, 30.0))),
    (&["30b"], 20.0, Some((8.0, 15.0))),
    (&["70b:q2_k"], 30.0, Some((3.0, 6.0))),
    // One server with a small model and the other with a larger one; several at once for routing.
    (&["0.5b", "3b"], 3.0, None),
    (&["0.5b", "3.8b", "7b"], 8.0, None),
];

/// Every size alone, then the sets, on a machine where nothing else takes memory of the ceiling.
pub fn size_table(machine: &Machine, wish: &Wish) -> SizeTable {
    let room = Room::empty(machine.clone());
    let place = place(&Settings::default(), ServerKind::LlamaServer, "", machine);
    let row = |(models, memory_gb, decode_tok_s): &Note| {
        let candidates: Vec<Candidate> = models
            .iter()
            .filter_map(|name| Some(Candidate::typical(name, typical(name)?, *wish, place)))
            .collect();
        let FitReport { fits, reason, needed_bytes, forecast, .. } = report(&candidates, wish, &room);
        SizeRow {
            models: models.join(" + "),
            fits,
            reason,
            needed_bytes,
            forecast: forecast.filter(|_| models.len() == 1),
            noted: (machine.chip == NOTED_CHIP)
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
