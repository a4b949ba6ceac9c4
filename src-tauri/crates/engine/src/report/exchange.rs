//! Runs in a file, to be kept elsewhere or taken to another machine: JSON Lines. The first line names the format and its
//! version; each further one is a run with its requests and its trace.

use super::figures::MachineKey;
use pilothouse_domain::{
    Timestamp,
    bench::{Fingerprint, Run, RunDetail, RunState, RunTrace, Trial, gaps::MOST_GAPS, retention::MINUTE_MS},
    error::{ApiError, ErrorCode},
    gauge::{GaugeColumns, GaugeHistory},
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

/// What the first line says.
const FORMAT: &str = "pilothouse_runs";
/// Files of a greater version are not read.
const VERSION: u64 = 1;
/// The longest line, in bytes: a run of an hour with four samples a second takes a tenth of it.
const LONGEST_LINE: usize = 8 << 20;
/// The most runs of one file: they are written in one transaction, which holds up other writes.
const MOST_RUNS: usize = 10_000;
const MOST_TRIALS: usize = 100_000;
const MOST_SAMPLES: usize = 500_000;
const LONGEST_NAME: usize = 1024;
const LONGEST_TEXT: usize = 16 << 10;

/// A run as it travels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchanged {
    /// The version of the formulas that made its figures.
    pub metrics_version: u32,
    /// `None`: it was not noted.
    pub ended_at: Option<Timestamp>,
    pub run: Run,
    pub trials: Vec<Trial>,
    pub trace: Option<GaugeHistory>,
    pub cards: Option<RunTrace>,
}

/// By what a run is known again in another history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    started_ms: i64,
    server: String,
    model: String,
    machine: MachineKey,
}

impl Identity {
    pub fn of(run: &Run) -> Self {
        Self::new(run.started_at, &run.server, &run.model, &run.fingerprint)
    }

    pub fn new(started_at: Timestamp, server: &ServerId, model: &str, fingerprint: &Fingerprint) -> Self {
        let started_ms = started_at.as_millisecond();
        let machine = MachineKey::from(fingerprint);
        Self { started_ms, server: server.to_string(), model: model.to_owned(), machine }
    }
}

impl Exchanged {
    pub fn new(detail: RunDetail, metrics_version: u32, ended_at: Option<Timestamp>) -> Self {
        let RunDetail { run, trials, trace, cards } = detail;
        Self { metrics_version, ended_at, run, trials, trace, cards }
    }
}

/// The first line of a file.
pub fn head(pilothouse: &str) -> String {
    format!("{}\n", json!({ "format": FORMAT, "version": VERSION, "pilothouse": pilothouse }))
}

/// The line of a run. Figures have 15 significant digits, which every reader of JSON takes as they are: what is imported and
/// exported again is the same. Errors: internal.
pub fn line(run: &Exchanged) -> Result<String, ApiError> {
    let value = serde_json::to_value(run);
    let value = value.map_err(|error| ApiError::internal(format!("A run has no JSON: {error}.")))?;
    Ok(format!("{}\n", rounded(value)))
}

fn rounded(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let figure = number.as_f64().and_then(|figure| format!("{figure:.14e}").parse::<f64>().ok());
            figure.map_or(Value::Null, Value::from)
        }
        Value::Array(values) => values.into_iter().map(rounded).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

/// The runs of a whole file, or what is wrong with it and where. Errors: invalid_call, unsupported (of a newer format).
pub fn read(text: &str) -> Result<Vec<Exchanged>, ApiError> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    check_head(lines.next().map_or("", |(_, line)| line))?;
    let mut runs = Vec::new();
    let mut ids = HashSet::new();
    let mut blank = None;
    for (number, line) in lines {
        if line.trim().is_empty() {
            blank.get_or_insert(number);
            continue;
        }
        if let Some(number) = blank {
            return Err(wrong(number, "it is empty"));
        }
        if runs.len() == MOST_RUNS {
            return Err(wrong(number, &format!("there are more than {MOST_RUNS} runs in one file"))
                .hint("Export fewer runs at a time."));
        }
        let run = read_line(line).map_err(|why| wrong(number, &why))?;
        if !ids.insert(run.run.run_id) {
            return Err(wrong(number, &format!("there is a run {} above already", run.run.run_id)));
        }
        runs.push(run);
    }
    Ok(runs)
}

