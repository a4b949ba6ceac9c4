use crate::{
    document,
    exchange::{Target, write_new},
    output::Output,
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_engine::api::{ApiError, Call, Reply, ReportForm};
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub struct Report {
    /// Numbers of runs; without any, the newest of each model on each server, by plan and machine.
    #[arg(conflicts_with = "owner", value_name = "RUN", value_parser = clap::value_parser!(i64).range(1..))]
    runs: Vec<i64>,
    /// The owner's two tables: speed by size of model, and Ollama against LM Studio. What is not measured is said to be so,
    /// with the command that would measure it.
    #[arg(long, conflicts_with_all = ["html", "csv"])]
    owner: bool,
    /// Write one HTML page that holds all it needs.
    #[arg(long, value_name = "FILE", conflicts_with = "csv")]
    html: Option<PathBuf>,
    /// A row for each run instead of a table.
    #[arg(long)]
    csv: bool,
    /// Replace the file if there is one.
    #[arg(long, requires = "html")]
    force: bool,
}

impl Report {
    fn form(&self) -> ReportForm {
        match self {
            Self { owner: true, .. } => ReportForm::Owner,
            Self { html: Some(_), .. } => ReportForm::Html,
            Self { csv: true, .. } => ReportForm::Csv,
            _ => ReportForm::Markdown,
        }
    }
}

pub async fn run(arguments: Report, output: &Output) -> Result<u8, ApiError> {
    // Before anything is asked for: a file in the way is known now.
    let target = arguments.html.as_deref().map(|file| Target::check(file, arguments.force)).transpose()?;
    let session = Session::connect()?;
    let form = arguments.form();
    let reply = session.call(Call::Report { runs: arguments.runs, form }).await?;
    let Reply::Report { text, runs, owner } = reply else {
        return Err(unexpected(&reply));
    };
    if let Some(target) = target {
        write_new(&target, text.as_bytes())?;
        let file = target.display();
        let many = runs.len();
        output.answer(
            json!({ "file": file, "runs": runs.iter().map(|run| run.run_id).collect::<Vec<_>>() }),
            || format!("{many} {} in {file}", if many == 1 { "run" } else { "runs" }),
        );
        return Ok(0);
    }
    let documents: Vec<_> = runs.iter().map(document::bench).collect();
    let document = match owner {
        Some(tables) => json!(tables),
        None => json!({ "runs": documents }),
    };
    output.answer(document, || text);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        report: Report,
    }

    fn form(line: &str) -> Option<ReportForm> {
        let words = std::iter::once("report").chain(line.split_whitespace());
        Line::try_parse_from(words).ok().map(|line| line.report.form())
    }

    #[test]
    fn a_report_has_one_form() {
        for (line, wanted) in [
            ("", Some(ReportForm::Markdown)),
            ("7 12", Some(ReportForm::Markdown)),
            ("--csv 7", Some(ReportForm::Csv)),
            ("--owner", Some(ReportForm::Owner)),
            ("7 --html page.html --force", Some(ReportForm::Html)),
            ("--owner 7", None),
            ("--owner --csv", None),
            ("--html page.html --csv", None),
            ("--force", None),
            ("0", None),
            ("seven", None),
        ] {
            assert_eq!(form(line), wanted, "{line}");
        }
    }
}
