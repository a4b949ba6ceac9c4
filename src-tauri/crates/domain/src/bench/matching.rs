//! In what two runs differ besides what is compared, and which of it forbids a verdict.

use super::{
    compared::Unmatched,
    run::{Fingerprint, Run, RunDetail},
    stats,
    trial::Trial,
};
use crate::units::gigabytes;

/// What nobody told.
const UNKNOWN: &str = "not reported";
/// Token counts and sizes that differ by no more are taken for equal.
const EQUAL: f64 = 0.01;

/// What a difference does to the verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Rates, times and energy say nothing of each other.
    Refuses,
    /// It is named.
    Qualifies,
    /// It says what the server is, which is compared: named only where both sides are the same server.
    OfServer,
}

/// Keys of the fingerprint, in words, and what a difference in them means. Those that are missing here and in [`ELSEWHERE`]
/// are named as they are.
const KEYS: [(&str, &str, Weight, &str); 29] = {
    use Weight::{OfServer, Qualifies, Refuses};
    const OTHER_MACHINE: &str = "another machine: rates and times say nothing of the servers";
    const SETTINGS: &str = "another setting, which changes speed by itself";
    [
        (
            "metrics_version",
            "formulas",
            Refuses,
            "figures by other formulas cannot be held against each other",
        ),
        ("machine", "machine", Refuses, OTHER_MACHINE),
        ("chip", "chip", Refuses, OTHER_MACHINE),
        ("architecture", "architecture", Refuses, OTHER_MACHINE),
        ("gpus", "graphics cards", Refuses, OTHER_MACHINE),
        ("cpu_cores", "cores", Refuses, OTHER_MACHINE),
        ("performance_cores", "performance cores", Refuses, OTHER_MACHINE),
        ("efficiency_cores", "efficiency cores", Refuses, OTHER_MACHINE),
        ("memory_kind", "kind of memory", Refuses, OTHER_MACHINE),
        (
            "memory_bytes",
            "memory of the machine",
            Qualifies,
            "more memory leaves more room for weights and cache",
        ),
        (
            "computes_on",
            "computes on",
            Qualifies,
            "one has layers on the processor, which is slower than a card",
        ),
        ("context", "context", Qualifies, "the larger context keeps more memory for its cache"),
        (
            "parallel",
            "requests at a time",
            Qualifies,
            "more slots keep more memory, or leave less context to each",
        ),
        (
            "kv_type",
            "cache type",
            Qualifies,
            "a smaller cache type takes less memory and reads less for each token",
        ),
        ("flash_attention", "flash attention", Qualifies, SETTINGS),
        ("gpu_layers", "layers on the card", Qualifies, "layers on the processor are slower than on a card"),
        ("batch", "batch", Qualifies, "larger batches read prompts faster and take more memory"),
        (
            "draft_model",
            "draft model",
            Qualifies,
            "a draft model guesses tokens ahead, so its rate hangs on the text",
        ),
        ("template", "chat template", Qualifies, "another template makes other prompts of the same words"),
        ("power_source", "power source", Qualifies, "on battery a machine may hold its clock down"),
        ("power_mode", "power mode", Qualifies, "another power mode allows another clock"),
        ("server_version", "server version", OfServer, "the difference may come from the server's update"),
        (
            "engine_build",
            "engine build",
            OfServer,
            "the difference may come from another build of the engine",
        ),
        (
            "server_ownership",
            "started by",
            OfServer,
            "Pilothouse starts a server with its own settings, others with theirs",
        ),
        ("pilothouse", "Pilothouse version", Qualifies, "another version may measure in another way"),
        ("os", "system", Qualifies, "an update of the system may change speed by itself"),
        ("kernel", "kernel", Qualifies, "an update of the system may change speed by itself"),
        ("gpu_driver", "graphics driver", Qualifies, "another driver may change speed by itself"),
        (
            "other_instances",
            "other models in memory",
            Qualifies,
            "other models take memory, and cores where they work",
        ),
    ]
};

/// Keys that are told in the row of the weights, or say what is compared, or follow from others.
const ELSEWHERE: [&str; 9] = [
    // Servers round it as they like ("135M", "134.52M").
    "parameters",
    "server",
    "model",
    "format",
    "quantization",
    "size_bytes",
    "bits_per_weight",
    "weights_digest",
    "bandwidth_gb_s",
];

/// What differs, and what may not be concluded for it.
#[derive(Debug, Default)]
pub(super) struct Matching {
    pub unmatched: Vec<Unmatched>,
    /// Why no rate, time or energy may be judged.
    pub refusal: Option<String>,
    /// Why the time of the whole request may not be judged.
    pub e2e_refusal: Option<String>,
    /// In one sentence: "not the same weights: …".
    pub weights: Option<String>,
}

impl Matching {
    fn add(&mut self, what: &str, a: impl Into<String>, b: impl Into<String>, meaning: &str) {
        let (a, b, meaning) = (a.into(), b.into(), meaning.to_owned());
        self.unmatched.push(Unmatched { what: what.into(), a, b, meaning });
    }

