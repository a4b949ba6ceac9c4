//! The build of a model for MLX: from `config.json` what its layers do, from the heads of its safetensors files what there is.

use super::{
    config::{Attention, Config},
    safetensors::{SafetensorsHead, Tensor},
};
use pilothouse_domain::anatomy::{Anatomy, CachedLayer, Origin};
use std::collections::HashMap;

/// More layers than any model has.
const MAX_LAYERS: u64 = 4096;
/// Parts of a name that belong to eyes and ears, of which a token of text needs nothing.
const SENSES: [&str; 9] = [
    "vision_tower",
    "vision_model",
    "visual",
    "multi_modal_projector",
    "mm_projector",
    "embed_vision",
    "audio_tower",
    "audio_model",
    "embed_audio",
];
const TABLES: [&str; 4] = ["embed_tokens", "wte", "word_embeddings", "tok_embeddings"];
/// What scales and offsets of a quantised tensor end with: of MLX, and of Ollama, which keeps them with the tensor.
const SCALES: [&str; 2] = [".scales", ".weight.scale"];
const OFFSETS: [&str; 2] = [".biases", ".weight.bias"];

/// The build of a model from the text of its `config.json` and the heads of all its safetensors files. Errors: in words.
pub fn read_mlx_anatomy(config: &[u8], heads: &[SafetensorsHead]) -> Result<Anatomy, String> {
    let config = Config::parse(config).ok_or("its config.json is not understood")?;
    let count = config
        .number(&["num_hidden_layers", "n_layer", "num_layers"])
        .filter(|count| (1..=MAX_LAYERS).contains(count))
        .ok_or("its config.json tells no number of layers")? as usize;
    let own = |tensor: &&Tensor| !is_sense(&tensor.name);
    let all = || heads.iter().flat_map(|head| &head.tensors);
    let mut anatomy = Anatomy {
        architecture: config.kind().unwrap_or("unknown").to_owned(),
        origin: Origin::Safetensors,
        parameters: parameters(&config, heads),
        experts: small(config.number(&["num_local_experts", "num_experts", "n_routed_experts"])),
        experts_used: small(config.number(&[
            "num_experts_per_tok",
            "num_experts_per_token",
            "top_k_experts",
        ])),
        embedding_length: small(config.number(&["hidden_size", "n_embd", "d_model"])),
        feed_forward_length: small(config.number(&["intermediate_size", "n_inner", "moe_intermediate_size"])),
        context_max: config.number(&["max_position_embeddings", "n_positions"]),
        ..Anatomy::default()
    };
    let tied = !all().any(|tensor| tensor.name.contains("lm_head.") || tensor.name == "output.weight");
    let mut vocabulary = None;
    for tensor in all() {
        let of = if own(&tensor) { &mut anatomy.weights_bytes } else { &mut anatomy.beside_bytes };
        *of = of.saturating_add(tensor.bytes);
    }
    for tensor in all().filter(own) {
        if tensor.name.split('.').any(|part| TABLES.contains(&part)) {
            vocabulary = vocabulary.or(Some(tensor.rows));
            anatomy.lookup_bytes = anatomy.lookup_bytes.saturating_add(if tied { 0 } else { tensor.bytes });
        }
        if tensor.name.contains(".experts.") || tensor.name.contains(".switch_mlp.") {
            anatomy.expert_bytes = anatomy.expert_bytes.saturating_add(tensor.bytes);
        }
    }
    anatomy.vocabulary = small(config.number(&["vocab_size"]).or(vocabulary));
    let rows = CacheRows::of(all().filter(own), count);
    anatomy.layers = (0..count).map(|index| layer(&config, &rows, index, count)).collect();
    let recurrent =
        (0..count).filter(|index| config.attention(*index, count) == Attention::Recurrent).count();
    anatomy.recurrent_bytes = config.recurrent_bytes().saturating_mul(recurrent as u64);
    Ok(anatomy)
}

fn is_sense(name: &str) -> bool {
    name.split('.').any(|part| SENSES.contains(&part))
}

/// What the weights put into the cache per token, where they are apart: rows of the key and of the value projection.
struct CacheRows(Vec<[Option<u64>; 2]>);

