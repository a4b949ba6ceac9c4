//! Runs as a Markdown table whose first columns are those of llama-bench, so that rows of both can stand in one table
//! (llama.cpp: tools/llama-bench/README.md, and the widths of its markdown printer).

use super::{
    Made,
    figures::{ABSENT, lengths, machine_of, mean_and_deviation, peak_words, told, told_by, values},
    results::{Results, results},
};
use pilothouse_domain::{
    bench::{Run, RunDetail},
    units::short,
};
use std::collections::BTreeSet;

/// A column: its head, its least width in characters, and whether it holds figures.
pub struct Column<'a>(pub &'a str, pub usize, pub bool);

const COLUMNS: [Column<'static>; 12] = [
    Column("model", 30, false),
    Column("size", 10, true),
    Column("params", 10, true),
    Column("backend", 10, false),
    Column("ngl", 3, true),
    Column("test", 15, true),
    Column("t/s", 20, true),
    // From here on our own.
    Column("ttft ms", 8, true),
    Column("n", 3, true),
    Column("server", 22, false),
    Column("plan", 8, false),
    Column("run", 5, true),
];

/// The runs as a table with its footnotes.
pub fn runs(details: &[RunDetail], made: &Made) -> String {
    if details.is_empty() {
        return "No finished benchmark run is in the history.\n\n`pilothouse bench` measures the active model.\n"
            .into();
    }
    let rows: Vec<Vec<String>> = details.iter().flat_map(rows_of).collect();
    let mut text = table(&COLUMNS, &rows);
    for detail in details {
        for found in results(&detail.run) {
            text.push_str(&result_table(&detail.run, &found));
        }
    }
    text.push('\n');
    for note in footnotes(details, made) {
        text.push_str(&format!("- {}\n", escape(&note)));
    }
    text
}

/// A row for the prompt and one for the answer, as llama-bench has them.
fn rows_of(detail: &RunDetail) -> Vec<Vec<String>> {
    let run = &detail.run;
    let (prompt, output) = lengths(detail);
    let name = |kind: &str, tokens: Option<u32>| tokens.map_or_else(|| kind.into(), |n| format!("{kind}{n}"));
    let prefill = values(detail, |trial| trial.prefill_tok_s);
    let decode = values(detail, |trial| trial.decode_tok_s);
    let first = run.ttft_ms.as_ref().map(|summary| short(summary.median));
    let row = |test: String, rates: &[f64], first: Option<String>| {
        let absent = || ABSENT.to_owned();
        vec![
            model_words(run),
            size_words(run).unwrap_or_else(absent),
            told(run, "parameters").map_or_else(absent, parameters_words),
            told_by(run, &["backend", "computes_on"]).unwrap_or(ABSENT).to_owned(),
            told_by(run, &["gpu_layers", "ngl"]).unwrap_or(ABSENT).to_owned(),
            test,
            rate_words(rates),
            first.unwrap_or_else(absent),
            if rates.is_empty() { absent() } else { rates.len().to_string() },
            server_words(run),
            run.plan.name.clone(),
            run.run_id.to_string(),
        ]
    };
    vec![row(name("pp", prompt), &prefill, first), row(name("tg", output), &decode, None)]
}

/// "qwen2.5:7b Q4_K_M".
pub fn model_words(run: &Run) -> String {
    match told(run, "quantization") {
        Some(mix) if !run.model.to_lowercase().contains(&mix.to_lowercase()) => {
            format!("{} {mix}", run.model)
        }
        _ => run.model.clone(),
    }
}

pub fn server_words(run: &Run) -> String {
    match &run.server_version {
        Some(version) => format!("{} {version}", run.server),
        None => run.server.to_string(),
    }
}

/// Size of the weights in powers of two, as llama-bench writes it.
fn size_words(run: &Run) -> Option<String> {
    let bytes: f64 = told(run, "size_bytes")?.parse::<u64>().ok()? as f64;
    Some(match bytes < 1024.0 * 1024.0 * 1024.0 {
        true => format!("{:.2} MiB", bytes / 1024.0 / 1024.0),
        false => format!("{:.2} GiB", bytes / 1024.0 / 1024.0 / 1024.0),
    })
}

/// A count of parameters as llama-bench writes it ("7.62 B"), where it is a plain number; else as it was told ("26B-A4B").
fn parameters_words(told: &str) -> String {
    match told.parse::<u64>() {
        Ok(count) if count < 1_000_000_000 => format!("{:.2} M", count as f64 / 1e6),
        Ok(count) => format!("{:.2} B", count as f64 / 1e9),
        Err(_) => told.to_owned(),
    }
}

fn rate_words(rates: &[f64]) -> String {
    match mean_and_deviation(rates) {
        Some((mean, Some(deviation))) => format!("{mean:.2} ± {deviation:.2}"),
        Some((mean, None)) => format!("{mean:.2}"),
        None => ABSENT.into(),
    }
}

