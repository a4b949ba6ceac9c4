//! HTTP towards servers: bounded bodies, bounded lines, and errors in the server's own words.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use pilothouse_domain::{
    endpoint::{Endpoint, parsed},
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use pilothouse_system::connect::{
    Made, causes, closed_unanswered, forget_certificates, lacks_descriptors, made_for, moved_to,
    no_descriptors, no_roots,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use url::Url;

/// The longest answer that is read whole; lists of thousands of models are far below.
const BODY_LIMIT: usize = 16 << 20;
/// The longest line of a stream.
const LINE_LIMIT: usize = 1 << 20;
/// The longest error text of a server that is passed on.
const ERROR_LIMIT: usize = 300;

pub const HEALTH_LIMIT: Duration = Duration::from_secs(2);
pub const LIST_LIMIT: Duration = Duration::from_secs(10);

/// A client for one server.
#[derive(Clone)]
pub struct ServerHttp {
    made: Made,
    endpoint: Endpoint,
    /// The server's name in messages.
    title: Arc<str>,
    /// Whose key it is, for hints.
    keyed_by: Option<ServerId>,
    /// Why the key that there may be could not be read.
    key_unread: Option<String>,
}

impl ServerHttp {
    pub fn new(endpoint: &Endpoint, title: &str) -> Self {
        let made = made_for(&endpoint.base_url);
        Self { made, endpoint: endpoint.clone(), title: title.into(), keyed_by: None, key_unread: None }
    }

    /// Says where a person can give the key, when the server refuses.
    pub fn keyed_by(mut self, server: &ServerId) -> Self {
        self.keyed_by = Some(server.clone());
        self
    }

    /// Says that there may be a key which could not be read.
    pub fn key_unread(mut self, why: Option<String>) -> Self {
        self.key_unread = why;
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// GET with a limit, decoded. Errors: unreachable, timed_out, unauthorized, server_error, bad_answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, ApiError> {
        let body = self.bounded(self.request(Method::GET, path), limit).await?;
        self.decode(&body)
    }

    /// GET of plain text.
    pub async fn text(&self, path: &str, limit: Duration) -> Result<String, ApiError> {
        let body = self.bounded(self.request(Method::GET, path), limit).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// POST with a limit (`None`: as long as it takes), decoded. Errors: as `get`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Option<Duration>,
    ) -> Result<T, ApiError> {
        let request = self.request(Method::POST, path).json(body);
        let body = match limit {
            Some(limit) => self.bounded(request, limit).await?,
            None => self.whole(request).await?,
        };
        self.decode(&body)
    }

    /// POST whose answer is read line by line. Errors: as `get`, before the first line.
    pub async fn stream(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<BoxStream<'static, Result<Line, ApiError>>, ApiError> {
        self.read(self.request(Method::POST, path).json(body)).await
    }

    /// GET of an answer that goes on as long as there is something to tell. Errors: as `stream`.
    pub async fn events(&self, path: &str) -> Result<BoxStream<'static, Result<Line, ApiError>>, ApiError> {
        self.read(self.request(Method::GET, path)).await
    }

    async fn read(
        &self,
        request: RequestBuilder,
    ) -> Result<BoxStream<'static, Result<Line, ApiError>>, ApiError> {
        let response = self.sent(request).await?;
        let title = self.title.clone();
        Ok(lines(response.bytes_stream().map(move |chunk| chunk.map_err(|error| broken(&title, &error))))
            .boxed())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.made.client.request(method, format!("{}{path}", self.endpoint.base_url));
        match &self.endpoint.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    async fn bounded(&self, request: RequestBuilder, limit: Duration) -> Result<Bytes, ApiError> {
        tokio::time::timeout(limit, self.whole(request)).await.unwrap_or_else(|_| {
            let text = format!("{} did not answer within {} s.", self.title, limit.as_secs());
            Err(ApiError::new(ErrorCode::TimedOut, text).retryable())
        })
    }

    async fn whole(&self, request: RequestBuilder) -> Result<Bytes, ApiError> {
        let response = self.sent(request).await?;
        self.body(response).await
    }

    async fn body(&self, response: Response) -> Result<Bytes, ApiError> {
        let mut body = response.bytes_stream();
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.next().await {
            whole.extend_from_slice(&chunk.map_err(|error| broken(&self.title, &error))?);
            if whole.len() > BODY_LIMIT {
                let text = format!("{} answered with more than {} MB.", self.title, BODY_LIMIT >> 20);
                return Err(ApiError::new(ErrorCode::BadAnswer, text));
            }
        }
        Ok(whole.freeze())
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = send(request).await.map_err(|error| self.unsent(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if let Some(address) = moved_to(&self.endpoint.base_url, &response) {
            let text = format!("{} answers with a redirect, which is not followed.", self.title);
            return Err(ApiError::new(ErrorCode::BadAnswer, text)
                .hint(format!("If it has moved, put {address} into the settings as its address.")));
        }
        let body = self.body(response).await.unwrap_or_default();
        let said = failure_text(&body).unwrap_or_else(|| format!("HTTP {status}"));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let what = if self.endpoint.key.is_some() { "refused the key" } else { "wants a key" };
                let error = ApiError::new(ErrorCode::Unauthorized, format!("{} {what}: {said}", self.title));
                match (&self.keyed_by, &self.key_unread) {
                    (Some(_), Some(why)) => error
                        .hint(format!("Its key could not be read: {why}. It is looked for again by itself.")),
                    (Some(server), None) => {
                        error.hint(format!("Give its key: “pilothouse keys set {server}”, or in the panel."))
                    }
                    (None, _) => error.hint("Switch its authentication off."),
                }
            }
            StatusCode::NOT_FOUND => ApiError::not_found(format!("{}: {said}", self.title)),
            StatusCode::SERVICE_UNAVAILABLE => {
                ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)).retryable()
            }
            _ => ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)),
        })
    }

    fn unsent(&self, error: &reqwest::Error) -> ApiError {
        if lacks_descriptors(error) {
            return no_descriptors();
        }
        if error.is_connect() {
            return self.unconnected(error);
        }
        if speaks_no_http(error) {
            let text = format!("The program at {} does not speak HTTP.", self.endpoint.base_url);
            return ApiError::new(ErrorCode::BadAnswer, text)
                .hint("Another program may listen at its address.");
        }
        broken(&self.title, error)
    }

    /// The errors of name look-up and TLS have no public types, only their words.
    fn unconnected(&self, error: &reqwest::Error) -> ApiError {
        let base = &self.endpoint.base_url;
        let said = causes(error);
        let said_any =
            |words: &[&str]| said.iter().any(|cause| words.iter().any(|word| cause.contains(word)));
        tracing::debug!(?said, "no connection");
        if said_any(&["dns error", "failed to lookup address"]) {
            let url = parsed(base);
            let host = url.as_ref().and_then(Url::host_str).unwrap_or(base);
            return ApiError::new(ErrorCode::Unreachable, format!("No machine named {host} is found."))
                .hint("Check the name, and that this machine is on the network.")
                .retryable();
        }
        if said_any(&["certificate"]) {
            forget_certificates(base);
            if self.made.rootless {
                return no_roots(base);
            }
            let last = said.last().map_or("", String::as_str);
            return ApiError::new(ErrorCode::BadAnswer, format!("The certificate of {base} is not trusted: {last}."))
                .hint("Add the certificate's issuer to the trusted ones of this system, or use the name it was made for.");
        }
        if said_any(&["corrupt message", "InvalidContentType", "received fatal alert", "InvalidMessage"]) {
            return ApiError::new(ErrorCode::BadAnswer, format!("{base} does not speak TLS as it should."))
                .hint("Try http:// instead of https:// in its address.");
        }
        ApiError::new(ErrorCode::Unreachable, format!("Nothing answers at {base}.")).retryable()
    }

    /// Decodes an answer; one with a top-level `error` is a failure whatever its status said.
    pub fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ApiError> {
        if let Some(said) = error_text(body) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("{}: {said}", self.title)));
        }
        serde_json::from_slice(body).map_err(|error| {
            tracing::debug!(%error, "an answer was not understood");
            ApiError::new(ErrorCode::BadAnswer, format!("{} answered something unexpected.", self.title))
                .hint("Another program may listen at its address.")
        })
    }
}

