use super::{
    ID,
    loading::{cannot, load_error, not_there, only_embeds},
    wire::{
        AnswerLine, Chat, Done, Embed, Generate, KeepAlive, LoadOptions, MadeFrom, Message, Options, Running,
        RunningModel, Show, ShowRequest, Tag, Tags, Version,
    },
};
use crate::{
    GenerateEnd, GenerateEvent, GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest,
    ServerClient,
    client::decode_rate,
    http::{HEALTH_LIMIT, LIST_LIMIT, Line, ServerHttp, error_text},
    openai::embed,
    reading::{AnswerReader, Document, events},
    rows::{Oddities, first_said},
    slots,
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use pilothouse_domain::{
    anatomy::Anatomy,
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    hang::Slot,
    model::{Expiry, Instance, LoadSettings, Model, ModelPurpose},
    server::ServerId,
    settings::OllamaSettings,
};
use pilothouse_system::model_files::read_told;
use std::time::Duration;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(100);
/// An unload waits for answers under way, without a limit of Ollama's own.
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);
/// Pinned models carry a date some 292 years ahead.
const PINNED: SignedDuration = SignedDuration::from_hours(50 * 365 * 24);

pub(super) struct OllamaClient {
    http: ServerHttp,
    oddities: Oddities,
    /// The settings that it was started with. `None`: it is not one of ours.
    started: Option<OllamaSettings>,
}

impl OllamaClient {
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { http: ServerHttp::new(endpoint, "Ollama"), oddities: Oddities::default(), started: None }
    }

    /// Says that it is one of ours, and with what it was started.
    pub fn started_with(self, started: Option<OllamaSettings>) -> Self {
        Self { started, ..self }
    }

    /// Makes sure that it is Ollama: gateways imitate `/api/version`, so the greeting counts too.
    pub async fn identify(&self) -> Result<Health, ApiError> {
        let health = self.health().await?;
        let greeting = self.http.text("/", HEALTH_LIMIT).await?;
        if greeting.contains("Ollama is running") {
            return Ok(health);
        }
        Err(ApiError::new(ErrorCode::BadAnswer, "Another program answers at Ollama's address."))
    }

    /// The build of a model as the server tells it, for those whose files belong to another user. Does not load it.
    /// Errors: not_found, or an answer that does not say enough.
    pub async fn anatomy(&self, name: &str) -> Result<Anatomy, ApiError> {
        let tag = self.tags().await?.into_iter().find(|tag| same_name(&tag.name, name) && !is_cloud(tag));
        let size = tag
            .and_then(|tag| tag.size)
            .ok_or_else(|| ApiError::not_found(format!("Ollama tells no size of a model {name}.")))?;
        let show: Show = self.http.post("/api/show", &ShowRequest { model: name }, Some(LIST_LIMIT)).await?;
        read_told(show.model_info, &show.tensors, size).map_err(|error| {
            ApiError::new(ErrorCode::BadAnswer, format!("What Ollama tells of {name} does not do: {error}."))
        })
    }

    /// The model as it is wanted, unless it is on its way out.
    async fn resident(&self, request: &LoadRequest) -> Result<Option<Instance>, ApiError> {
        let now = Timestamp::now();
        let hit = self.running().await?.into_iter().find(|one| same_name(&one.name, &request.model));
        let hit = hit.map(|running| instance(running, now));
        Ok(hit.filter(|it| {
            let leaves = matches!(it.expiry, Expiry::At(at) if at <= now);
            !leaves && request.with.context.is_none_or(|wanted| it.context == Some(wanted))
        }))
    }

    /// Loads it, or where it is loaded so already has it stay until it is unloaded. The way of embedding models is another one. Errors:
    /// as the server says.
    async fn hold(
        &self,
        model: &str,
        options: Option<LoadOptions>,
        of_embedding: Option<LoadOptions>,
        limit: Option<Duration>,
    ) -> Result<(), ApiError> {
        let body = KeepAlive { model, keep_alive: -1, stream: false, options };
        match self.http.post::<Done>("/api/generate", &body, limit).await {
            Err(error) if only_embeds(&error) => {
                let body = Embed { model, input: [], keep_alive: -1, options: of_embedding };
                self.http.post::<Done>("/api/embed", &body, limit).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// The name by which the weights of a model that is not listed are in memory.
    async fn other_name<'a>(&self, model: &str, running: &'a [RunningModel]) -> Option<&'a str> {
        if running.is_empty() || running.iter().any(|one| same_name(&one.name, model)) {
            return None;
        }
        let weights = self.weights_of(model).await?;
        for RunningModel { name, .. } in running {
            if self.weights_of(name).await.as_ref() == Some(&weights) {
                return Some(name);
            }
        }
        None
    }

    /// The file of a model's weights. `None`: it is not told.
    async fn weights_of(&self, model: &str) -> Option<String> {
        let show = self.http.post::<MadeFrom>("/api/show", &ShowRequest { model }, Some(LIST_LIMIT)).await;
        let show = show.inspect_err(|error| tracing::debug!(%error, model, "its weights are not told"));
        let made = show.ok()?.modelfile;
        // A second one is its eye for images.
        let from = made.lines().find_map(|line| line.strip_prefix("FROM "))?;
        from.contains("sha256-").then(|| from.trim().to_owned())
    }

    async fn running(&self) -> Result<Vec<RunningModel>, ApiError> {
        let list = self.http.get::<Running>("/api/ps", LIST_LIMIT).await?;
        Ok(self.oddities.sorted("models in memory", list.models, |running| &running.name))
    }

    async fn tags(&self) -> Result<Vec<Tag>, ApiError> {
        let list = self.http.get::<Tags>("/api/tags", LIST_LIMIT).await?;
        Ok(self.oddities.sorted("models", list.models, |tag| &tag.name))
    }
}

