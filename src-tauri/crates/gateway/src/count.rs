//! How many tokens a prompt in Anthropic's words has: by the server that would answer it, where it can count, else an estimate that is
//! said to be one.

use super::{Shared, keys::Held, pieces::Pieces, refusal::Refusal, told, unpack, upstream::Onward};
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use pilothouse_dialects::{
    chat::Speaks,
    messages::{self, Count},
};
use pilothouse_domain::server::ServerKind;
use pilothouse_leases::Asked;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for a server to count: clients ask this before each turn, and an estimate now is better than a figure late.
const LIMIT: Duration = Duration::from_secs(2);
const ESTIMATED: HeaderName = HeaderName::from_static("x-pilothouse-estimated");
/// What is read of a server's answer.
const ANSWER_LIMIT: usize = 64 << 10;

pub(super) async fn count(
    State(shared): State<Shared>,
    key: Option<Extension<Held>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let onward = Onward::new(&uri, &headers)?.translated();
    let body = unpack::read(&headers, body, &shared.bodies).await?;
    let count = messages::count(&body, shared.masking.masks())?;
    if let Some(Extension(key)) = key
        && let Some(model) = shared.leases.model_of(&Asked::new(count.model()))
    {
        key.admit_model(count.model(), Some(&model))?;
    }
    let mut said = HeaderMap::new();
    said.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    told::asked(&mut said, count.model(), None);
    let counted = timeout(LIMIT, by_its_server(&shared, &onward, &count)).await;
    let tokens = counted.ok().flatten().unwrap_or_else(|| {
        said.insert(ESTIMATED, HeaderValue::from_static("true"));
        count.estimate()
    });
    Ok((said, messages::counted(tokens)).into_response())
}

/// `None`: it cannot, or does not now.
async fn by_its_server(shared: &Shared, onward: &Onward, count: &Count) -> Option<u64> {
    let lease = shared.leases.take(Asked::new(count.model())).await.ok()?;
    let target = lease.target();
    let kind = shared.leases.routes().kind(&target.server);
    if kind != ServerKind::LlamaServer {
        return None;
    }
    let chat = count.chat(&target.instance, Speaks::of(kind)).ok()?;
    let path = Some("chat/completions/input_tokens");
    let answer = onward.send(&shared.lines, target, path, Pieces::new(vec![chat.into()])).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let said = axum::body::to_bytes(Body::from_stream(answer.bytes_stream()), ANSWER_LIMIT).await.ok()?;
    let said: serde_json::Value = serde_json::from_slice(&said).ok()?;
    said["input_tokens"].as_u64()
}
