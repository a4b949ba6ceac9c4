//! How much memory a model will take in a server, before it is loaded, part by part.
//!
//! Places differ: on a GPU the runtime reserves its buffers in full; on the processor memory counts once it is touched.
//! What was measured at earlier loads corrects the sum ([`crate::learned`]).

mod cache;
mod packing;
mod parts;
mod runner;
#[cfg(test)]
mod tests;
mod wish;

pub use packing::packed_bytes;
pub use parts::{Estimate, Part, PartKind};
pub use wish::{OnCpu, Place, Wish};

use crate::anatomy::{Anatomy, Origin};
use cache::kv_bytes;
use runner::{RUNNER_ON_GPU, RUNNER_ON_METAL, add_cpu, add_gpu, add_mlx, add_vulkan};

/// Estimates one model. The formulas are those of the reference (telemetry, sections 6.1 to 6.3), the constants above are
/// measured.
pub fn estimate(anatomy: &Anatomy, wish: &Wish, place: Place) -> Estimate {
    let mut estimate = Estimate::default();
    let source = match anatomy.origin {
        Origin::Gguf => "the tensors in the model's file",
        Origin::Safetensors => "the tensors in the model's safetensors files",
        Origin::Server => "the size that the server tells",
        Origin::Reckoned => "reckoned from parameters and block types of a typical model",
    };
    // The table of embeddings is looked up by the processor; on a card that would be memory for nothing.
    let on_card = if place == Place::Vulkan { anatomy.lookup_bytes } else { 0 };
    estimate.add(PartKind::Weights, anatomy.weights_bytes.saturating_sub(on_card), source);
    if anatomy.beside_bytes > 0 {
        let source = "files that are loaded beside the model: a projector, an adapter or a draft";
        estimate.add(PartKind::Weights, anatomy.beside_bytes, source);
    }
    if let Place::Cpu(OnCpu::Mapped(features)) = place {
        let packed = packed_bytes(&anatomy.matrices, features);
        if packed > 0 {
            let source =
                "kept a second time, in the order in which the processor reads them faster (llama.cpp)";
            estimate.add(PartKind::Weights, packed, source);
        }
    }
    let batch = place.batch(wish);
    let cache = kv_bytes(anatomy, wish, batch);
    let requests =
        if wish.parallel == 1 { String::new() } else { format!(" for {} requests", wish.parallel) };
    let source =
        format!("{} layers, {} tokens{requests}, {}", anatomy.layers.len(), wish.context, wish.kv.name());
    estimate.add(PartKind::KvCache, cache, source);
    match (anatomy.origin, place) {
        (Origin::Safetensors, _) => add_mlx(&mut estimate, anatomy),
        (_, Place::Metal) => add_gpu(&mut estimate, anatomy, wish, batch, RUNNER_ON_METAL),
        (_, Place::Gpu) => add_gpu(&mut estimate, anatomy, wish, batch, RUNNER_ON_GPU),
        (_, Place::Vulkan) => add_vulkan(&mut estimate, anatomy, wish, batch),
        (_, Place::Cpu(_)) => add_cpu(&mut estimate, anatomy, wish, batch),
    }
    estimate
}
