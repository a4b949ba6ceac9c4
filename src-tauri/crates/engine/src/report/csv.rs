//! Runs and requests as comma-separated values (RFC 4180): fixed columns, decimal points, an empty field for what is not known.

use super::figures::{lengths, machine_of, mean_and_deviation, peak_bytes, told_by, values};
use pilothouse_domain::bench::{PrefixUse, RunDetail, Summary, TrialPhase};

const RUN_COLUMNS: &str = "run,started_at,machine,server,server_version,model,quantization,size_bytes,parameters,backend,\
    gpu_layers,context,plan,state,prompt_tokens,output_tokens,n,decode_tok_s_mean,decode_tok_s_std,decode_tok_s_median,\
    decode_tok_s_low,decode_tok_s_high,prefill_tok_s_mean,prefill_tok_s_std,prefill_tok_s_median,prefill_tok_s_low,\
    prefill_tok_s_high,ttft_ms_median,ttft_ms_low,ttft_ms_high,e2e_ms_median,interval,peak_memory_bytes,energy_j_per_token,\
    disturbed";

const TRIAL_COLUMNS: &str = "run,started_at,machine,server,model,plan,phase,seq,block,concurrency,begun_ms,late_ms,ttft_ms,\
    decode_tok_s,prefill_tok_s,total_ms,output_tokens,prompt_tokens,cached_tokens,server_decode_tok_s,server_prefill_tok_s,\
    finish,flaw,turn,prefix";

/// One row for each run.
pub fn runs(details: &[RunDetail]) -> String {
    let mut text = format!("{RUN_COLUMNS}\n");
    for detail in details {
        let run = &detail.run;
        let (prompt, output) = lengths(detail);
        let mut row = Row::default();
        row.text(&run.run_id.to_string());
        row.text(&run.started_at.to_string()).text(&machine_of(run).title()).text(run.server.as_str());
        row.text(run.server_version.as_deref().unwrap_or("")).text(&run.model);
        for keys in [
            &["quantization"][..],
            &["size_bytes"],
            &["parameters"],
            &["backend", "computes_on"],
            &["gpu_layers", "ngl"],
            &["context"],
        ] {
            row.text(told_by(run, keys).unwrap_or(""));
        }
        let state = serde_json::to_value(run.state).unwrap_or_default();
        row.text(&run.plan.name).text(state.as_str().unwrap_or(""));
        row.figure(prompt).figure(output).figure(Some(run.trials));
        for (values, summary) in [
            (values(detail, |trial| trial.decode_tok_s), &run.decode_tok_s),
            (values(detail, |trial| trial.prefill_tok_s), &run.prefill_tok_s),
        ] {
            let mean = mean_and_deviation(&values);
            row.figure(mean.map(|(mean, _)| mean)).figure(mean.and_then(|(_, deviation)| deviation));
            row.summary(summary.as_ref());
        }
        row.summary(run.ttft_ms.as_ref()).figure(run.e2e_ms.as_ref().map(|summary| summary.median));
        let interval = run.ttft_ms.as_ref().and_then(|summary| serde_json::to_value(summary.interval).ok());
        row.text(interval.as_ref().and_then(|word| word.as_str()).unwrap_or(""));
        row.figure(peak_bytes(run)).figure(run.energy_j_per_token);
        let names: Vec<&str> = run.disturbed.iter().map(|one| one.name.as_str()).collect();
        row.text(&names.join("; "));
        text.push_str(&row.end());
    }
    text
}

/// The first line of a file with a row for each request.
pub fn trial_head() -> String {
    format!("{TRIAL_COLUMNS}\n")
}

