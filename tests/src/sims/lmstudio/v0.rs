//! Inference of `/api/v0`: the OpenAI form, with statistics when it is not streamed.

use super::{
    answer,
    generate::{Finished, Stop},
    openai::{Form, refused, streamed, whole, wish},
    service::Service,
};
use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn chat(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    respond(&service, &body, Form::Chat).await
}

pub async fn completions(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    respond(&service, &body, Form::Text).await
}

async fn respond(service: &Arc<Service>, body: &Bytes, form: Form) -> Response {
    let (body, ask) = match wish(body, form) {
        Ok(wish) => wish,
        Err(refused) => return *refused,
    };
    if body["stream"] == json!(true) {
        return streamed(service, &body, ask, form).await;
    }
    match service.complete(ask).await {
        Ok(finished) => answer::pretty(StatusCode::OK, &with_stats(service, &finished, form)),
        Err(why) => refused(&why),
    }
}

fn with_stats(service: &Service, finished: &Finished, form: Form) -> Value {
    let mut answer = whole(finished, form);
    let stop = match finished.stop {
        Stop::EndOfText => "eosFound",
        Stop::MaxTokens => "maxPredictedTokensReached",
        Stop::Unloaded => "modelUnloaded",
    };
    let mut stats = json!({
        "time_to_first_token": finished.ttft_seconds,
        "generation_time": finished.generation_seconds,
        "stop_reason": stop,
    });
    if let Some(rate) = finished.tokens_per_second() {
        stats["tokens_per_second"] = json!(rate);
    }
    answer["stats"] = stats;
    answer["model_info"] = service
        .look(|state| {
            let instance = state.instance(&finished.ready.id)?;
            let model = state.model(&instance.key)?;
            Some(json!({
                "arch": model.architecture,
                "quant": model.quantization,
                "format": model.format.rest(),
                "context_length": instance.context,
            }))
        })
        .unwrap_or(Value::Null);
    answer["runtime"] =
        json!({ "name": "simulated-runtime", "version": "0.0.0", "supported_formats": ["gguf"] });
    answer
}
