//! Typical models by size, for questions about a machine on which no model lies yet.
//!
//! The builds are those of well-known open models; their files are reckoned from the parameters and the mix of block types
//! (reference: telemetry, section 6.1), so real files differ by some per cent.

use super::mixes::GGUF;
use crate::{
    anatomy::{Anatomy, CachedLayer, Origin},
    error::ApiError,
};

struct Typical {
    size: &'static str,
    layers: u32,
    width: u32,
    feed_forward: u32,
    heads: u32,
    kv_heads: u32,
    vocabulary: u32,
    /// Input and output share one table of embeddings.
    tied: bool,
}

#[rustfmt::skip]
const MODELS: &[Typical] = &[
    // As Qwen 2.5.
    Typical { size: "0.5b", layers: 24, width: 896, feed_forward: 4864, heads: 14, kv_heads: 2, vocabulary: 151_936, tied: true },
    Typical { size: "1.5b", layers: 28, width: 1536, feed_forward: 8960, heads: 12, kv_heads: 2, vocabulary: 151_936, tied: true },
    Typical { size: "3b", layers: 36, width: 2048, feed_forward: 11_008, heads: 16, kv_heads: 2, vocabulary: 151_936, tied: true },
    // As Phi-3 mini.
    Typical { size: "3.8b", layers: 32, width: 3072, feed_forward: 8192, heads: 32, kv_heads: 32, vocabulary: 32_064, tied: false },
    // As Qwen 2.5 again.
    Typical { size: "7b", layers: 28, width: 3584, feed_forward: 18_944, heads: 28, kv_heads: 4, vocabulary: 152_064, tied: false },
    // As Llama 2.
    Typical { size: "13b", layers: 40, width: 5120, feed_forward: 13_824, heads: 40, kv_heads: 40, vocabulary: 32_000, tied: false },
    // As Qwen 2.5 32B.
    Typical { size: "30b", layers: 64, width: 5120, feed_forward: 27_648, heads: 40, kv_heads: 8, vocabulary: 152_064, tied: false },
    // As Llama 3.1.
    Typical { size: "70b", layers: 80, width: 8192, feed_forward: 28_672, heads: 64, kv_heads: 8, vocabulary: 128_256, tied: false },
];

/// Blocks of 256 weights: a row that is no multiple of it falls back to larger block types (llama.cpp).
const SUPER_BLOCK: u32 = 256;
/// What four bits become then, taken over a whole file.
const FALLBACK_FACTOR: f64 = 1.3;

/// "7b", "70b:q2_k"; without a mix Q4_K_M. `None`: no such size or mix.
pub fn typical(name: &str) -> Option<Anatomy> {
    let lower = name.to_lowercase();
    let (size, mix) = lower.split_once(':').unwrap_or((&lower, "q4_k_m"));
    let model = MODELS.iter().find(|model| model.size == size)?;
    let mix = GGUF.iter().find(|known| known.name.eq_ignore_ascii_case(mix))?;
    let bits = mix.bits;
    let whole_blocks = model.width.is_multiple_of(SUPER_BLOCK) || bits > 8.0;
    let factor = if whole_blocks { 1.0 } else { FALLBACK_FACTOR };
    let bytes = |parameters: u64| (parameters as f64 * bits * factor / 8.0) as u64;
    let head_length = model.width / model.heads;
    let [width, kv_width] = [model.width, model.kv_heads * head_length].map(u64::from);
    let table = width * u64::from(model.vocabulary);
    let layer = 2 * width * width + 2 * width * kv_width + 3 * width * u64::from(model.feed_forward);
    let parameters = table * if model.tied { 1 } else { 2 } + layer * u64::from(model.layers);
    let cached = CachedLayer {
        kv_heads: model.kv_heads,
        key_length: head_length,
        value_length: head_length,
        window: None,
    };
    Some(Anatomy {
        architecture: "typical".into(),
        origin: Origin::Reckoned,
        parameters,
        weights_bytes: bytes(parameters),
        lookup_bytes: if model.tied { 0 } else { bytes(table) },
        // The larger block types that it falls back to are seldom kept in another order.
        matrices: if whole_blocks { mix.matrices(bytes(parameters - table)) } else { Vec::new() },
        embedding_length: model.width,
        feed_forward_length: model.feed_forward,
        vocabulary: model.vocabulary,
        layers: vec![cached; model.layers as usize],
        ..Anatomy::default()
    })
}

/// That a name is neither a model nor a size, with the sizes that may be asked for.
pub fn unknown_model(name: &str) -> ApiError {
    let sizes: Vec<&str> = MODELS.iter().map(|model| model.size).collect();
    ApiError::not_found(format!("No server has a model {name}."))
        .hint(format!("“pilothouse models” lists them. Typical sizes: {}.", sizes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_near_those_of_the_models_they_are_named_for() {
        for (name, parameters) in [
            ("0.5b", 0.494),
            ("1.5b", 1.54),
            ("3b", 3.09),
            ("3.8b", 3.82),
            ("7b", 7.62),
            ("13b", 13.0),
            ("30b", 32.8),
            ("70b", 70.6),
        ] {
            let ratio = typical(name).unwrap().parameters as f64 / 1e9 / parameters;
            assert!((0.97..1.03).contains(&ratio), "{name}: {ratio:.3}");
        }
        assert_eq!(typical("8b"), None);
        assert_eq!(typical("7b:q9"), None);
        assert!(typical("70B:Q2_K").unwrap().weights_bytes < typical("70b").unwrap().weights_bytes);
    }
}
