use super::{
    ID,
    library::Library,
    wire::{Chat, Completion, CompletionEvent, ModelEntry, ModelList, ModelName, Props, Success},
};
use crate::{
    GenerateEvent, GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest, ServerClient,
    http::{HEALTH_LIMIT, LIST_LIMIT, Line, ServerHttp, error_text, sse_data},
    openai::{Message, OpenAiAnswer},
    reading::{AnswerReader, Document, events},
    rows::Oddities,
    slots,
};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    hang::Slot,
    model::{Expiry, Instance, Model},
    server::ServerId,
};
use pilothouse_system::apart;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Looking through the folders of models, which may lie on another machine.
const SCAN_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// The router itself kills a child that does not end within ten seconds.
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct LlamaClient {
    http: ServerHttp,
    library: Arc<Library>,
    /// The child of each model in memory, by the model's id, as the router told them last. Through the router a request goes on
    /// for minutes after its client has left, and blocks the slot; at the child it ends at once.
    children: Mutex<BTreeMap<String, u16>>,
    /// What those children have said of themselves. It stays the same for as long as one lives, and under load the question
    /// might go unanswered: a server that gives one answer at a time must not be taken for one that does not tell.
    told: Mutex<BTreeMap<(String, u16), Told>>,
    oddities: Oddities,
}

/// Context in tokens, and answers at a time.
type Told = (Option<u64>, Option<u32>);

impl LlamaClient {
    pub fn new(endpoint: &Endpoint, library: Arc<Library>) -> Self {
        Self {
            http: ServerHttp::new(endpoint, "llama-server"),
            library,
            children: Mutex::default(),
            told: Mutex::default(),
            oddities: Oddities::default(),
        }
    }

