//! The OpenAI-compatible part, `/v1`.

use super::{
    answer::{self, object, openai_error, text},
    generate::{Ask, Finished, Piece, Refusal},
    home,
    service::{LoadFailure, Service, now_ms},
    state::Work,
    text::{embedding, prompt_tokens},
};
use axum::{extract::State, http::StatusCode, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;

/// Which form an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Text,
}

impl Form {
    fn prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Text => "cmpl",
        }
    }
}

pub async fn chat(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    respond(&service, &body, Form::Chat).await
}

pub async fn completions(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    respond(&service, &body, Form::Text).await
}

async fn respond(service: &Arc<Service>, body: &Bytes, form: Form) -> Response {
    let record = format!("Received a request with this body (simulated):\n{}", String::from_utf8_lossy(body));
    home::log(&service.options.home, &record);
    let (body, ask) = match wish(body, form) {
        Ok(wish) => wish,
        Err(refused) => return *refused,
    };
    if body["stream"] == json!(true) {
        return streamed(service, &body, ask, form).await;
    }
    match service.complete(ask).await {
        Ok(finished) => {
            let mut answer = whole(&finished, form);
            answer["stats"] = json!({});
            answer["system_fingerprint"] = json!(finished.ready.id);
            answer::pretty(StatusCode::OK, &answer)
        }
        Err(why) => refused(&why),
    }
}

/// Reads a request of `/v1` or `/api/v0`.
pub fn wish(body: &Bytes, form: Form) -> Result<(Value, Ask), Box<Response>> {
    let Some(body) = object(body) else {
        return Err(Box::new(openai_error(400, "Invalid body: failed to parse JSON value.", "body", None)));
    };
    let prompt = match form {
        Form::Chat => body["messages"].as_array().map(|messages| {
            messages.iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join(" ")
        }),
        Form::Text => body["prompt"].as_str().map(str::to_owned),
    };
    let Some(prompt) = prompt else {
        let name = if form == Form::Chat { "messages" } else { "prompt" };
        return Err(Box::new(openai_error(400, &format!("'{name}' field is required"), name, None)));
    };
    let ask = Ask {
        model: text(&body, "model").map(str::to_owned),
        prompt_tokens: prompt_tokens(&prompt),
        max_tokens: body["max_tokens"].as_u64().map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
        ttl_s: body["ttl"].as_u64(),
        context: None,
    };
    Ok((body, ask))
}

/// The answer as one object, without what `/v1` and v0 add to it.
pub fn whole(finished: &Finished, form: Form) -> Value {
    let choice = match form {
        Form::Chat => json!({
            "index": 0,
            "logprobs": null,
            "finish_reason": finished.finish_reason(),
            "message": { "role": "assistant", "content": finished.text, "tool_calls": [] },
        }),
        Form::Text => json!({
            "index": 0,
            "text": finished.text,
            "logprobs": null,
            "finish_reason": finished.finish_reason(),
        }),
    };
    json!({
        "id": new_id(form),
        "object": if form == Form::Chat { "chat.completion" } else { "text_completion" },
        "created": now_ms() / 1000,
        "model": finished.ready.id,
        "choices": [choice],
        "usage": usage(finished),
    })
}

fn new_id(form: Form) -> String {
    format!("{}-simulated{:013x}", form.prefix(), now_ms())
}

fn usage(finished: &Finished) -> Value {
    json!({
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.output_tokens,
        "total_tokens": finished.prompt_tokens + finished.output_tokens,
    })
}

/// The answer in chunks. A model that cannot be had is refused with a status before anything is sent.
pub async fn streamed(service: &Arc<Service>, body: &Value, ask: Ask, form: Form) -> Response {
    let ready = match service.prepare(&ask, None).await {
        Ok(ready) => ready,
        Err(why) => return refused(&why),
    };
    let chunks = Chunks {
        id: new_id(form),
        model: ready.id.clone(),
        created: now_ms() / 1000,
        form,
        with_usage: body["stream_options"]["include_usage"] == json!(true),
    };
    let pieces = ReceiverStream::new(service.generate(ask, ready));
    let mut first = true;
    let events = pieces.flat_map(move |piece| stream::iter(chunks.of(&piece, &mut first)));
    answer::events(events, service.faults().cut_stream_after)
}

