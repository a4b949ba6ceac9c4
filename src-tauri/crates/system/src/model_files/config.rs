//! `config.json` of a model as Hugging Face and MLX lay it out. Every publisher has names of its own; what is missing or of
//! another type counts as not told.

use serde_json::Value;

/// Models that see keep what belongs to the language model under one of these.
const NESTED: [&str; 4] = ["text_config", "llm_config", "language_config", "language_model"];
/// Models of one layer in so many look at everything, the others through a window, where the file does not say it (mlx-lm knows
/// it by the type).
const EVERY_NTH_LAYER_IS_WHOLE: &[(&str, u64)] =
    &[("gemma3", 6), ("gemma3n", 5), ("gpt_oss", 2), ("cohere2", 4)];

/// Looked up by key.
pub(super) struct Config {
    whole: Value,
    nested: Option<&'static str>,
}

/// What a layer does with earlier tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    Whole,
    Window(u64),
    /// A state of fixed size instead of a cache.
    Recurrent,
    /// It uses the cache of another layer.
    Shared,
}

impl Config {
    /// `None`: not JSON, or no object.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let whole: Value = serde_json::from_slice(text).ok().filter(Value::is_object)?;
        let nested = NESTED.into_iter().find(|key| whole.get(key).is_some_and(Value::is_object));
        Some(Self { whole, nested })
    }

    /// What stands under these names: first of the language model, then of the whole.
    fn all<'a>(&'a self, keys: &'a [&str]) -> impl Iterator<Item = &'a Value> {
        let nested = self.nested.and_then(|key| self.whole.get(key));
        let places = nested.into_iter().chain([&self.whole]);
        places.flat_map(|place| keys.iter().filter_map(|key| place.get(key)))
    }

    /// The first number under these names.
    pub fn number(&self, keys: &[&str]) -> Option<u64> {
        self.all(keys).find_map(Value::as_u64)
    }

    /// "qwen3", "gemma3_text".
    pub fn kind(&self) -> Option<&str> {
        self.all(&["model_type"]).find_map(Value::as_str)
    }

    /// Elements that share a scale in a module.
    pub fn group_size(&self, module: &str) -> Option<u64> {
        let all = self.whole.get("quantization").or_else(|| self.whole.get("quantization_config"))?;
        let of = |place: &Value| place.get("group_size").and_then(Value::as_u64);
        all.get(module).and_then(of).or_else(|| of(all))
    }

    /// What the layer with this index (of so many) does.
    pub fn attention(&self, index: usize, count: usize) -> Attention {
        let shared = self.number(&["num_kv_shared_layers"]).unwrap_or_default();
        if index as u64 >= (count as u64).saturating_sub(shared) {
            return Attention::Shared;
        }
        let windows = self.all(&["use_sliding_window"]).find_map(Value::as_bool) != Some(false);
        let window = self
            .number(&["sliding_window", "sliding_window_size", "attention_chunk_size"])
            .filter(|window| windows && *window > 0);
        let through = |window: Option<u64>| window.map_or(Attention::Whole, Attention::Window);
        let told = self.all(&["layer_types", "layers_block_type"]).find_map(|all| all.get(index)?.as_str());
        if let Some(kind) = told {
            return match kind {
                "sliding_attention" | "chunked_attention" => through(window),
                _ if kind.contains("linear")
                    || kind.contains("mamba")
                    || kind == "conv"
                    || kind == "recurrent" =>
                {
                    Attention::Recurrent
                }
                _ => Attention::Whole,
            };
        }
        let at = |nth: u64| (index as u64 + 1).is_multiple_of(nth);
        if let Some(nth) = self.number(&["full_attention_interval"]).filter(|nth| *nth > 0) {
            return if at(nth) { Attention::Whole } else { Attention::Recurrent };
        }
        let nth = self
            .number(&["sliding_window_pattern", "_sliding_window_pattern"])
            .or_else(|| self.usual_pattern());
        match nth.filter(|nth| *nth > 0) {
            Some(nth) if !at(nth) => through(window),
            _ => Attention::Whole,
        }
    }

    fn usual_pattern(&self) -> Option<u64> {
        let kind = self.kind()?;
        let kind = kind.strip_suffix("_text").unwrap_or(kind);
        EVERY_NTH_LAYER_IS_WHOLE.iter().find(|(name, _)| *name == kind).map(|(_, nth)| *nth)
    }

    /// Bytes that a recurrent layer keeps per request: the last inputs of its convolution in 16 bits and its state in 32 (gated
    /// delta rule as in mlx-lm). 0: of a kind that is not known.
    pub fn recurrent_bytes(&self) -> u64 {
        let number = |key: &str| self.number(&[key]);
        let (Some(key_heads), Some(value_heads), Some(key), Some(value)) = (
            number("linear_num_key_heads"),
            number("linear_num_value_heads"),
            number("linear_key_head_dim"),
            number("linear_value_head_dim"),
        ) else {
            return 0;
        };
        let kernel = number("linear_conv_kernel_dim").unwrap_or(4);
        let inner =
            key_heads.saturating_mul(key).saturating_mul(2).saturating_add(value_heads.saturating_mul(value));
        let convolution = kernel.saturating_sub(1).saturating_mul(inner).saturating_mul(2);
        let state = value_heads.saturating_mul(value).saturating_mul(key).saturating_mul(4);
        convolution.saturating_add(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(json: &Value) -> Config {
        Config::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn layers_look_through_windows_as_the_file_says() {
        use Attention::{Recurrent, Shared, Whole, Window};
        let eight = Window(8);
        for (json, wanted) in [
            (json!({ "sliding_window": 8 }), [Whole, Whole, Whole, Whole]),
            (json!({ "sliding_window": 8, "sliding_window_pattern": 2 }), [eight, Whole, eight, Whole]),
            (json!({ "model_type": "gpt_oss", "sliding_window": 8 }), [eight, Whole, eight, Whole]),
            (json!({ "text_config": { "model_type": "gemma3_text", "sliding_window": 8 } }), [eight; 4]),
            (
                json!({ "layer_types": ["sliding_attention", "full_attention", "linear_attention"], "sliding_window": 8 }),
                [eight, Whole, Recurrent, Whole],
            ),
            (
                json!({ "layer_types": vec!["sliding_attention"; 4], "sliding_window": 8, "use_sliding_window": false }),
                [Whole; 4],
            ),
            (json!({ "full_attention_interval": 4 }), [Recurrent, Recurrent, Recurrent, Whole]),
            (json!({ "num_kv_shared_layers": 1 }), [Whole, Whole, Whole, Shared]),
            (json!({ "sliding_window_pattern": 0, "full_attention_interval": 0 }), [Whole; 4]),
            (json!({ "num_kv_shared_layers": u64::MAX }), [Shared; 4]),
        ] {
            let config = config(&json);
            assert_eq!([0, 1, 2, 3].map(|index| config.attention(index, 4)), wanted, "{json}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_not_told() {
        let config = config(
            &json!({ "hidden_size": "many", "n_embd": 7, "vocab_size": -1, "text_config": { "n": null }, "n": 3 }),
        );
        assert_eq!(config.number(&["hidden_size", "n_embd"]), Some(7));
        assert_eq!((config.number(&["vocab_size"]), config.number(&["n"])), (None, Some(3)));
        assert!(Config::parse(b"[]").is_none() && Config::parse(b"{").is_none());
    }

    #[test]
    fn groups_are_those_of_the_module_or_of_all() {
        let config = config(
            &json!({ "quantization": { "group_size": 64, "bits": 4, "model.lm_head": { "group_size": 32, "bits": 8 } } }),
        );
        assert_eq!((config.group_size("model.lm_head"), config.group_size("x")), (Some(32), Some(64)));
    }
}
