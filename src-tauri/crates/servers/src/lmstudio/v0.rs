//! The lists of hosts before 0.4 in our terms.

use super::{
    ID,
    told::{instance, purpose},
    wire::RowV0,
};
use pilothouse_domain::{
    model::{Instance, Model},
    server::ServerId,
};

/// A second copy has the key of the first with `:2` behind it.
pub(super) fn key_of<'a>(id: &'a str, rows: &[RowV0]) -> &'a str {
    match id.rsplit_once(':') {
        Some((key, number)) if number.parse::<u32>().is_ok() && rows.iter().any(|row| row.id == key) => key,
        _ => id,
    }
}

pub(super) fn instances_v0(rows: &[RowV0]) -> Vec<Instance> {
    let loaded = rows.iter().filter(|row| row.state == "loaded");
    loaded.map(|row| instance(&row.id, key_of(&row.id, rows), row.loaded_context_length)).collect()
}

/// Copies of one model are rows of their own in v0; they are one model here.
pub(super) fn models_v0(rows: &[RowV0]) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for row in rows {
        let key = key_of(&row.id, rows);
        if models.iter().any(|model| model.name == key) {
            continue;
        }
        models.push(Model {
            server: ServerId::new(ID),
            name: key.to_owned(),
            title: key.rsplit('/').next().unwrap_or(key).to_owned(),
            purpose: purpose(&row.kind),
            format: row.compatibility_type.clone(),
            quantization: row.quantization.clone(),
            parameters: None,
            size_bytes: None,
            context_max: row.max_context_length,
            damaged: None,
        });
    }
    models
}

#[cfg(test)]
mod tests {
    use super::{super::wire::ModelsV0, *};
    use pilothouse_domain::model::ModelPurpose;

    #[test]
    fn the_captured_v0_list_with_a_twin_is_one_model_with_two_instances() {
        let list: ModelsV0 = serde_json::from_str(
            r#"{"data":[
            {"id":"qwen3-0.6b-mlx","object":"model","type":"llm","compatibility_type":"mlx","quantization":"4bit",
             "state":"loaded","max_context_length":40960,"loaded_context_length":4096,"capabilities":["tool_use"]},
            {"id":"qwen3-0.6b-mlx:2","object":"model","type":"llm","compatibility_type":"mlx","quantization":"4bit",
             "state":"loaded","max_context_length":40960,"loaded_context_length":4096},
            {"id":"text-embedding-nomic-embed-text-v1.5","type":"embeddings","state":"not-loaded"}],"object":"list"}"#,
        )
        .unwrap();
        let instances = instances_v0(&list.data.rows);
        assert!(instances.iter().all(|instance| instance.model == "qwen3-0.6b-mlx"));
        assert_eq!(instances[1].id, "qwen3-0.6b-mlx:2");
        let models = models_v0(&list.data.rows);
        assert_eq!(models.len(), 2);
        assert_eq!(models[1].purpose, ModelPurpose::Embedding);
        assert_eq!(models[0].size_bytes, None, "v0 reports no sizes");
        let row = r#"{"data":[{"id":"smollm2:135","type":"llm","state":"loaded"}]}"#;
        let list: ModelsV0 = serde_json::from_str(row).unwrap();
        assert_eq!(instances_v0(&list.data.rows)[0].model, "smollm2:135", "no copy without a first one");
    }
}
