//! Ollama's API, for programs that know nothing else: on a listener of its own, since they look for it at the root of an address.
//! What they ask is said again in chat's words, so every server can answer, and the model follows the switch. How long a model
//! stays and with what it is loaded is not for them to say.

use super::{
    Shared,
    forward::{Asking, By},
    keys::Held,
    listing,
    record::Record,
    refusal::{self, Refusal},
    translated, unpack,
};
use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use pilothouse_dialects::{
    Question, Refused, Took,
    chat::Speaks,
    ollama::{self, Governed, Loaded, ModelCard, names},
};
use pilothouse_domain::{model::ModelRef, server::ServerKind, traffic::Dialect};
use pilothouse_leases::{About, Asked, Routes, known_by};
use pilothouse_records::Asker;
use std::{sync::Arc, time::Instant};

/// What is read of a server's embeddings: a thousand texts of 4,096 numbers, as JSON.
const EMBEDDINGS_LIMIT: usize = 64 << 20;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { ollama::RUNNING }))
        .route("/api/version", get(|| async { document(ollama::version()) }))
        .route("/api/tags", get(tags))
        .route("/api/ps", get(ps))
        .route("/api/show", post(show))
        .route("/api/chat", post(chat))
        .route("/api/generate", post(generate))
        .route("/api/embed", post(embed))
        .route("/api/embeddings", post(embeddings))
        .route("/api/{*rest}", any(beyond))
}

fn document(said: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], said).into_response()
}

/// All names that can be asked for, of those that the key may use, with what is known of the models behind them.
fn cards(shared: &Shared, key: Option<&Extension<Held>>) -> Vec<ModelCard> {
    let routes = shared.leases.routes();
    let may = |(name, model): &(String, Option<ModelRef>)| {
        key.is_none_or(|Extension(key)| key.may_use(Some(name.as_str()), model.as_ref()))
    };
    let names = listing::names(&routes).into_iter().filter(may);
    names.map(|(name, model)| card(name, model.as_ref(), &routes)).collect()
}

async fn tags(State(shared): State<Shared>, key: Option<Extension<Held>>) -> Response {
    document(ollama::tags(&cards(&shared, key.as_ref())))
}

async fn ps(State(shared): State<Shared>, key: Option<Extension<Held>>) -> Response {
    document(ollama::ps(&cards(&shared, key.as_ref())))
}

fn card(name: String, model: Option<&ModelRef>, routes: &Routes) -> ModelCard {
    let none = About::default();
    let about = model.and_then(|model| routes.about.get(model)).unwrap_or(&none);
    let is_loaded = model.is_some_and(|model| {
        routes.loaded.iter().any(|one| one.server == model.server && one.model == model.model)
    });
    let abilities: &[&str] = if about.embeds { &["embedding"] } else { &["completion", "tools"] };
    ModelCard {
        name,
        size_bytes: about.size_bytes,
        format: about.format.clone(),
        parameter_size: about.parameters.clone(),
        quantization: about.quantization.clone(),
        context: about.context.or(about.context_max),
        capabilities: Some(abilities.iter().map(|ability| (*ability).to_owned()).collect()),
        loaded: is_loaded.then(Loaded::default),
        ..ModelCard::default()
    }
}

/// The name that is meant, of those that can be asked for: this API has a tag with each.
fn meant(shared: &Shared, asked: Option<&str>) -> Asked {
    let Some(asked) = asked else { return Asked::new(None) };
    let routes = shared.leases.routes();
    let known = listing::names(&routes);
    let names = known.iter().map(|(name, _)| name.as_str());
    let is_known = known_by(&routes.known, asked).is_some();
    Asked::new(Some(match names::find(asked, names) {
        Some(name) if !is_known => name,
        _ if is_known => asked,
        // A rule with stars may know it.
        _ => names::bare(asked),
    }))
}

async fn show(
    State(shared): State<Shared>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = ollama::read_show(&unpack::read(&headers, body, &shared.bodies).await?)?;
    let cards = cards(&shared, key.as_ref());
    let name = names::find(&asked.model, cards.iter().map(|card| card.name.as_str()));
    let card = cards.iter().find(|card| Some(card.name.as_str()) == name);
    let card = card
        .ok_or_else(|| Refused::new(404, "model_not_found", format!("model '{}' not found", asked.model)))?;
    Ok(document(ollama::show(card)))
}

async fn chat(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    recorded(&shared, &headers, (asker, key), |key, record| {
        answer(&shared, &headers, body, (key, record), ollama::read_chat)
    })
    .await
}

async fn generate(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    recorded(&shared, &headers, (asker, key), |key, record| {
        answer(&shared, &headers, body, (key, record), ollama::read_generate)
    })
    .await
}

async fn embed(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    recorded(&shared, &headers, (asker, key), |key, record| {
        vectors(&shared, &headers, body, (key, record), ollama::read_embed)
    })
    .await
}