/// The rows of one run, warm-ups included.
pub fn trial_rows(detail: &RunDetail) -> String {
    let run = &detail.run;
    let mut text = String::new();
    for trial in &detail.trials {
        let mut row = Row::default();
        row.text(&run.run_id.to_string()).text(&run.started_at.to_string());
        row.text(&machine_of(run).title()).text(run.server.as_str()).text(&run.model).text(&run.plan.name);
        row.text(match trial.phase {
            TrialPhase::Warmup => "warmup",
            TrialPhase::Measured => "measured",
        });
        row.figure(Some(trial.seq)).figure(trial.block).figure(trial.concurrency);
        row.figure(trial.begun_ms).figure(trial.late_ms).figure(trial.ttft_ms);
        row.figure(trial.decode_tok_s).figure(trial.prefill_tok_s).figure(Some(trial.total_ms));
        row.figure(trial.output_tokens).figure(trial.prompt_tokens).figure(trial.cached_tokens);
        row.figure(trial.server_decode_tok_s).figure(trial.server_prefill_tok_s);
        row.text(trial.finish.as_deref().unwrap_or("")).text(trial.flaw.as_deref().unwrap_or(""));
        row.figure(trial.turn).text(match trial.prefix {
            Some(PrefixUse::Kept) => "kept",
            Some(PrefixUse::New) => "new",
            None => "",
        });
        text.push_str(&row.end());
    }
    text
}

#[derive(Default)]
struct Row(String);

impl Row {
    /// A field of text. One that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV Injection):
    /// names come from others.
    fn text(&mut self, text: &str) -> &mut Self {
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
        let text = if formula { format!("'{text}") } else { text.to_owned() };
        match text.contains([',', '"', '\n', '\r']) {
            true => self.field(&format!("\"{}\"", text.replace('"', "\"\""))),
            false => self.field(&text),
        }
    }

    fn figure<T: ToString>(&mut self, figure: Option<T>) -> &mut Self {
        self.field(&figure.map(|figure| figure.to_string()).unwrap_or_default())
    }

    fn summary(&mut self, summary: Option<&Summary>) -> &mut Self {
        self.figure(summary.map(|s| s.median)).figure(summary.map(|s| s.low)).figure(summary.map(|s| s.high))
    }

    fn field(&mut self, field: &str) -> &mut Self {
        self.0.push_str(field);
        self.0.push(',');
        self
    }

    fn end(mut self) -> String {
        self.0.pop();
        self.0.push('\n');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::seeds;

    /// The fields of one line, unquoted.
    fn fields(line: &str) -> Vec<String> {
        let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(std::mem::take(&mut field)),
                other => field.push(other),
            }
        }
        fields.push(field);
        fields
    }

    #[test]
    fn every_row_has_every_column() {
        let details =
            [seeds::detail(1, "ollama", "m", 50.0), seeds::bare(2, "x", "y"), seeds::sweep(3, "a", "b")];
        let trials = trial_head() + &details.iter().map(trial_rows).collect::<String>();
        for (text, rows) in [(runs(&details), 3), (trials, 12 + 5 + 12)] {
            let mut lines = text.lines();
            let head = fields(lines.next().unwrap());
            assert!(head.iter().all(|name| name.trim() == name), "{head:?}");
            let rest: Vec<_> = lines.map(fields).collect();
            assert_eq!(rest.len(), rows);
            assert!(rest.iter().all(|row| row.len() == head.len()), "{text}");
        }
        let text = runs(&details);
        let bare = fields(text.lines().nth(2).unwrap());
        let decode = fields(RUN_COLUMNS).iter().position(|name| name == "decode_tok_s_mean").unwrap();
        assert_eq!((bare[decode].as_str(), bare[0].as_str()), ("", "2"), "absent is empty");
    }

    #[test]
    fn names_of_others_stay_text() {
        for (name, written) in [
            ("plain", "plain"),
            ("a,b", "a,b"),
            ("a\"b", "a\"b"),
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("@cf/meta", "'@cf/meta"),
            ("-1", "-1"),
        ] {
            let text = runs(&[seeds::bare(1, "s", name)]);
            assert_eq!(fields(text.lines().nth(1).unwrap())[5], written);
        }
    }
}