    fn refuse(&mut self, reason: String) {
        self.refusal.get_or_insert(reason);
    }
}

/// Holds everything but the figures of two runs against each other. `decode`: B's decode rate by A's, where it is known.
pub(super) fn matching(a: &RunDetail, b: &RunDetail, decode: Option<f64>) -> Matching {
    let mut found = Matching::default();
    if a.run.run_id == b.run.run_id {
        found.refuse("it is the same run twice".into());
    }
    lengths(&mut found, &a.run, &b.run);
    course(&mut found, &a.run, &b.run);
    weights(&mut found, &a.run, &b.run, decode);
    settings(&mut found, &a.run, &b.run);
    tokens(&mut found, &a.trials, &b.trials);
    found
}

fn lengths(found: &mut Matching, a: &Run, b: &Run) {
    for (what, of_a, of_b) in [
        ("prompt length", a.plan.prompt_words, b.plan.prompt_words),
        ("answer length", a.plan.max_tokens, b.plan.max_tokens),
    ] {
        if of_a != of_b {
            let meaning = "rates and times of other lengths say nothing of each other";
            let unit = if what == "prompt length" { "words" } else { "tokens" };
            found.add(what, format!("{of_a} {unit}"), format!("{of_b} {unit}"), meaning);
            found.refuse(format!("the runs asked for another {what} ({of_a} and {of_b} {unit})"));
        }
    }
}

/// Requests that come by another plan, turns of other conversations or other prompts say nothing of each other either.
fn course(found: &mut Matching, a: &Run, b: &Run) {
    let rate = |run: &Run| run.plan.arrivals.as_ref().map(|one| format!("{} by the second", one.rate_per_s));
    let turns = |run: &Run| run.plan.turns.map(|turns| format!("conversations of {turns} turns"));
    let prompts = |run: &Run| {
        let source = run.plan.replay.as_ref()?;
        let digest: String = source.digest.chars().take(8).collect();
        Some(format!("{} prompts of the file {digest}", source.prompts))
    };
    for (what, of) in [
        ("rate of requests", &rate as &dyn Fn(&Run) -> Option<String>),
        ("conversations", &turns),
        ("prompts", &prompts),
    ] {
        let (of_a, of_b) = (of(a), of(b));
        if of_a != of_b {
            let word = |of: Option<String>| of.unwrap_or_else(|| "one after the other, made up".into());
            found.add(what, word(of_a), word(of_b), "times under another plan say nothing of each other");
            found.refuse(format!("the runs differ in their {what}"));
        }
    }
}

fn settings(found: &mut Matching, a: &Run, b: &Run) {
    let same_server = a.server == b.server;
    for (key, what, weight, meaning) in KEYS {
        let (of_a, of_b) = (value(&a.fingerprint, key), value(&b.fingerprint, key));
        if of_a == of_b || (weight == Weight::OfServer && !same_server) {
            continue;
        }
        let known = of_a != UNKNOWN && of_b != UNKNOWN;
        let meaning = if known { meaning } else { "one side does not tell it, so it may differ" };
        found.add(what, readable(key, of_a), readable(key, of_b), meaning);
        if weight == Weight::Refuses && known {
            found.refuse(format!("the {what} differ{} ({of_a} and {of_b})", plural_verb(what)));
        }
    }
    let keys =
        a.fingerprint.keys().chain(b.fingerprint.keys().filter(|key| !a.fingerprint.contains_key(*key)));
    for key in keys.filter(|key| !KEYS.iter().any(|(known, ..)| known == key)) {
        let (of_a, of_b) = (value(&a.fingerprint, key), value(&b.fingerprint, key));
        if of_a != of_b && !ELSEWHERE.contains(&key.as_str()) {
            found.add(&key.replace('_', " "), of_a, of_b, "it may change speed by itself");
        }
    }
}

/// "the chip differs", "the cores differ".
fn plural_verb(what: &str) -> &'static str {
    if what.ends_with('s') { "" } else { "s" }
}

fn value<'a>(fingerprint: &'a Fingerprint, key: &str) -> &'a str {
    fingerprint.get(key).map_or(UNKNOWN, String::as_str)
}

fn readable(key: &str, value: &str) -> String {
    match value.parse() {
        Ok(bytes) if key.ends_with("_bytes") => gigabytes(bytes),
        _ => value.into(),
    }
}

fn known<'a>(run: &'a Run, key: &str) -> Option<&'a str> {
    run.fingerprint.get(key).map(String::as_str).filter(|value| *value != UNKNOWN)
}

fn bytes(run: &Run) -> Option<u64> {
    known(run, "size_bytes")?.parse().ok().filter(|bytes| *bytes > 0)
}

