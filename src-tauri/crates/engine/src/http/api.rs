use super::{Guard, Shared, session::same};
use crate::api::{ApiError, Call, ErrorCode, Reply};
use axum::{
    Json,
    body::Bytes,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use pilothouse_domain::Timestamp;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// How long a wait for changes lasts at most; below the idle limits of clients and proxies.
const CHANGES_WAIT: Duration = Duration::from_secs(25);

/// An error with the status that fits it; the body is the same everywhere.
struct Failure(ApiError);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.code {
            ErrorCode::InvalidCall => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::NotFound | ErrorCode::Ambiguous => StatusCode::NOT_FOUND,
            ErrorCode::Busy
            | ErrorCode::NotQuiet
            | ErrorCode::NotOurs
            | ErrorCode::DoesNotFit
            | ErrorCode::Unsupported => StatusCode::CONFLICT,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, Json(json!({ "schema": 1, "error": self.0 }))).into_response()
    }
}

pub(super) async fn call(State(shared): State<Shared>, body: Bytes) -> Result<Json<Reply>, Response> {
    let call: Call = serde_json::from_slice(&body).map_err(|error| {
        Failure(ApiError::new(ErrorCode::InvalidCall, format!("The call is not understood: {error}.")))
            .into_response()
    })?;
    // In a task of its own: a client that goes away does not stop what it asked for.
    let work = tokio::spawn(async move { shared.handler.call(call).await });
    match work.await {
        Ok(Ok(reply)) => Ok(Json(reply)),
        Ok(Err(error)) => Err(Failure(error).into_response()),
        Err(_) => Err(Failure(ApiError::internal("The call ended unexpectedly.")).into_response()),
    }
}

#[derive(Deserialize)]
pub(super) struct Known {
    known: Option<u64>,
}

/// The snapshot as soon as it is another one than the known.
pub(super) async fn changes(
    State(shared): State<Shared>,
    Query(Known { known }): Query<Known>,
) -> Json<Reply> {
    let mut snapshots = shared.handler.snapshots();
    let newer = snapshots.wait_for(|now| Some(now.revision) != known);
    let news =
        tokio::time::timeout(CHANGES_WAIT, newer).await.ok().and_then(Result::ok).map(|now| now.clone());
    let now = Some(Timestamp::now());
    Json(match (news, known) {
        (Some(snapshot), _) => Reply::Snapshot { snapshot, now },
        (None, Some(revision)) => Reply::Unchanged { revision, now },
        (None, None) => Reply::Snapshot { snapshot: shared.handler.snapshots().borrow().clone(), now },
    })
}

pub(super) async fn want_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    // A page may have a token of an earlier start and yet be known by its cookie.
    if same(given, shared.token.expose().as_bytes())
        || shared.cookie.admits(request.method(), request.headers())
    {
        return next.run(request).await;
    }
    let error = ApiError::new(ErrorCode::Unauthorized, "The token is missing or not the present one.")
        .hint("`pilothouse status` prints the address with the present token.");
    Failure(error).into_response()
}

/// Lets the browser be known again.
pub(super) async fn remember(State(shared): State<Shared>) -> Response {
    let headers = shared.cookie.header().map(|cookie| [(header::SET_COOKIE, cookie)]);
    let kept = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::NO_CONTENT, kept, headers, ()).into_response()
}

pub(super) async fn refuse_strangers(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(reason) => {
            let error = json!({ "schema": 1, "error": ApiError::new(ErrorCode::Unauthorized, reason) });
            (StatusCode::FORBIDDEN, Json(error)).into_response()
        }
    }
}
