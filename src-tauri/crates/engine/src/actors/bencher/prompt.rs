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

/// 26^13 is more than a nonce has values.
const NONCE_LETTERS: u32 = 13;

/// A prompt of about `words` words that begins unlike any other: `nonce` differs per request. The words follow from `text`, so
/// that both sides of a block read the same.
pub(super) fn unique(nonce: u64, text: u64, words: u32) -> String {
    let mut state = text;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(state >> 33) as usize % WORDS.len()]
    };
    // Single letters are one token each in the usual vocabularies, whichever they are, so that every prompt is as long.
    let mut prompt = String::new();
    let mut rest = nonce;
    for _ in 0..NONCE_LETTERS {
        prompt.push(char::from(b'a' + (rest % 26) as u8));
        prompt.push(' ');
        rest /= 26;
    }
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
        let (a, b) = (unique(1, 5, 100), unique(u64::MAX, 5, 100));
        assert_ne!(a.split(' ').next(), b.split(' ').next());
        let rest = |prompt: &str| prompt.split(' ').skip(13).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rest(&a), rest(&b), "the rest is the same");
        assert_eq!(a.len(), b.len());
        assert_ne!(unique(1, 6, 100), a);
        assert_eq!(unique(7, 5, 100), unique(7, 5, 100));
        assert!((110..130).contains(&a.split_whitespace().count()));
    }
}
