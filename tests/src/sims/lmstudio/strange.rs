//! What a later version may add: keys and values that nobody has heard of yet.

use serde_json::{Value, json};

/// The list as a later version might give it: more keys everywhere, no `architecture`, sizes as texts, and a model of an unknown kind.
pub fn later(mut list: Value) -> Value {
    add_keys(&mut list);
    for rows in ["models", "data"] {
        if let Some(rows) = list[rows].as_array_mut() {
            rows.push(json!({
                "type": "holography",
                "key": "simulated/hologram",
                "id": "simulated/hologram",
                "format": "crystal",
                "compatibility_type": "crystal",
                "state": "hibernating",
                "quantization": null,
                "max_context_length": null,
                "loaded_instances": [],
            }));
        }
    }
    list
}

fn add_keys(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_keys),
        Value::Object(fields) => {
            fields.values_mut().for_each(add_keys);
            for name in ["architecture", "arch"] {
                if let Some(architecture) = fields.get_mut(name) {
                    *architecture = Value::Null;
                }
            }
            if let Some(size) = fields.get_mut("size_bytes") {
                *size = json!("1.5 GB");
            }
            fields.insert("a_key_of_tomorrow".into(), json!({ "unit": "furlong", "values": [1, null] }));
        }
        _ => {}
    }
}
