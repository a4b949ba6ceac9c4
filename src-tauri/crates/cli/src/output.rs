//! Where text, documents and errors go.

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget};
use pilothouse_engine::api::ApiError;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the document with `--json`, else the text.
    pub fn answer(&self, document: Value, text: impl FnOnce() -> String) {
        if self.json {
            self.line(&with_schema(document).to_string());
        } else {
            self.line(&text());
        }
    }

    /// One line on stdout. A reader that has gone away (`| head`) ends the program quietly.
    pub fn line(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{}", line.trim_end()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// A remark for people, never part of the data.
    pub fn remark(&self, text: &str) {
        eprintln!("{text}");
    }

    /// A progress bar that shows only on a terminal.
    pub fn progress(&self) -> ProgressBar {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        ProgressBar::with_draw_target(None, target)
    }

    /// Reports the error and gives its exit code.
    pub fn fail(&self, error: &ApiError) -> ExitCode {
        if self.json {
            self.line(&with_schema(json!({ "error": error })).to_string());
        } else {
            eprintln!("error: {}", error.message);
            if let Some(hint) = &error.hint {
                eprintln!("\nhint: {hint}");
            }
        }
        ExitCode::from(error.code.exit_code())
    }
}

/// Every document says which schema it follows.
pub fn with_schema(mut document: Value) -> Value {
    if let Value::Object(fields) = &mut document {
        fields.insert("schema".into(), json!(1));
    }
    document
}

/// A plain table without lines.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    table.to_string()
}

/// The word of a value that JSON spells in snake case.
pub fn words(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().replace('_', " ")
}
