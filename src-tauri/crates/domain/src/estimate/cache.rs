//! Keys and values of the requests.

use super::wish::Wish;
use crate::anatomy::{Anatomy, Origin};

/// Tokens that llama.cpp computes at a time (`--ubatch-size`, its default; Ollama passes the same).
pub(super) const BATCH: u64 = 512;
/// The same of MLX (`prefill_step_size` of mlx-lm, its default).
pub(super) const MLX_STEP: u64 = 2048;
/// The cache of a sliding window grows in steps of so many tokens (llama.cpp).
const CACHE_STEP: u64 = 256;

/// Bytes of keys and values of all requests.
pub fn kv_bytes(anatomy: &Anatomy, wish: &Wish) -> u64 {
    let requests = u64::from(wish.parallel.max(1));
    let batch = if anatomy.origin == Origin::Safetensors { MLX_STEP } else { BATCH };
    let layers = anatomy.layers.iter().map(|layer| {
        let cells = match layer.window {
            Some(window) => (u64::from(window) + batch).next_multiple_of(CACHE_STEP).min(wish.context),
            None => wish.context,
        };
        layer.bytes(cells, wish.kv)
    });
    // Files come from anywhere: what no machine could hold must not become little.
    layers.fold(anatomy.recurrent_bytes, u64::saturating_add).saturating_mul(requests)
}
