//! Keys of client programs: what each may do at the one address, and how much of it.
//!
//! A key is made for one program or person and shown once; what is kept is its hash.

mod allowance;
mod decide;

pub use allowance::{Allowance, estimate, spent};
pub use decide::{NotAdmitted, Wants};

use crate::{
    Timestamp,
    scene::alias_fits,
    traffic::{OTHERS, UNKNOWN},
};
use serde::{Deserialize, Serialize};
use std::fmt;
use ts_rs::TS;

/// What every key begins with, so that people, scanners and logs tell it from other keys. It marks as one word with a double click.
pub const PREFIX: &str = "ph_";
/// So many keys at most: a person reads them.
pub const MOST: usize = 256;
/// Patterns of one key at most, and characters of one.
const MOST_PATTERNS: usize = 64;
const LONGEST_PATTERN: usize = 200;
/// Limits of a key go up to these.
pub const MOST_AT_ONCE: u32 = 10_000;
pub const MOST_TOKENS: u32 = 1_000_000_000;

/// What stands for a key where it is kept and looked up: SHA-256 of its text. A slow hash, as for passwords, would protect nothing
/// more: the secret is 256 random bits, which nobody guesses at any speed. It would only make each request slow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a key opens at the one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum KeyScope {
    /// Ask models, and see which there are.
    #[default]
    Inference,
    /// See which models there are, and nothing else.
    Read,
}

impl KeyScope {
    pub fn word(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Read => "read",
        }
    }
}

/// The key of a client program, without its secret, which nobody has but the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClientKey {
    /// Who asks, in lists and records of requests. No two keys have the same name, in whatever case.
    pub name: String,
    pub scope: KeyScope,
    /// Names that it may ask by and models that may answer it; `*` stands for any characters. Empty: all.
    pub models: Vec<String>,
    /// Requests under way at a time. `None`: as many as come.
    pub at_once: Option<u32>,
    /// Tokens by the minute, of prompts and answers together. `None`: as many as come.
    pub tokens_per_minute: Option<u32>,
    #[ts(type = "string")]
    pub made_at: Timestamp,
    /// When it was shown last, to about a minute. `None`: never.
    #[ts(type = "string | null")]
    pub last_used_at: Option<Timestamp>,
}

impl ClientKey {
    /// Whether one of these names is among those that it may use.
    pub fn may_use<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let fits = |name: &str| self.models.iter().any(|pattern| alias_fits(pattern, name).is_some());
        self.models.is_empty() || names.into_iter().any(fits)
    }

    /// Whether there may be such a key. `Err`: what is wrong with it, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        let sound = |pattern: &String| {
            (1..=LONGEST_PATTERN).contains(&pattern.chars().count())
                && pattern.trim() == pattern
                && !pattern.chars().any(char::is_control)
        };
        if self.models.len() > MOST_PATTERNS || !self.models.iter().all(sound) {
            return Err(format!(
                "The models of a key are at most {MOST_PATTERNS} names of 1 to {LONGEST_PATTERN} characters."
            ));
        }
        let within = |limit: Option<u32>, most: u32| limit.is_none_or(|limit| (1..=most).contains(&limit));
        if !within(self.at_once, MOST_AT_ONCE) {
            return Err(format!("Requests at a time are 1 to {MOST_AT_ONCE}, or without a limit."));
        }
        if !within(self.tokens_per_minute, MOST_TOKENS) {
            return Err(format!("Tokens by the minute are 1 to {MOST_TOKENS}, or without a limit."));
        }
        Ok(())
    }
}

/// A name for a key of this program that no other key has, in whatever case: its title, else with a number.
pub fn free_name<'a>(title: &str, taken: impl IntoIterator<Item = &'a str>) -> String {
    let taken: Vec<String> = taken.into_iter().map(str::to_lowercase).collect();
    let is_free = |name: &String| !taken.contains(&name.to_lowercase());
    let numbered = (2..).map(|number| format!("{title} {number}"));
    std::iter::once(title.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// Whether a key may be called this. `Err`: what is allowed.
fn check_name(name: &str) -> Result<(), String> {
    let sound = (1..=60).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    // Under these, records count requests of somebody else.
    let is_taken = [OTHERS, UNKNOWN].iter().any(|word| word.eq_ignore_ascii_case(name));
    match sound && !is_taken {
        true => Ok(()),
        false => Err(format!(
            "The name of a key has 1 to 60 characters and is neither “{OTHERS}” nor “{UNKNOWN}”."
        )),
    }
}

#[cfg(test)]
pub(crate) fn key(models: &[&str]) -> ClientKey {
    ClientKey {
        name: "laptop".into(),
        scope: KeyScope::Inference,
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        at_once: None,
        tokens_per_minute: None,
        made_at: Timestamp::UNIX_EPOCH,
        last_used_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_in_whatever_case() {
        for (taken, name) in [
            (&[][..], "Codex"),
            (&["laptop"], "Codex"),
            (&["codex"], "Codex 2"),
            (&["Codex", "Codex 3", "CODEX 2"], "Codex 4"),
        ] {
            assert_eq!(free_name("Codex", taken.iter().copied()), name);
        }
    }

    #[test]
    fn what_a_key_may_be_called_and_hold() {
        for (name, sound) in [
            ("laptop", true),
            ("Open WebUI (küche)", true),
            ("", false),
            (" a", false),
            ("a\nb", false),
            ("others", false),
            ("Unknown", false),
            (&"x".repeat(60), true),
            (&"x".repeat(61), false),
        ] {
            let key = ClientKey { name: name.into(), ..key(&[]) };
            assert_eq!(key.check().is_ok(), sound, "{name:?}");
        }
        for (models, sound) in [
            (vec!["active", "qwen*"], true),
            (vec![""], false),
            (vec![" a"], false),
            (vec!["a"; 64], true),
            (vec!["a"; 65], false),
        ] {
            assert_eq!(key(&models).check().is_ok(), sound, "{models:?}");
        }
        for (at_once, tokens, sound) in [
            (Some(1), None, true),
            (Some(0), None, false),
            (Some(10_001), None, false),
            (None, Some(1_000_000_000), true),
            (None, Some(0), false),
        ] {
            let key = ClientKey { at_once, tokens_per_minute: tokens, ..key(&[]) };
            assert_eq!(key.check().is_ok(), sound, "{at_once:?} {tokens:?}");
        }
    }

    #[test]
    fn a_hash_is_no_text_for_a_log() {
        assert_eq!(format!("{:?}", KeyHash([7; 32])), "KeyHash(…)");
    }
}
