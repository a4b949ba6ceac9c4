//! Runs into files and out of them, and out of the history.

use crate::{
    output::{Output, day_and_clock, table},
    session::{Session, unexpected},
};
use clap::{Args, Subcommand};
use pilothouse_domain::units::gigabytes;
use pilothouse_engine::api::{ApiError, Call, ErrorCode, ExportForm, HistorySize, Kept, KeptKind, Reply};
use pilothouse_system::files::write_private;
use serde_json::json;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

#[derive(Args)]
pub struct Export {
    file: PathBuf,
    /// Numbers of runs; without any, all.
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(i64).range(1..))]
    runs: Vec<i64>,
    /// A row for each request instead of JSON Lines; `import` does not take that.
    #[arg(long)]
    csv: bool,
    /// Replace the file if there is one.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub struct Import {
    file: PathBuf,
}

#[derive(Subcommand)]
pub enum HistoryAct {
    /// Delete runs with their requests and traces; they cannot be brought back.
    Delete {
        #[arg(required = true, value_name = "RUN", value_parser = clap::value_parser!(i64).range(1..))]
        runs: Vec<i64>,
    },
    /// Say how large the history is.
    Size,
}

/// Bytes of a piece of a file; a call has a bound of a mebibyte, and JSON may write six for one.
const PIECE: usize = 128 << 10;
/// More is not taken by the engine either.
const LONGEST_FILE: u64 = 64 << 20;

/// A file that may be written.
pub struct Target {
    path: PathBuf,
    force: bool,
}

impl Target {
    /// Errors: invalid_call, when there is one already.
    pub fn check(path: &Path, force: bool) -> Result<Self, ApiError> {
        let target = Self { path: path.to_owned(), force };
        match path.symlink_metadata() {
            Ok(_) if !force => Err(target.in_the_way()),
            _ => Ok(target),
        }
    }

    pub fn display(&self) -> String {
        self.path.display().to_string()
    }

    fn in_the_way(&self) -> ApiError {
        let text = format!("{} is there already, and was left as it is.", self.path.display());
        ApiError::new(ErrorCode::InvalidCall, text).hint("Choose another name, or add --force to replace it.")
    }
}

/// Writes a whole file or none: under another name, then renamed. Errors: invalid_call (somebody else made one meanwhile),
/// system.
pub fn write_new(target: &Target, bytes: &[u8]) -> Result<(), ApiError> {
    if !target.force && target.path.symlink_metadata().is_ok() {
        return Err(target.in_the_way());
    }
    write_private(&target.path, bytes).map_err(|error| {
        let text = format!("{} cannot be written: {error}.", target.path.display());
        ApiError::new(ErrorCode::System, text).hint("Choose another folder, or make room.")
    })
}

pub async fn export(arguments: Export, output: &Output) -> Result<u8, ApiError> {
    let target = Target::check(&arguments.file, arguments.force)?;
    let session = Session::connect()?;
    let form = if arguments.csv { ExportForm::Csv } else { ExportForm::JsonLines };
    let mut whole = String::new();
    let mut after = None;
    loop {
        let call = Call::Export { runs: arguments.runs.clone(), form, after };
        let reply = session.call(call).await?;
        let Reply::Exported { text, next } = reply else {
            return Err(unexpected(&reply));
        };
        whole.push_str(&text);
        if next.is_none() {
            break;
        }
        after = next;
    }
    write_new(&target, whole.as_bytes())?;
    let file = target.display();
    let lines = whole.lines().count().saturating_sub(1);
    let name = if arguments.csv { "requests" } else { "runs" };
    output.answer(json!({ "file": file, name: lines }), || {
        let name = if lines == 1 { name.trim_end_matches('s') } else { name };
        format!("{lines} {name} in {file}")
    });
    Ok(0)
}

pub async fn import(arguments: Import, output: &Output) -> Result<u8, ApiError> {
    let text = read(&arguments.file)?;
    let session = Session::connect()?;
    let pieces = pieces(&text);
    let last = pieces.len().saturating_sub(1);
    let mut upload = None;
    for (index, piece) in pieces.into_iter().enumerate() {
        let call = Call::Import { text: piece.to_owned(), upload, more: index < last };
        match session.call(call).await? {
            Reply::Upload { upload: number } if index < last => upload = Some(number),
            Reply::Imported { imported, already_there } => {
                output.answer(json!({ "imported": imported, "already_there": already_there }), || {
                    format!("{imported} runs imported, {already_there} were there already")
                });
            }
            other => return Err(unexpected(&other)),
        }
    }
    Ok(0)
}

