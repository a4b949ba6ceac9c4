//! Reports, and runs that leave the history or come into it.

use super::Inner;
use crate::{
    api::{CallResult, ExportForm, Reply, ReportForm},
    report::{
        MachineKey, Made, exchange,
        owner::{self, Past},
        page, runs_csv, runs_markdown, trial_head, trial_rows,
    },
};
use pilothouse_domain::{
    Timestamp,
    bench::{RunDetail, comparison::NoiseFloor},
    error::{ApiError, ErrorCode},
};
use pilothouse_system::hardware::this_machine;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// More runs nobody reads in one report.
const MOST_RUNS: usize = 100;
/// Runs and switches that the owner's tables are filled from.
const PAST_RUNS: u32 = 300;
const PAST_SWITCHES: u32 = 1000;
/// A piece of an export ends with the run that goes beyond this.
const PIECE: usize = 1 << 20;
/// The longest file of runs.
const LONGEST_FILE: usize = 64 << 20;
/// Nobody goes on with a file for which nothing came for so long.
const UPLOAD_LIMIT: Duration = Duration::from_secs(60);
/// Numbers of runs that are asked for at once.
const IDS: u32 = 200;

/// A file that comes in pieces, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Grows by one with each.
    last: u64,
    open: Option<Upload>,
}

#[derive(Debug)]
struct Upload {
    number: u64,
    text: String,
    touched: Instant,
}

/// What a piece makes of a file.
#[derive(Debug, PartialEq)]
enum Piece {
    Kept(u64),
    Whole(String),
}

impl Inbox {
    /// Takes a piece. Errors: busy, not_found, invalid_call (too long).
    fn take(&self, text: String, upload: Option<u64>, more: bool, now: Instant) -> Result<Piece, ApiError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.take().filter(|open| now.duration_since(open.touched) < UPLOAD_LIMIT);
        let so_far = match (upload, state.open.take()) {
            (None, Some(open)) if more => {
                state.open = Some(open);
                return Err(ApiError::new(ErrorCode::Busy, "Another import is under way.")
                    .hint("Try again in a moment.")
                    .retryable());
            }
            // One that comes whole needs no place here.
            (None, open) => {
                state.open = open;
                None
            }
            (Some(number), Some(open)) if open.number == number => Some(open),
            (Some(_), open) => {
                state.open = open;
                return Err(ApiError::not_found("The import was given up, because it took too long.")
                    .hint("Import the file again."));
            }
        };
        let (number, mut whole) = match so_far {
            Some(open) => (open.number, open.text),
            None => (state.last + 1, String::new()),
        };
        if whole.len() + text.len() > LONGEST_FILE {
            let text = format!("The file is longer than {} MiB. Nothing was imported.", LONGEST_FILE >> 20);
            return Err(ApiError::new(ErrorCode::InvalidCall, text).hint("Export fewer runs at a time."));
        }
        whole.push_str(&text);
        if !more {
            return Ok(Piece::Whole(whole));
        }
        state.last = number.max(state.last);
        state.open = Some(Upload { number, text: whole, touched: now });
        Ok(Piece::Kept(number))
    }
}

impl Inner {
    pub(super) async fn report(&self, runs: &[i64], form: ReportForm) -> CallResult {
        if runs.len() > MOST_RUNS {
            let text = format!("A report holds up to {MOST_RUNS} runs, not {}.", runs.len());
            return Err(ApiError::new(ErrorCode::InvalidCall, text));
        }
        if form == ReportForm::Owner {
            return self.owner_report(runs).await;
        }
        let details = self.details(runs, MOST_RUNS as u32).await?;
        let made = self.made();
        let work = tokio::task::spawn_blocking(move || {
            let text = match form {
                ReportForm::Csv => runs_csv(&details),
                ReportForm::Html => page(&details, &NoiseFloor::assumed(), &made),
                ReportForm::Markdown | ReportForm::Owner => runs_markdown(&details, &made),
            };
            Reply::Report { text, runs: details.into_iter().map(|detail| detail.run).collect(), owner: None }
        });
        work.await.map_err(|error| ApiError::internal(format!("The report broke off: {error}.")))
    }

    async fn owner_report(&self, runs: &[i64]) -> CallResult {
        if !runs.is_empty() {
            return Err(ApiError::new(ErrorCode::InvalidCall, "The owner's tables take no runs.")
                .hint("They are filled from all runs of this machine: pilothouse report --owner"));
        }
        let store = self.store()?;
        let mut runs = self.details(&[], PAST_RUNS).await?;
        self.add_other_sides(&mut runs).await;
        let past = Past { runs, switches: store.switches(PAST_SWITCHES).await? };
        let (machine, made) = (MachineKey::of(&this_machine().await), self.made());
        let work = tokio::task::spawn_blocking(move || {
            let tables = owner::tables(&past, &machine, &NoiseFloor::assumed());
            let text = owner::text(&tables, &made);
            let runs = past.runs.into_iter().map(|detail| detail.run).collect();
            Reply::Report { text, runs, owner: Some(tables) }
        });
        work.await.map_err(|error| ApiError::internal(format!("The report broke off: {error}.")))
    }

