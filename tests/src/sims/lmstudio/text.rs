//! The invented answers. The same request always gets the same text.

use super::catalogue::CatalogueModel;

const SENTENCE: &str =
    "This answer is simulated and was invented by a test program, no language model took part in it. ";

/// The token at `position` of an answer, with its trailing blank. One word is one token here.
pub fn token(position: u32) -> &'static str {
    let count = SENTENCE.split_inclusive(' ').count();
    SENTENCE.split_inclusive(' ').nth(position as usize % count).unwrap_or(" ")
}

/// Tokens of a prompt: its words, and a few for the template.
pub fn prompt_tokens(prompt: &str) -> u32 {
    u32::try_from(prompt.split_whitespace().count()).unwrap_or(u32::MAX).saturating_add(4)
}

/// A vector that depends on the text alone.
pub fn embedding(model: &CatalogueModel, text: &str) -> Vec<f64> {
    let mut hash = fnv(model.key.as_bytes(), FNV_START);
    (0..16u8)
        .map(|position| {
            hash = fnv(&[position], fnv(text.as_bytes(), hash));
            // 16 bits of the hash, as a number from -1 to 1.
            f64::from((hash >> 32) as u16) / 32_767.5 - 1.0
        })
        .collect()
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(bytes: &[u8], start: u64) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A short name for a body, for `ETag`.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    fnv(bytes, FNV_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_that_it_is_simulated_and_repeats() {
        let text: String = (0..60).map(token).collect();
        assert!(text.starts_with("This answer is simulated"));
        assert_eq!(text.matches("This answer is simulated").count(), 4);
    }

    #[test]
    fn vectors_depend_on_the_text_alone() {
        let model = &super::super::catalogue::built_in()[2];
        assert_eq!(embedding(model, "one"), embedding(model, "one"));
        assert_ne!(embedding(model, "one"), embedding(model, "two"));
        assert!(embedding(model, "one").iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}
