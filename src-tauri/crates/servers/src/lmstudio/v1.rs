//! The native API of 0.4 and later, in our terms.

use super::{
    ID,
    told::{instance, not_understood, purpose, server_error},
    wire::{DeltaV1, EndV1, EventV1, FailedV1, InstanceV1, ModelV1, ResultV1, StatsV1},
};
use crate::{
    GenerateEnd, GenerateEvent,
    http::{Line, error_text, sse_data},
    reading::{AnswerReader, Document},
};
use pilothouse_domain::{
    error::ApiError,
    model::{Instance, Model},
    server::ServerId,
};
use std::time::Instant;

pub(super) fn model_v1(model: ModelV1) -> Model {
    Model {
        server: ServerId::new(ID),
        title: model.display_name.filter(|name| !name.is_empty()).unwrap_or_else(|| model.key.clone()),
        purpose: purpose(&model.kind),
        format: model.format,
        quantization: model.quantization.and_then(|quantization| quantization.name),
        parameters: model.params_string,
        size_bytes: model.size_bytes,
        context_max: model.max_context_length,
        damaged: None,
        name: model.key,
    }
}

pub(super) fn instances_v1(model: &ModelV1) -> Vec<Instance> {
    let instance = |copy: &InstanceV1| Instance {
        slots: copy.config.parallel.filter(|slots| *slots > 0),
        ..instance(&copy.id, &model.key, copy.config.context_length)
    };
    model.loaded_instances.rows.iter().map(instance).collect()
}

pub(super) fn event_v1(line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
    let Some(data) = sse_data(&line.text) else {
        return Ok(None);
    };
    match understood::<EventV1>(data)?.kind.as_str() {
        "message.delta" | "reasoning.delta" => {
            let text = understood::<DeltaV1>(data)?.content;
            Ok(Some(GenerateEvent { at: line.at, text, model: None, end: None }))
        }
        "error" => Err(server_error(&understood::<FailedV1>(data)?.error.message)),
        "chat.end" => {
            let end = end_v1(&understood::<EndV1>(data)?.result.stats.unwrap_or_default());
            Ok(Some(GenerateEvent { at: line.at, text: String::new(), model: None, end: Some(end) }))
        }
        _ => Ok(None),
    }
}

/// An answer of `/api/v1/chat`: events, or one document.
#[derive(Default)]
pub(super) struct AnswerV1 {
    streams: bool,
    document: Document,
}

impl AnswerReader for AnswerV1 {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        if sse_data(&line.text).is_some() {
            self.streams = true;
        } else if !self.streams {
            self.document.keep(&line.text)?;
        }
        event_v1(line)
    }

    fn end(&mut self, at: Instant) -> Result<Option<GenerateEvent>, ApiError> {
        let Some(document) = self.document.take() else { return Ok(None) };
        if let Some(said) = error_text(document.as_bytes()) {
            return Err(server_error(&said));
        }
        let whole: ResultV1 = understood(&document)?;
        let Some(stats) = whole.stats else { return Err(not_understood()) };
        Ok(Some(GenerateEvent { at, text: whole.output, model: None, end: Some(end_v1(&stats)) }))
    }
}

fn understood<T: serde::de::DeserializeOwned>(data: &str) -> Result<T, ApiError> {
    serde_json::from_str(data).map_err(|_| match error_text(data.as_bytes()) {
        Some(said) => server_error(&said),
        None => not_understood(),
    })
}

pub(super) fn end_v1(stats: &StatsV1) -> GenerateEnd {
    GenerateEnd {
        // v1 does not say why an answer ended.
        finish: None,
        output_tokens: stats.total_output_tokens,
        prompt_tokens: stats.input_tokens,
        cached_tokens: None,
        decode_tok_s: stats.tokens_per_second.filter(|rate| rate.is_finite() && *rate > 0.0),
        prefill_tok_s: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { at: Instant::now(), text: text.into() }
    }

    #[test]
    fn v1_events_give_text_stats_and_errors() {
        let delta = event_v1(&line(r#"data: {"type":"message.delta","content":"Hi"}"#)).unwrap().unwrap();
        assert_eq!(delta.text, "Hi");
        assert!(event_v1(&line("event: message.delta")).unwrap().is_none());
        assert!(
            event_v1(&line(r#"data: {"type":"prompt_processing.progress","progress":0.5}"#))
                .unwrap()
                .is_none()
        );
        let end = r#"data: {"type":"chat.end","result":{"stats":{"input_tokens":646,"total_output_tokens":586,
            "tokens_per_second":29.75,"time_to_first_token_seconds":1.088}}}"#;
        let end = event_v1(&line(&end.replace('\n', ""))).unwrap().unwrap().end.unwrap();
        assert_eq!(
            (end.output_tokens, end.prompt_tokens, end.decode_tok_s),
            (Some(586), Some(646), Some(29.75))
        );
        let later = r#"data: {"type":"context.folded","content":{"folds":2}}"#;
        assert!(event_v1(&line(later)).unwrap().is_none(), "an event that nobody knows");
        let error = r#"data: {"type":"error","error":{"type":"unknown","message":"engine ended"}}"#;
        assert_eq!(event_v1(&line(error)).unwrap_err().message, "LM Studio: engine ended");
    }
}
