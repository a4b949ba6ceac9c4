use crate::{
    document,
    output::{Output, known, table},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::bench::{
    Comparison, Disturbance, Verdict,
    comparison::{ComparedMetric, Ratio},
    quiet::in_words,
};
use pilothouse_engine::api::{ApiError, Call, Reply};

#[derive(Args)]
pub struct Compare {
    /// Number of the first run; `pilothouse history` lists them.
    a: i64,
    b: i64,
}

pub async fn run(arguments: Compare, output: &Output) -> Result<u8, ApiError> {
    let reply = Session::connect()?.call(Call::Compare { a: arguments.a, b: arguments.b }).await?;
    let Reply::Comparison { comparison } = reply else {
        return Err(unexpected(&reply));
    };
    output.answer(document::comparison(&comparison), || text(&comparison));
    Ok(0)
}

/// The verdict, the figures of both sides, and what they do not have in common.
pub fn text(comparison: &Comparison) -> String {
    let Comparison { a, b, .. } = comparison;
    let header = ["", "A", "B", "B AGAINST A", "VERDICT"];
    let rows = comparison.metrics.iter().map(row).collect();
    let mut lines = vec![
        comparison.sentence.clone(),
        String::new(),
        format!("A: {} on {}, run {}, {} trials", a.model, a.server, a.run_id, a.trials),
        format!("B: {} on {}, run {}, {} trials", b.model, b.server, b.run_id, b.trials),
        table(&header, rows),
    ];
    let metric = comparison.metrics.iter();
    lines.extend(
        metric.filter_map(|metric| Some(format!("{}: {}", title(&metric.name), metric.reason.as_ref()?))),
    );
    let unmatched = comparison.unmatched.iter();
    lines.extend(
        unmatched.map(|one| format!("not the same {}: {} and {}; {}", one.what, one.a, one.b, one.meaning)),
    );
    lines.extend(disturbed(&comparison.disturbed));
    lines.join("\n")
}

/// Who disturbed, in a line; `None`: nobody.
pub fn disturbed(disturbed: &[Disturbance]) -> Option<String> {
    let names: Vec<String> = disturbed.iter().take(3).map(in_words).collect();
    (!names.is_empty()).then(|| format!("disturbed: {}", names.join(", ")))
}

fn title(name: &str) -> &str {
    match name {
        "decode_tok_s" => "decode tok/s",
        "prefill_tok_s" => "prefill tok/s",
        "ttft_ms" => "first token ms",
        "e2e_ms" => "whole answer ms",
        "memory_bytes" => "memory GB",
        "energy_j_per_token" => "energy J/token",
        other => other,
    }
}

fn row(metric: &ComparedMetric) -> Vec<String> {
    let scale = if metric.name == "memory_bytes" { 1e-9 } else { 1.0 };
    let figure = |value: Option<f64>| known(value.map(|value| value * scale));
    vec![
        title(&metric.name).to_owned(),
        figure(metric.a),
        figure(metric.b),
        metric.ratio.as_ref().map_or_else(|| "–".into(), percent),
        verdict(metric.verdict).to_owned(),
    ]
}

/// "+17 % (15 to 19)".
fn percent(ratio: &Ratio) -> String {
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    format!("{:+.1} % ({:+.1} to {:+.1})", percent(ratio.median), percent(ratio.low), percent(ratio.high))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::AFaster => "A is better",
        Verdict::BFaster => "B is better",
        Verdict::NoDifference => "no difference found",
        Verdict::NotComparable => "not comparable",
    }
}
