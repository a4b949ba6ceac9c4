//! Where text, documents and errors go.

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget};
use pilothouse_engine::api::{ApiError, ErrorCode};
use serde_json::{Value, json};
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

/// The program's stdout and stderr. What cannot be written ends nobody at once: an engine of our own may have to be shut down
/// first.
pub struct Output {
    json: bool,
    /// Why stdout takes nothing any more.
    lost: Mutex<Option<io::Error>>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, lost: Mutex::default() }
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

    /// One line on stdout.
    pub fn line(&self, line: &str) {
        self.bytes(format!("{}\n", line.trim_end()).as_bytes());
    }

    /// Whatever a reader gets as it is.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_none() {
            let mut out = io::stdout().lock();
            *lost = out.write_all(bytes).and_then(|()| out.flush()).err();
        }
    }

    /// Nobody gets what is printed from now on: whoever goes on printing may end.
    pub fn is_lost(&self) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What a verb's exit code is in the end: a reader that has gone away (`| head`) had enough, a full disk is a failure.
    pub fn exit(&self, code: u8) -> ExitCode {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let code = match &*lost {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                remark(&format!("error: The output could not be written: {error}."));
                code.max(ErrorCode::System.exit_code())
            }
            _ => code,
        };
        ExitCode::from(code)
    }

    /// A remark for people, never part of the data.
    pub fn remark(&self, text: &str) {
        remark(text);
    }

    /// A progress bar that shows only on a terminal.
    pub fn progress(&self) -> ProgressBar {
        let target = match io::stderr().is_terminal() {
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
            remark(&format!("error: {}", error.message));
            if let Some(hint) = &error.hint {
                remark(&format!("\nhint: {hint}"));
            }
        }
        self.exit(error.code.exit_code())
    }
}

/// A line on stderr. Without one there is nobody left to tell.
fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
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