    async fn entries(&self) -> Result<Vec<ModelEntry>, ApiError> {
        let list = self.http.get::<ModelList>("/models", LIST_LIMIT).await?;
        let entries = self.oddities.sorted("models", list.data, |entry| &entry.id);
        let children: BTreeMap<String, u16> =
            entries.iter().filter_map(|entry| Some((entry.id.clone(), entry.port()?))).collect();
        let lives = |(id, port): &(String, u16)| children.get(id) == Some(port);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).retain(|child, _| lives(child));
        *self.children.lock().unwrap_or_else(PoisonError::into_inner) = children;
        Ok(entries)
    }

    /// The way to the child that holds a model, if it is known.
    fn child(&self, id: &str) -> Option<ServerHttp> {
        let port = self.children.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()?;
        Some(self.at(port))
    }

    /// A child of the router takes the router's key.
    fn at(&self, port: u16) -> ServerHttp {
        ServerHttp::new(&self.http.endpoint().at_port(port), "llama-server")
    }

    /// Asks the child of a model, or the router where there is none (any more): that one knows why.
    async fn stream(
        &self,
        id: &str,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<BoxStream<'static, Result<Line, ApiError>>, ApiError> {
        if let Some(child) = self.child(id) {
            match child.stream(path, body).await {
                Err(error) if error.code == ErrorCode::Unreachable => {
                    tracing::debug!(%error, id, "its child does not answer; asking the router");
                }
                answered => return answered,
            }
        }
        self.http.stream(path, body).await
    }

    async fn entry(&self, id: &str) -> Result<Option<ModelEntry>, ApiError> {
        Ok(self.entries().await?.into_iter().find(|entry| entry.id == id))
    }

    async fn told(&self, id: &str, port: Option<u16>) -> Told {
        let known = |port: u16| {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.get(&(id.to_owned(), port)).copied()
        };
        if let Some(told) = port.and_then(known) {
            return told;
        }
        let props = match port.map(|port| self.at(port)) {
            Some(child) => child.get::<Props>("/props", HEALTH_LIMIT).await,
            None => {
                // Without `autoload=false` this question would load the model.
                let path = format!("/props?model={}&autoload=false", encoded(id));
                self.http.get::<Props>(&path, HEALTH_LIMIT).await
            }
        };
        let Ok(props) = props else { return (None, None) };
        let context = props.default_generation_settings.and_then(|settings| settings.n_ctx);
        let told = (context.filter(|tokens| *tokens > 0), props.total_slots.filter(|slots| *slots > 0));
        if let (Some(port), (Some(_), Some(_))) = (port, told) {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((id.to_owned(), port), told);
        }
        told
    }

    async fn instance(&self, id: &str) -> Instance {
        let port = self.children.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let (context, slots) = self.told(id, port).await;
        Instance {
            id: id.to_owned(),
            server: ServerId::new(ID),
            model: id.to_owned(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context,
            expiry: Expiry::NotReported,
            pid: None,
            port,
            slots,
            orphaned_answers: None,
        }
    }

    /// Waits until a model that is being loaded is there.
    async fn loaded(&self, id: &str) -> Result<Instance, ApiError> {
        loop {
            let entry = self.entry(id).await?.ok_or_else(|| unknown(id))?;
            match entry.status.value.as_str() {
                "loaded" | "sleeping" => return Ok(self.instance(id).await),
                "unloaded" => {
                    let code =
                        entry.status.exit_code.map(|code| format!(" (code {code})")).unwrap_or_default();
                    let text = match entry.status.failed {
                        true => format!("llama-server ended while loading {id}{code}."),
                        false => format!("llama-server took {id} out again{code}."),
                    };
                    return Err(ApiError::new(ErrorCode::LoadFailed, text)
                        .hint("Look at its log; the file may be damaged, or memory too small."));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

#[async_trait]
impl ServerClient for LlamaClient {
    async fn health(&self) -> Result<Health, ApiError> {
        // It answers 503 while its model is being loaded, as `/health` does, and asks for the key besides.
        let props: Props = self.http.get("/props", HEALTH_LIMIT).await?;
        Ok(Health { version: props.build_info })
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        let library = self.library.clone();
        let scan = apart::once("the folder of models", SCAN_LIMIT, move || library.scan()).await;
        let (models, changed) = scan.map_err(|silence| {
            ApiError::new(ErrorCode::TimedOut, format!("The models cannot be listed: {silence}."))
                .hint("A folder of models on another machine may be gone; it is tried again.")
        })?;
        if changed {
            let _: ModelList = self.http.get("/models?reload=1", LIST_LIMIT).await?;
        }
        Ok(models)
    }

    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        let mut instances = Vec::new();
        for entry in self.entries().await? {
            if matches!(entry.status.value.as_str(), "loaded" | "sleeping") {
                instances.push(self.instance(&entry.id).await);
            }
        }
        Ok(instances)
    }

    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
        let id = &request.model;
        let entry = self.entry(id).await?.ok_or_else(|| unknown(id))?;
        if entry.status.value == "unloaded" {
            let asked =
                self.http.post::<Success>("/models/load", &ModelName { model: id }, Some(LIST_LIMIT)).await;
            // Somebody else may have loaded it between the two questions.
            asked.map(drop).or_else(
                |error| {
                    if error.message.contains("already") { Ok(()) } else { Err(error) }
                },
            )?;
        }
        self.loaded(id).await
    }

    async fn unload(&self, instance: &str) -> Result<(), ApiError> {
        let asked = self
            .http
            .post::<Success>("/models/unload", &ModelName { model: instance }, Some(LIST_LIMIT))
            .await;
        let begun = Instant::now();
        loop {
            match self.entry(instance).await? {
                None => return Ok(()),
                Some(entry) if entry.status.value == "unloaded" => return Ok(()),
                Some(_) if begun.elapsed() < UNLOAD_LIMIT => tokio::time::sleep(POLL).await,
                Some(_) => {
                    let error = ApiError::new(
                        ErrorCode::TimedOut,
                        format!("llama-server does not unload {instance}."),
                    );
                    return Err(asked.err().unwrap_or(error).hint("Restart the server to free its memory."));
                }
            }
        }
    }

    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        if request.raw {
            let body = Completion {
                model: &request.instance,
                prompt: &request.prompt,
                n_predict: request.max_tokens,
                temperature: 0.0,
                seed: 1,
                cache_prompt: request.reuses_prefix,
                ignore_eos: !request.ends_by_itself,
                stream: true,
            };
            let lines = self.stream(&request.instance, "/completion", &body).await?;
            return Ok(events(lines, CompletionAnswer::default()));
        }
        let body = Chat {
            model: &request.instance,
            messages: [Message { role: "user", content: &request.prompt }],
            max_tokens: request.max_tokens,
            temperature: 0.0,
            stream: true,
        };
        let lines = self.stream(&request.instance, "/v1/chat/completions", &body).await?;
        Ok(events(lines, OpenAiAnswer::new("llama-server")))
    }

    fn openai(&self) -> Endpoint {
        let endpoint = self.http.endpoint();
        Endpoint { base_url: format!("{}/v1", endpoint.base_url), key: endpoint.key.clone() }
    }

    fn oddities(&self) -> Vec<String> {
        self.oddities.untold()
    }

    async fn slots(&self, port: u16) -> Option<Vec<Slot>> {
        slots::told_by(&self.at(port)).await
    }
}

/// An answer of `/completion`: events, the last of which says `stop`, or one document.
#[derive(Default)]
struct CompletionAnswer {
    streams: bool,
    document: Document,
}

impl AnswerReader for CompletionAnswer {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        if let Some(said) = line.text.strip_prefix("error:").and_then(|rest| error_text(rest.as_bytes())) {
            return Err(ApiError::new(ErrorCode::ServerError, format!("llama-server: {said}")));
        }
        let Some(data) = sse_data(&line.text) else {
            if !self.streams {
                self.document.keep(&line.text)?;
            }
            return Ok(None);
        };
        self.streams = true;
        // Only the other APIs have a closing mark.
        if data == "[DONE]" { Ok(None) } else { completion_event(line.at, data) }
    }

    fn end(&mut self, at: std::time::Instant) -> Result<Option<GenerateEvent>, ApiError> {
        self.document.take().map_or(Ok(None), |document| completion_event(at, &document))
    }
}

fn completion_event(at: std::time::Instant, data: &str) -> Result<Option<GenerateEvent>, ApiError> {
    if let Some(said) = error_text(data.as_bytes()) {
        return Err(ApiError::new(ErrorCode::ServerError, format!("llama-server: {said}")));
    }
    let event: CompletionEvent = serde_json::from_str(data).map_err(|_| not_understood())?;
    let end = event.stop.then(|| {
        // It has words of its own for what every other answer calls "stop" and "length".
        let finish = event.stop_type.map(|word| match word.as_str() {
            "eos" | "word" => "stop".into(),
            "limit" => "length".into(),
            _ => word,
        });
        event.timings.unwrap_or_default().end(finish)
    });
    Ok(Some(GenerateEvent { at, text: event.content, end }))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("llama-server has no model {id}."))
}

