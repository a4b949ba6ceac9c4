//! The lists of hosts before 0.4, and answers in OpenAI's shape, in our terms.

use super::{
    ID,
    told::{instance, not_understood, purpose, server_error},
    wire::{Chunk, RowV0, Usage},
};
use crate::{
    ports::{GenerateEnd, GenerateEvent},
    servers::http::{Line, error_text, sse_data},
};
use pilothouse_domain::{
    error::ApiError,
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
        });
    }
    models
}

/// The usage comes after the last piece, in a chunk without choices; `[DONE]` closes the answer.
#[derive(Default)]
pub(super) struct OpenAiAnswer {
    finish: Option<String>,
    usage: Option<Usage>,
}

impl OpenAiAnswer {
    pub fn event(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        let Some(data) = sse_data(&line.text) else {
            return Ok(None);
        };
        if data == "[DONE]" {
            let end = GenerateEnd {
                finish: self.finish.take(),
                output_tokens: self.usage.and_then(|usage| usage.completion_tokens),
                prompt_tokens: self.usage.and_then(|usage| usage.prompt_tokens),
                ..GenerateEnd::default()
            };
            return Ok(Some(GenerateEvent { at: line.at, text: String::new(), end: Some(end) }));
        }
        if let Some(said) = error_text(data.as_bytes()) {
            return Err(server_error(&said));
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| not_understood())?;
        self.usage = chunk.usage.or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(None);
        };
        self.finish = choice.finish_reason.or(self.finish.take());
        let delta = choice.delta;
        let text =
            choice.text.or(delta.content).or(delta.reasoning_content).or(delta.reasoning).unwrap_or_default();
        Ok(Some(GenerateEvent { at: line.at, text, end: None }))
    }
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
        let instances = instances_v0(&list.data);
        assert!(instances.iter().all(|instance| instance.model == "qwen3-0.6b-mlx"));
        assert_eq!(instances[1].id, "qwen3-0.6b-mlx:2");
        let models = models_v0(&list.data);
        assert_eq!(models.len(), 2);
        assert_eq!(models[1].purpose, ModelPurpose::Embedding);
        assert_eq!(models[0].size_bytes, None, "v0 reports no sizes");
        let row = r#"{"data":[{"id":"smollm2:135","type":"llm","state":"loaded"}]}"#;
        let list: ModelsV0 = serde_json::from_str(row).unwrap();
        assert_eq!(instances_v0(&list.data)[0].model, "smollm2:135", "no copy without a first one");
    }
}
