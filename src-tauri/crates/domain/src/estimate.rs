//! How much memory a model will take in a server, before it is loaded, part by part.
//!
//! Places differ: on a GPU the runtime reserves its buffers in full; on the processor memory counts once it is touched.
//! What was measured at earlier loads corrects the sum ([`crate::learned`]).

use crate::{
    anatomy::{Anatomy, KvType, Origin},
    error::{ApiError, ErrorCode},
    learned::Correction,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Tokens that llama.cpp computes at a time (`--ubatch-size`, its default; Ollama passes the same).
const BATCH: u64 = 512;
/// The same of MLX (`prefill_step_size` of mlx-lm, its default).
const MLX_STEP: u64 = 2048;
/// The cache of a sliding window grows in steps of so many tokens (llama.cpp).
const CACHE_STEP: u64 = 256;
/// What a runner keeps per token of the vocabulary: text, score, type and their indexes. Measured: llama-server build 10068
/// with vocabularies of 49 152 and 262 144 tokens, idle, less its cache.
const BYTES_PER_TOKEN_KEPT: u64 = 219;
/// The same per token while it samples: candidates and their sorted copies. Measured likewise, after prompts.
const BYTES_PER_TOKEN_SAMPLED: u64 = 118;
/// The same for each further request at a time, which samples with arrays of its own. Between what llama-server (27 to 85)
/// and Ollama (75 to 161) kept with four requests, with both vocabularies.
const BYTES_PER_TOKEN_SAMPLED_BESIDE: u64 = 85;
/// Program, libraries and graph of a runner on the processor, as resident memory. Measured likewise.
const RUNNER_ON_CPU: u64 = 36 << 20;
/// A runner beside a card under Vulkan: what the driver and its context hold on the card. Measured: llama-server build 10068
/// on an H100 (driver 580) with five models; see the test.
const RUNNER_ON_VULKAN: u64 = 24 << 20;
/// What such a runner allocates while it answers, per token of the vocabulary. Measured likewise.
const SCRATCH_PER_TOKEN_ON_VULKAN: u64 = 400;
/// A runner beside a GPU in any other way: not measured, so what Ollama reserves for one counts, an upper bound
/// (reference: telemetry, section 6.3).
const RUNNER_ON_METAL: u64 = 512 << 20;
const RUNNER_ON_GPU: u64 = 457 << 20;

/// How a model shall be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Tokens per request.
    pub context: u64,
    /// Requests at a time, 1 and more; each has the whole context.
    pub parallel: u32,
    pub kv: KvType,
}

/// The longest context and the most requests that anybody could mean.
const MAX_CONTEXT: u64 = 1 << 24;
const MAX_PARALLEL: u32 = 256;

impl Wish {
    /// From what a person asks for; one request at a time and f16 by default. Errors: invalid_call.
    pub fn checked(context: u64, parallel: Option<u32>, kv: Option<&str>) -> Result<Self, ApiError> {
        let invalid = |text: &str| Err(ApiError::new(ErrorCode::InvalidCall, text));
        let parallel = parallel.unwrap_or(1);
        if !(1..=MAX_CONTEXT).contains(&context) {
            return invalid("A context has 1 to 16777216 tokens.");
        }
        if !(1..=MAX_PARALLEL).contains(&parallel) {
            return invalid("1 to 256 requests can run at a time.");
        }
        let Some(kv) = KvType::parse(kv.unwrap_or("f16")) else {
            return invalid("The cache can be kept in f32, f16, q8_0, q5_1 or q4_0.");
        };
        Ok(Self { context, parallel, kv })
    }
}

/// Where the model's buffers will be, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cpu,
    /// The GPU of a Mac.
    Metal,
    /// A card with memory of its own, through the llama-server that Pilothouse brings.
    Vulkan,
    /// Any other GPU or way to it: CUDA, ROCm, a server whose parts are not known.
    Gpu,
}

impl Place {
    pub fn on_gpu(self) -> bool {
        self != Self::Cpu
    }
}

/// What takes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum PartKind {
    Weights,
    KvCache,
    /// Buffers of a computation.
    Compute,
    /// The runner itself, with the vocabulary.
    Runner,
    /// What earlier loads showed beyond the rest; may be less than nothing, then it is taken off the runner's part.
    Learned,
}

/// One part of an estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Part {
    pub what: PartKind,
    pub bytes: u64,
    /// Where the figure comes from, in words.
    pub source: String,
}

/// Parts with their sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    pub parts: Vec<Part>,
}

