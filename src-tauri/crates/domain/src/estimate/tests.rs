use super::*;
use crate::{
    anatomy::{BlockType, CachedLayer, KvType, Matrices},
    machine::CpuFeatures,
};

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
    assert_eq!(kv_bytes(&llama, &wish(1, 1), 512), 131_072);
    let of =
        |kv| kv_bytes(&llama, &Wish { context: 32_768, parallel: 1, kv }, 512) as f64 / f64::from(1 << 30);
    assert_eq!((of(KvType::F16), of(KvType::Q8_0), of(KvType::Q4_0)), (4.0, 2.125, 1.125));
}

/// As their files say: SmolLM2-135M-Instruct (Q4_1), Gemma 3 270M (Q4_K_M), Qwen2.5-Coder-Instruct 0.5B and 1.5B (Q4_K_M).
fn smol() -> Anatomy {
    Anatomy {
        weights_bytes: 96_576_768,
        embedding_length: 576,
        feed_forward_length: 1536,
        vocabulary: 49_152,
        layers: layers(30, 3, 64, |_| None),
        matrices: matrices(&[(BlockType::Q8_0, 30_081_024)]),
        ..Anatomy::default()
    }
}

fn gemma() -> Anatomy {
    Anatomy {
        weights_bytes: 246_587_904,
        embedding_length: 640,
        feed_forward_length: 2048,
        vocabulary: 262_144,
        layers: layers(18, 1, 256, |index| ((index + 1) % 6 != 0).then_some(512)),
        matrices: matrices(&[
            (BlockType::Q4K, 13_271_040),
            (BlockType::Q6K, 9_676_800),
            (BlockType::Q8_0, 179_824_640),
        ]),
        ..Anatomy::default()
    }
}

fn qwen_half() -> Anatomy {
    Anatomy {
        weights_bytes: 485_452_288,
        embedding_length: 896,
        feed_forward_length: 4864,
        vocabulary: 151_936,
        layers: layers(24, 2, 64, |_| None),
        matrices: matrices(&[
            (BlockType::Q4K, 29_417_472),
            (BlockType::Q6K, 42_900_480),
            (BlockType::Q8_0, 146_105_344),
        ]),
        ..Anatomy::default()
    }
}

fn qwen() -> Anatomy {
    Anatomy {
        weights_bytes: 1_111_370_240,
        embedding_length: 1536,
        feed_forward_length: 8960,
        vocabulary: 151_936,
        layers: layers(28, 2, 128, |_| None),
        matrices: matrices(&[(BlockType::Q4K, 625_508_352), (BlockType::Q6K, 354_009_600)]),
        ..Anatomy::default()
    }
}

fn matrices(bytes: &[(BlockType, u64)]) -> Vec<Matrices> {
    bytes.iter().map(|(block, bytes)| Matrices { block: *block, rows_by: 8, bytes: *bytes }).collect()
}

/// llama-server as it comes with Pilothouse, and Ollama, without a GPU.
const LLAMA_SERVER: Place = Place::Cpu(OnCpu::Mapped(CpuFeatures::USUAL));
const OLLAMA: Place = Place::Cpu(OnCpu::Read);

/// What llama-server logs as its buffer CPU_REPACK.
#[test]
fn what_is_kept_twice_is_what_llama_server_logs() {
    for (anatomy, mib) in [(smol(), 0.0), (gemma(), 12.66), (qwen_half(), 28.05), (qwen(), 596.53)] {
        let packed = packed_bytes(&anatomy.matrices, CpuFeatures::USUAL) as f64 / f64::from(1 << 20);
        assert!((packed - mib).abs() < 0.01, "{packed:.2} instead of {mib} MiB");
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
        ("SmolLM2 135M", smol(), [179.4, 315.9, 320.4, 861.9]),
        ("Gemma 3 270M", gemma(), [399.3, 469.3, 423.3, 543.3]),
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

/// What instances held after each of their requests had filled two thirds of its context, in MB (proportional set size, by
/// tools/residency.py), in llama-server build 10068 and Ollama 0.32.0: 2 cores with AVX2, no GPU.
#[test]
fn estimates_on_the_processor_are_near_what_was_measured() {
    let measured = [
        ("SmolLM2 135M", smol(), 2048, 1, [197, 202]),
        ("SmolLM2 135M", smol(), 2048, 4, [346, 364]),
        ("SmolLM2 135M", smol(), 8192, 1, [341, 369]),
        ("SmolLM2 135M", smol(), 8192, 4, [917, 947]),
        ("Gemma 3 270M", gemma(), 2048, 1, [390, 376]),
        ("Gemma 3 270M", gemma(), 2048, 4, [521, 550]),
        ("Gemma 3 270M", gemma(), 8192, 1, [412, 441]),
        ("Gemma 3 270M", gemma(), 8192, 4, [606, 658]),
        ("Qwen2.5-Coder 0.5B", qwen_half(), 2048, 1, [652, 628]),
        ("Qwen2.5-Coder 0.5B", qwen_half(), 2048, 4, [736, 748]),
        ("Qwen2.5-Coder 1.5B", qwen(), 2048, 1, [1942, 1319]),
        ("Qwen2.5-Coder 1.5B", qwen(), 2048, 4, [2128, 1568]),
    ];
    for (name, anatomy, context, parallel, servers) in measured {
        for (place, megabytes) in [LLAMA_SERVER, OLLAMA].into_iter().zip(servers) {
            let bytes = estimate(&anatomy, &wish(context, parallel), place).total_bytes();
            let ratio = bytes as f64 / f64::from(megabytes * 1_000_000);
            println!("{name}, {context} x {parallel}, {megabytes} MB: {:+.1} %", (ratio - 1.0) * 100.0);
            assert!((0.95..1.05).contains(&ratio), "{name}, {context} x {parallel}, {place:?}: {ratio:.3}");
        }
    }
}

#[test]
fn a_model_for_mlx_is_reckoned_alike_wherever_it_is_and_says_what_is_guessed() {
    let mlx = Anatomy { origin: Origin::Safetensors, beside_bytes: 5, ..gemma() };
    let estimate = |place| estimate(&mlx, &wish(4096, 1), place);
    assert_eq!(estimate(OLLAMA), estimate(Place::Metal));
    let parts = estimate(Place::Metal).parts;
    let guessed = parts.iter().filter(|part| part.source.starts_with("a guess")).map(|part| part.what);
    assert_eq!(guessed.collect::<Vec<_>>(), [PartKind::Compute, PartKind::Runner]);
    assert!(parts.iter().any(|part| part.what == PartKind::Weights && part.bytes == 5), "{parts:?}");
    // Fifteen layers with a window of 512 and a step of 2048, three with the whole context.
    let row = 2 * 256 * 2;
    assert_eq!(kv_bytes(&mlx, &wish(4096, 1), 512), row * (15 * 2560 + 3 * 4096));
}

proptest::proptest! {
    #[test]
    fn more_is_never_less(context in 1u64..1 << 20, parallel in 1u32..64) {
        for place in [LLAMA_SERVER, OLLAMA, Place::Metal, Place::Vulkan, Place::Gpu] {
            let of = |context, parallel| estimate(&gemma(), &wish(context, parallel), place).total_bytes();
            proptest::prop_assert!(of(context + 1, parallel) >= of(context, parallel));
            proptest::prop_assert!(of(context, parallel + 1) > of(context, parallel));
        }
    }
}