/// The weights in words: "GGUF Q4_K_M (4.68 GB)".
fn weights_of(run: &Run) -> String {
    let bits = || known(run, "bits_per_weight").map(|bits| format!("{bits} bits a weight"));
    let quantization = known(run, "quantization").map(str::to_owned).or_else(bits);
    let parts: Vec<String> =
        known(run, "format").map(str::to_uppercase).into_iter().chain(quantization).collect();
    let kind = if parts.is_empty() { "weights".to_owned() } else { parts.join(" ") };
    match bytes(run) {
        Some(bytes) => format!("{kind} ({})", gigabytes(bytes)),
        None if kind == "weights" => UNKNOWN.into(),
        None => format!("{kind} (size not reported)"),
    }
}

/// Whether the weights are known to be others, and whether one side leaves it open.
fn weights(found: &mut Matching, a: &Run, b: &Run, decode: Option<f64>) {
    let same_digest = known(a, "weights_digest").filter(|digest| Some(*digest) == known(b, "weights_digest"));
    if same_digest.is_some() {
        return;
    }
    let differs = |key: &str| matches!((known(a, key), known(b, key)), (Some(x), Some(y)) if !x.eq_ignore_ascii_case(y));
    let half_known = |key: &str| known(a, key).is_some() != known(b, key).is_some();
    let sizes = bytes(a).zip(bytes(b));
    let of_other_size = sizes.is_some_and(|(a, b)| apart(a as f64, b as f64));
    let other = of_other_size || differs("quantization") || differs("format");
    if other {
        if a.model != b.model {
            found.add(
                "model",
                &*a.model,
                &*b.model,
                "other weights under another name: what is compared is model and server together",
            );
        }
        let gap = decode.zip(sizes).filter(|_| of_other_size).map(|(ratio, (a, b))| per_byte(ratio, a, b));
        let meaning = match &gap {
            Some(gap) => format!("the smaller one has less to read for each token; {gap}"),
            None => "not the same weights: part of any difference is theirs".to_owned(),
        };
        let (of_a, of_b) = (weights_of(a), weights_of(b));
        let gap = gap.map(|gap| format!("; {gap}")).unwrap_or_default();
        found.weights = Some(format!("not the same weights, {of_a} against {of_b}{gap}"));
        found.add("weights", of_a, of_b, &meaning);
    } else if differs("weights_digest") {
        let meaning =
            "weights of the same size and kind, but not the same bytes: another source or another release";
        found.add(
            "weights",
            known(a, "weights_digest").unwrap_or(UNKNOWN),
            known(b, "weights_digest").unwrap_or(UNKNOWN),
            meaning,
        );
    } else if ["size_bytes", "quantization", "format"].into_iter().any(half_known) {
        found.add(
            "weights",
            weights_of(a),
            weights_of(b),
            "one side does not tell all of it, so the weights may differ",
        );
    }
}

/// How far the decode rates are apart for each byte of weights that is read, B by A: a token wants all of them read once.
fn per_byte(ratio: f64, a_bytes: u64, b_bytes: u64) -> String {
    let gap = ratio * b_bytes as f64 / a_bytes as f64;
    let percent = (if gap < 1.0 { 1.0 / gap } else { gap } - 1.0) * 100.0;
    // Without a word for who is ahead the gap would hide that it has turned round.
    let turned = (gap > 1.0) != (ratio > 1.0) && percent >= 1.0;
    let turned = if turned { ", the other way round" } else { "" };
    format!("per byte read the decode gap is {percent:.0} %{turned}")
}

fn apart(a: f64, b: f64) -> bool {
    (a - b).abs() > EQUAL * a.max(b)
}

/// Whether prompts and answers had the same number of tokens.
fn tokens(found: &mut Matching, a: &[Trial], b: &[Trial]) {
    let middle = |trials: &[Trial], of: fn(&Trial) -> Option<u32>| {
        let counted = trials.iter().filter(|trial| trial.counts() && trial.is_alone());
        stats::median(&counted.filter_map(of).map(f64::from).collect::<Vec<f64>>())
    };
    let both =
        |of: fn(&Trial) -> Option<u32>| middle(a, of).zip(middle(b, of)).filter(|(a, b)| apart(*a, *b));
    if let Some((a, b)) = both(|trial| trial.prompt_tokens) {
        let meaning = "the same words were not the same number of tokens, or a template added some: the longer prompt takes longer to its first token";
        found.add("prompt tokens", format!("{a}"), format!("{b}"), meaning);
    }
    let computed = |trial: &Trial| trial.prompt_tokens?.checked_sub(trial.cached_tokens?);
    let cached = both(|trial| trial.cached_tokens).filter(|_| both(computed).is_some());
    if let Some((a, b)) = cached {
        let meaning = "a prompt from the cache has its first token sooner";
        found.add("cached prompt tokens", format!("{a}"), format!("{b}"), meaning);
    }
    if let Some((a, b)) = both(|trial| trial.output_tokens) {
        found.add(
            "output tokens",
            format!("{a}"),
            format!("{b}"),
            "the longer answer takes longer as a whole",
        );
        found.e2e_refusal =
            Some(format!("the answers had {a} and {b} tokens, and the longer one takes longer"));
    }
}