/// What a run under a plan with a result of its own gave.
fn result_table(run: &Run, found: &Results) -> String {
    let columns: Vec<Column> =
        found.heads.iter().enumerate().map(|(index, head)| Column(head, 0, index > 0)).collect();
    let title = format!("{}, {} on {} (run {}):", found.title, run.model, run.server, run.run_id);
    let notes = escape(&found.notes.join(" "));
    format!("\n{}\n\n{}\n{notes}\n", escape(&title), table(&columns, &found.rows))
}

/// What a reader must know to read the figures, each as one sentence.
pub fn footnotes(details: &[RunDetail], made: &Made) -> Vec<String> {
    let template = match details.iter().all(|detail| told(&detail.run, "template") == Some("none")) {
        true => {
            "HTTP and sampling are included, which llama-bench leaves out; no chat template is laid around the prompt"
        }
        false => "HTTP, sampling and the chat template are included, which llama-bench leaves out",
    };
    let mut notes = vec![
        format!(
            "t/s is mean ± standard deviation over n requests by the client's clock: {template}. Every prompt is new, so \
             nothing comes from a cache of prompts."
        ),
        "pp and tg name the tokens that were computed and given; ttft is the median time to the first token. backend says \
         where it computes, as far as that is told."
            .to_owned(),
    ];
    let absent = details.iter().flat_map(rows_of).any(|row| row.iter().any(|cell| cell == ABSENT));
    if absent {
        notes.push(format!("{ABSENT}: the server does not tell it, or it was not measured."));
    }
    let machines: BTreeSet<String> = details.iter().map(|detail| machine_of(&detail.run).title()).collect();
    for machine in &machines {
        let runs = details.iter().filter(|detail| machine_of(&detail.run).title() == *machine);
        let runs: Vec<String> = runs.map(|detail| detail.run.run_id.to_string()).collect();
        let sources: BTreeSet<&str> = details
            .iter()
            .filter(|detail| machine_of(&detail.run).title() == *machine)
            .filter_map(|detail| told(&detail.run, "power_source"))
            .collect();
        let sources: Vec<&str> = sources.into_iter().collect();
        let power =
            if sources.is_empty() { String::new() } else { format!(", on {}", sources.join(" and ")) };
        let which = if machines.len() > 1 { format!(" (runs {})", runs.join(", ")) } else { String::new() };
        notes.push(format!("Measured on: {machine}{power}{which}."));
    }
    for detail in details {
        let run = &detail.run;
        let names: BTreeSet<&str> = run.disturbed.iter().map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            notes.push(format!("Run {} was disturbed by {}.", run.run_id, names.join(", ")));
        }
        if let Some(note) = &run.note {
            notes.push(format!("Run {}: {note}", run.run_id));
        }
    }
    notes.push(format!("Made by Pilothouse {} at {}.", made.version, minute(made.at)));
    notes
}