#[async_trait]
impl ServerClient for OllamaClient {
    async fn health(&self) -> Result<Health, ApiError> {
        let version: Version = self.http.get("/api/version", HEALTH_LIMIT).await?;
        Ok(Health { version: Some(version.version) })
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        Ok(self.tags().await?.into_iter().filter(|tag| !is_cloud(tag)).map(model).collect())
    }

    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        Ok(self.running().await?.into_iter().map(|running| instance(running, Timestamp::now())).collect())
    }

    fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        cannot(with, self.started.as_ref())
    }

    /// A model that is in memory already keeps the keep-alive that its loader gave it; one that we load stays.
    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
        if let Some(error) = self.cannot_load_with(&LoadSettings { context: None, ..request.with }) {
            return Err(error);
        }
        if let Some(resident) = self.resident(request).await? {
            return Ok(resident);
        }
        let options = request.with.context.map(|num_ctx| LoadOptions { num_ctx });
        // No limit: Ollama aborts a load whose asker hangs up (Ollama issue 7408).
        let answer = self.hold(&request.model, options, options, None).await;
        answer.map_err(|error| load_error(error, &request.model))?;
        let running = self.running().await?;
        if let Some(loaded) = running.iter().find(|running| same_name(&running.name, &request.model)) {
            return Ok(instance(loaded.clone(), Timestamp::now()));
        }
        Err(not_there(&request.model, self.other_name(&request.model, &running).await))
    }

    async fn unload(&self, name: &str) -> Result<(), ApiError> {
        // What is asked of one name happens to the weights: the model that is listed would go.
        if self.other_name(name, &self.running().await?).await.is_some() {
            return Ok(());
        }
        let body = KeepAlive { model: name, keep_alive: 0, stream: false, options: None };
        match self.http.post::<Done>("/api/generate", &body, Some(LIST_LIMIT)).await {
            Err(error) if error.code == ErrorCode::NotFound => return Ok(()),
            other => other.map(drop)?,
        }
        let begun = Instant::now();
        // The answer only says that it is scheduled.
        while self.running().await?.iter().any(|running| same_name(&running.name, name)) {
            if begun.elapsed() > UNLOAD_LIMIT {
                let text = format!("Ollama still holds {name}; an answer may be under way.");
                return Err(
                    ApiError::new(ErrorCode::TimedOut, text).hint("Restart Ollama to free its memory.")
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        let options = Options { temperature: 0.0, seed: 1, num_predict: request.max_tokens };
        // Without a keep-alive of its own a request leaves that of the model as it is: pinned stays pinned, ten minutes
        // stay ten minutes (Ollama: server/sched.go, needsReload). Whose model it is does not matter then.
        if request.raw {
            let body = Generate {
                model: &request.instance,
                prompt: &request.prompt,
                raw: true,
                stream: true,
                options,
            };
            let lines = self.http.stream("/api/generate", &body).await?;
            return Ok(events(lines, OllamaAnswer::default()));
        }
        let body = Chat {
            model: &request.instance,
            messages: [Message { role: "user", content: &request.prompt }],
            stream: true,
            options,
        };
        let lines = self.http.stream("/api/chat", &body).await?;
        Ok(events(lines, OllamaAnswer::default()))
    }

    async fn embed(&self, instance: &str, text: &str) -> Result<Vec<f32>, ApiError> {
        embed(&self.http, "/v1", "Ollama", instance, text).await
    }

    /// Requests that name no keep-alive, as all do in OpenAI's form, leave that of the instance as it is, and it begins anew after each:
    /// what is held stays held. Only a request with another keep-alive ends that, or one that loads the model again (see `cannot`).
    ///
    /// The context is named as it is, or an instance with one of its own would be loaded again with the usual one. Not to an embedding
    /// model: there Ollama makes the batch as long as a named context, and loads again for the batch (Ollama: server/routes.go,
    /// modelOptionsWithEmbeddingBatchDefault).
    async fn keep(&self, name: &str) -> Result<bool, ApiError> {
        let now = Timestamp::now();
        let held = self.running().await?.into_iter().find(|running| same_name(&running.name, name));
        let Some(held) = held.map(|running| instance(running, now)) else { return Ok(false) };
        match held.expiry {
            Expiry::Never => return Ok(true),
            // On its way out: it would be loaded again.
            Expiry::At(at) if at <= now => return Ok(false),
            Expiry::At(_) | Expiry::NotReported => {}
        }
        let options = held.context.map(|num_ctx| LoadOptions { num_ctx });
        // Should it be gone by now, the limit ends the load that this would be.
        self.hold(name, options, None, Some(LIST_LIMIT)).await?;
        Ok(true)
    }

    fn openai(&self) -> Endpoint {
        Endpoint { base_url: format!("{}/v1", self.http.endpoint().base_url), key: None }
    }

    fn oddities(&self) -> Vec<String> {
        self.oddities.untold()
    }

    /// Its runner is a llama-server since 0.30, with its slots open to this machine. That of an earlier one answers "not found".
    async fn slots(&self, port: u16) -> Option<Vec<Slot>> {
        slots::told_by(&ServerHttp::new(&self.http.endpoint().at_port(port), "Ollama's runner")).await
    }
}

fn is_cloud(tag: &Tag) -> bool {
    tag.remote_model.is_some()
        || tag.remote_host.is_some()
        || tag.name.ends_with("-cloud")
        || tag.name.ends_with(":cloud")
}

/// `:latest` is implied.
fn same_name(a: &str, b: &str) -> bool {
    fn bare(name: &str) -> &str {
        name.strip_suffix(":latest").unwrap_or(name)
    }
    bare(a) == bare(b)
}

fn model(tag: Tag) -> Model {
    let can = |what: &str| tag.capabilities.as_ref().is_some_and(|all| all.iter().any(|one| one == what));
    let bert = tag.details.family.as_deref().is_some_and(|family| family.contains("bert"));
    let embedding = (can("embedding") && !can("completion")) || (tag.capabilities.is_none() && bert);
    let told = |text: Option<String>| text.filter(|text| !text.is_empty() && text != "unknown");
    Model {
        server: ServerId::new(ID),
        title: tag.name.strip_suffix(":latest").unwrap_or(&tag.name).to_owned(),
        name: tag.name,
        purpose: if embedding { ModelPurpose::Embedding } else { ModelPurpose::Llm },
        format: told(tag.details.format),
        quantization: told(tag.details.quantization_level),
        parameters: told(tag.details.parameter_size),
        size_bytes: tag.size.filter(|bytes| *bytes > 0),
        context_max: tag.details.context_length.filter(|tokens| *tokens > 0),
        damaged: None,
    }
}

fn instance(running: RunningModel, now: Timestamp) -> Instance {
    let memory_bytes = running.size.filter(|bytes| *bytes > 0);
    Instance {
        id: running.name.clone(),
        server: ServerId::new(ID),
        model: running.name,
        memory_bytes,
        gpu_memory_bytes: memory_bytes.and(running.size_vram),
        context: running.context_length.filter(|tokens| *tokens > 0),
        expiry: match running.expires_at {
            None => Expiry::NotReported,
            Some(at) if at.duration_since(now) > PINNED => Expiry::Never,
            Some(at) => Expiry::At(at),
        },
        pid: None,
        port: None,
        slots: None,
        orphaned_answers: None,
    }
}

/// An answer of Ollama: a document on each line, or a single one on several.
#[derive(Default)]
struct OllamaAnswer {
    streams: bool,
    document: Document,
}

impl AnswerReader for OllamaAnswer {
    fn line(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        if line.text.is_empty() {
            return Ok(None);
        }
        match event(line.at, &line.text) {
            Err(error)
                if error.code == ErrorCode::BadAnswer
                    && !self.streams
                    && self.document.keep(&line.text)? =>
            {
                Ok(None)
            }
            read => {
                self.streams |= read.is_ok();
                read
            }
        }
    }

    fn end(&mut self, at: std::time::Instant) -> Result<Option<GenerateEvent>, ApiError> {
        self.document.take().map_or(Ok(None), |document| event(at, &document))
    }
}

fn event(at: std::time::Instant, text: &str) -> Result<Option<GenerateEvent>, ApiError> {
    // After the first line an error comes inside a stream whose status was 200.
    if let Some(said) = error_text(text.as_bytes()) {
        return Err(ApiError::new(ErrorCode::ServerError, format!("Ollama: {said}")));
    }
    let answer: AnswerLine = serde_json::from_str(text)
        .map_err(|_| ApiError::new(ErrorCode::BadAnswer, "Ollama sent a line that is not understood."))?;
    let end = answer.done.then(|| end(&answer));
    let text =
        first_said([answer.message.content, answer.message.thinking, answer.response, answer.thinking]);
    Ok(Some(GenerateEvent { at, text, model: answer.model, end }))
}

fn end(answer: &AnswerLine) -> GenerateEnd {
    let rate = |tokens: Option<u32>, ns: Option<u64>| match (tokens, ns) {
        (Some(tokens), Some(ns)) if tokens > 0 && ns > 0 => Some(f64::from(tokens) / (ns as f64 / 1e9)),
        _ => None,
    };
    // The count holds the whole prompt, the duration only what was not cached.
    let computed =
        answer.prompt_eval_count.map(|all| all - answer.prompt_eval_cached_count.unwrap_or(0).min(all));
    GenerateEnd {
        finish: answer.done_reason.clone(),
        output_tokens: answer.eval_count,
        prompt_tokens: answer.prompt_eval_count,
        cached_tokens: answer.prompt_eval_cached_count,
        decode_tok_s: answer
            .eval_count
            .zip(answer.eval_duration)
            .and_then(|(tokens, ns)| decode_rate(tokens, ns as f64 / 1e9)),
        prefill_tok_s: rate(computed, answer.prompt_eval_duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Result<Option<GenerateEvent>, ApiError> {
        OllamaAnswer::default().line(&Line { at: std::time::Instant::now(), text: text.into() })
    }

    #[test]
    fn the_recorded_last_line_gives_counts_and_rates() {
        let text = r#"{"model":"qwen3:8b","created_at":"2026-08-21T12:00:01.9Z","response":"","done":true,
            "done_reason":"stop","context":[1],"total_duration":1834211000,"load_duration":31211000,
            "prompt_eval_count":26,"prompt_eval_duration":130000000,"eval_count":99,"eval_duration":1960000000}"#;
        let end = event(&text.replace('\n', "")).unwrap().unwrap().end.unwrap();
        assert_eq!((end.decode_tok_s, end.prefill_tok_s), (Some(50.0), Some(200.0)));
        assert_eq!((end.output_tokens, end.prompt_tokens), (Some(99), Some(26)));
    }

    #[test]
    fn an_error_inside_a_good_stream_is_an_error() {
        let error = event(r#"{"error":"model runner has unexpectedly stopped"}"#).unwrap_err();
        assert!(error.message.contains("unexpectedly stopped"));
        assert!(event("<html>").is_err());
    }

    #[test]
    fn nought_is_not_reported_and_far_dates_mean_pinned() {
        let running: Running = serde_json::from_str(
            r#"{"models":[{"name":"a:latest","size":0,"size_vram":0,"expires_at":"2318-09-01T00:00:00Z"},
                {"name":"b","size":7,"size_vram":5,"expires_at":"2026-08-21T18:53:22.123456-07:00","context_length":4096}]}"#,
        )
        .unwrap();
        let now: Timestamp = "2026-08-21T12:00:00Z".parse().unwrap();
        let all: Vec<Instance> = running.models.rows.into_iter().map(|model| instance(model, now)).collect();
        assert_eq!(
            (all[0].memory_bytes, all[0].gpu_memory_bytes, all[0].expiry),
            (None, None, Expiry::Never)
        );
        assert_eq!(
            (all[1].memory_bytes, all[1].gpu_memory_bytes, all[1].context),
            (Some(7), Some(5), Some(4096))
        );
        assert!(matches!(all[1].expiry, Expiry::At(_)));
    }
}
