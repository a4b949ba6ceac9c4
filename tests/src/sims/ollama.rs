//! A small Ollama that can be told to misbehave. It follows the shapes of the real one (0.32.0, which other tests run);
//! what it is here for are answers that the real one cannot be made to give.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// The only model.
pub const MODEL: &str = "simulated:1b";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Fault {
    #[default]
    None,
    /// Lists are no JSON.
    Garbage,
    /// Lists never end: 100 MB and more.
    Flood,
    /// Answers break off in the middle of a line.
    Truncated,
    /// An answer is HTTP 200 and then an error line.
    ErrorInStream,
    /// Loads are refused with HTTP 500 for want of memory.
    NoMemory,
    /// Loads end well, and the model gives no token.
    NoTokens,
    /// Everything but the greeting is HTTP 500.
    AlwaysFails,
    /// Connections are accepted and never answered.
    Silent,
    /// The list of models names one that is gone when it is asked for.
    Vanished,
}

/// Between two tokens of an answer.
const TOKEN_TIME: Duration = Duration::from_millis(5);

#[derive(Clone)]
struct Shared(Arc<Mutex<OllamaState>>);

struct OllamaState {
    fault: Fault,
    version: String,
    loaded: bool,
}

impl Shared {
    fn with<T>(&self, read: impl FnOnce(&mut OllamaState) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fault(&self) -> Fault {
        self.with(|inner| inner.fault)
    }
}

/// A running simulator. Ends when dropped.
pub struct OllamaSim {
    pub port: u16,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl OllamaSim {
    /// Listens on a loopback port; 0 lets the system choose.
    pub async fn start(port: u16, fault: Fault) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let shared = Shared(Arc::new(Mutex::new(OllamaState {
            fault,
            version: "0.32.0-simulated".into(),
            loaded: false,
        })));
        let router = Router::new()
            .route("/", get(async || "Ollama is running"))
            .route("/api/version", get(version))
            .route("/api/tags", get(tags))
            .route("/api/ps", get(ps))
            .route("/api/generate", post(generate))
            .route("/v1/completions", post(completions))
            .layer(axum::middleware::from_fn_with_state(shared.clone(), misbehave))
            .with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let ended = async { drop(stopped.await) };
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                () = ended => {}
            }
        });
        Ok(Self { port, shared, stop: Some(stop), serving })
    }

    pub fn set(&self, fault: Fault) {
        self.shared.with(|inner| inner.fault = fault);
    }

    /// Somebody else loads the model.
    pub fn load(&self) {
        self.shared.with(|inner| inner.loaded = true);
    }

    /// Somebody else unloads it.
    pub fn unload(&self) {
        self.shared.with(|inner| inner.loaded = false);
    }

    pub fn set_version(&self, version: &str) {
        self.shared.with(|inner| version.clone_into(&mut inner.version));
    }

    /// Serves until the process ends.
    pub async fn serve(self) {
        let _ = self.serving.await;
    }

    /// Closes the port.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        let _ = self.serving.await;
    }
}

async fn misbehave(
    State(shared): State<Shared>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let path = request.uri().path().to_owned();
    match shared.fault() {
        Fault::Silent => std::future::pending().await,
        Fault::AlwaysFails if path != "/" => failure("something is broken in here"),
        Fault::Garbage if path == "/api/tags" || path == "/api/ps" => {
            "<html>\u{fffd}{\"models\":[{\"name\":</html>".into_response()
        }
        Fault::Flood if path == "/api/tags" || path == "/api/ps" => flood(),
        _ => next.run(request).await,
    }
}

/// A list that is well-formed so far, for ever.
fn flood() -> Response {
    let row = Bytes::from(format!(r#"{{"name":"{}","model":"x"}},"#, "x".repeat(1 << 20)));
    let begin = futures_util::stream::once(async { Ok(Bytes::from_static(b"{\"models\":[")) });
    let rows = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(row.clone()));
    Body::from_stream(futures_util::StreamExt::chain(begin, rows)).into_response()
}

fn failure(text: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": text }))).into_response()
}

async fn version(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "version": shared.with(|inner| inner.version.clone()) }))
}

async fn tags() -> Json<Value> {
    Json(json!({ "models": [{
        "name": MODEL, "model": MODEL, "size": 1_000_000, "digest": "0".repeat(64),
        "details": { "format": "gguf", "family": "llama", "parameter_size": "1B", "quantization_level": "Q4_K_M",
            "context_length": 4096 },
        "capabilities": ["completion"],
    }] }))
}

async fn ps(State(shared): State<Shared>) -> Json<Value> {
    let models: Vec<Value> = match shared.with(|inner| inner.loaded) {
        true => vec![json!({
            "name": MODEL, "model": MODEL, "size": 2_000_000, "size_vram": 0, "context_length": 4096,
            "expires_at": "2318-01-01T00:00:00Z",
        })],
        false => Vec::new(),
    };
    Json(json!({ "models": models }))
}

async fn generate(State(shared): State<Shared>, Json(asked): Json<Value>) -> Response {
    let fault = shared.fault();
    if asked["prompt"].as_str().is_none_or(str::is_empty) {
        let load = asked["keep_alive"] != 0;
        match (load, fault) {
            (true, Fault::NoMemory) => {
                return failure("llama-server reported out-of-memory during startup: failed to allocate");
            }
            (true, Fault::Vanished) => {
                let text = json!({ "error": format!("model '{MODEL}' not found") });
                return (StatusCode::NOT_FOUND, Json(text)).into_response();
            }
            _ => {}
        }
        shared.with(|inner| inner.loaded = load);
        let reason = if load { "load" } else { "unload" };
        return Json(json!({ "model": MODEL, "response": "", "done": true, "done_reason": reason }))
            .into_response();
    }
    match fault {
        Fault::NoTokens => std::future::pending().await,
        Fault::Truncated => r#"{"model":"simulated:1b","respon"#.into_response(),
        Fault::ErrorInStream => {
            "{\"error\":\"an error was encountered while running the model\"}\n".into_response()
        }
        _ => answer(asked["options"]["num_predict"].as_u64().unwrap_or(2).clamp(1, 512)),
    }
}

/// So many tokens, one after the other.
fn answer(tokens: u64) -> Response {
    let token = json!({ "model": MODEL, "response": "la ", "done": false });
    let end = json!({
        "model": MODEL, "response": "", "done": true, "done_reason": "length", "prompt_eval_count": 3,
        "prompt_eval_duration": 1_000_000, "eval_count": tokens, "eval_duration": tokens * 1_000_000,
    });
    let lines = futures_util::stream::unfold(0, move |given| {
        let line = if given < tokens { format!("{token}\n") } else { format!("{end}\n") };
        async move {
            tokio::time::sleep(TOKEN_TIME).await;
            (given <= tokens).then(|| (Ok::<_, std::io::Error>(Bytes::from(line)), given + 1))
        }
    });
    Body::from_stream(lines).into_response()
}

async fn completions(State(shared): State<Shared>) -> Response {
    match shared.fault() {
        Fault::NoTokens => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            failure("late")
        }
        Fault::Truncated => Json(json!({ "choices": [] })).into_response(),
        _ => Json(json!({ "object": "text_completion", "choices": [{ "index": 0, "text": "Hello", "finish_reason": "stop" }] }))
            .into_response(),
    }
}
