//! Which requests are said again in chat's words, and what is kept for the next one.
//!
//! All of Anthropic's messages and OpenAI's responses are, whatever the server: each kind of server speaks them with gaps of its own
//! (llama-server never closes a block before the end, Ollama moves messages of the system and has no choice of tools, LM Studio
//! refuses kinds of tools), and chat is what all of them are tested with.

use super::{
    path::ApiPath,
    refusal::{Refusal, new_id},
};
use axum::{
    extract::{Path, RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use pilothouse_dialects::{
    Question, Telling, messages,
    responses::{self, Limits, Page, Store, Stored},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// What is kept of answers, so that a program can go on from one by its id: in memory only, and for a day.
const KEPT: Limits = Limits { number: 2_000, bytes: 64 << 20, age_s: 86_400 };

/// Whether Claude Code's text for Anthropic's bill is left out, which changes with each request: without it the beginning of a
/// prompt stays what it was. Clones share it.
#[derive(Clone)]
pub(super) struct Masking(Arc<AtomicBool>);

impl Default for Masking {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Masking {
    pub fn set(&self, masks: bool) {
        self.0.store(masks, Ordering::Relaxed);
    }

    pub fn masks(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The answers that programs may go on from. Clones share them.
#[derive(Clone)]
pub(super) struct Kept(Arc<Mutex<Store>>);

impl Default for Kept {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Store::new(KEPT))))
    }
}

impl Kept {
    pub fn keep(&self, stored: Stored) {
        self.with(|store| store.keep(stored, now_s()));
    }

    fn find(&self, id: &str) -> Option<Arc<Stored>> {
        self.with(|store| store.get(id, now_s()))
    }

    fn with<T>(&self, what: impl FnOnce(&mut Store) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The question that a body asks in a dialect that is translated. `None`: it goes on in its own words.
pub(super) fn read(
    path: &ApiPath,
    body: &[u8],
    kept: &Kept,
    masking: &Masking,
) -> Result<Option<Arc<dyn Question>>, Refusal> {
    Ok(Some(match path.text().as_str() {
        "messages" => Arc::new(messages::read(body, masking.masks())?),
        "responses" => Arc::new(responses::read(body, &|id| kept.find(id))?),
        _ => return Ok(None),
    }))
}

/// The name and the time of an answer that begins now.
pub(super) fn telling() -> Telling {
    Telling { id: new_id(), created_s: now_s() }
}

fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// `GET /v1/responses/{id}`.
pub(super) async fn kept(State(kept): State<Kept>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let stored = kept.find(&id).ok_or_else(|| responses::not_found(&id))?;
    Ok(document(stored.document().to_owned()))
}

/// `DELETE /v1/responses/{id}`.
pub(super) async fn forget(State(kept): State<Kept>, Path(id): Path<String>) -> Result<Response, Refusal> {
    if !kept.with(|store| store.delete(&id)) {
        return Err(responses::not_found(&id).into());
    }
    Ok(document(responses::deleted(&id)))
}

/// `GET /v1/responses/{id}/input_items`.
pub(super) async fn input_items(
    State(kept): State<Kept>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let stored = kept.find(&id).ok_or_else(|| responses::not_found(&id))?;
    let query = query.unwrap_or_default();
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let page = Page::of(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Ok(document(stored.input_items(&page)?))
}

fn document(text: String) -> Response {
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], text).into_response()
}
