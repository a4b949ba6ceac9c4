//! What of a model's build decides how much memory it takes and how fast it answers. Read from the head of its file by
//! `engine::model_files`; sizes in bytes, lengths in elements.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The attention of one layer, as far as its cache is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedLayer {
    /// Heads whose keys and values are kept; 0: no attention in this layer.
    pub kv_heads: u32,
    pub key_length: u32,
    pub value_length: u32,
    /// The layer looks back over so many tokens only; `None`: over all.
    pub window: Option<u32>,
}

/// Where the figures of an [`Anatomy`] come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The head of a GGUF file.
    #[default]
    Gguf,
    /// `config.json` and the heads of safetensors files: a model for MLX.
    Safetensors,
    /// The server says it; nothing was read from disk.
    Server,
    /// Reckoned from parameters and block types of a typical model.
    Reckoned,
}

/// Block types of ggml that llama.cpp can keep in another order on the processor (see [`crate::estimate::packed_bytes`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    Q4_0,
    Q8_0,
    Q2K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Mxfp4,
}

/// Weights of one block type that tokens are multiplied with, all of them together; no table of which rows are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrices {
    pub block: BlockType,
    /// The number of rows of each can be divided by this: 1, 2, 4 or 8.
    pub rows_by: u32,
    pub bytes: u64,
}

/// The build of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anatomy {
    /// "llama", "gemma3", as in `general.architecture`.
    pub architecture: String,
    /// Where the figures come from.
    pub origin: Origin,
    /// Elements of all tensors.
    pub parameters: u64,
    /// All tensors, without the head of the file.
    pub weights_bytes: u64,
    /// The table of token embeddings where the output has a table of its own: of it one row is read per token.
    pub lookup_bytes: u64,
    /// Tensors of which only the chosen experts are read per token.
    pub expert_bytes: u64,
    pub experts: u32,
    pub experts_used: u32,
    pub embedding_length: u32,
    pub feed_forward_length: u32,
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    pub layers: Vec<CachedLayer>,
    /// State of recurrent layers per request, whatever the context.
    pub recurrent_bytes: u64,
    /// Files that the server loads with the model and that a token does not need: a projector for pictures, a draft model.
    pub beside_bytes: u64,
    /// Context length in training, in tokens.
    pub context_max: Option<u64>,
    /// The part of the weights that llama.cpp may keep in another order on the processor.
    pub matrices: Vec<Matrices>,
}

impl Matrices {
    /// The largest figure of `rows_by` for so many rows.
    pub fn rows_by(rows: u64) -> u32 {
        1 << rows.trailing_zeros().min(3)
    }
}

impl Anatomy {
    /// Bytes of weights that are read for one token of a single request (reference: telemetry, section 6.4).
    pub fn bytes_per_token(&self) -> u64 {
        let idle_experts = match self.experts {
            0 => 0,
            experts => {
                let unused = u64::from(experts.saturating_sub(self.experts_used));
                (u128::from(self.expert_bytes) * u128::from(unused) / u128::from(experts)) as u64
            }
        };
        self.weights_bytes.saturating_sub(self.lookup_bytes).saturating_sub(idle_experts)
    }

    /// Parameters that take part in one token.
    pub fn active_parameters(&self) -> u64 {
        let share = self.bytes_per_token() as f64 / self.weights_bytes.max(1) as f64;
        (self.parameters as f64 * share) as u64
    }
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum KvType {
    F32,
    #[default]
    F16,
    Q8_0,
    Q5_1,
    Q4_0,
}

impl KvType {
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Q8_0, Self::Q5_1, Self::Q4_0];

    /// As llama.cpp and Ollama spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q5_1 => "q5_1",
            Self::Q4_0 => "q4_0",
        }
    }

    /// By its name; bf16 takes as much as f16.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "bf16" { "f16" } else { name };
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of 32 elements: the blocks of ggml.
    pub(crate) fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 128,
            Self::F16 => 64,
            Self::Q8_0 => 34,
            Self::Q5_1 => 24,
            Self::Q4_0 => 18,
        }
    }
}

impl CachedLayer {
    /// Bytes of `cells` tokens.
    pub fn bytes(&self, cells: u64, kv: KvType) -> u64 {
        let lengths = u64::from(self.key_length) + u64::from(self.value_length);
        let elements = u64::from(self.kv_heads).saturating_mul(lengths);
        elements.saturating_mul(cells).saturating_mul(kv.block_bytes()) / 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_unused_experts_and_the_lookup_table_nothing_is_read() {
        let dense = Anatomy { weights_bytes: 1000, lookup_bytes: 100, parameters: 500, ..Anatomy::default() };
        assert_eq!((dense.bytes_per_token(), dense.active_parameters()), (900, 450));
        let mixture = Anatomy { expert_bytes: 800, experts: 8, experts_used: 2, ..dense };
        assert_eq!(mixture.bytes_per_token(), 300);
    }

    #[test]
    fn the_types_of_the_cache_are_known_by_name() {
        for kind in KvType::ALL {
            assert_eq!(KvType::parse(kind.name()), Some(kind));
        }
        assert_eq!(KvType::parse("bf16"), Some(KvType::F16));
        assert_eq!(KvType::parse("q3_k"), None);
    }
}