impl CacheRows {
    fn of<'a>(tensors: impl Iterator<Item = &'a Tensor>, count: usize) -> Self {
        let mut rows = vec![[None; 2]; count];
        for tensor in tensors {
            let Some((module, "weight")) = tensor.name.rsplit_once('.') else { continue };
            let which = match module.rsplit('.').next() {
                Some("k_proj") => 0,
                Some("v_proj") => 1,
                _ => continue,
            };
            if let Some(layer) = layer_of(module).and_then(|index| rows.get_mut(index)) {
                layer[which] = Some(tensor.rows);
            }
        }
        Self(rows)
    }

    fn any(&self) -> bool {
        self.0.iter().any(|[key, _]| key.is_some())
    }
}

/// The number behind `layers` in a name.
fn layer_of(name: &str) -> Option<usize> {
    let mut parts = name.split('.');
    parts.find(|part| matches!(*part, "layers" | "h" | "blocks"))?;
    parts.next()?.parse().ok()
}

fn layer(config: &Config, rows: &CacheRows, index: usize, count: usize) -> CachedLayer {
    let none = CachedLayer { kv_heads: 0, key_length: 0, value_length: 0, window: None };
    let window = match config.attention(index, count) {
        Attention::Recurrent | Attention::Shared => return none,
        Attention::Window(window) => Some(small(Some(window))),
        Attention::Whole => None,
    };
    // Latent attention keeps one compressed row per token instead of keys and values.
    if let Some(rank) = config.number(&["kv_lora_rank"]).filter(|rank| *rank > 0) {
        let position = config.number(&["qk_rope_head_dim"]).unwrap_or_default();
        return CachedLayer {
            kv_heads: 1,
            key_length: small(Some(rank.saturating_add(position))),
            window,
            ..none
        };
    }
    let heads = config.number(&["num_attention_heads", "n_head"]);
    let kv_heads = config.number(&["num_key_value_heads", "num_kv_heads"]).or(heads);
    if let [Some(key), value] = rows.0[index] {
        // A layer without values of its own keeps its keys for them.
        let value = value.unwrap_or(key);
        let divides = |heads: &u64| *heads > 0 && key.is_multiple_of(*heads) && value.is_multiple_of(*heads);
        let heads = kv_heads.filter(divides).unwrap_or(1);
        let each = |rows: u64| small(Some(rows / heads));
        return CachedLayer {
            kv_heads: small(Some(heads)),
            key_length: each(key),
            value_length: each(value),
            window,
        };
    }
    if rows.any() {
        return none;
    }
    let usual = || config.number(&["hidden_size", "n_embd", "d_model"])?.checked_div(heads?);
    let length = small(config.number(&["head_dim"]).or_else(usual));
    CachedLayer { kv_heads: small(kv_heads), key_length: length, value_length: length, window }
}

/// Elements before quantisation: a scale stands for a group of them.
fn parameters(config: &Config, heads: &[SafetensorsHead]) -> u64 {
    let strip = |name: &'_ str, ends: &[&str]| -> Option<usize> {
        ends.iter().find_map(|end| name.strip_suffix(end)).map(str::len)
    };
    let mut quantised: HashMap<&str, u64> = HashMap::new();
    for head in heads {
        for tensor in &head.tensors {
            if let Some(length) = strip(&tensor.name, &SCALES) {
                let module = &tensor.name[..length];
                let group = head.group_size.or_else(|| config.group_size(module)).unwrap_or(64);
                quantised.insert(module, tensor.elements.saturating_mul(group));
            }
        }
    }
    let plain = heads.iter().flat_map(|head| &head.tensors).filter(|tensor| {
        let part = strip(&tensor.name, &SCALES)
            .or_else(|| strip(&tensor.name, &OFFSETS))
            .or_else(|| strip(&tensor.name, &[".weight"]));
        !part.is_some_and(|length| quantised.contains_key(&tensor.name[..length]))
    });
    let plain = plain.fold(0u64, |sum, tensor| sum.saturating_add(tensor.elements));
    quantised.values().fold(plain, |sum, elements| sum.saturating_add(*elements))
}

