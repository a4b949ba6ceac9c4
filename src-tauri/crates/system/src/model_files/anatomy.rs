//! The build of a model from the keys and tensors of its GGUF file (reference: telemetry, sections 6.2 and 7.1).

use super::gguf::{Metadata, Tensor};
use pilothouse_domain::anatomy::{Anatomy, CachedLayer, Matrices};

/// Models of one layer in so many look at everything, the others through a window. Files do not say it; llama.cpp knows it
/// by the architecture. An architecture that is not here uses no window, whatever its file says.
const EVERY_NTH_LAYER_IS_WHOLE: &[(&str, usize)] = &[
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma3n", 5),
    ("cohere2", 4),
    ("gpt-oss", 2),
    // Ollama's own name for it.
    ("gptoss", 2),
    ("olmo2", 4),
    ("exaone4", 4),
    ("smallthinker", 4),
    ("llama4", 4),
];
/// More layers than any model has.
const MAX_LAYERS: u64 = 4096;

pub(super) fn of(metadata: &Metadata, tensors: &[Tensor]) -> Result<Anatomy, String> {
    let architecture = metadata.text("general.architecture").ok_or("it names no architecture")?.to_owned();
    let own = |key: &str| format!("{architecture}.{key}");
    let number = |key: &str| metadata.number(&own(key));
    let count =
        number("block_count").filter(|count| *count <= MAX_LAYERS).ok_or("it tells no number of layers")?;
    let vocabulary =
        number("vocab_size").or_else(|| metadata.length("tokenizer.ggml.tokens")).unwrap_or_default();
    let feed_forward = metadata.per_layer(&own("feed_forward_length"), count as usize);
    let mut anatomy = Anatomy {
        embedding_length: small(number("embedding_length")),
        feed_forward_length: small(feed_forward.and_then(|each| each.into_iter().max())),
        vocabulary: small(Some(vocabulary)),
        experts: small(number("expert_count")),
        experts_used: small(number("expert_used_count")),
        context_max: number("context_length"),
        ..Anatomy::default()
    };
    let tied = !tensors.iter().any(|tensor| tensor.name == "output.weight");
    for tensor in tensors {
        let bytes = tensor.bytes.ok_or("it has tensors of a type that is not known")?;
        anatomy.parameters = anatomy.parameters.saturating_add(tensor.elements);
        anatomy.weights_bytes = anatomy.weights_bytes.saturating_add(bytes);
        if tensor.name == "token_embd.weight" && !tied {
            anatomy.lookup_bytes = bytes;
        }
        // Tables of which rows are looked up are multiplied with nothing; the one that is the output too, is.
        let is_table = tensor.name.contains("embd") && !(tied && tensor.name == "token_embd.weight");
        if let Some(block) = tensor.block.filter(|_| !is_table) {
            add_matrix(
                &mut anatomy.matrices,
                Matrices { block, rows_by: Matrices::rows_by(tensor.rows), bytes },
            );
        }
        if tensor.name.contains("_exps.") {
            anatomy.expert_bytes = anatomy.expert_bytes.saturating_add(bytes);
        }
    }
    anatomy.layers = layers(metadata, &architecture, count as usize, &anatomy);
    anatomy.recurrent_bytes = recurrent_bytes(metadata, &architecture, &anatomy.layers);
    anatomy.architecture = architecture;
    Ok(anatomy)
}

fn add_matrix(matrices: &mut Vec<Matrices>, one: Matrices) {
    match matrices.iter_mut().find(|known| (known.block, known.rows_by) == (one.block, one.rows_by)) {
        Some(known) => known.bytes = known.bytes.saturating_add(one.bytes),
        None => matrices.push(one),
    }
}

fn layers(metadata: &Metadata, architecture: &str, count: usize, anatomy: &Anatomy) -> Vec<CachedLayer> {
    let own = |key: &str| format!("{architecture}.{key}");
    let number = |key: &str| metadata.number(&own(key));
    let heads = metadata.per_layer(&own("attention.head_count"), count).unwrap_or_else(|| vec![0; count]);
    let kv_heads =
        metadata.per_layer(&own("attention.head_count_kv"), count).unwrap_or_else(|| heads.clone());
    let most_heads = heads.iter().copied().max().unwrap_or_default().max(1);
    let usual = u64::from(anatomy.embedding_length) / most_heads;
    let key_length = number("attention.key_length").unwrap_or(usual);
    let value_length = number("attention.value_length").unwrap_or(usual);
    // Latent attention keeps one compressed row per token instead of keys and values.
    let latent = number("attention.kv_lora_rank").filter(|_| number("attention.key_length_mla").is_some());
    let window = number("attention.sliding_window").filter(|window| *window > 0);
    let told = metadata.per_layer(&own("attention.sliding_window_pattern"), count);
    let nth = EVERY_NTH_LAYER_IS_WHOLE.iter().find(|(name, _)| *name == architecture).map(|(_, nth)| *nth);
    (0..count)
        .map(|index| {
            let through_window = match (&told, nth) {
                (Some(told), _) if told.contains(&1) => told[index] == 1,
                (_, Some(nth)) => (index + 1) % nth != 0,
                (_, None) => false,
            };
            let window = window.filter(|_| through_window).map(|window| small(Some(window)));
            match latent {
                Some(rank) => CachedLayer {
                    kv_heads: 1,
                    key_length: small(Some(
                        rank.saturating_add(number("rope.dimension_count").unwrap_or_default()),
                    )),
                    value_length: 0,
                    window,
                },
                None => CachedLayer {
                    kv_heads: small(Some(kv_heads[index])),
                    key_length: small(Some(key_length)),
                    value_length: small(Some(value_length)),
                    window,
                },
            }
        })
        .collect()
}

/// State space layers keep a state of fixed size in 32 bits.
fn recurrent_bytes(metadata: &Metadata, architecture: &str, layers: &[CachedLayer]) -> u64 {
    let number = |key: &str| metadata.number(&format!("{architecture}.ssm.{key}"));
    let (Some(kernel), Some(inner), Some(state)) =
        (number("conv_kernel"), number("inner_size"), number("state_size"))
    else {
        return 0;
    };
    let groups = number("group_count").unwrap_or_default();
    let convolution = kernel
        .saturating_sub(1)
        .saturating_mul(inner.saturating_add(groups.saturating_mul(2).saturating_mul(state)));
    let each = convolution.saturating_add(state.saturating_mul(inner)).saturating_mul(4);
    each.saturating_mul(layers.iter().filter(|layer| layer.kv_heads == 0).count() as u64)
}

/// Counts fit in 32 bits; what does not is no count.
fn small(number: Option<u64>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}
