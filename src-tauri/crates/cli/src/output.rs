//! Where text, documents and errors go.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget};
use pilothouse_domain::{Timestamp, bench::Summary, units::short};
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

/// What is not known, or not told.
pub const ABSENT: &str = "–";

/// A plain table without lines. On a terminal it is as wide as that, and its heads stand out; elsewhere each row is one line.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let terminal = Term::stdout();
    if terminal.is_term() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(terminal.size().1);
    }
    let head = |words: &&str| {
        let cell = Cell::new(words);
        if console::colors_enabled() { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    table.set_header(header.iter().map(head)).add_rows(rows);
    // No room in front of the first column and behind the last: as the lines around it.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string()
}

/// A heading, or the one thing of a text that matters most.
pub fn strong(text: &str) -> String {
    console::style(text).bold().to_string()
}

/// What is beside the point.
pub fn quiet(text: &str) -> String {
    console::style(text).dim().to_string()
}

/// What needs a look; never said by the colour alone.
pub fn attention(text: &str) -> String {
    console::style(text).yellow().to_string()
}

/// An instant by this machine's clock: "14:21:05".
pub fn clock(at: Timestamp) -> String {
    local(at, "%H:%M:%S")
}

/// With its day: "2026-11-20 14:21".
pub fn day_and_clock(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M")
}

/// With its day and second.
pub fn day_and_second(at: Timestamp) -> String {
    local(at, "%Y-%m-%d %H:%M:%S")
}

/// As whoever reads it has their clock; documents have UTC.
fn local(at: Timestamp, form: &str) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
}

/// A median with its spread in three figures: "49.7 (49.2–50.1)". Where it is of too few values for an interval, that it is a range
/// is said.
pub fn spread(summary: Option<&Summary>) -> String {
    pilothouse_engine::report::spread(summary)
}

/// A figure in three figures; what is not known is said to be so.
pub fn known(value: Option<f64>) -> String {
    value.map_or_else(|| ABSENT.into(), short)
}

/// The word of a value that JSON spells in snake case.
pub fn words(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().replace('_', " ")
}
