//! Lines and their ends.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// How the lines of a text mostly end.
pub(super) fn end_of(text: &str) -> &'static str {
    let (all, windows) = (text.matches('\n').count(), text.matches("\r\n").count());
    if windows * 2 > all { "\r\n" } else { "\n" }
}

/// A text that was edited with plain line ends gets those of the original back: each line that stayed its own, new ones as most
/// others.
pub(super) fn with_ends_of(original: &str, edited: &str) -> String {
    if !original.contains("\r\n") {
        return edited.to_owned();
    }
    let end = end_of(original);
    let old: Vec<&str> = original.split_inclusive('\n').collect();
    let plain: Vec<String> = old.iter().map(|line| line.replace("\r\n", "\n")).collect();
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let new: Vec<&str> = edited.split_inclusive('\n').collect();
    let mut text = String::with_capacity(edited.len() + old.len());
    for op in capture_diff_slices(Algorithm::Myers, &plain, &new) {
        match op {
            DiffOp::Equal { old_index, len, .. } => {
                text.extend(old[old_index..old_index + len].iter().copied())
            }
            DiffOp::Delete { .. } => {}
            DiffOp::Insert { new_index, new_len, .. } => {
                new[new_index..new_index + new_len]
                    .iter()
                    .for_each(|line| text.push_str(&line.replace('\n', end)));
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                for (at, line) in new[new_index..new_index + new_len].iter().enumerate() {
                    // A line that is only changed ends as it did.
                    let own = (at < old_len).then(|| old[old_index + at].ends_with("\r\n"));
                    let end = own.map_or(end, |windows| if windows { "\r\n" } else { "\n" });
                    text.push_str(&line.replace('\n', end));
                }
            }
        }
    }
    text
}

/// The white space at the beginning of the line in which a byte stands.
pub(super) fn indent_at(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = &text[start..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}
