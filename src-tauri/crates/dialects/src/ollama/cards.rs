//! What programs look at before they ask: which models there are, which are loaded, what they can, and the version.

use super::{names::shown, written};
use pilothouse_domain::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use sha2::{Digest, Sha256};

/// The level of Ollama that is spoken here, never a number of our own: Copilot refuses what is older than 0.6.4.
pub const VERSION: &str = "0.33.0";

/// Ollama's "never" lies about 292 years ahead, the longest that its clock counts; clients show such a date as no end.
const NEVER: &str = "2318-01-01T00:00:00Z";

/// A time that nobody knows, as Go writes it: each entry of `/api/tags` has one, and clients parse it.
const UNKNOWN: &str = "0001-01-01T00:00:00Z";

/// What is known of a model. `None`: not known; said as nothing or as Ollama's own "unknown", never guessed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelCard {
    /// As clients call it, with or without a tag.
    pub name: String,
    /// Of its files.
    pub size_bytes: Option<u64>,
    /// 64 hexadecimal digits of what it is made of.
    pub digest: Option<String>,
    pub modified_at: Option<Timestamp>,
    /// "gguf", "safetensors".
    pub format: Option<String>,
    /// Its architecture: "qwen3", "llama".
    pub family: Option<String>,
    /// "8.2B".
    pub parameter_size: Option<String>,
    /// "Q4_K_M".
    pub quantization: Option<String>,
    /// Tokens that it has room for as it is loaded, else as it would be.
    pub context: Option<u64>,
    /// Numbers of a vector that it makes.
    pub embedding_length: Option<u64>,
    pub template: Option<String>,
    /// "completion", "tools", "vision", "thinking", "embedding", "insert". Copilot passes over a model without any.
    pub capabilities: Option<Vec<String>>,
    /// `None`: it is not loaded.
    pub loaded: Option<Loaded>,
}

/// A model in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// In all memory.
    pub size_bytes: Option<u64>,
    /// In that of graphics cards.
    pub vram_bytes: Option<u64>,
    /// `None`: it stays until it has to go.
    pub expires_at: Option<Timestamp>,
}

/// For a model whose true digest is not known: programs keep models apart by their digests. SHA-256 of the name, so that it stays
/// the same as long as the name does; it says nothing of the model's files.
pub fn digest_of(name: &str) -> String {
    let hash = Sha256::digest(format!("name:{}", shown(name)));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The document of `/api/version`.
pub fn version() -> Vec<u8> {
    written(&serde_json::json!({ "version": VERSION }))
}

/// The document of `/api/tags`: all models.
pub fn tags(cards: &[ModelCard]) -> Vec<u8> {
    written(&Models { models: cards.iter().map(|card| Entry { card, of: Of::Tags }).collect() })
}

/// The document of `/api/ps`: those of them that are loaded, the ones that stay longest first.
pub fn ps(cards: &[ModelCard]) -> Vec<u8> {
    let end = |card: &ModelCard| {
        let end = card.loaded.as_ref().and_then(|loaded| loaded.expires_at);
        std::cmp::Reverse(end.unwrap_or(Timestamp::MAX))
    };
    let mut loaded: Vec<&ModelCard> = cards.iter().filter(|card| card.loaded.is_some()).collect();
    loaded.sort_by_key(|card| end(card));
    written(&Models { models: loaded.into_iter().map(|card| Entry { card, of: Of::Ps }).collect() })
}

/// The document of `/api/show`.
pub fn show(card: &ModelCard) -> Vec<u8> {
    written(&Shown(card))
}

#[derive(Serialize)]
struct Models<'a> {
    models: Vec<Entry<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Tags,
    Ps,
}

struct Entry<'a> {
    card: &'a ModelCard,
    of: Of,
}

/// An entry that may be missing.
fn known<M: SerializeMap>(map: &mut M, name: &str, value: &Option<impl Serialize>) -> Result<(), M::Error> {
    value.as_ref().map_or(Ok(()), |value| map.serialize_entry(name, value))
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let card = self.card;
        let mut map = serializer.serialize_map(None)?;
        let name = shown(&card.name);
        map.serialize_entry("name", &name)?;
        map.serialize_entry("model", &name)?;
        let digest = card.digest.clone().unwrap_or_else(|| digest_of(&card.name));
        if self.of == Of::Tags {
            let modified_at = card.modified_at.map_or_else(|| UNKNOWN.to_owned(), |at| at.to_string());
            map.serialize_entry("modified_at", &modified_at)?;
            // Ollama's own word for a size that it does not know is 0.
            map.serialize_entry("size", &card.size_bytes.unwrap_or(0))?;
            map.serialize_entry("digest", &digest)?;
            map.serialize_entry("details", &Details(card))?;
            known(&mut map, "capabilities", &card.capabilities)?;
            return map.end();
        }
        let loaded = card.loaded.clone().unwrap_or_default();
        map.serialize_entry("size", &loaded.size_bytes.unwrap_or(0))?;
        map.serialize_entry("digest", &digest)?;
        map.serialize_entry("details", &Details(card))?;
        let expires_at = loaded.expires_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string());
        map.serialize_entry("expires_at", &expires_at)?;
        // 0 would say that it is not on a graphics card.
        known(&mut map, "size_vram", &loaded.vram_bytes)?;
        known(&mut map, "context_length", &card.context)?;
        map.end()
    }
}

struct Details<'a>(&'a ModelCard);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let card = self.0;
        let word = |word: &'_ Option<String>| word.clone().unwrap_or_default();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("parent_model", "")?;
        map.serialize_entry("format", &word(&card.format))?;
        map.serialize_entry("family", &word(&card.family))?;
        map.serialize_entry("families", card.family.as_slice())?;
        map.serialize_entry("parameter_size", &word(&card.parameter_size))?;
        map.serialize_entry("quantization_level", &word(&card.quantization))?;
        known(&mut map, "context_length", &card.context)?;
        known(&mut map, "embedding_length", &card.embedding_length)?;
        map.end()
    }
}

struct Shown<'a>(&'a ModelCard);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let card = self.0;
        let mut map = serializer.serialize_map(None)?;
        // Programs read the room for tokens out of this text, and search the template for marks.
        let parameters = card.context.map(|context| format!("num_ctx                        {context}"));
        map.serialize_entry("parameters", &parameters.unwrap_or_default())?;
        map.serialize_entry("template", &card.template.as_deref().unwrap_or_default())?;
        map.serialize_entry("details", &Details(card))?;
        map.serialize_entry("model_info", &Info(card))?;
        known(&mut map, "capabilities", &card.capabilities)?;
        known(&mut map, "modified_at", &card.modified_at.map(|at| at.to_string()))?;
        map.end()
    }
}

struct Info<'a>(&'a ModelCard);

impl Serialize for Info<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let card = self.0;
        // The names of figures begin with the architecture, so that an unknown one needs a word.
        let family = card.family.as_deref().unwrap_or("unknown");
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("general.architecture", family)?;
        map.serialize_entry("general.basename", &card.name)?;
        known(&mut map, &format!("{family}.context_length"), &card.context)?;
        known(&mut map, &format!("{family}.embedding_length"), &card.embedding_length)?;
        map.end()
    }
}

#[cfg(test)]
#[path = "cards_tests.rs"]
mod tests;