    /// Both sides of a comparison belong together, although only the newest run of each model was asked for.
    async fn add_other_sides(&self, runs: &mut Vec<RunDetail>) {
        let here = |id: i64, runs: &[RunDetail]| runs.iter().any(|detail| detail.run.run_id == id);
        let others: Vec<i64> = runs.iter().filter_map(|detail| detail.run.against).collect();
        let Ok(store) = self.store() else { return };
        for other in others {
            if !here(other, runs)
                // One that was deleted is no comparison any more.
                && let Ok(detail) = store.run(other).await
            {
                runs.push(detail);
            }
        }
    }

    /// These runs in their order, or the newest of each kind. Errors: not_found, store_unavailable.
    async fn details(&self, runs: &[i64], newest: u32) -> Result<Vec<RunDetail>, ApiError> {
        let store = self.store()?;
        let ids = if runs.is_empty() { store.newest_of_each(newest).await? } else { runs.to_vec() };
        let mut details: Vec<RunDetail> = Vec::with_capacity(ids.len());
        for id in ids {
            if !details.iter().any(|detail| detail.run.run_id == id) {
                details.push(store.run(id).await?);
            }
        }
        Ok(details)
    }

    fn made(&self) -> Made {
        Made { at: Timestamp::now(), version: env!("CARGO_PKG_VERSION").into() }
    }

    pub(super) async fn export(&self, runs: &[i64], form: ExportForm, after: Option<i64>) -> CallResult {
        let store = self.store()?;
        let mut text = match (after, form) {
            (Some(_), _) => String::new(),
            (None, ExportForm::JsonLines) => exchange::head(env!("CARGO_PKG_VERSION")),
            (None, ExportForm::Csv) => trial_head(),
        };
        let above = after.unwrap_or(0);
        let ids = match runs {
            [] => store.run_ids(above, IDS).await?,
            _ => {
                let mut ids: Vec<i64> =
                    runs.iter().copied().filter(|id| *id > above || after.is_none()).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        };
        let mut last = None;
        let mut ids = ids.into_iter();
        for id in ids.by_ref() {
            let run = store.exchanged(id).await?;
            match form {
                ExportForm::JsonLines => text.push_str(&exchange::line(&run)?),
                ExportForm::Csv => {
                    text.push_str(&trial_rows(&RunDetail {
                        run: run.run,
                        trials: run.trials,
                        trace: None,
                        cards: None,
                    }));
                }
            }
            last = Some(id);
            if text.len() > PIECE {
                break;
            }
        }
        let more = match runs {
            [] => !store.run_ids(last.unwrap_or(above), 1).await?.is_empty(),
            _ => ids.next().is_some(),
        };
        Ok(Reply::Exported { text, next: last.filter(|_| more) })
    }

    pub(super) async fn import(&self, text: String, upload: Option<u64>, more: bool) -> CallResult {
        let store = self.store()?;
        let whole = match self.inbox.take(text, upload, more, Instant::now())? {
            Piece::Kept(upload) => return Ok(Reply::Upload { upload }),
            Piece::Whole(whole) => whole,
        };
        let read = tokio::task::spawn_blocking(move || exchange::read(&whole)).await;
        let runs = read.map_err(|error| ApiError::internal(format!("The import broke off: {error}.")))??;
        let done = store.import_runs(&runs).await?;
        Ok(Reply::Imported { imported: done.imported, already_there: done.already_there })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(
        text: &str,
        inbox: &Inbox,
        upload: Option<u64>,
        more: bool,
        now: Instant,
    ) -> Result<Piece, ErrorCode> {
        inbox.take(text.into(), upload, more, now).map_err(|error| error.code)
    }

    #[test]
    fn pieces_become_a_whole() {
        let (inbox, now) = (Inbox::default(), Instant::now());
        assert_eq!(piece("a", &inbox, None, true, now), Ok(Piece::Kept(1)));
        assert_eq!(
            piece("z", &inbox, None, false, now),
            Ok(Piece::Whole("z".into())),
            "a whole one goes between"
        );
        assert_eq!(piece("x", &inbox, None, true, now), Err(ErrorCode::Busy));
        assert_eq!(piece("x", &inbox, Some(7), true, now), Err(ErrorCode::NotFound));
        assert_eq!(piece("b", &inbox, Some(1), true, now), Ok(Piece::Kept(1)));
        assert_eq!(piece("c", &inbox, Some(1), false, now), Ok(Piece::Whole("abc".into())));
        assert_eq!(piece("d", &inbox, Some(1), false, now), Err(ErrorCode::NotFound), "it has ended");
        assert_eq!(piece("e", &inbox, None, true, now), Ok(Piece::Kept(2)));
        let late = now + UPLOAD_LIMIT;
        assert_eq!(piece("f", &inbox, Some(2), true, late), Err(ErrorCode::NotFound));
        assert_eq!(piece("g", &inbox, None, true, late), Ok(Piece::Kept(3)), "it makes room for the next");
    }

    #[test]
    fn a_file_has_a_bound() {
        let (inbox, now) = (Inbox::default(), Instant::now());
        let half = "x".repeat(LONGEST_FILE / 2);
        assert_eq!(piece(&half, &inbox, None, true, now), Ok(Piece::Kept(1)));
        assert_eq!(piece(&half, &inbox, Some(1), true, now), Ok(Piece::Kept(1)));
        assert_eq!(piece("x", &inbox, Some(1), false, now), Err(ErrorCode::InvalidCall));
        assert_eq!(piece("x", &inbox, None, true, now), Ok(Piece::Kept(2)), "nothing of it is kept");
    }
}
