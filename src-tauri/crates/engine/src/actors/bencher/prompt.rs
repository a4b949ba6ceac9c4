//! Prompts that no cache has seen: only a different *first* token defeats a prefix cache, and some servers offer no
//! other way to switch it off (Ollama keeps the prefix of the last prompt: `cache_prompt` in llm/llama_server.go).

/// Plain words of one or two tokens each in the usual vocabularies.
const WORDS: [&str; 48] = [
    "river", "stone", "window", "garden", "letter", "market", "winter", "bridge", "candle", "forest",
    "harbor", "island", "kitchen", "ladder", "meadow", "number", "orange", "paper", "quiet", "road",
    "silver", "table", "under", "valley", "water", "yellow", "anchor", "basket", "corner", "door", "early",
    "field", "glass", "hill", "inside", "journey", "key", "light", "morning", "north", "open", "picture",
    "rain", "summer", "tower", "voice", "wind", "year",
];

/// A prompt of about `words` words that begins unlike any other: `nonce` differs per request. The words follow from `text`, so
/// that both sides of a block read the same.
pub(super) fn unique(nonce: u64, text: u64, words: u32) -> String {
    let mut state = text;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    let mut prompt = format!("{nonce:016x} ");
    for _ in 0..words {
        prompt.push_str(next());
        prompt.push(' ');
    }
    prompt.push_str("\nTell a long story that uses these words, in many sentences:\n");
    prompt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_from_their_first_word_on_and_have_the_wanted_length() {
        let (a, b) = (unique(1, 5, 100), unique(2, 5, 100));
        assert_ne!(a.split(' ').next(), b.split(' ').next());
        assert_eq!(a.split_once(' ').unwrap().1, b.split_once(' ').unwrap().1, "the rest is the same");
        assert_ne!(unique(1, 6, 100), a);
        assert_eq!(unique(7, 5, 100), unique(7, 5, 100));
        assert!((100..120).contains(&a.split_whitespace().count()));
    }
}