/// "2026-11-20 09:12 UTC".
pub fn minute(at: pilothouse_domain::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The highest memory of a run in words.
pub fn memory_words(run: &Run) -> String {
    peak_words(run).unwrap_or_else(|| ABSENT.into())
}

/// A table in GitHub's Markdown, padded so that it reads well as plain text too.
pub fn table(columns: &[Column<'_>], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, Column(head, least, _))| {
            let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(*least).max(head.chars().count())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let mut line = String::from("|");
        for ((cell, width), Column(_, _, figures)) in cells.zip(&widths).zip(columns) {
            let room = " ".repeat(width.saturating_sub(cell.chars().count()));
            match figures {
                true => line.push_str(&format!(" {room}{cell} |")),
                false => line.push_str(&format!(" {cell}{room} |")),
            }
        }
        line + "\n"
    };
    let mut text = line(&mut columns.iter().map(|Column(head, ..)| (*head).to_owned()));
    let rule = |(Column(_, _, figures), width): (&Column<'_>, &usize)| {
        format!("{}{}", "-".repeat(width - 1), if *figures { ":" } else { "-" })
    };
    text.push_str(&line(&mut columns.iter().zip(&widths).map(rule)));
    for row in rows {
        text.push_str(&line(&mut row.into_iter()));
    }
    text
}

/// Text that Markdown takes for nothing but text: names of models and servers come from others.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '\\' | '`' | '*' | '[' | ']' => escaped.extend(['\\', character]),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::seeds;
    use pilothouse_domain::bench::conversation::Conversation;

    fn made() -> Made {
        Made { at: seeds::at(0), version: "0.1.0".into() }
    }

    #[test]
    fn what_a_plan_of_its_own_course_says_stands_below_the_table() {
        let mut talk = seeds::detail(7, "ollama", "qwen2.5:7b", 50.0);
        talk.run.conversation = Some(Conversation::of(&talk.trials));
        let text = runs(&[talk], &made());
        assert!(text.contains("\nConversations, qwen2.5:7b on ollama (run 7):\n"), "{text}");
        assert!(text.contains("\nToo few answers count"), "{text}");
    }

    #[test]
    fn rows_have_the_shape_of_llama_bench() {
        let text = runs(&[seeds::detail(7, "ollama", "qwen2.5:7b", 50.0)], &made());
        // As llama-bench prints them for the same columns.
        let head = "| model                          |       size |     params | backend    | ngl |            test |                  t/s |";
        let rule = "| ------------------------------ | ---------: | ---------: | ---------- | --: | --------------: | -------------------: |";
        let decode = "| qwen2.5:7b Q4_K_M              |   4.36 GiB |          – | card       |   – |            tg64 |         50.00 ± 0.30 |";
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(head), "{}", lines[0]);
        assert!(lines[1].starts_with(rule), "{}", lines[1]);
        assert!(lines[3].starts_with(decode), "{}", lines[3]);
        assert!(
            lines[2].contains("pp71 |        812.00 ± 6.06 |      236 |  10 | ollama 0.33.1 "),
            "{}",
            lines[2]
        );
        assert!(text.contains("HTTP, sampling and the chat template are included"), "{text}");
        assert!(text.contains("–: the server does not tell it"), "{text}");
        let mut raw = seeds::detail(7, "ollama", "qwen2.5:7b", 50.0);
        raw.run.fingerprint.insert("template".into(), "none".into());
        assert!(runs(&[raw], &made()).contains("no chat template is laid around the prompt"));
        assert!(text.contains("Measured on: Mac Studio, Apple M4 Max, 36 GiB."), "{text}");
    }

    #[test]
    fn nothing_absent_is_zero() {
        let text = runs(&[seeds::bare(3, "studio", "m")], &made());
        let rows: Vec<Vec<&str>> = text
            .lines()
            .skip(2)
            .take(2)
            .map(|line| line.trim_matches('|').split(" |").map(str::trim).collect())
            .collect();
        assert_eq!(rows[0], ["m", "–", "–", "–", "–", "pp", "–", "400", "–", "studio", "quick", "3"]);
        assert_eq!(rows[1], ["m", "–", "–", "–", "–", "tg", "–", "–", "–", "studio", "quick", "3"]);
    }

    #[test]
    fn all_lines_of_a_table_are_as_long_whatever_a_model_is_called() {
        for name in [
            "m",
            "a|b",
            "a\nb",
            "<script>alert(1)</script>",
            "[x](y)",
            "a name that is much longer than thirty characters",
        ] {
            let text = runs(&[seeds::bare(1, "s", name)], &made());
            let lines: Vec<&str> = text.lines().take(4).collect();
            let pipes = |line: &str| line.replace("\\|", "").matches('|').count();
            assert!(lines.iter().all(|line| line.starts_with('|') && pipes(line) == 13), "{name}: {text}");
            let lengths: BTreeSet<usize> = lines.iter().map(|line| line.chars().count()).collect();
            assert_eq!(lengths.len(), 1, "{name}: {text}");
            assert!(!text.contains("<script"), "{text}");
        }
    }

    #[test]
    fn parameters_and_sizes_are_written_as_llama_bench_does() {
        for (told, written) in
            [("7615616512", "7.62 B"), ("134515008", "134.52 M"), ("26B-A4B", "26B-A4B"), ("7B", "7B")]
        {
            assert_eq!(parameters_words(told), written);
        }
        let mut run = seeds::detail(1, "a", "m", 1.0).run;
        for (bytes, written) in [
            ("105454432", Some("100.57 MiB")),
            ("4683074240", Some("4.36 GiB")),
            ("?", None),
            ("not reported", None),
        ] {
            run.fingerprint.insert("size_bytes".into(), bytes.into());
            assert_eq!(size_words(&run).as_deref(), written, "{bytes}");
        }
    }

    #[test]
    fn sweeps_disturbances_and_other_machines_are_told() {
        let mut other = seeds::detail(4, "ollama", "m", 20.0);
        other.run.fingerprint.insert("chip".into(), "Apple M1".into());
        other.run.disturbed.push(pilothouse_domain::bench::Disturbance {
            what: pilothouse_domain::bench::quiet::DisturbedBy::Processor,
            name: "backupd".into(),
            pid: Some(7),
            percent: Some(90.0),
            seconds: 3.0,
        });
        let text = runs(&[seeds::sweep(2, "ollama", "m"), other], &made());
        assert!(text.contains("Requests at a time, m on ollama (run 2):"), "{text}");
        assert!(
            text.contains("Knee at 4 at a time: the fewest with 90 % of the most that was seen."),
            "{text}"
        );
        assert!(text.contains("Apple M1, 36 GiB (runs 4)."), "{text}");
        assert!(text.contains("Run 4 was disturbed by backupd."), "{text}");
        assert!(runs(&[], &made()).contains("pilothouse bench"));
    }
}
