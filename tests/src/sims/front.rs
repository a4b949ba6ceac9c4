//! A front door before a real server, as remote servers have one: another address, a key, TLS; and it can fall silent.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// What the door wants of its callers.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The key, without which nobody is let in.
    pub key: Option<String>,
    /// Every question is answered as by a llama-server that loads its model.
    pub loading: bool,
    /// Every question is answered with a redirect to the same path under this address.
    pub moved_to: Option<String>,
    /// Callers wait for ever, as behind a cable that was pulled out.
    pub silent: bool,
    /// Of so many requests for text the last fails with HTTP 500; 1: all of them.
    pub fails_every: Option<u64>,
    /// Requests for text wait up to this instant, as when a server stands still.
    pub still_until: Option<Instant>,
    /// Before an answer each word of its prompt takes so long that the last prompt did not begin with.
    pub reads: Option<Reading>,
}

/// How prompts are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub word_takes: Duration,
    /// Whether the beginning of the last prompt is kept.
    pub keeps: bool,
}

#[derive(Clone)]
struct Shared {
    upstream: String,
    rules: Arc<Mutex<Rules>>,
    http: reqwest::Client,
    /// Requests for text so far.
    asked: Arc<AtomicU64>,
    /// The words of the last prompt that was read.
    last: Arc<Mutex<Vec<String>>>,
}

/// A certificate for some names, and the certificate of its issuer.
pub struct Certificate {
    /// The issuer's, as PEM: whoever trusts it trusts the door.
    pub issuer: String,
    chain: String,
    key: String,
}

impl Certificate {
    /// A fresh issuer and a certificate of it for these names.
    pub fn for_names(names: &[&str]) -> anyhow::Result<Self> {
        let mut issuer = CertificateParams::new(Vec::new())?;
        issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let chain = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        Ok(Self { issuer: issuer.pem(), chain: chain.pem(), key: key.serialize_pem() })
    }
}

/// A running door. Closes when dropped.
pub struct Front {
    pub port: u16,
    rules: Arc<Mutex<Rules>>,
    asked: Arc<AtomicU64>,
    handle: Handle<SocketAddr>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Front {
    /// Opens a door on a loopback port (0: any) before `upstream`, the base of an OpenAI-compatible API.
    pub async fn open(port: u16, upstream: &str, certificate: Option<&Certificate>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let rules = Arc::new(Mutex::new(Rules::default()));
        let http = reqwest::Client::builder().no_proxy().build()?;
        let asked = Arc::<AtomicU64>::default();
        let shared = Shared {
            upstream: upstream.to_owned(),
            rules: rules.clone(),
            http,
            asked: asked.clone(),
            last: Arc::default(),
        };
        let service = Router::new().fallback(pass).with_state(shared).into_make_service();
        let handle = Handle::new();
        let serving = match certificate {
            Some(certificate) => {
                let chain = certificate.chain.clone().into_bytes();
                let config = RustlsConfig::from_pem(chain, certificate.key.clone().into_bytes()).await?;
                let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle.clone());
                tokio::spawn(server.serve(service))
            }
            None => {
                let server = axum_server::from_tcp(listener)?.handle(handle.clone());
                tokio::spawn(server.serve(service))
            }
        };
        Ok(Self { port, rules, asked, handle, serving })
    }

    pub fn set(&self, rules: Rules) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Requests for text so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Closes the port and every connection.
    pub async fn close(self) {
        self.handle.shutdown();
        let _ = self.serving.await;
    }
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response {
    let rules = shared.rules.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if rules.silent {
        std::future::pending::<()>().await;
    }
    if rules.loading {
        let body = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    if let Some(address) = rules.moved_to {
        let location = format!("{address}{}", request.uri().path());
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    let for_text = request.uri().path().ends_with("completions");
    let number = if for_text { shared.asked.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
    if let Some(every) = rules.fails_every
        && for_text
        && number.is_multiple_of(every)
    {
        let body = r#"{"error":{"message":"out of luck","type":"server_error"}}"#;
        return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
    }
    let (parts, body) = request.into_parts();
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(key) = rules.key
        && given != Some(&format!("Bearer {key}"))
    {
        let body = r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error"}}"#;
        return (StatusCode::UNAUTHORIZED, body).into_response();
    }
    let body: Bytes = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap_or_default();
    if for_text {
        if let Some(instant) = rules.still_until {
            tokio::time::sleep_until(instant.into()).await;
        }
        if let Some(reading) = rules.reads {
            let anew = words_anew(&shared, &body, reading.keeps);
            tokio::time::sleep(reading.word_takes * anew).await;
        }
    }
    let path = parts.uri.path().trim_start_matches("/v1");
    let asked = shared
        .http
        .request(parts.method, format!("{}{path}", shared.upstream))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    match asked.send().await {
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            if let Some(kind) = answer.headers().get(header::CONTENT_TYPE) {
                response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            *response.body_mut() = Body::from_stream(answer.bytes_stream());
            response
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Words of a prompt behind what it has in common with the last one.
fn words_anew(shared: &Shared, body: &[u8], keeps: bool) -> u32 {
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words: Vec<String> =
        asked["prompt"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let mut last = shared.last.lock().unwrap_or_else(PoisonError::into_inner);
    let common = last.iter().zip(&words).take_while(|(a, b)| a == b).count();
    let known = if keeps { common } else { 0 };
    let anew = words.len() - known;
    *last = words;
    anew as u32
}