/// Counts fit in 32 bits; what does not is no count.
fn small(number: Option<u64>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod sample {
    use crate::model_files::safetensors::sample::tensors;
    use serde_json::{Value, json};

    /// A small mixture of experts that also sees, in four bits with groups of 64, as MLX lays it out.
    pub fn config() -> Value {
        json!({
            "model_type": "seer", "vision_config": { "hidden_size": 9 },
            "quantization": { "group_size": 64, "bits": 4, "model.layers.0.mlp.switch_mlp.up_proj": { "group_size": 32, "bits": 8 } },
            "text_config": {
                "model_type": "seer_text", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 256, "vocab_size": 1000,
                "num_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 4096,
                "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 512
            }
        })
    }

    pub fn head() -> Value {
        tensors(&[
            ("model.embed_tokens.weight", "BF16", &[1000, 128], 256_000),
            ("lm_head.weight", "BF16", &[1000, 128], 256_000),
            ("model.layers.0.self_attn.k_proj.weight", "U32", &[64, 16], 4096),
            ("model.layers.0.self_attn.k_proj.scales", "BF16", &[64, 2], 256),
            ("model.layers.0.self_attn.k_proj.biases", "BF16", &[64, 2], 256),
            ("model.layers.1.self_attn.k_proj.weight", "BF16", &[96, 128], 24_576),
            ("model.layers.1.self_attn.v_proj.weight", "BF16", &[64, 128], 16_384),
            ("model.layers.0.mlp.switch_mlp.up_proj.weight", "U32", &[4, 256, 32], 131_072),
            ("model.layers.0.mlp.switch_mlp.up_proj.scales", "BF16", &[4, 256, 4], 8192),
            ("vision_tower.layers.0.self_attn.k_proj.weight", "F32", &[7, 7], 196),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_files::safetensors::sample::head as bytes_of;
    use serde_json::{Value, json};

    fn read(config: &Value, head: &Value) -> Anatomy {
        let head = SafetensorsHead::read(&bytes_of(head)[..]).unwrap();
        read_mlx_anatomy(config.to_string().as_bytes(), &[head]).unwrap()
    }

    #[test]
    fn config_and_tensors_give_the_build() {
        let anatomy = read(&sample::config(), &sample::head());
        let experts = 131_072 + 8192;
        assert_eq!((anatomy.architecture.as_str(), anatomy.origin), ("seer_text", Origin::Safetensors));
        assert_eq!(anatomy.beside_bytes, 196);
        assert_eq!(anatomy.weights_bytes, 2 * 256_000 + 4608 + 24_576 + 16_384 + experts);
        assert_eq!((anatomy.lookup_bytes, anatomy.expert_bytes), (256_000, experts));
        let elements = 2 * 128_000 + 64 * 128 + 96 * 128 + 64 * 128 + 4 * 256 * 128 + 49;
        assert_eq!(anatomy.parameters, elements);
        assert_eq!((anatomy.experts, anatomy.experts_used, anatomy.vocabulary), (4, 2, 1000));
        let cached =
            |key_length, value_length, window| CachedLayer { kv_heads: 2, key_length, value_length, window };
        assert_eq!(anatomy.layers, [cached(32, 32, Some(512)), cached(48, 32, None)]);
        assert_eq!(anatomy.context_max, Some(4096));
    }

    /// Llama 3.1 8B of the reference (telemetry, section 6.2): 131 072 bytes of cache per token.
    #[test]
    fn without_tensors_of_its_own_a_layer_is_as_the_config_says() {
        let llama = json!({ "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256, "intermediate_size": 14_336 });
        let anatomy = read(&llama, &json!({}));
        let per_token: u64 =
            anatomy.layers.iter().map(|layer| layer.bytes(1, pilothouse_domain::anatomy::KvType::F16)).sum();
        assert_eq!(per_token, 131_072);
    }

    #[test]
    fn latent_and_recurrent_layers_keep_less() {
        let latent = json!({ "num_hidden_layers": 1, "num_attention_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64 });
        let layer = read(&latent, &json!({})).layers[0];
        assert_eq!((layer.kv_heads, layer.key_length, layer.value_length), (1, 576, 0));
        let hybrid = json!({ "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
            "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
            "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4 });
        let anatomy = read(&hybrid, &json!({}));
        assert_eq!(anatomy.layers.iter().map(|layer| layer.kv_heads).collect::<Vec<_>>(), [0, 0, 0, 2]);
        let each = 3 * (2 * 16 * 128 + 32 * 128) * 2 + 32 * 128 * 128 * 4;
        assert_eq!(anatomy.recurrent_bytes, 3 * each);
    }

    #[test]
    fn a_config_without_layers_is_an_error() {
        for config in ["{}", "[]", "", r#"{"num_hidden_layers":0}"#, r#"{"num_hidden_layers":1e9}"#] {
            assert!(read_mlx_anatomy(config.as_bytes(), &[]).is_err(), "{config}");
        }
    }
}