/// Errors: not_found, system, invalid_call (too long, or no text).
fn read(file: &Path) -> Result<String, ApiError> {
    let failed = |error: std::io::Error| {
        let code = if error.kind() == ErrorKind::NotFound { ErrorCode::NotFound } else { ErrorCode::System };
        ApiError::new(code, format!("{} cannot be read: {error}.", file.display()))
    };
    let found = std::fs::metadata(file).map_err(failed)?;
    if found.len() > LONGEST_FILE || found.is_dir() {
        let text = format!("{} is no file of up to {} MiB.", file.display(), LONGEST_FILE >> 20);
        return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Export fewer runs at a time."));
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let text = format!("Line {line} of {} is no text. Nothing was imported.", file.display());
        ApiError::new(ErrorCode::InvalidCall, text)
            .hint("Import takes what “pilothouse export FILE” has written.")
    })
}

/// Parts of a text that fit into a call each; one of an empty text.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

pub async fn history(act: HistoryAct, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    match act {
        HistoryAct::Delete { runs } => match session.call(Call::DeleteRuns { runs }).await? {
            Reply::Deleted { deleted } => {
                output.answer(json!({ "deleted": deleted }), || match deleted {
                    1 => "1 run deleted".into(),
                    many => format!("{many} runs deleted"),
                });
                Ok(0)
            }
            other => Err(unexpected(&other)),
        },
        HistoryAct::Size => match session.call(Call::HistorySize).await? {
            Reply::HistorySize { size } => {
                output.answer(json!(size), || size_text(&size));
                Ok(0)
            }
            other => Err(unexpected(&other)),
        },
    }
}

fn size_text(size: &HistorySize) -> String {
    let rows = size.tables.iter().map(|table| vec![table.name.clone(), megabytes(table.bytes)]).collect();
    let kinds = size.kinds.iter().map(kind_row).collect();
    let measured = match size.measured_at {
        Some(at) => format!("\n\nCounted and measured at {}, local time.", day_and_clock(at)),
        None => String::new(),
    };
    format!(
        "{} in all, {} of it free · {} runs, {} requests, {} samples of gauges\n\n{}\n\n{}{measured}",
        megabytes(size.file_bytes),
        megabytes(size.free_bytes),
        size.runs,
        size.trials,
        size.samples,
        table(&["WHAT", "ROWS", "ABOUT", "KEPT", "THE NEXT CLEAN-UP FREES"], kinds),
        table(&["TABLE", "SIZE"], rows)
    )
}

fn kind_row(kind: &KeptKind) -> Vec<String> {
    let name = match kind.kind {
        Kept::Runs => "runs",
        Kept::Trials => "measured requests",
        Kept::Warmups => "warm-ups",
        Kept::Gaps => "answers with gaps",
        Kept::Samples => "samples of traces",
        Kept::Minutes => "minutes of traces",
        Kept::Requests => "records of requests",
    };
    vec![
        name.to_owned(),
        kind.rows.to_string(),
        megabytes(kind.bytes),
        kind.days.map_or_else(|| "for ever".into(), |days| format!("{days} days")),
        match kind.next_rows {
            0 => "–".to_owned(),
            rows => format!("{rows}, about {}", megabytes(kind.next_bytes)),
        },
    ]
}

fn megabytes(bytes: u64) -> String {
    if bytes >= 1_000_000_000 { gigabytes(bytes) } else { format!("{:.2} MB", bytes as f64 / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_text_again_and_fit() {
        for text in
            [String::new(), "a\n".into(), "ü".repeat(PIECE), "x".repeat(PIECE), "€".repeat(3 * PIECE / 2)]
        {
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= PIECE));
        }
        let worst = "\u{1}".repeat(PIECE);
        assert!(serde_json::to_string(&worst).unwrap().len() + 200 < 1 << 20, "a call takes a mebibyte");
    }

    /// An empty folder of this test's own.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pilothouse-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_is_there_stays_unless_it_shall_be_replaced() {
        let folder = folder("write");
        let path = folder.join("runs.jsonl");
        let target = Target::check(&path, false).unwrap();
        write_new(&target, b"one").unwrap();
        assert_eq!(write_new(&target, b"two").unwrap_err().code, ErrorCode::InvalidCall, "it came meanwhile");
        assert!(Target::check(&path, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_new(&Target::check(&path, true).unwrap(), b"three").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        let nowhere = Target::check(&folder.join("no/such/folder"), false).unwrap();
        assert_eq!(write_new(&nowhere, b"").unwrap_err().code, ErrorCode::System);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing half written is left");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        let folder = folder("read");
        let path = folder.join("runs.jsonl");
        std::fs::write(&path, b"{}\nfine\n\xff\xfe\n").unwrap();
        assert!(read(&path).unwrap_err().message.starts_with("Line 3 of "));
        assert_eq!(read(&folder).unwrap_err().code, ErrorCode::InvalidCall);
        assert_eq!(read(&folder.join("none")).unwrap_err().code, ErrorCode::NotFound);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