async fn embeddings(
    State(shared): State<Shared>,
    asker: Option<Extension<Asker>>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    recorded(&shared, &headers, (asker, key), |key, record| {
        vectors(&shared, &headers, body, (key, record), ollama::read_embeddings)
    })
    .await
}

/// What Ollama has and this address has not.
async fn beyond(method: Method, request: Request) -> Refusal {
    let path = request.uri().path();
    match ollama::beyond(path) {
        Some(refused) => refused.into(),
        None => refusal::unknown_path(method.as_str(), path),
    }
}

/// Each request leaves a record, also one that is refused.
async fn recorded<F: Future<Output = Result<Response, Refusal>>>(
    shared: &Shared,
    headers: &HeaderMap,
    (asker, key): (Option<Extension<Asker>>, Option<Extension<Held>>),
    work: impl FnOnce(Option<Held>, Record) -> F,
) -> Result<Response, Refusal> {
    let asker = asker.map(|Extension(asker)| asker).unwrap_or_default();
    let key = key.map(|Extension(key)| key);
    let record = Record::in_dialect(&shared.recorder, Dialect::Ollama, headers, key.as_ref(), asker);
    let answer = work(key, record.clone()).await;
    if let Err(refusal) = &answer {
        record.failed(refusal);
    }
    answer
}

type Read<T> = fn(&[u8]) -> Result<T, Refused>;

async fn answer(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    (key, record): (Option<Held>, Record),
    read: Read<ollama::Asked>,
) -> Result<Response, Refusal> {
    let body = unpack::read(headers, body, &shared.bodies).await?;
    let question = read(&body)?;
    let asked = meant(shared, question.model());
    if question.is_load() || question.is_unload() {
        record.asks(question.model(), false, None);
        if let (Some(key), Some(model)) = (&key, shared.leases.model_of(&asked)) {
            key.admit_model(question.model(), Some(&model))?;
        }
        if question.is_load() {
            present(shared, asked, &record, question.governed()).await?;
        }
        record.done(None, None);
        return Ok(document(question.nothing_document(&translated::telling())));
    }
    let governed = named(question.governed());
    let by = By { key, record, bytes: body.len() };
    Asking::question(shared.clone(), by, headers, Arc::new(question), governed, asked)?.answer().await
}

async fn vectors(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    (key, record): (Option<Held>, Record),
    read: Read<ollama::EmbedAsked>,
) -> Result<Response, Refusal> {
    let since = Instant::now();
    let body = unpack::read(headers, body, &shared.bodies).await?;
    let question = read(&body)?;
    let asked = meant(shared, question.model());
    if question.is_load() || question.is_unload() {
        record.asks(question.model(), false, None);
        if let (Some(key), Some(model)) = (&key, shared.leases.model_of(&asked)) {
            key.admit_model(question.model(), Some(&model))?;
        }
        if question.is_load() {
            present(shared, asked, &record, question.governed()).await?;
        }
        record.done(None, None);
        return Ok(document(question.nothing_document()));
    }
    // Vectors are cut here where they are wanted shorter, so that it does not matter who makes them.
    let by = By { key, record, bytes: body.len() };
    let body = question.body(question.model().unwrap_or_default(), Speaks::of(ServerKind::Ollama));
    let asking = Asking::embeddings(shared.clone(), by, headers, body.into(), asked)?;
    let (mut head, body) = asking.answer().await?.into_parts();
    let said = to_bytes(body, EMBEDDINGS_LIMIT).await.unwrap_or_default();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if !head.status.is_success() {
        let document: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        let refused = pilothouse_dialects::chat::told_error(&document)
            .unwrap_or_else(|| Refused::new(502, "server_error", "The server refused without a reason."));
        return Err(refused.with_status(head.status.as_u16()).into());
    }
    let total_ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let said = question.embed_document(&said, Some(Took { total_ns, ..Took::default() }))?;
    Ok(Response::from_parts(head, Body::from(Bytes::from(said))))
}

/// Waits until the model is there, as a request for an answer would.
async fn present(
    shared: &Shared,
    asked: Asked,
    record: &Record,
    governed: &[Governed],
) -> Result<(), Refusal> {
    let since = Instant::now();
    record.waits(&shared.leases.waits_for(&asked));
    let lease = shared.leases.take(asked).await?;
    record.leased(&shared.leases, &lease, since.elapsed(), named(governed).as_deref());
    Ok(())
}

/// What is not for clients to say, by the names that Ollama has for it.
fn named(governed: &[Governed]) -> Option<String> {
    let name = |one: &Governed| match one {
        Governed::Context(_) => "num_ctx",
        Governed::KeepAlive(_) => "keep_alive",
        Governed::Load(name) => name,
    };
    let names: Vec<&str> = governed.iter().map(name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
