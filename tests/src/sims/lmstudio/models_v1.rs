//! `POST /api/v1/models/load` and `/unload`.

use super::{
    answer::{self, V1Error, object, text},
    rows,
    service::{LoadFailure, Service},
    state::{LoadAsk, Origin},
};
use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

const LOAD_FIELDS: [&str; 7] = [
    "model",
    "context_length",
    "eval_batch_size",
    "num_experts",
    "flash_attention",
    "offload_kv_cache_to_gpu",
    "echo_load_config",
];

/// Answers when the model is loaded.
pub async fn load(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let (ask, echo) = match wish(&body, service.options.profile.is_recent()) {
        Ok(wish) => wish,
        Err(error) => return error.response(),
    };
    // The load goes on when the client goes away.
    let task = tokio::spawn({
        let (service, ask) = (service.clone(), ask.clone());
        async move { service.load(&ask, None).await }
    });
    let loaded = match task.await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(failure)) => return failure.v1().response(),
        Err(error) => return V1Error::new(500, "internal_error", error.to_string()).response(),
    };
    let kind = service.look(|state| state.model(&ask.key).map(|model| model.kind));
    let mut answer = json!({
        "type": kind,
        "instance_id": loaded.id,
        "load_time_seconds": loaded.seconds,
        "status": "loaded",
    });
    if echo {
        answer["load_config"] = service.look(|state| load_config(&rows::models_v1(state), &loaded.id));
    }
    answer::pretty(StatusCode::OK, &answer)
}

fn wish(body: &Bytes, takes_parallel: bool) -> Result<(LoadAsk, bool), V1Error> {
    let body = object(body).ok_or_else(V1Error::invalid_json)?;
    let key = text(&body, "model").ok_or_else(|| V1Error::missing("model"))?;
    let known = |name: &str| LOAD_FIELDS.contains(&name) || (takes_parallel && name == "parallel");
    let unknown = body.as_object().and_then(|fields| fields.keys().find(|name| !known(name)));
    if let Some(name) = unknown {
        let message = format!("Unrecognized key(s) in object: '{name}'");
        return Err(V1Error {
            code: Some("unrecognized_keys"),
            ..V1Error::new(400, "invalid_request", message)
        });
    }
    let context = match &body["context_length"] {
        Value::Null => None,
        given => Some(given.as_u64().filter(|tokens| *tokens > 0).ok_or_else(|| V1Error {
            param: Some("context_length"),
            ..V1Error::new(400, "invalid_request", "\"context_length\" must be a positive integer")
        })?),
    };
    let parallel = body["parallel"].as_u64().and_then(|count| u32::try_from(count).ok());
    let ask = LoadAsk { context, parallel, ..LoadAsk::new(key, Origin::Rest) };
    Ok((ask, body["echo_load_config"] == json!(true)))
}

/// The configuration of an instance, out of the list.
fn load_config(list: &Value, id: &str) -> Value {
    let models = list["models"].as_array().into_iter().flatten();
    let mut instances = models.filter_map(|model| model["loaded_instances"].as_array()).flatten();
    let found = instances.find(|instance| instance["id"] == json!(id));
    found.map_or(Value::Null, |instance| instance["config"].clone())
}

/// Takes the id of an instance, never a key.
pub async fn unload(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    unload_now(&service, &body)
}

fn unload_now(service: &Service, body: &Bytes) -> Response {
    let Some(body) = object(body) else { return V1Error::invalid_json().response() };
    let Some(id) = text(&body, "instance_id") else { return V1Error::missing("instance_id").response() };
    if service.unload(id) {
        return answer::pretty(StatusCode::OK, &json!({ "instance_id": id }));
    }
    let message = format!("Model with instance identifier '{id}' is not loaded.");
    V1Error::new(404, "model_not_found", message).response()
}

/// What a refused inference says in v1.
pub fn refusal(refusal: &super::generate::Refusal) -> V1Error {
    use super::generate::Refusal;
    match refusal {
        Refusal::NotDownloaded(model) => LoadFailure::NotDownloaded(model.clone()).v1(),
        Refusal::LoadFailed(failure) => failure.v1(),
        other => V1Error::new(404, "model_not_found", super::openai::refusal_text(other)),
    }
}