/// Servers close kept connections without a word, llama-server after each streamed answer. A question that runs into that, and to
/// which nobody has said anything, is asked once more; what is to be done is not, for it may have been.
async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    let (client, request) = request.build_split();
    let request = request?;
    let again = (request.method() == Method::GET).then(|| request.try_clone()).flatten();
    match (client.execute(request).await, again) {
        (Err(error), Some(again)) if closed_unanswered(&error) => {
            tracing::debug!(%error, "the connection was closed, asking again");
            client.execute(again).await
        }
        (response, _) => response,
    }
}

/// A line and the instant in which its last byte was read.
#[derive(Debug, Clone)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

/// Splits a body into lines; every line carries the instant of the read that completed it.
fn lines(
    body: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static,
) -> impl Stream<Item = Result<Line, ApiError>> + Send {
    let state = (Box::pin(body), BytesMut::new(), Instant::now());
    futures_util::stream::try_unfold(state, |(mut body, mut pending, mut at)| async move {
        loop {
            if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line = pending.split_to(end + 1);
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                return Ok(Some((Line { at, text }, (body, pending, at))));
            }
            if pending.len() > LINE_LIMIT {
                return Err(ApiError::new(ErrorCode::BadAnswer, "The server sent a line without end."));
            }
            match body.next().await {
                Some(chunk) => {
                    pending.extend_from_slice(&chunk?);
                    at = Instant::now();
                }
                None if pending.is_empty() => return Ok(None),
                None => {
                    let text = String::from_utf8_lossy(&pending.split()).trim_end().to_owned();
                    return Ok(Some((Line { at, text }, (body, pending, at))));
                }
            }
        }
    })
}

