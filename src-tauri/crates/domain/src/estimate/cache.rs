//! Keys and values of the requests.

use super::wish::Wish;
use crate::anatomy::{Anatomy, Origin};

/// Tokens that MLX computes at a time (`prefill_step_size` of mlx-lm, its default).
pub(super) const MLX_STEP: u64 = 2048;
/// The cache of a sliding window grows in steps of so many tokens (llama.cpp).
const CACHE_STEP: u64 = 256;

/// Bytes of keys and values of all requests. `batch`: tokens at a time of a runner for GGUF files.
pub(super) fn kv_bytes(anatomy: &Anatomy, wish: &Wish, batch: u64) -> u64 {
    let requests = u64::from(wish.parallel.max(1));
    let batch = if anatomy.origin == Origin::Safetensors { MLX_STEP } else { batch };
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