impl Estimate {
    pub fn total_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    fn add(&mut self, what: PartKind, bytes: u64, source: impl Into<String>) {
        self.parts.push(Part { what, bytes, source: source.into() });
    }
}

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
    let cache = kv_bytes(anatomy, wish);
    let requests =
        if wish.parallel == 1 { String::new() } else { format!(" for {} requests", wish.parallel) };
    let source =
        format!("{} layers, {} tokens{requests}, {}", anatomy.layers.len(), wish.context, wish.kv.name());
    estimate.add(PartKind::KvCache, cache, source);
    match (anatomy.origin, place) {
        (Origin::Safetensors, _) => add_mlx(&mut estimate, anatomy),
        (_, Place::Metal) => add_gpu(&mut estimate, anatomy, wish, RUNNER_ON_METAL),
        (_, Place::Gpu) => add_gpu(&mut estimate, anatomy, wish, RUNNER_ON_GPU),
        (_, Place::Vulkan) => add_vulkan(&mut estimate, anatomy, wish),
        (_, Place::Cpu) => add_cpu(&mut estimate, anatomy, wish),
    }
    estimate
}

/// MLX computes in lazy steps of its own and has no GGUF runner's buffers; it runs beside the GPU of a Mac only.
fn add_mlx(estimate: &mut Estimate, anatomy: &Anatomy) {
    let (feed_forward, width) = (u64::from(anatomy.feed_forward_length), u64::from(anatomy.embedding_length));
    let compute = MLX_STEP * (feed_forward * 2 + width * 4) * 2;
    let source = format!("a guess: a step of {MLX_STEP} tokens through one layer in 16 bits");
    estimate.add(PartKind::Compute, compute, source);
    let source = "a guess: as much as Ollama reserves for a runner on Metal";
    estimate.add(PartKind::Runner, RUNNER_ON_METAL, source);
}

/// Activations of the widest layer for a batch, and the mask of one request's context in 16 bits: what llama-server logs as
/// its compute buffer, to the megabyte with Llama shapes of 0.1 to 7 billion parameters.
fn batch_on_gpu(anatomy: &Anatomy, wish: &Wish) -> u64 {
    let (feed_forward, width) = (u64::from(anatomy.feed_forward_length), u64::from(anatomy.embedding_length));
    (BATCH * 4)
        .saturating_mul(feed_forward * 3 + width * 2)
        .saturating_add((BATCH * 2).saturating_mul(wish.context))
}

fn add_vulkan(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish) {
    let source = format!("a batch of {BATCH} tokens");
    estimate.add(PartKind::Compute, batch_on_gpu(anatomy, wish), source);
    let runner = RUNNER_ON_VULKAN + u64::from(anatomy.vocabulary) * SCRATCH_PER_TOKEN_ON_VULKAN;
    let source = "measured on one card: the driver's part, and a vocabulary of this size";
    estimate.add(PartKind::Runner, runner, source);
}

/// Older servers reserve the output layer for the whole batch: the larger of the two counts (reference: telemetry,
/// section 6.3).
fn add_gpu(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish, runner: u64) {
    let output = BATCH * (u64::from(anatomy.vocabulary) + u64::from(anatomy.embedding_length)) * 4;
    let compute = output.max(batch_on_gpu(anatomy, wish));
    estimate.add(PartKind::Compute, compute, format!("a batch of {BATCH} tokens, at most"));
    estimate.add(PartKind::Runner, runner, "what Ollama reserves for a runner beside a GPU: an upper bound");
}

fn add_cpu(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish) {
    let (vocabulary, width) = (u64::from(anatomy.vocabulary), u64::from(anatomy.embedding_length));
    let layer = BATCH * (u64::from(anatomy.feed_forward_length) * 8 + width * 16);
    let mask = BATCH * wish.context * 4;
    let beside = u64::from(wish.parallel.saturating_sub(1)) * BYTES_PER_TOKEN_SAMPLED_BESIDE;
    let compute = layer + mask + vocabulary * (BYTES_PER_TOKEN_SAMPLED + beside);
    estimate.add(PartKind::Compute, compute, format!("a batch of {BATCH} tokens, as far as it is touched"));
    let runner = RUNNER_ON_CPU + vocabulary * BYTES_PER_TOKEN_KEPT;
    estimate.add(PartKind::Runner, runner, "measured: the program and a vocabulary of this size");
}

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