fn not_understood() -> ApiError {
    ApiError::new(ErrorCode::BadAnswer, "llama-server sent an event that is not understood.")
}

/// A text as the value of a query.
fn encoded(text: &str) -> String {
    const ALL_BUT_UNRESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, ALL_BUT_UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Result<Option<GenerateEvent>, ApiError> {
        CompletionAnswer::default().line(&Line { at: std::time::Instant::now(), text: text.into() })
    }

    #[test]
    fn the_last_event_carries_counts_and_rates() {
        let last = |word: &str| {
            let text = format!(
                r#"data: {{"content":"","stop":true,"stop_type":"{word}","timings":{{"cache_n":2,"prompt_n":8,"prompt_ms":100.0,"predicted_n":65,"predicted_ms":800.0,"draft_n":0}}}}"#
            );
            event(&text).unwrap().unwrap().end.unwrap()
        };
        let end = last("limit");
        assert_eq!(end.finish.as_deref(), Some("length"));
        for word in ["eos", "word", "stop"] {
            assert_eq!(last(word).finish.as_deref(), Some("stop"));
        }
        assert_eq!((end.output_tokens, end.prompt_tokens, end.cached_tokens), (Some(65), Some(10), Some(2)));
        assert_eq!((end.decode_tok_s, end.prefill_tok_s), (Some(80.0), Some(80.0)));
    }

    #[test]
    fn an_error_inside_a_stream_is_an_error() {
        let text = r#"data: {"error":{"code":500,"message":"out of slots"}}"#;
        assert_eq!(event(text).unwrap_err().message, "llama-server: out of slots");
        assert!(event("data: {\"content\":").is_err());
        assert!(event(": ping").unwrap().is_none());
        assert!(event("data: [DONE]").unwrap().is_none());
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encoded("a b/ü&c-1.Q4"), "a%20b%2F%C3%BC%26c-1.Q4");
    }
}
