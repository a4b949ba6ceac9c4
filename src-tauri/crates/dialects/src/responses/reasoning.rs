//! What a model thinks goes to the client and comes back with its next request.

use crate::fields::{Fields, text};

/// Before thoughts that are carried in `encrypted_content`. Nothing is secret about them: it is the one field that clients which
/// keep no thoughts (`store` false) send back.
const MARK: &str = "pilothouse:";

/// Thoughts as `encrypted_content`.
pub fn carried(thoughts: &str) -> String {
    format!("{MARK}{thoughts}")
}

/// The thoughts of a reasoning item, from the best source that it has. What another service encrypted stays unread.
pub fn thoughts_of(item: &Fields<'_>) -> Option<String> {
    let texts = |name: &str| -> Option<String> {
        let entries = item.list(name)?;
        let said = entries
            .into_iter()
            .filter_map(|entry| text(entry).or_else(|| Fields::of(entry).and_then(|part| part.text("text"))));
        let said: Vec<String> = said.collect();
        Some(said.join("\n\n")).filter(|said| !said.is_empty())
    };
    let content = texts("content").or_else(|| item.text("content").filter(|said| !said.is_empty()));
    let ours = || {
        let carried = item.text("encrypted_content")?;
        carried.strip_prefix(MARK).filter(|said| !said.is_empty()).map(str::to_owned)
    };
    content.or_else(ours).or_else(|| texts("summary"))
}
