//! The build of a model whose files belong to another user, from what Ollama tells of them (`POST /api/show`, reference:
//! ollama, section 1.4).

use super::{
    anatomy,
    gguf::{Metadata, Tensor, block_type, bytes_of, number_of},
};
use pilothouse_domain::anatomy::{Anatomy, Origin};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A tensor as it is told: its type by name, and the lengths of its dimensions.
#[derive(Debug, Clone, Deserialize)]
pub struct ToldTensor {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub shape: Vec<u64>,
}

/// The build of a model from the keys of its GGUF file, its tensors (which may not be told) and the size of its files.
/// Errors: in words.
pub fn read_told(keys: Map<String, Value>, told: &[ToldTensor], files_bytes: u64) -> Result<Anatomy, String> {
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if keys.iter().any(|(key, value)| key.ends_with(".attention.head_count_kv") && empty(value)) {
        return Err("the heads of its layers differ and are not told".into());
    }
    let metadata = Metadata::from_json(keys);
    let tensors: Option<Vec<Tensor>> = told.iter().map(tensor).collect();
    let mut anatomy = anatomy::of(&metadata, tensors.as_deref().unwrap_or_default())?;
    if anatomy.weights_bytes == 0 {
        anatomy.weights_bytes = files_bytes;
    } else {
        anatomy.beside_bytes = projector_bytes(files_bytes, anatomy.weights_bytes);
    }
    if anatomy.parameters == 0 {
        anatomy.parameters = metadata.number("general.parameter_count").unwrap_or_default();
    }
    if anatomy.vocabulary == 0 {
        let table = told.iter().find(|tensor| tensor.name == "token_embd.weight");
        let rows = table.and_then(|tensor| u32::try_from(*tensor.shape.get(1)?).ok());
        anatomy.vocabulary = rows.unwrap_or_default();
    }
    anatomy.origin = Origin::Server;
    Ok(anatomy)
}

/// The files hold more than the tensors: the head of the file with its vocabulary (some ten megabytes), and a projector where
/// there is one.
fn projector_bytes(files_bytes: u64, weights_bytes: u64) -> u64 {
    const HEAD: u64 = 32 << 20;
    Some(files_bytes.saturating_sub(weights_bytes)).filter(|bytes| *bytes > HEAD).unwrap_or_default()
}

fn tensor(told: &ToldTensor) -> Option<Tensor> {
    let elements = told.shape.iter().try_fold(1u64, |product, length| product.checked_mul(*length))?;
    let kind = number_of(&told.kind)?;
    Some(Tensor {
        name: told.name.clone(),
        elements,
        bytes: Some(bytes_of(kind, elements)?),
        block: block_type(kind),
        rows: told.shape.get(1).copied().unwrap_or(1),
        offset: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys() -> Map<String, Value> {
        let keys = json!({
            "general.architecture": "llama", "general.parameter_count": 8_030_261_312_u64, "llama.block_count": 32,
            "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
            "llama.context_length": 131_072, "tokenizer.ggml.tokens": null
        });
        keys.as_object().unwrap().clone()
    }

    #[test]
    fn the_keys_are_those_of_the_file() {
        let anatomy = read_told(keys(), &[], 4_920_738_944).unwrap();
        assert_eq!((anatomy.weights_bytes, anatomy.parameters), (4_920_738_944, 8_030_261_312));
        assert_eq!((anatomy.origin, anatomy.context_max), (Origin::Server, Some(131_072)));
        assert_eq!(
            (anatomy.layers.len(), anatomy.layers[0].kv_heads, anatomy.layers[0].key_length),
            (32, 8, 128)
        );
    }

    #[test]
    fn tensors_say_more_where_they_are_told() {
        let tensor = |name: &str, kind: &str, shape: [u64; 2]| ToldTensor {
            name: name.into(),
            kind: kind.into(),
            shape: shape.into(),
        };
        let table = tensor("token_embd.weight", "Q4_K", [4096, 128_256]);
        let mut tensors = vec![table, tensor("output.weight", "Q6_K", [4096, 128_256])];
        let anatomy = read_told(keys(), &tensors, 1 << 30).unwrap();
        let (table, output) = (4096 * 128_256 / 256 * 144, 4096 * 128_256 / 256 * 210);
        assert_eq!((anatomy.weights_bytes, anatomy.lookup_bytes), (table + output, table));
        assert_eq!((anatomy.vocabulary, anatomy.beside_bytes), (128_256, (1 << 30) - table - output));
        tensors.push(tensor("blk.0.x", "NEW_TYPE", [1, 1]));
        assert_eq!(read_told(keys(), &tensors, 5).unwrap().weights_bytes, 5, "a type that is not known");
    }

    #[test]
    fn heads_that_are_left_out_are_no_guess() {
        for left_out in [json!(null), json!([])] {
            let mut keys = keys();
            keys.insert("llama.attention.head_count_kv".into(), left_out);
            assert!(read_told(keys, &[], 5).is_err());
        }
        assert!(read_told(Map::new(), &[], 5).is_err());
    }
}