/// Puts what was measured at earlier loads with the same wish in place of what was reckoned. Never less than the weights: what
/// a Mac's process is charged with may leave out the file that it maps, and two servers that map one file share its pages.
pub fn corrected(mut estimate: Estimate, correction: Option<Correction>) -> Estimate {
    let total = estimate.total_bytes();
    let Some(Correction { peak_bytes, loads }) = correction.filter(|correction| correction.replaces(total))
    else {
        return estimate;
    };
    let weights = estimate.parts.iter().filter(|part| part.what == PartKind::Weights).map(|part| part.bytes);
    let measured_bytes = peak_bytes.max(weights.fold(0, u64::saturating_add));
    let source = match loads {
        1 => "measured at one earlier load".to_owned(),
        loads => format!("the most of {loads} earlier loads, measured"),
    };
    if measured_bytes >= total {
        estimate.add(PartKind::Learned, measured_bytes - total, source);
        return estimate;
    }
    // What is too much is taken off the parts that are least certain.
    let mut surplus = total - measured_bytes;
    for kind in [PartKind::Runner, PartKind::Compute, PartKind::KvCache] {
        for part in estimate.parts.iter_mut().filter(|part| part.what == kind) {
            let less = surplus.min(part.bytes);
            if less == 0 {
                continue;
            }
            part.bytes -= less;
            surplus -= less;
            part.source.clone_from(&source);
        }
    }
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anatomy::CachedLayer;

    fn layers(
        count: usize,
        kv_heads: u32,
        length: u32,
        window: impl Fn(usize) -> Option<u32>,
    ) -> Vec<CachedLayer> {
        let layer =
            |index| CachedLayer { kv_heads, key_length: length, value_length: length, window: window(index) };
        (0..count).map(layer).collect()
    }

    fn wish(context: u64, parallel: u32) -> Wish {
        Wish { context, parallel, kv: KvType::F16 }
    }

    /// Llama 3.1 8B as in the reference (telemetry, section 6.2).
    #[test]
    fn the_cache_of_llama_8b_is_that_of_the_reference() {
        let llama = Anatomy { layers: layers(32, 8, 128, |_| None), ..Anatomy::default() };
        assert_eq!(kv_bytes(&llama, &wish(1, 1)), 131_072);
        let of =
            |kv| kv_bytes(&llama, &Wish { context: 32_768, parallel: 1, kv }) as f64 / f64::from(1 << 30);
        assert_eq!((of(KvType::F16), of(KvType::Q8_0), of(KvType::Q4_0)), (4.0, 2.125, 1.125));
    }

    /// SmolLM2-135M (Q4_1) and Gemma 3 270M (Q4_K_M), as their files say.
    fn smol() -> Anatomy {
        Anatomy {
            weights_bytes: 91_120_000,
            embedding_length: 576,
            feed_forward_length: 1536,
            vocabulary: 49_152,
            layers: layers(30, 3, 64, |_| None),
            ..Anatomy::default()
        }
    }

    fn gemma() -> Anatomy {
        Anatomy {
            weights_bytes: 243_270_000,
            embedding_length: 640,
            feed_forward_length: 2048,
            vocabulary: 262_144,
            layers: layers(18, 1, 256, |index| ((index + 1) % 6 != 0).then_some(512)),
            ..Anatomy::default()
        }
    }

    /// What instances held on the card after each of their requests had filled two thirds of its context, in MiB (NVML): an
    /// H100 80GB, driver 580, llama-server build 10068 under Vulkan. The Llama shapes (Q4_K, a vocabulary of 49 152) had
    /// made-up weights. Recorded in `tests/fixtures/nvidia/h100-580.159.04/residency.jsonl`.
    #[test]
    fn estimates_on_a_card_are_near_what_was_measured() {
        let llama = |mib: f64, width, feed_forward, count, length| Anatomy {
            weights_bytes: (mib * f64::from(1 << 20)) as u64,
            embedding_length: width,
            feed_forward_length: feed_forward,
            vocabulary: 49_152,
            layers: layers(count, 8, length, |_| None),
            ..Anatomy::default()
        };
        let smol = Anatomy { weights_bytes: 96_576_768, ..smol() };
        let gemma = Anatomy { weights_bytes: 246_587_904, ..gemma() };
        // The table of embeddings stays with the processor.
        let with_lookup = |of: Anatomy, mib: u64| Anatomy {
            weights_bytes: of.weights_bytes + (mib << 20),
            lookup_bytes: mib << 20,
            ..of
        };
        let one = with_lookup(llama(601.01, 2048, 8192, 16, 64), 54);
        let three = with_lookup(llama(1630.79, 3072, 8192, 28, 128), 81);
        let seven = with_lookup(llama(3902.52, 4096, 14_336, 32, 128), 108);
        for (name, anatomy, measured) in [
            ("SmolLM2 135M", smol, [179.4, 315.9, 320.4, 861.9]),
            ("Gemma 3 270M", gemma, [399.3, 469.3, 423.3, 543.3]),
            ("1B", one, [763.1, 978.6, 961.1, 1748.6]),
            ("3B", three, [1962.4, 2656.4, 2640.4, 5346.6]),
            ("7B", seven, [4308.1, 5098.1, 5082.1, 8172.1]),
        ] {
            for ((context, parallel), mib) in
                [(2048, 1), (2048, 4), (8192, 1), (8192, 4)].into_iter().zip(measured)
            {
                let bytes = estimate(&anatomy, &wish(context, parallel), Place::Vulkan).total_bytes();
                let ratio = bytes as f64 / f64::from(1 << 20) / mib;
                println!("{name}, {context} x {parallel}: {:+.1} %", (ratio - 1.0) * 100.0);
                assert!((0.9..1.1).contains(&ratio), "{name}, {context} x {parallel}: {ratio:.3}");
            }
        }
    }

    #[test]
    fn what_was_not_measured_on_a_gpu_is_no_less() {
        for anatomy in [smol(), gemma()] {
            let of = |place| estimate(&anatomy, &wish(8192, 4), place).total_bytes();
            assert!(of(Place::Gpu) > of(Place::Vulkan) && of(Place::Metal) > of(Place::Gpu));
        }
    }

    /// What instances held after each of their requests had filled two thirds of its context, in MB (proportional set size,
    /// mean of three loads by tools/residency.py): llama-server build 10068 and Ollama 0.32.0, 2 cores, no GPU.
    #[test]
    fn estimates_on_the_processor_are_near_what_was_measured() {
        let measured = [
            (smol(), 2048, 1, [195, 203]),
            (smol(), 2048, 4, [341, 365]),
            (smol(), 8192, 1, [341, 369]),
            (smol(), 8192, 4, [917, 947]),
            (gemma(), 2048, 1, [383, 381]),
            (gemma(), 2048, 4, [516, 574]),
            (gemma(), 8192, 1, [412, 441]),
            (gemma(), 8192, 4, [606, 658]),
        ];
        for (anatomy, context, parallel, servers) in measured {
            let bytes = estimate(&anatomy, &wish(context, parallel), Place::Cpu).total_bytes();
            for megabytes in servers {
                let ratio = bytes as f64 / f64::from(megabytes * 1_000_000);
                assert!(
                    (0.85..1.15).contains(&ratio),
                    "{context} x {parallel}: {ratio:.3} of {megabytes} MB"
                );
            }
        }
    }

    #[test]
    fn a_model_for_mlx_is_reckoned_alike_wherever_it_is_and_says_what_is_guessed() {
        let mlx = Anatomy { origin: Origin::Safetensors, beside_bytes: 5, ..gemma() };
        let estimate = |place| estimate(&mlx, &wish(4096, 1), place);
        assert_eq!(estimate(Place::Cpu), estimate(Place::Metal));
        let parts = estimate(Place::Metal).parts;
        let guessed = parts.iter().filter(|part| part.source.starts_with("a guess")).map(|part| part.what);
        assert_eq!(guessed.collect::<Vec<_>>(), [PartKind::Compute, PartKind::Runner]);
        assert!(parts.iter().any(|part| part.what == PartKind::Weights && part.bytes == 5), "{parts:?}");
        // Fifteen layers with a window of 512 and a step of 2048, three with the whole context.
        let row = 2 * 256 * 2;
        assert_eq!(kv_bytes(&mlx, &wish(4096, 1)), row * (15 * 2560 + 3 * 4096));
    }

    #[test]
    fn what_was_measured_wins() {
        let first = estimate(&smol(), &wish(2048, 1), Place::Cpu);
        let total = first.total_bytes();
        let of = |peak_bytes| corrected(first.clone(), Some(Correction { peak_bytes, loads: 3 }));
        for measured_bytes in [total + 5_000_000, total, total - 5_000_000, total - 90_000_000] {
            assert_eq!(of(measured_bytes).total_bytes(), measured_bytes);
        }
        assert_eq!(
            of(total / 10).total_bytes(),
            smol().weights_bytes,
            "a share of a file that others map too"
        );
        let once = Correction { peak_bytes: total / 10, loads: 1 };
        assert_eq!(corrected(first.clone(), Some(once)), first, "one load alone lowers nothing");
        assert_eq!(corrected(first.clone(), None), first);
    }

    proptest::proptest! {
        #[test]
        fn more_is_never_less(context in 1u64..1 << 20, parallel in 1u32..64) {
            for place in [Place::Cpu, Place::Metal, Place::Vulkan, Place::Gpu] {
                let of = |context, parallel| estimate(&gemma(), &wish(context, parallel), place).total_bytes();
                proptest::prop_assert!(of(context + 1, parallel) >= of(context, parallel));
                proptest::prop_assert!(of(context, parallel + 1) > of(context, parallel));
            }
        }
    }
}
