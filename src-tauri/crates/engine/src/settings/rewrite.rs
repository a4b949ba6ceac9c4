//! How Pilothouse changes the settings file: one value where it stands, everything around it as it is, and never over what
//! somebody else has written meanwhile.

use super::{DEFAULT_TEXT, SettingsFile, create, invalid, parse};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// How many changes of our own, and how many texts that were shown, are remembered.
const REMEMBERED: usize = 64;

/// The file as it stands.
pub(super) struct Written {
    pub text: String,
    pub settings: Settings,
    pub document: DocumentMut,
}

/// A change that was made: the whole text before and after.
pub(super) struct Rewritten {
    pub before: String,
    pub after: String,
}

/// What is known of the file's past, so that a change by somebody else is told from one by Pilothouse.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// One change at a time.
    turn: Mutex<()>,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Digests before and after each change of our own.
    own: VecDeque<(String, String)>,
    /// What stood in texts that somebody has looked at.
    shown: VecDeque<(String, Settings)>,
}

impl Past {
    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    /// Whether from one text to the other there were only changes of our own.
    fn only_own_between(&self, from: &str, to: &str) -> bool {
        let walked = self.own.iter().fold(from, |at, (before, after)| if before == at { after } else { at });
        from == to || walked == to
    }
}

impl SettingsFile {
    /// Errors: settings_invalid.
    pub(super) fn written(&self) -> Result<Written, ApiError> {
        understood(self.text()?)
    }

    fn text(&self) -> Result<String, ApiError> {
        std::fs::read_to_string(self.path())
            .map_err(|error| invalid(format!("{} cannot be read: {error}.", self.path().display())))
    }

    /// Somebody sees these settings now; the digest by which he names them.
    pub(super) fn shown(&self, written: &Written) -> String {
        let digest = digest(&written.text);
        let mut marks = self.past.marks();
        if !marks.shown.iter().any(|(shown, _)| *shown == digest) {
            if marks.shown.len() == REMEMBERED {
                marks.shown.pop_front();
            }
            marks.shown.push_back((digest.clone(), written.settings.clone()));
        }
        digest
    }

    /// Since a text was shown, was it changed by anybody but Pilothouse? `Some`: what was shown then, if that is still known.
    pub(super) fn changed_by_others(&self, shown: &str, now: &str) -> Option<Option<Settings>> {
        let marks = self.past.marks();
        if marks.only_own_between(shown, &digest(now)) {
            return None;
        }
        let then = marks.shown.iter().find(|(digest, _)| digest == shown);
        Some(then.map(|(_, settings)| settings.clone()))
    }

    /// Changes the file by an edit of what stands there now; a file that is gone is made anew before. Errors: settings_invalid (it
    /// has a mistake already), invalid_call (it would have one then), busy (somebody else writes it at this moment), system, and
    /// those of the edit; nothing is written then.
    pub(super) fn rewrite(
        &self,
        edit: impl FnOnce(&mut Written) -> Result<(), ApiError>,
    ) -> Result<Rewritten, ApiError> {
        let _turn = self.past.turn.lock().unwrap_or_else(PoisonError::into_inner);
        create(self.path()).map_err(|error| self.cannot_write(&error))?;
        let mut written = self.written()?;
        let after = edited(&mut written, edit)?;
        self.replace(&written.text, &after)?;
        Ok(Rewritten { before: written.text, after })
    }

    /// Says what `rewrite` would refuse; nothing is written. Errors: as `rewrite`, but for those of the writing itself.
    pub(super) fn rehearse(
        &self,
        edit: impl FnOnce(&mut Written) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let _turn = self.past.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.path().try_exists().map_err(|error| self.cannot_write(&error))?;
        // A file that is gone would be made anew.
        let mut written = if there { self.written()? } else { understood(DEFAULT_TEXT.to_owned())? };
        edited(&mut written, edit).map(drop)
    }

    /// Replaces the whole text by another one, if the caller has one. Errors: as `rewrite`.
    pub(super) fn rewrite_text(
        &self,
        edit: impl FnOnce(&str) -> Result<Option<String>, ApiError>,
    ) -> Result<Option<Rewritten>, ApiError> {
        let _turn = self.past.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.text()?;
        let Some(after) = edit(&text)? else { return Ok(None) };
        self.replace(&text, &after)?;
        Ok(Some(Rewritten { before: text, after }))
    }