fn check_head(line: &str) -> Result<(), ApiError> {
    let head: Value = serde_json::from_str(line).unwrap_or_default();
    let version = head["version"].as_u64();
    match (head["format"].as_str(), version) {
        (Some(FORMAT), Some(VERSION)) => Ok(()),
        (Some(FORMAT), Some(newer)) if newer > VERSION => Err(ApiError::new(
            ErrorCode::Unsupported,
            format!("The file is of format {newer}; this Pilothouse reads formats up to {VERSION}. Nothing was imported."),
        )
        .hint("Update Pilothouse, or export it again with this version.")),
        _ => Err(wrong(1, &format!("it does not say {{\"format\": \"{FORMAT}\", \"version\": {VERSION}}}"))
            .hint("Import takes what “pilothouse export FILE” has written, not CSV or a report.")),
    }
}

fn read_line(line: &str) -> Result<Exchanged, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("it is longer than {} MiB", LONGEST_LINE >> 20));
    }
    // The place within the text is of no use in a line of a hundred kilobytes without its column.
    let broken = |error: serde_json::Error| {
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        format!("{what} (column {})", error.column())
    };
    let value: Value = serde_json::from_str(line).map_err(broken)?;
    // From the text and not from the value, for the column.
    let run: Exchanged = serde_json::from_str(line).map_err(broken)?;
    let known = serde_json::to_value(&run).map_err(|error| error.to_string())?;
    if let Some(field) = unknown_field(&value, &known) {
        return Err(format!("the field {field} is not known"));
    }
    check(&run)?;
    Ok(run)
}

/// A field that was read over: what a run is made of is closed, so that a misspelt name is no silent loss.
fn unknown_field(given: &Value, known: &Value) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let below = known.get(name).map(|known| unknown_field(value, known));
            match below {
                None => Some(name.clone()),
                Some(inner) => inner.map(|inner| format!("{name}.{inner}")),
            }
        }),
        (Value::Array(given), Value::Array(known)) => {
            given.iter().zip(known).find_map(|(given, known)| unknown_field(given, known))
        }
        _ => None,
    }
}

fn check(exchanged: &Exchanged) -> Result<(), String> {
    let Exchanged { run, trials, trace, cards, .. } = exchanged;
    let name = |what: &str, text: &str| {
        let fine = !text.trim().is_empty() && text.len() <= LONGEST_NAME && !text.contains(char::is_control);
        if fine { Ok(()) } else { Err(format!("{what} is no name")) }
    };
    name("server", run.server.as_str())?;
    name("model", &run.model)?;
    name("plan.name", &run.plan.name)?;
    if run.state == RunState::Running {
        return Err("the run is still under way".into());
    }
    if run.started_at.as_millisecond() < 0 {
        return Err("it began before 1970".into());
    }
    let mut texts = run.note.iter().chain(&run.server_version).chain(run.fingerprint.values());
    if run.fingerprint.len() > 256 || texts.any(|text| text.len() > LONGEST_TEXT) {
        return Err("a text or the fingerprint is too long".into());
    }
    check_trials(trials)?;
    trace.as_ref().map_or(Ok(()), check_trace)?;
    cards.as_ref().map_or(Ok(()), check_cards)
}

fn check_trials(trials: &[Trial]) -> Result<(), String> {
    if trials.len() > MOST_TRIALS {
        return Err(format!("it has more than {MOST_TRIALS} trials"));
    }
    // As people count.
    let number = |trial: &Trial| u64::from(trial.seq) + 1;
    let mut seen = HashSet::new();
    for trial in trials {
        if !seen.insert((trial.phase, trial.seq)) {
            return Err(format!("trial {} is there twice", number(trial)));
        }
        let figures = [
            trial.begun_ms,
            trial.late_ms,
            trial.ttft_ms,
            trial.decode_tok_s,
            trial.prefill_tok_s,
            Some(trial.total_ms),
            trial.server_decode_tok_s,
            trial.server_prefill_tok_s,
        ];
        if figures.into_iter().flatten().any(|figure| figure < 0.0) {
            return Err(format!("trial {} has a figure below zero", number(trial)));
        }
        if trial.gaps_us.as_ref().is_some_and(|gaps| gaps.len() > MOST_GAPS) {
            return Err(format!("trial {} has more than {MOST_GAPS} gaps", number(trial)));
        }
        if trial.flaw.iter().chain(&trial.finish).any(|text| text.len() > LONGEST_TEXT) {
            return Err(format!("trial {} has a text that is too long", number(trial)));
        }
    }
    Ok(())
}

