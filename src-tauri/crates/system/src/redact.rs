//! Takes secrets out of whatever is written down: logs, servers' output.

use pilothouse_domain::endpoint::Secret;
use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

const REDACTED: &str = "[redacted]";
/// Shorter values would take ordinary words out of every line.
const SHORTEST_SECRET: usize = 6;
/// Words after which a value stands. Compared without regard to case.
const BEFORE_A_VALUE: &[&str] = &["bearer ", "token=", "api_key=", "api-key=", "apikey=", "password="];
/// What keys begin with: those of most services, and those of client programs here.
const OF_KEYS: &[&str] = &["sk-", "ph_"];
/// Shortest rest of such a key that is taken for one.
const SHORTEST_REST: usize = 8;

/// Secrets of this process, longest first, so that one that contains another goes as a whole.
static SECRETS: RwLock<Vec<Secret>> = RwLock::new(Vec::new());

/// From now on this value is taken out of every line. Values under six characters are not remembered.
pub fn register(secret: &Secret) {
    if secret.expose().len() < SHORTEST_SECRET {
        return;
    }
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if !secrets.contains(secret) {
        secrets.push(secret.clone());
        secrets.sort_by_key(|s| std::cmp::Reverse(s.expose().len()));
    }
}

/// The line without registered secrets and without what looks like one (`Bearer …`, `sk-…`, `ph_…`, `token=…`).
pub fn redact(line: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(line);
    for secret in SECRETS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if out.contains(secret.expose()) {
            out = Cow::Owned(out.replace(secret.expose(), REDACTED));
        }
    }
    match redact_patterns(&out) {
        Some(redacted) => Cow::Owned(redacted),
        None => out,
    }
}

/// `None` when nothing in the line looks like a secret.
fn redact_patterns(line: &str) -> Option<String> {
    // ASCII lowering keeps every byte offset.
    let lower = line.to_ascii_lowercase();
    // Nearly every line ends here; the walk below is much slower.
    if !OF_KEYS.iter().any(|begin| lower.contains(begin))
        && !BEFORE_A_VALUE.iter().any(|word| lower.contains(word))
    {
        return None;
    }
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < line.len() {
        match secret_at(line, &lower, at) {
            Some((from, to)) => {
                out.push_str(&line[copied..from]);
                out.push_str(REDACTED);
                (copied, at) = (to, to);
            }
            None => at += line[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&line[copied..]);
    Some(out)
}

/// The byte range of the value, when at `at` something begins that announces one.
fn secret_at(line: &str, lower: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &lower[at..];
    if let Some(word) = BEFORE_A_VALUE.iter().find(|word| rest.starts_with(**word)) {
        let from = at + word.len();
        let to = end_of(line, from, |c| !c.is_whitespace() && !"&\"',;)}]".contains(c));
        // `token=Bearer …`: the value is yet to come. A registered secret may have gone already; its closing bracket is
        // no part of a value.
        let is_value = to > from && &lower[from..to] != "bearer" && &line[from..to] != "[redacted";
        return is_value.then_some((from, to));
    }
    let boundary = !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    if boundary && OF_KEYS.iter().any(|begin| rest.starts_with(begin)) {
        let to = end_of(line, at + 3, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        return (to - at - 3 >= SHORTEST_REST).then_some((at, to));
    }
    None
}

fn end_of(line: &str, from: usize, belongs: impl Fn(char) -> bool) -> usize {
    line[from..].find(|c| !belongs(c)).map_or(line.len(), |length| from + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_goes() {
        for (line, wanted) in [
            ("Authorization: Bearer abc.def-1", "Authorization: Bearer [redacted]"),
            ("GET /?token=abc&x=1", "GET /?token=[redacted]&x=1"),
            ("token=Bearer Bearer abc.def", "token=Bearer Bearer [redacted]"),
            ("key sk-proj-0123456789 used", "key [redacted] used"),
            ("x-api-key: ph_0123456789abcdef, and more", "x-api-key: [redacted], and more"),
            ("{\"h\":\"bearer xyz\"}", "{\"h\":\"bearer [redacted]\"}"),
            ("--API_KEY=k1 --port 1", "--API_KEY=[redacted] --port 1"),
        ] {
            assert_eq!(redact(line), wanted);
        }
    }

    #[test]
    fn ordinary_lines_are_not_touched_or_copied() {
        for line in [
            "task-queue-of-tokens",
            "graph_of_everything",
            "ph_short",
            "desk-0123456789",
            "sk-short",
            "größe: 5 token",
            "token= ",
        ] {
            assert!(matches!(redact(line), Cow::Borrowed(same) if same == line), "{line}");
        }
    }

    #[test]
    fn a_secret_that_contains_another_goes_as_a_whole() {
        register(&Secret::new("inner-value-7"));
        register(&Secret::new("outer-inner-value-7-end"));
        assert_eq!(redact("x outer-inner-value-7-end y"), "x [redacted] y");
    }

    #[test]
    fn short_values_are_not_remembered() {
        register(&Secret::new("on"));
        assert_eq!(redact("loading on gpu"), "loading on gpu");
    }

    proptest::proptest! {
        #[test]
        fn a_registered_secret_never_gets_through(
            before in ".*", after in ".*", secret in "[A-Za-z0-9]{12,40}"
        ) {
            register(&Secret::new(secret.as_str()));
            let line = format!("{before}{secret}{after}{secret}");
            proptest::prop_assert!(!redact(&line).contains(&secret));
        }

        #[test]
        fn a_bearer_value_never_gets_through(before in ".*", value in "[A-Z0-9]{8,20}") {
            let line = format!("{before} Bearer {value}");
            proptest::prop_assert!(!redact(&line).contains(&value));
        }
    }
}