/// The payload of a server-sent event's `data:` line.
pub fn sse_data(line: &str) -> Option<&str> {
    line.strip_prefix("data:").map(str::trim_start)
}

/// The text of an error body in any of the shapes in use: `{"error": "text"}`, `{"error": {"message": "text"}}`.
pub fn error_text(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").filter(|error| !error.is_null())?;
    let text = match error {
        Value::String(text) => text.clone(),
        other => {
            other.get("message").and_then(Value::as_str).map_or_else(|| other.to_string(), str::to_owned)
        }
    };
    Some(shorten(text.trim()))
}

/// The same of an answer whose status says that it is an error: there also `{"detail": …}` (FastAPI) and `{"message": "text"}`.
fn failure_text(body: &[u8]) -> Option<String> {
    let said = || {
        let value: Value = serde_json::from_slice(body).ok()?;
        let detail = value.get("detail").or_else(|| value.get("message"))?;
        let text = detail.as_str().or_else(|| detail.get(0)?.get("msg")?.as_str())?;
        Some(shorten(text.trim()))
    };
    error_text(body).or_else(said)
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(ERROR_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether the other side answered in no HTTP, or spoke before it was asked, as mail and shell servers do. The parser's
/// error has no public type, only its words.
fn speaks_no_http(error: &reqwest::Error) -> bool {
    let words = ["invalid HTTP", "received unexpected message"];
    causes(error).iter().any(|cause| words.iter().any(|word| cause.starts_with(word)))
}

fn broken(title: &str, error: &reqwest::Error) -> ApiError {
    tracing::debug!(%error, "connection");
    ApiError::new(ErrorCode::Unreachable, format!("The connection to {title} broke off.")).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_survive_any_cut_and_endless_ones_are_refused() {
        let chunks = ["da", "ta: 1\r\n\nda", "ta: 2\nrest"].map(|text| Ok(Bytes::from(text)));
        let read: Vec<String> =
            lines(futures_util::stream::iter(chunks)).map(|line| line.unwrap().text).collect().await;
        assert_eq!(read, ["data: 1", "", "data: 2", "rest"]);
        let flood = std::iter::repeat_with(|| Ok(Bytes::from(vec![b'x'; 1 << 16]))).take(64);
        let read: Vec<_> = lines(futures_util::stream::iter(flood)).collect().await;
        assert!(read.len() == 1 && read[0].is_err());
    }

    #[tokio::test]
    async fn another_protocol_is_a_bad_answer_and_a_closed_port_unreachable() {
        use tokio::{
            io::{AsyncReadExt, AsyncWriteExt},
            net::TcpListener,
        };
        for asks_first in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base_url = format!("http://{}", listener.local_addr().unwrap());
            let http = ServerHttp::new(&Endpoint { base_url, key: None }, "Ollama");
            let greeter = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                if asks_first {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
                stream.write_all(b"SSH-2.0-OpenSSH_9.7\r\n\r\n").await.unwrap();
                stream
            });
            assert_eq!(http.text("/", HEALTH_LIMIT).await.unwrap_err().code, ErrorCode::BadAnswer);
            drop(greeter.await.unwrap());
            assert_eq!(http.text("/", HEALTH_LIMIT).await.unwrap_err().code, ErrorCode::Unreachable);
        }
    }

    /// What a server answers that closes as many connections before without a word: a question, and what is to be done.
    #[tokio::test]
    async fn a_question_survives_a_connection_that_was_closed_and_a_deed_is_not_repeated() {
        use tokio::{
            io::{AsyncReadExt, AsyncWriteExt},
            net::TcpListener,
        };
        for (closes, is_question, wanted) in
            [(0, true, true), (1, true, true), (2, true, false), (0, false, true), (1, false, false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base_url = format!("http://{}", listener.local_addr().unwrap());
            let http = ServerHttp::new(&Endpoint { base_url, key: None }, "llama-server");
            let server = tokio::spawn(async move {
                for nth in 0.. {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let read = stream.read(&mut [0; 1024]).await.unwrap();
                    assert!(read > 0);
                    if nth == closes {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    }
                }
            });
            let answer = match is_question {
                true => http.get::<Value>("/models", HEALTH_LIMIT).await,
                false => http.post("/models/load", &Value::Null, Some(HEALTH_LIMIT)).await,
            };
            match wanted {
                true => drop(answer.unwrap()),
                false => assert_eq!(answer.unwrap_err().code, ErrorCode::Unreachable, "{closes}"),
            }
            server.abort();
        }
    }

    #[test]
    fn error_bodies_of_all_servers_are_read() {
        assert_eq!(
            error_text(br#"{"error":"Unexpected endpoint or method. (GET /x)"}"#).unwrap(),
            "Unexpected endpoint or method. (GET /x)"
        );
        assert_eq!(
            error_text(br#"{"error":{"code":401,"message":"Invalid API Key"}}"#).unwrap(),
            "Invalid API Key"
        );
        assert_eq!(error_text(br#"{"error":null,"data":[]}"#), None);
        assert_eq!(error_text(b"junk"), None);
        for (body, said) in [
            (r#"{"detail":"Not Found"}"#, Some("Not Found")),
            (
                r#"{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]}"#,
                Some("extra fields not permitted"),
            ),
            (r#"{"object":"error","message":"no such model","code":404}"#, Some("no such model")),
            (r#"{"detail":{"a":1}}"#, None),
        ] {
            assert_eq!(failure_text(body.as_bytes()).as_deref(), said);
            assert_eq!(error_text(body.as_bytes()), None, "an answer that is none");
        }
        let long = format!(r#"{{"error":"{}"}}"#, "ü".repeat(1000));
        assert_eq!(error_text(long.as_bytes()).unwrap().chars().count(), ERROR_LIMIT + 1);
    }
}
