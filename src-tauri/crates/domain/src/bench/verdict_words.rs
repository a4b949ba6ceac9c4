//! A comparison in words.

use super::{
    compared::{ComparedMetric, DECODE, Verdict},
    matching::Matching,
    metrics,
    quiet::Disturbance,
    run::Run,
    words::{figure, percent, upper_first},
};

/// What the sides are called where nothing tells them apart.
const FIRST: &str = "the first measurement";
const SECOND: &str = "the second measurement";

/// What both sides are called: by what differs between them.
fn names(a: &Run, b: &Run, matching: &Matching) -> (String, String) {
    let servers_differ = a.server != b.server;
    // The same weights have another name on each server; that is no other model.
    let models_differ = a.model != b.model && (!servers_differ || matching.weights.is_some());
    let name = |run: &Run| match (servers_differ, models_differ) {
        (true, false) => run.server.to_string(),
        (false, true) => run.model.clone(),
        _ => format!("{} on {}", run.model, run.server),
    };
    let versions = a.server_version.as_ref().zip(b.server_version.as_ref()).filter(|(a, b)| a != b);
    match (servers_differ || models_differ, versions) {
        (true, _) => (name(a), name(b)),
        (false, Some((of_a, of_b))) => (format!("{} {of_a}", a.server), format!("{} {of_b}", b.server)),
        (false, None) => (FIRST.into(), SECOND.into()),
    }
}

/// The verdict in one sentence: of decode where that is known, then of the first token where only that differs, and what
/// speaks against it.
pub(super) fn sentence(
    a: &Run,
    b: &Run,
    metrics: &[ComparedMetric],
    matching: &Matching,
    disturbed: &[Disturbance],
) -> String {
    let names = names(a, b, matching);
    let timed = || metrics.iter().filter(|metric| metrics::is_timed(&metric.name));
    let judged = |metric: &&ComparedMetric| metric.verdict != Verdict::NotComparable;
    let Some(leading) = timed().find(judged) else {
        return refused(matching, metrics);
    };
    let mut sentence = match leading.verdict {
        Verdict::NoDifference => no_difference(leading, &names),
        _ => winner(leading, &names),
    };
    if leading.name != DECODE
        && let Some(decode) = timed().find(|metric| metric.name == DECODE)
    {
        let reason = decode.reason.as_deref().map(lower_first).unwrap_or_default();
        sentence = format!("{sentence}; decode is not comparable: {reason}");
    }
    if leading.verdict == Verdict::NoDifference {
        let differs =
            |metric: &&ComparedMetric| matches!(metric.verdict, Verdict::AFaster | Verdict::BFaster);
        // The time to the first token says it more plainly than the rate that is computed from it.
        let other = timed()
            .find(|metric| metric.name == "ttft_ms" && differs(metric))
            .or_else(|| timed().find(differs));
        if let Some(other) = other {
            sentence = format!("{sentence}; {}", winner(other, &names));
        }
    }
    if let Some(weights) = &matching.weights {
        sentence = format!("{sentence}; {weights}");
    }
    if !disturbed.is_empty() {
        sentence = format!("{sentence}; the machine was not quiet: {}", disturbers(disturbed));
    }
    // Ids and names of models keep their first letter.
    let by_name = leading.verdict != Verdict::NoDifference
        && ![FIRST, SECOND].iter().any(|name| sentence.starts_with(name));
    if by_name { sentence } else { upper_first(&sentence) }
}

fn refused(matching: &Matching, metrics: &[ComparedMetric]) -> String {
    let of_decode =
        || metrics.iter().find(|metric| metric.name == DECODE)?.reason.as_deref().map(lower_first);
    let reason = matching.refusal.clone().or_else(of_decode).unwrap_or_else(|| "nothing was measured".into());
    format!("Not comparable, because {}", because(&reason))
}

/// A reason as the rest of a sentence.
fn because(reason: &str) -> String {
    match reason.strip_prefix("too few for an interval: ") {
        Some(rest) => format!("there are too few for an interval: {rest}"),
        None => reason.into(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// "decode", "first token", as a noun.
fn noun(name: &str) -> &str {
    match name {
        "prefill_tok_s" => "prefill",
        "ttft_ms" => "time to the first token",
        metrics::E2E => "time of the whole request",
        _ => "decode",
    }
}

fn no_difference(metric: &ComparedMetric, (a, b): &(String, String)) -> String {
    let hidden = metric.ratio.map(|ratio| (ratio.low - 1.0).abs().max((ratio.high - 1.0).abs()));
    let hidden = hidden.map(|hidden| format!("; up to {} could hide", percent(hidden))).unwrap_or_default();
    let noun = noun(&metric.name);
    format!("no difference in {noun} found between {a} and {b}{hidden}")
}

/// "lmstudio decodes 17 % faster than ollama (15 to 19 %)".
fn winner(metric: &ComparedMetric, (a, b): &(String, String)) -> String {
    let Some(ratio) = metric.ratio else { return String::new() };
    let b_wins = metric.verdict == Verdict::BFaster;
    let (winner, loser) = if b_wins { (b, a) } else { (a, b) };
    // Winner by loser.
    let (low, middle, high) = if b_wins {
        (ratio.low, ratio.median, ratio.high)
    } else {
        (1.0 / ratio.high, 1.0 / ratio.median, 1.0 / ratio.low)
    };
    let (low, middle, high) = match metrics::higher_is_better(&metric.name) {
        true => (low - 1.0, middle - 1.0, high - 1.0),
        false => (1.0 - high, 1.0 - middle, 1.0 - low),
    };
    let verb = match metric.name.as_str() {
        DECODE => ("decodes", "faster"),
        "prefill_tok_s" => ("reads prompts", "faster"),
        "ttft_ms" => ("gives its first token", "sooner"),
        _ => ("ends its answer", "sooner"),
    };
    let (does, how) = verb;
    format!("{winner} {does} {} {how} than {loser} ({} to {} %)", percent(middle), figure(low), figure(high))
}

/// Who disturbed, the strongest first; at most two by name.
fn disturbers(disturbed: &[Disturbance]) -> String {
    let mut all: Vec<&Disturbance> = disturbed.iter().collect();
    all.sort_by(|x, y| y.percent.unwrap_or(0.0).total_cmp(&x.percent.unwrap_or(0.0)));
    let named: Vec<&str> = all.iter().take(2).map(|one| one.name.as_str()).collect();
    match all.len() - named.len() {
        0 => named.join(" and "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
