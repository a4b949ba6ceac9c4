//! What a runner takes beside weights and cache: buffers of a computation, the program itself, the vocabulary.

use super::{
    cache::MLX_STEP,
    parts::{Estimate, PartKind},
    wish::Wish,
};
use crate::anatomy::Anatomy;

/// What a runner on the processor keeps per token of the vocabulary, after prompts: text, score, type, their indexes,
/// candidates and their sorted copies. Fitted, like the two below, to what four models with vocabularies of 49 152, 151 936
/// and 262 144 tokens held in llama-server build 10068 and Ollama 0.32.0 beside weights, cache and compute buffer.
const BYTES_PER_TOKEN: u64 = 215;
/// The same for each further request at a time, which samples with arrays of its own.
const BYTES_PER_TOKEN_BESIDE: u64 = 60;
/// Program, libraries and graph of a runner on the processor, as resident memory.
const RUNNER_ON_CPU: u64 = 32_000_000;
/// A runner beside a card under Vulkan: what the driver and its context hold on the card. Measured: llama-server build 10068
/// on an H100 (driver 580) with five models; see the test.
const RUNNER_ON_VULKAN: u64 = 24 << 20;
/// What such a runner allocates while it answers, per token of the vocabulary. Measured likewise.
const SCRATCH_PER_TOKEN_ON_VULKAN: u64 = 400;
/// A runner beside a GPU in any other way: not measured, so what Ollama reserves for one counts, an upper bound
/// (reference: telemetry, section 6.3).
pub(super) const RUNNER_ON_METAL: u64 = 512 << 20;
pub(super) const RUNNER_ON_GPU: u64 = 457 << 20;

/// MLX computes in lazy steps of its own and has no GGUF runner's buffers; it runs beside the GPU of a Mac only.
pub(super) fn add_mlx(estimate: &mut Estimate, anatomy: &Anatomy) {
    let (feed_forward, width) = (u64::from(anatomy.feed_forward_length), u64::from(anatomy.embedding_length));
    let compute = MLX_STEP * (feed_forward * 2 + width * 4) * 2;
    let source = format!("a guess: a step of {MLX_STEP} tokens through one layer in 16 bits");
    estimate.add(PartKind::Compute, compute, source);
    let source = "a guess: as much as Ollama reserves for a runner on Metal";
    estimate.add(PartKind::Runner, RUNNER_ON_METAL, source);
}

/// Activations of the widest layer for a batch, and the mask of one request's context in 16 bits: what llama-server logs as
/// its compute buffer, to the megabyte with Llama shapes of 0.1 to 7 billion parameters.
fn batch_on_gpu(anatomy: &Anatomy, wish: &Wish, batch: u64) -> u64 {
    let (feed_forward, width) = (u64::from(anatomy.feed_forward_length), u64::from(anatomy.embedding_length));
    (batch * 4)
        .saturating_mul(feed_forward * 3 + width * 2)
        .saturating_add((batch * 2).saturating_mul(wish.context))
}

pub(super) fn add_vulkan(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish, batch: u64) {
    let source = format!("a batch of {batch} tokens");
    estimate.add(PartKind::Compute, batch_on_gpu(anatomy, wish, batch), source);
    let runner = RUNNER_ON_VULKAN + u64::from(anatomy.vocabulary) * SCRATCH_PER_TOKEN_ON_VULKAN;
    let source = "measured on one card: the driver's part, and a vocabulary of this size";
    estimate.add(PartKind::Runner, runner, source);
}

/// Older servers reserve the output layer for the whole batch: the larger of the two counts (reference: telemetry,
/// section 6.3).
pub(super) fn add_gpu(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish, batch: u64, runner: u64) {
    let output = batch * (u64::from(anatomy.vocabulary) + u64::from(anatomy.embedding_length)) * 4;
    let compute = output.max(batch_on_gpu(anatomy, wish, batch));
    estimate.add(PartKind::Compute, compute, format!("a batch of {batch} tokens, at most"));
    estimate.add(PartKind::Runner, runner, "what Ollama reserves for a runner beside a GPU: an upper bound");
}

/// The compute buffer is what llama-server logs, to a tenth of a megabyte with SmolLM2 and Qwen 2.5 (Gemma's heads are wider
/// than its layers: two megabytes more).
pub(super) fn add_cpu(estimate: &mut Estimate, anatomy: &Anatomy, wish: &Wish, batch: u64) {
    let (vocabulary, width) = (u64::from(anatomy.vocabulary), u64::from(anatomy.embedding_length));
    let row = u64::from(anatomy.feed_forward_length) * 12 + width * 16 + wish.context * 2;
    estimate.add(PartKind::Compute, batch * row, format!("a batch of {batch} tokens"));
    let beside = u64::from(wish.parallel.saturating_sub(1)) * BYTES_PER_TOKEN_BESIDE;
    let runner = RUNNER_ON_CPU + vocabulary * (BYTES_PER_TOKEN + beside);
    estimate.add(PartKind::Runner, runner, "measured: the program and a vocabulary of this size");
}
