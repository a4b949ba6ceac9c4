//! What runs of the plans load and copies say, as text.

use crate::{history::figure, output::table};
use pilothouse_domain::{
    bench::{
        copies::{Copies, CopiesPoint},
        load::{LoadSummary, Loads},
    },
    units::gigabytes,
};

fn one(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".into(), |figure| format!("{figure:.1}"))
}

pub fn loads(loads: &Loads) -> String {
    let header = ["COLD", "LOADS", "LOAD s", "FIRST TOKEN ms", "NEXT TOKEN ms", "GB/s"];
    let row = |kind: &LoadSummary| {
        vec![
            kind.from.words().to_owned(),
            kind.loads.to_string(),
            figure(kind.load_s.as_ref()),
            figure(kind.ttft_cold_ms.as_ref()),
            figure(kind.ttft_warm_ms.as_ref()),
            kind.bytes_s.map_or_else(|| "–".into(), |bytes| format!("{:.2}", bytes / 1e9)),
        ]
    };
    let mut text = table(&header, loads.kinds.iter().map(row).collect());
    if let Some(why) = &loads.disk_absent {
        text += &format!("\nnot measured from disk: {why}");
    }
    for (number, trial) in loads.trials.iter().enumerate() {
        if let Some(flaw) = &trial.flaw {
            text += &format!("\nload {} does not count: {flaw}", number + 1);
        }
    }
    text
}

pub fn copies(copies: &Copies) -> String {
    let header = ["COPIES", "ALL tok/s", "EACH tok/s", "FIRST TOKEN ms", "95 %", "MEMORY", "FAILED"];
    let row = |point: &CopiesPoint| {
        vec![
            point.copies.to_string(),
            one(point.out_tok_s),
            one(point.decode_tok_s),
            one(point.ttft_ms.map(|ttft| ttft.median)),
            one(point.ttft_ms.map(|ttft| ttft.p95)),
            point.memory_bytes.map_or_else(|| "–".into(), gigabytes),
            point.failed.to_string(),
        ]
    };
    let table = table(&header, copies.points.iter().map(row).collect());
    match &copies.stopped {
        Some(why) => format!("{table}\n{why}"),
        None => table,
    }
}
