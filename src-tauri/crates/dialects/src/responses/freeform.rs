//! A tool that takes a free text is a function with one text for a server. Here that text is found in the arguments while they come.

use crate::fields::{Fields, text, text_or_json};
use serde_json::value::RawValue;

/// The name of the one argument.
pub const ARGUMENT: &str = "input";

/// The arguments that a free text is for a server.
pub fn arguments(input: &str) -> String {
    serde_json::json!({ ARGUMENT: input }).to_string()
}

/// Reads `{"input":"…"}` as it grows.
#[derive(Debug, Default)]
pub struct Freeform {
    state: State,
    /// Up to where the arguments are read.
    at: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Before,
    Within,
    Behind,
    /// They are of another form, and are looked at when all are there.
    Strange,
}

impl Freeform {
    /// What is new of the text, when the arguments are `all` so far.
    pub fn take(&mut self, all: &str) -> String {
        if self.state == State::Before {
            match opening(all) {
                Opening::Ends(at) => (self.state, self.at) = (State::Within, at),
                Opening::NotYet => {}
                Opening::Other => self.state = State::Strange,
            }
        }
        let mut new = String::new();
        while self.state == State::Within {
            let rest = &all[self.at..];
            let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) else {
                new.push_str(rest);
                self.at = all.len();
                break;
            };
            new.push_str(&rest[..at]);
            self.at += at;
            if rest.as_bytes()[at] == b'"' {
                self.state = State::Behind;
                break;
            }
            let Some((said, length)) = escape(&rest[at..]) else { break };
            new.push(said);
            self.at += length;
        }
        new
    }

    /// What is left of the text when the arguments are `all` that there are.
    pub fn rest(&mut self, all: &str) -> String {
        match self.state {
            State::Within | State::Behind => String::new(),
            State::Before | State::Strange => {
                self.state = State::Behind;
                whole(all)
            }
        }
    }
}

enum Opening {
    Ends(usize),
    NotYet,
    Other,
}

fn opening(all: &str) -> Opening {
    let mut rest = all;
    for token in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_start();
        match rest.strip_prefix(token) {
            Some(behind) => rest = behind,
            None if token.starts_with(rest) => return Opening::NotYet,
            None => return Opening::Other,
        }
    }
    Opening::Ends(all.len() - rest.len())
}

/// The character that an escape at the beginning says, and how long the escape is. `None`: it is not all there.
fn escape(rest: &str) -> Option<(char, usize)> {
    let kind = rest[1..].chars().next()?;
    let simple = match kind {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => return unicode(rest),
        other => other,
    };
    Some((simple, 1 + kind.len_utf8()))
}

fn unicode(rest: &str) -> Option<(char, usize)> {
    const STRANGE: char = char::REPLACEMENT_CHARACTER;
    let unit = |from: usize| {
        let digits = rest.as_bytes().get(from..from + 4)?;
        Some(std::str::from_utf8(digits).ok().and_then(|digits| u16::from_str_radix(digits, 16).ok()))
    };
    let Some(first) = unit(2)? else { return Some((STRANGE, 2)) };
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(u32::from(first)).unwrap_or(STRANGE), 6));
    }
    let behind = rest.get(6..).unwrap_or_default();
    if behind.len() < 2 && "\\u".starts_with(behind) {
        return None;
    }
    if !behind.starts_with("\\u") {
        return Some((STRANGE, 6));
    }
    let second = unit(8)?.unwrap_or_default();
    match char::decode_utf16([first, second]).next() {
        Some(Ok(pair)) => Some((pair, 12)),
        _ => Some((STRANGE, 6)),
    }
}

/// The text of arguments of any form: the one that is asked for, the only one, or all as they are.
fn whole(all: &str) -> String {
    if let Some(fields) = Fields::read(all) {
        let named = fields.get(ARGUMENT).map(text_or_json);
        return named.or_else(|| fields.only_text()).unwrap_or_else(|| all.to_owned());
    }
    serde_json::from_str::<&RawValue>(all).ok().and_then(text).unwrap_or_else(|| all.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&str]) -> String {
        let (mut all, mut freeform, mut said) = (String::new(), Freeform::default(), String::new());
        for piece in pieces {
            all.push_str(piece);
            said.push_str(&freeform.take(&all));
        }
        said.push_str(&freeform.rest(&all));
        said
    }

    #[test]
    fn the_text_is_found_in_arguments_of_many_forms() {
        for (arguments, wanted) in [
            (r#"{"input":"ls -l"}"#, "ls -l"),
            (r#" { "input" : "a\nb\t\"c\"\\" } "#, "a\nb\t\"c\"\\"),
            (r#"{"input":"\u00e4\ud83d\ude00\ud83dx\u12"}"#, "ä😀\u{fffd}x\u{12}\""),
            (r#"{"input":"cut \"#, "cut "),
            (r#"{"patch":"x"}"#, "x"),
            (r#"{"a":"x","input":"y"}"#, "y"),
            (r#"{"input":{"b":1}}"#, r#"{"b":1}"#),
            (r#""plain""#, "plain"),
            ("*** Begin Patch", "*** Begin Patch"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"inp"#, r#"{"inp"#),
            ("", ""),
        ] {
            if arguments.contains("u12\"") {
                // Not JSON; only that it does not harm.
                let _ = read(&[arguments]);
                continue;
            }
            assert_eq!(read(&[arguments]), wanted, "{arguments}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_after_the_way_there_and_back(input in "[\\PC\n\t\"\\\\😀]{0,40}", cuts in prop::collection::vec(0usize..200, 0..6)) {
            let arguments = arguments(&input);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (arguments.len() + 1)).filter(|at| arguments.is_char_boundary(*at)).collect();
            at.extend([0, arguments.len()]);
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|pair| &arguments[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), input);
        }

        #[test]
        fn pieces_do_not_matter(text in "(\\{\"input\":\"|a|\\\\|u|d83d|de00|\"|\\}| |ü){0,14}", at in 0usize..80) {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            prop_assert_eq!(read(&[&text[..at], &text[at..]]), read(&[&text]));
        }
    }
}