    fn replace(&self, before: &str, after: &str) -> Result<(), ApiError> {
        if before == after {
            return Ok(());
        }
        // An editor may have saved while we reckoned.
        if self.text()? != before {
            let text = "The settings file is being changed by somebody else. Nothing was written.";
            return Err(ApiError::new(ErrorCode::Busy, text).hint("Try again.").retryable());
        }
        pilothouse_system::files::replace(self.path(), after.as_bytes())
            .map_err(|error| self.cannot_write(&error))?;
        let mut marks = self.past.marks();
        if marks.own.len() == REMEMBERED {
            marks.own.pop_front();
        }
        marks.own.push_back((digest(before), digest(after)));
        Ok(())
    }

    fn cannot_write(&self, error: &std::io::Error) -> ApiError {
        let text = format!("{} cannot be written: {error}.", self.path().display());
        ApiError::new(ErrorCode::System, text).hint("Check its permissions and the free disk space.")
    }
}

fn understood(text: String) -> Result<Written, ApiError> {
    // What is wrong already must be corrected by the person: we would write beside it without understanding it.
    let settings = parse(&text)?;
    let document = text.parse().map_err(|error| invalid(format!("{error}")))?;
    Ok(Written { text, settings, document })
}

/// The whole text after an edit. Errors: invalid_call (it would have a mistake then), and those of the edit.
fn edited(
    written: &mut Written,
    edit: impl FnOnce(&mut Written) -> Result<(), ApiError>,
) -> Result<String, ApiError> {
    let untouched = written.document.to_string();
    edit(written)?;
    let after = match written.document.to_string() {
        same if same == untouched => written.text.clone(),
        after => with_ends_of(&written.text, after),
    };
    parse(&after).map_err(|error| ApiError::new(ErrorCode::InvalidCall, error.message))?;
    Ok(after)
}

/// The lines end as they did: the parser knows "\n" alone.
fn with_ends_of(text: &str, after: String) -> String {
    let (lines, of_windows) = (text.matches('\n').count(), text.matches("\r\n").count());
    if of_windows > 0 && of_windows == lines { after.replace('\n', "\r\n") } else { after }
}

/// The SHA-256 of a text in hexadecimal digits.
pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is written at a key.
pub(super) fn item_at<'a>(document: &'a DocumentMut, key: &[String]) -> Option<&'a Item> {
    let (last, tables) = key.split_last()?;
    let mut table: &dyn TableLike = document.as_table();
    for name in tables {
        table = table.get(name)?.as_table_like()?;
    }
    table.get(last).filter(|item| !item.is_none())
}

/// Puts a value where the old one stands, with the remarks around it, or into its table; `None` takes it out. `named`: the innermost
/// table is that of one model, and goes with the last that stood in it. Errors: settings_invalid (a table is written as something else).
pub(super) fn put(
    table: &mut dyn TableLike,
    key: &[String],
    new: Option<Value>,
    named: bool,
) -> Result<(), ApiError> {
    let [name, rest @ ..] = key else { return Ok(()) };
    if rest.is_empty() {
        match (new, table.get_mut(name).and_then(Item::as_value_mut)) {
            (Some(new), Some(written)) => replace_value(written, new),
            (Some(new), None) => drop(table.insert(name, Item::Value(new))),
            (None, _) => drop(table.remove(name)),
        }
        return Ok(());
    }
    if table.get(name).is_none() {
        if new.is_none() {
            return Ok(());
        }
        let mut inner = Table::new();
        // Only the innermost gets a header of its own.
        inner.set_implicit(rest.len() > 1);
        table.insert(name, Item::Table(inner));
    }
    let taken_out = new.is_none();
    let inner = table.get_mut(name).and_then(Item::as_table_like_mut);
    let inner =
        inner.ok_or_else(|| invalid(format!("{name} is not written as a table, so nothing was changed.")))?;
    put(inner, rest, new, named)?;
    if named && rest.len() == 1 && taken_out && inner.is_empty() {
        // A table of one model without anything in it says nothing.
        table.remove(name);
    }
    Ok(())
}

fn replace_value(written: &mut Value, new: Value) {
    // Remarks between the parts of a list stay with those parts that stay.
    if let (Value::Array(list), Value::Array(wanted)) = (&mut *written, &new) {
        let texts = |list: &toml_edit::Array| -> Vec<Option<String>> {
            list.iter().map(|value| value.as_str().map(str::to_owned)).collect()
        };
        let wanted_texts = texts(wanted);
        let mut kept = list.clone();
        kept.retain(|value| wanted_texts.contains(&value.as_str().map(str::to_owned)));
        let had = kept.len();
        for value in wanted.iter().skip(had) {
            kept.push(value.clone());
        }
        if texts(&kept) == wanted_texts {
            *list = kept;
            return;
        }
    }
    // The remark behind it stays.
    let decor = written.decor().clone();
    *written = new;
    *written.decor_mut() = decor;
}