struct Chunks {
    id: String,
    model: String,
    created: u64,
    form: Form,
    with_usage: bool,
}

impl Chunks {
    fn of(&self, piece: &Piece, first: &mut bool) -> Vec<String> {
        match piece {
            Piece::Token(token) => {
                let role = std::mem::take(first);
                vec![self.chunk(json!([self.choice(Some(token), role, None)]), None)]
            }
            Piece::End(finished) => {
                let last = json!([self.choice(None, false, Some(finished.finish_reason()))]);
                let mut events = vec![self.chunk(last, None)];
                if self.with_usage {
                    events.push(self.chunk(json!([]), Some(usage(finished))));
                }
                events.push("data: [DONE]\n\n".into());
                events
            }
            Piece::PromptStart | Piece::PromptProgress(_) | Piece::PromptEnd => vec![],
        }
    }

    fn choice(&self, token: Option<&str>, with_role: bool, finish: Option<&str>) -> Value {
        let mut choice = json!({ "index": 0, "logprobs": null, "finish_reason": finish });
        if self.form == Form::Text {
            choice["text"] = json!(token.unwrap_or_default());
            return choice;
        }
        let mut delta = json!({});
        if with_role {
            delta["role"] = json!("assistant");
        }
        if let Some(token) = token {
            delta["content"] = json!(token);
        }
        choice["delta"] = delta;
        choice
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        let mut chunk = json!({
            "id": self.id,
            "object": if self.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" },
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    }
}

pub fn refusal_text(why: &Refusal) -> String {
    match why {
        Refusal::NothingLoaded => {
            "No models loaded. Please load a model in the developer page or use the `lms load` command."
                .into()
        }
        Refusal::SeveralLoaded => {
            "Multiple models are loaded. Please specify a model by providing a 'model' field.".into()
        }
        Refusal::NotDownloaded(model) => format!("Model {model} not found in downloaded models"),
        Refusal::LoadFailed(LoadFailure::Engine { key, text, .. }) => {
            format!("Failed to load model \"{key}\". Error: {text}")
        }
        Refusal::LoadFailed(other) => other.text(),
        Refusal::Unloaded => "Model unloaded.".into(),
    }
}

pub fn refused(why: &Refusal) -> Response {
    let status = match why {
        Refusal::LoadFailed(_) | Refusal::Unloaded => 400,
        _ => 404,
    };
    openai_error(status, &refusal_text(why), "model", (status == 404).then_some("model_not_found"))
}

pub async fn embeddings(State(service): State<Arc<Service>>, body: Bytes) -> Response {
    let Some(body) = object(&body) else {
        return openai_error(400, "Invalid body: failed to parse JSON value.", "body", None);
    };
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => return openai_error(400, "'input' field is required", "input", None),
    };
    let ask =
        Ask { model: text(&body, "model").map(str::to_owned), ttl_s: body["ttl"].as_u64(), ..Ask::default() };
    let ready = match service.prepare(&ask, None).await {
        Ok(ready) => ready,
        Err(why) => return refused(&why),
    };
    let vectors = service.with(|state| {
        let ticket = state.enter(&ready.id, now_ms())?;
        state.set_work(ticket, Work::ComputingEmbedding);
        let model = state.model(&state.instance(&ready.id)?.key)?;
        let vectors: Vec<_> = texts.iter().map(|text| embedding(model, text)).collect();
        state.leave(ticket, now_ms());
        Some(vectors)
    });
    let Some(vectors) = vectors else { return refused(&Refusal::Unloaded) };
    let row = |(index, vector)| json!({ "object": "embedding", "embedding": vector, "index": index });
    let answer = json!({
        "object": "list",
        "data": vectors.into_iter().enumerate().map(row).collect::<Vec<_>>(),
        "model": ready.id,
        "usage": { "prompt_tokens": 0, "total_tokens": 0 },
    });
    answer::pretty(StatusCode::OK, &answer)
}
