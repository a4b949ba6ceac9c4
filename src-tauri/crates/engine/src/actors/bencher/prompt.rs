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
    let mut drawn = Drawn(text);
    let mut prompt = letters(nonce);
    prompt.push_str(&drawn.words(words));
    prompt.push_str("\nTell a long story that uses these words, in many sentences:\n");
    prompt
}

/// Single letters are one token each in the usual vocabularies, whichever they are, so that every prompt is as long.
pub(super) fn letters(nonce: u64) -> String {
    let mut letters = String::new();
    let mut rest = nonce;
    for _ in 0..NONCE_LETTERS {
        letters.push(char::from(b'a' + (rest % 26) as u8));
        letters.push(' ');
        rest /= 26;
    }
    letters
}

/// Words that follow from a number.
struct Drawn(u64);

impl Drawn {
    fn word(&mut self) -> &'static str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        WORDS[(self.0 >> 33) as usize % WORDS.len()]
    }

    fn words(&mut self, count: u32) -> String {
        let mut words = String::new();
        for _ in 0..count {
            words.push_str(self.word());
            words.push(' ');
        }
        words
    }
}

/// Words of a line that a tool has found, its names included.
const WORDS_OF_A_LINE: u32 = 14;
/// Fewer bytes than this are no token: of words there are more, of signs about as many.
const BYTES_OF_A_TOKEN: usize = 3;

/// A conversation as an agent holds one: what it is for, then at each turn a question and what a tool has found, and the answer.
pub(super) struct Talk {
    text: String,
    drawn: Drawn,
    words: u32,
}

impl Talk {
    /// `words`: that each turn adds; they follow from `text`.
    pub fn new(text: u64, words: u32) -> Self {
        let purpose = "System: You look after a small archive. Use what the tool has found, say which lines speak of the \
            question, and answer in a few sentences. Ask for another search where the lines are not enough.\n\n";
        Self { text: purpose.into(), drawn: Drawn(text), words }
    }

    /// The whole conversation up to the next question, which is put.
    pub fn ask(&mut self) -> &str {
        let lines = (self.words * 7 / 10 / WORDS_OF_A_LINE).max(1);
        let question = self.words.saturating_sub(lines * WORDS_OF_A_LINE);
        let question = self.drawn.words(question);
        self.text.push_str(&format!("User: What do the lines say of {}?\nTool: [\n", question.trim_end()));
        for line in 1..=lines {
            let (folder, file) = (self.drawn.word(), self.drawn.word());
            let found = self.drawn.words(WORDS_OF_A_LINE - 5);
            let found = found.trim_end();
            self.text.push_str(&format!(
                "  {{\"file\": \"{folder}/{file}.txt\", \"line\": {}, \"text\": \"{found}\"}},\n",
                7 * line
            ));
        }
        self.text.push_str("]\nAssistant:");
        &self.text
    }

    /// What was answered becomes part of it.
    pub fn answered(&mut self, answer: &str) {
        self.text.push(' ');
        self.text.push_str(answer.trim());
        self.text.push_str("\n\n");
    }

    /// About the most tokens that a conversation of so many turns takes.
    pub fn most_tokens(words: u32, turns: u32, answer: u32) -> u64 {
        let mut talk = Self::new(1, words);
        for _ in 0..turns {
            talk.ask();
        }
        let read = (letters(0).len() + talk.text.len()) / BYTES_OF_A_TOKEN;
        read as u64 + u64::from(turns) * u64::from(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_grows_by_as_many_words_at_each_turn_and_keeps_its_beginning() {
        let (mut talk, mut before) = (Talk::new(3, 200), String::new());
        for turn in 1..=6 {
            let now = talk.ask().to_owned();
            assert!(now.starts_with(&before), "turn {turn}");
            let grown = now.split_whitespace().count() - before.split_whitespace().count();
            assert!((195..=260).contains(&grown), "turn {turn}: {grown}");
            assert_eq!(now.matches("Assistant:").count(), turn);
            talk.answered(" The river speaks of it. ");
            before = now + " The river speaks of it.\n\n";
        }
        assert_eq!(Talk::new(3, 200).ask(), Talk::new(3, 200).ask());
        assert_ne!(Talk::new(3, 200).ask(), Talk::new(4, 200).ask());
        assert!((2000..4000).contains(&Talk::most_tokens(200, 6, 32)), "{}", Talk::most_tokens(200, 6, 32));
    }

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