fn check_trace(trace: &GaugeHistory) -> Result<(), String> {
    let rows = trace.at_ms.len();
    let differ = |columns: &GaugeColumns| {
        let lengths = [
            columns.cpu_percent.len(),
            columns.memory_used_bytes.len(),
            columns.swap_used_bytes.len(),
            columns.gpu_load_percent.len(),
            columns.gpu_memory_used_bytes.len(),
            columns.gpu_power_w.len(),
            columns.servers_memory_bytes.len(),
        ];
        lengths.iter().any(|length| *length != rows)
    };
    if [Some(&trace.columns), trace.low.as_ref(), trace.high.as_ref()].into_iter().flatten().any(differ) {
        return Err("the columns of the trace differ in length".into());
    }
    let minutes = trace.step_ms == MINUTE_MS.unsigned_abs();
    if trace.low.is_some() != trace.high.is_some() || (trace.low.is_some() && !minutes) {
        return Err("the trace is of means, and not of minutes".into());
    }
    if rows == 0 || rows > MOST_SAMPLES {
        return Err(format!("the trace has {rows} samples"));
    }
    if trace.at_ms.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("the trace goes back in time".into());
    }
    Ok(())
}

fn check_cards(trace: &RunTrace) -> Result<(), String> {
    let rows = trace.at_ms.len();
    let range = trace.by_minute.as_deref();
    let low_and_high = range.into_iter().flat_map(|range| range.low.iter().chain(&range.high));
    let columns = trace.cards.iter().chain(low_and_high).flat_map(|card| {
        [
            card.load_percent.len(),
            card.memory_used_bytes.len(),
            card.power_w.len(),
            card.temperature_c.len(),
            card.clock_mhz.len(),
            card.throttle.len(),
        ]
    });
    let memory = range.map(|range| [range.instance_memory_low.len(), range.instance_memory_high.len()]);
    let memory = memory.into_iter().flatten().chain([trace.instance_memory_bytes.len()]);
    if columns.chain(memory).any(|length| length != rows) {
        return Err("the columns of the cards differ in length".into());
    }
    if rows > MOST_SAMPLES || trace.cards.len() > 64 {
        return Err(format!("it has {rows} samples of {} cards", trace.cards.len()));
    }
    Ok(())
}

