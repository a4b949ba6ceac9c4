//! `POST /api/v1/chat`, whole and as named events.

use super::{
    answer::{self, V1Error, object, text},
    generate::{Ask, Finished, Piece, Ready, Refusal},
    models_v1::refusal,
    service::{Service, now_ms},
    text::prompt_tokens,
};
use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const QUEUE: usize = 16;

pub async fn chat(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let Some(body) = object(&body) else { return V1Error::invalid_json().response() };
    let ask = match wish(&body) {
        Ok(ask) => ask,
        Err(error) => return error.response(),
    };
    let store = body["store"] != json!(false);
    if body["stream"] == json!(true) {
        return stream(&service, ask, store);
    }
    match service.complete(ask).await {
        Ok(finished) => answer::pretty(StatusCode::OK, &result(&finished, store)),
        Err(why) => refusal(&why).response(),
    }
}

fn wish(body: &Value) -> Result<Ask, V1Error> {
    let model = text(body, "model").ok_or_else(|| V1Error::missing("model"))?;
    let prompt = match &body["input"] {
        Value::String(prompt) => prompt.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["content"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => return Err(V1Error::missing("input")),
    };
    let system = text(body, "system_prompt").unwrap_or_default();
    Ok(Ask {
        model: Some(model.to_owned()),
        prompt_tokens: prompt_tokens(&format!("{system} {prompt}")),
        max_tokens: body["max_output_tokens"].as_u64().map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
        ttl_s: None,
        context: body["context_length"].as_u64(),
    })
}

fn result(finished: &Finished, store: bool) -> Value {
    let mut stats = json!({
        "input_tokens": finished.prompt_tokens,
        "total_output_tokens": finished.output_tokens,
        "reasoning_output_tokens": 0,
        "time_to_first_token_seconds": finished.ttft_seconds,
    });
    if let Some(rate) = finished.tokens_per_second() {
        stats["tokens_per_second"] = json!(rate);
    }
    if let Some(seconds) = finished.ready.load_seconds {
        stats["model_load_time_seconds"] = json!(seconds);
    }
    let mut result = json!({
        "model_instance_id": finished.ready.id,
        "output": [{ "type": "message", "content": finished.text }],
        "stats": stats,
    });
    if store {
        result["response_id"] = json!(format!("resp_{:048x}", now_ms()));
    }
    result
}

/// One event; its name is in the data too.
fn event(name: &str, mut data: Value) -> String {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}

fn stream(service: &Arc<Service>, ask: Ask, store: bool) -> Response {
    let (id, loads) = match service.foresee(ask.model.as_deref()) {
        Ok(foreseen) => foreseen,
        Err(why) => return refusal(&why).response(),
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let service = service.clone();
    let cut_after = service.faults().cut_stream_after;
    tokio::spawn(async move {
        // An error means that the client is gone, which ends the answer.
        let _ = stream_events(&service, ask, store, (id, loads), &sender).await;
    });
    answer::events(ReceiverStream::new(receiver), cut_after)
}

type Gone = mpsc::error::SendError<String>;

async fn stream_events(
    service: &Arc<Service>,
    ask: Ask,
    store: bool,
    (id, loads): (String, bool),
    events: &mpsc::Sender<String>,
) -> Result<(), Gone> {
    events.send(event("chat.start", json!({ "model_instance_id": id }))).await?;
    let ready = prepare(service, &ask, (&id, loads), events).await?;
    let ready = match ready {
        Ok(ready) => ready,
        Err(why) => return fail(&why, &id, events).await,
    };
    if let Some(seconds) = ready.load_seconds {
        let data = json!({ "model_instance_id": id, "load_time_seconds": seconds });
        events.send(event("model_load.end", data)).await?;
    }
    let mut pieces = service.generate(ask, ready);
    let mut begun = false;
    if service.faults().strange {
        events.send(event("context.folded", json!({ "content": { "folds": 2 } }))).await?;
    }
    while let Some(piece) = pieces.recv().await {
        let (name, data) = match piece {
            Piece::PromptStart => ("prompt_processing.start", json!({})),
            Piece::PromptProgress(progress) => {
                ("prompt_processing.progress", json!({ "progress": progress }))
            }
            Piece::PromptEnd => ("prompt_processing.end", json!({})),
            Piece::Token(token) => {
                if !begun {
                    begun = true;
                    events.send(event("message.start", json!({}))).await?;
                }
                ("message.delta", json!({ "content": token }))
            }
            Piece::End(finished) => {
                if begun {
                    events.send(event("message.end", json!({}))).await?;
                }
                events.send(event("chat.end", json!({ "result": result(&finished, store) }))).await?;
                return Ok(());
            }
        };
        events.send(event(name, data)).await?;
    }
    fail(&Refusal::Unloaded, &id, events).await
}

/// Tells of the load, if there is one.
async fn prepare(
    service: &Arc<Service>,
    ask: &Ask,
    (id, loads): (&str, bool),
    events: &mpsc::Sender<String>,
) -> Result<Result<Ready, Refusal>, Gone> {
    if !loads {
        return Ok(service.prepare(ask, None).await);
    }
    events.send(event("model_load.start", json!({ "model_instance_id": id }))).await?;
    let (progress, mut steps) = mpsc::unbounded_channel();
    let preparing = service.prepare(ask, Some(progress));
    tokio::pin!(preparing);
    loop {
        tokio::select! {
            biased;
            Some(step) = steps.recv() => {
                let data = json!({ "model_instance_id": id, "progress": step });
                events.send(event("model_load.progress", data)).await?;
            }
            ready = &mut preparing => return Ok(ready),
        }
    }
}

/// `chat.end` follows an error too.
async fn fail(why: &Refusal, id: &str, events: &mpsc::Sender<String>) -> Result<(), Gone> {
    events.send(event("error", json!({ "error": refusal(why).object() }))).await?;
    let result = json!({ "model_instance_id": id, "output": [], "stats": {} });
    events.send(event("chat.end", json!({ "result": result }))).await
}
