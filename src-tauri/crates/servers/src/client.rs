//! What can be asked of a running server.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    hang::Slot,
    model::{Instance, LoadSettings, Model},
};
use std::{sync::Arc, time::Instant};

/// Answer to a health probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub version: Option<String>,
}

/// What to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRequest {
    /// The model's name on that server.
    pub model: String,
    pub with: LoadSettings,
    /// Its context in tokens, where neither `with` nor the settings say one. A server that cannot be told passes over it.
    pub usual_context: Option<u64>,
}

impl LoadRequest {
    pub fn new(model: impl Into<String>, with: LoadSettings) -> Self {
        Self { model: model.into(), with, usual_context: None }
    }

    /// As its server loads it by itself.
    pub fn usual(model: impl Into<String>) -> Self {
        Self::new(model, LoadSettings::default())
    }
}

/// Gets the fraction of a load that is done, 0–1.
pub type LoadProgress = Arc<dyn Fn(f64) + Send + Sync>;

/// A prompt for one answer. Greedy and without a system text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateRequest {
    /// The instance (or model) that shall answer.
    pub instance: String,
    pub prompt: String,
    pub max_tokens: u32,
    /// `true`: the prompt goes to the model as it is, its beginning is read anew and the answer goes on to `max_tokens`, both
    /// where the server allows it, as a benchmark wants; `false`: as one user message through the model's chat template.
    pub raw: bool,
    /// Of a raw prompt: its beginning may come from the server's cache.
    pub reuses_prefix: bool,
    /// Of a raw prompt: the answer ends where the model ends it.
    pub ends_by_itself: bool,
}

/// A piece of an answer. `at` is the instant in which the bytes were read.
#[derive(Debug, Clone)]
pub struct GenerateEvent {
    pub at: Instant,
    /// New text, may be empty.
    pub text: String,
    /// Who answers, as the server names it; `None`: it does not say.
    pub model: Option<String>,
    /// Set on the last event.
    pub end: Option<GenerateEnd>,
}

/// What a server says at the end of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GenerateEnd {
    /// "stop", "length", or the server's own word.
    pub finish: Option<String>,
    pub output_tokens: Option<u32>,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    pub cached_tokens: Option<u32>,
    /// The server's own clock, see `decode_rate`.
    pub decode_tok_s: Option<f64>,
    pub prefill_tok_s: Option<f64>,
}

/// Tokens per second of an answer by its server's clock. That clock starts when the prompt has been read, which is also when
/// the first token is there: it comes from the last batch of the prompt. So `tokens` took one step fewer than there are. Later
/// builds of llama-server divide so themselves (tools/server/server-common.h, `n_gen_steps`), earlier ones and Ollama, which
/// passes the two figures of its runner on, divide by all of them and print 1.6 % more at 64 tokens.
pub fn decode_rate(tokens: u32, seconds: f64) -> Option<f64> {
    (tokens > 1 && seconds > 0.0).then(|| f64::from(tokens - 1) / seconds)
}

/// The answer of `ServerClient::generate`. Ends after the event that carries `end`; a stream that ends without it
/// was cut off. Dropping it cancels the request.
pub type GenerateStream = BoxStream<'static, Result<GenerateEvent, ApiError>>;

/// Talks to one running server. Every call has its own time limit, except `load` and `generate`: drop those futures
/// to cancel.
#[async_trait]
pub trait ServerClient: Send + Sync {
    /// Cheap; never wakes or loads anything. `Err(Unreachable)` when nothing answers, `Err(BadAnswer)` when it is
    /// another program.
    async fn health(&self) -> Result<Health, ApiError>;
    /// Models on disk.
    async fn models(&self) -> Result<Vec<Model>, ApiError>;
    /// Models in memory.
    async fn instances(&self) -> Result<Vec<Instance>, ApiError>;
    /// What of this cannot be had at a load, before anything is disturbed for it. `None`: all of it can, so nothing set is always
    /// fine. Errors: unsupported, with what sets it instead where something does. A load refuses the same, but for a context that
    /// it can give and that would not last (see [`Self::keeps_its_context`]): so what was in memory before can be put back.
    fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        let what = match (with.parallel, with.kv_type) {
            (None, None) => return None,
            (Some(_), _) => "number of requests at a time",
            (None, Some(_)) => "KV type",
        };
        let text = format!("This server takes no {what} with a load.");
        Some(ApiError::new(ErrorCode::Unsupported, text).hint("Leave it out, or set it in that server."))
    }
    /// Loads a model, or gives the instance that is there already (never a twin), with whatever it was loaded: its context and slots
    /// tell. Only a server that loads for every other context does it anew. Returns when it is in memory. `progress` is called where
    /// the server tells how far it has come, and never else. Errors: unsupported as [`Self::cannot_load_with`], not_found,
    /// load_failed, does_not_fit.
    async fn load(&self, request: &LoadRequest, progress: LoadProgress) -> Result<Instance, ApiError>;
    /// Loads one more copy of a model that is in memory already. Returns when it is there. Errors: unsupported, and as `load`.
    async fn load_copy(&self, _request: &LoadRequest) -> Result<Instance, ApiError> {
        Err(ApiError::new(ErrorCode::Unsupported, "This server holds one copy of a model."))
    }
    /// Whether the server goes on with a load whose future was dropped, and lists it only when it is done: then somebody has to
    /// see to what arrives.
    fn loads_go_on(&self) -> bool {
        false
    }
    /// Whether an instance stays with the context that it was loaded with, also when a request names none. Elsewhere a request that
    /// leaves it out loads the model again with the usual one.
    fn keeps_its_context(&self) -> bool {
        false
    }
    /// Takes an instance out of memory; returns when it is gone. Not loaded is no error.
    async fn unload(&self, instance: &str) -> Result<(), ApiError>;
    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError>;
    /// The vector of a text, as an embedding model in memory gives it; never empty, and all of its numbers are finite. Waits for a
    /// minute at most. Errors: unsupported, and what the server says, above all of a model that gives no vectors.
    async fn embed(&self, _instance: &str, _text: &str) -> Result<Vec<f32>, ApiError> {
        Err(ApiError::new(ErrorCode::Unsupported, "This server gives no embeddings."))
    }
    /// Makes an instance stay in memory until it is unloaded, where its server would let it go when it is idle, and leaves everything
    /// else of it as it is. Never loads. `true`: it stays from now on. `false`: it is not in memory, or this server lets nothing go
    /// by itself or cannot be told.
    async fn keep(&self, _instance: &str) -> Result<bool, ApiError> {
        Ok(false)
    }
    /// Base of the OpenAI-compatible API (`…/v1`) and the key for it.
    fn openai(&self) -> Endpoint;
    /// What was odd in its lists and has not been told yet, a sentence for each, for the server's log.
    fn oddities(&self) -> Vec<String> {
        Vec::new()
    }
    /// The slots of the process at this port, one of the server's own that holds a model. Waits for two seconds at most.
    /// `None`: it does not tell them, or not now.
    async fn slots(&self, _port: u16) -> Option<Vec<Slot>> {
        None
    }
}