fn wrong(line: usize, why: &str) -> ApiError {
    let text = format!("Line {line} of the file cannot be read: {why}. Nothing was imported.");
    ApiError::new(ErrorCode::InvalidCall, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::seeds;

    pub fn file(details: Vec<RunDetail>) -> String {
        let lines = details.into_iter().map(|detail| line(&Exchanged::new(detail, 2, None)).unwrap());
        head("0.1.0") + &lines.collect::<String>()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let details =
            vec![seeds::detail(1, "ollama", "m", 50.0), seeds::bare(2, "x", "y"), seeds::sweep(3, "a", "b")];
        let read = read(&file(details.clone())).unwrap();
        for (read, detail) in read.iter().zip(&details) {
            let levels = |run: &Run| run.sweep.as_ref().map(|sweep| sweep.points.len());
            assert_eq!(
                (&read.run.fingerprint, levels(&read.run)),
                (&detail.run.fingerprint, levels(&detail.run))
            );
            assert_eq!((read.trials.len(), &read.trace), (detail.trials.len(), &detail.trace));
        }
        assert_eq!(read.len(), 3);
        let again: String = read.iter().map(|run| line(run).unwrap()).collect();
        assert_eq!(head("0.1.0") + &again, file(details.clone()));
        assert_eq!(super::read(&head("9")).unwrap(), [], "no run is no mistake");
        let windows = file(details).replace('\n', "\r\n") + "\r\n\r\n";
        assert_eq!(
            super::read(&windows).unwrap(),
            read,
            "lines may end as on Windows, and blank ones may follow"
        );
    }

    #[test]
    fn figures_survive_as_they_are_written() {
        for figure in [50.349999999999994, 0.1 + 0.2, 1.0 / 3.0, 1e-7, 123_456_789.123_456_79, 5e-324, 1e300]
        {
            let mut detail = seeds::bare(1, "s", "m");
            detail.trials[0].ttft_ms = Some(figure);
            let text = file(vec![detail]);
            let back = read(&text).unwrap();
            assert!((back[0].trials[0].ttft_ms.unwrap() / figure - 1.0).abs() < 1e-14, "{figure}");
            assert_eq!(head("0.1.0") + &line(&back[0]).unwrap(), text, "{figure}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_line() {
        let good = file(vec![seeds::detail(1, "ollama", "m", 50.0), seeds::detail(2, "ollama", "m", 50.0)]);
        let lines: Vec<&str> = good.lines().collect();
        let with = |number: usize, line: &str| {
            let mut lines: Vec<&str> = lines.clone();
            lines[number - 1] = line;
            lines.join("\n")
        };
        let changed = |from: &str, to: &str| {
            assert!(lines[2].contains(from), "{from}");
            with(3, &lines[2].replacen(from, to, 1))
        };
        for (what, text, said) in [
            ("an empty file", String::new(), "Line 1 "),
            ("a CSV file", "run,started_at\n1,2".into(), "Line 1 "),
            ("another format", with(1, r#"{"format":"other","version":1}"#), "Line 1 "),
            ("a version of no sense", with(1, r#"{"format":"pilothouse_runs","version":"1"}"#), "Line 1 "),
            ("without its head", lines[1..].join("\n"), "Line 1 "),
            ("cut off", good[..good.len() - 200].to_owned(), "Line 3 of the file cannot be read: EOF"),
            ("no object", with(2, "[1]"), "Line 2 "),
            ("an empty line between", with(2, ""), "Line 2 of the file cannot be read: it is empty"),
            ("no run", with(3, r#"{"metrics_version":2,"trials":[]}"#), "missing field `run`"),
            ("the same run", with(3, lines[1]), "there is a run 1 above already"),
            ("a misspelt field", changed("\"warmups\"", "\"warm_ups\""), "missing field `warmups`"),
            (
                "an unknown field",
                changed("\"note\":null", "\"noet\":null"),
                "the field run.noet is not known",
            ),
            (
                "an unknown field of a trial",
                changed("\"flaw\"", "\"flow\""),
                "the field trials.flow is not known",
            ),
            ("under way", changed("\"done\"", "\"running\""), "still under way"),
            ("an unknown state", changed("\"done\"", "\"perfect\""), "unknown variant"),
            ("a model without a name", changed("\"model\":\"m\"", "\"model\":\" \""), "model is no name"),
            ("a trial twice", changed("\"seq\":1,", "\"seq\":0,"), "trial 1 is there twice"),
            ("a rate below zero", changed("\"ttft_ms\":", "\"ttft_ms\":-1,\"x\":"), "Line 3 "),
            (
                "a card without its samples",
                changed(
                    "\"cards\":null",
                    r#""cards":{"at_ms":[1],"instance_memory_bytes":[null],"cards":[{"name":"x","load_percent":[],"memory_used_bytes":[null],"power_w":[null],"temperature_c":[null],"clock_mhz":[null],"throttle":[null]}]}"#,
                ),
                "columns of the cards",
            ),
            (
                "time that goes back",
                changed("\"at_ms\":[", "\"at_ms\":[9999999999999,"),
                "columns of the trace",
            ),
            ("a date of no sense", changed("\"started_at\":\"2026", "\"started_at\":\"20x6"), "Line 3 "),
        ] {
            let refused = read(&text).expect_err(what);
            assert_eq!(refused.code, ErrorCode::InvalidCall, "{what}");
            assert!(refused.message.contains(said), "{what}: {}", refused.message);
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_what_to_do() {
        let refused = read("{\"format\":\"pilothouse_runs\",\"version\":2,\"more\":true}\n{}\n").unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported);
        assert!(refused.hint.is_some_and(|hint| hint.starts_with("Update Pilothouse")));
    }

    #[test]
    fn a_line_has_a_bound() {
        let long = head("0") + &" ".repeat(LONGEST_LINE) + "{}";
        assert!(read(&long).unwrap_err().message.contains("longer than 8 MiB"));
    }
}
