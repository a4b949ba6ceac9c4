use super::{
    ID,
    home::Home,
    launch::lms,
    wire::{
        ChatV0, ChatV1, Chunk, CompletionV0, EventV1, Greeting, InstanceV1, Load, Loaded, Message, ModelV1,
        ModelsV0, ModelsV1, RowV0, StatsV1, StreamOptions, Unload, Unloaded, Usage,
    },
};
use crate::{
    ports::{
        Endpoint, GenerateEnd, GenerateEvent, GenerateRequest, GenerateStream, Health, LoadProgress,
        LoadRequest, ServerClient,
    },
    process::run_to_end,
    servers::http::{HEALTH_LIMIT, LIST_LIMIT, Line, ServerHttp, error_text, sse_data},
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Expiry, Instance, Model, ModelPurpose},
    server::ServerId,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(200);
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);
/// `lms load` of a large model from a slow disk.
const LMS_LIMIT: Duration = Duration::from_secs(600);

pub(super) struct LmStudioClient {
    http: ServerHttp,
    home: Home,
    /// Whether the last list came by v1, so that an answer need not wait for another.
    speaks_v1: Mutex<Option<bool>>,
}

/// What the server knows, in whichever dialect it speaks.
enum Library {
    V1(Vec<ModelV1>),
    V0(Vec<RowV0>),
}

impl LmStudioClient {
    pub fn new(endpoint: &Endpoint, home: Home) -> Self {
        Self { http: ServerHttp::new(endpoint, "LM Studio"), home, speaks_v1: Mutex::default() }
    }

    /// v1 first. Hosts before 0.4 answer an unknown path with 200 and an error text, so only the shape counts; a
    /// refused token must not fall back.
    async fn library(&self) -> Result<Library, ApiError> {
        let library = self.asked_library().await?;
        *self.speaks_v1.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(matches!(library, Library::V1(_)));
        Ok(library)
    }

    async fn asked_library(&self) -> Result<Library, ApiError> {
        match self.http.get::<ModelsV1>("/api/v1/models", LIST_LIMIT).await {
            Ok(list) => Ok(Library::V1(list.models)),
            Err(error)
                if matches!(
                    error.code,
                    ErrorCode::ServerError | ErrorCode::BadAnswer | ErrorCode::NotFound
                ) =>
            {
                Ok(Library::V0(self.http.get::<ModelsV0>("/api/v0/models", LIST_LIMIT).await?.data))
            }
            Err(error) => Err(error),
        }
    }

    async fn lms(&self, args: &[&str]) -> Result<(), ApiError> {
        let program = self.home.lms().ok_or_else(|| {
            ApiError::new(
                ErrorCode::Unsupported,
                "This LM Studio loads models by its command lms, which is not there.",
            )
            .hint("Start LM Studio once, or update it to 0.4.")
        })?;
        // Exit codes of `lms` lie; the list that is read afterwards is what counts.
        let finished = run_to_end(&lms(&program, args), LMS_LIMIT).await?;
        tracing::info!(?args, exit = %finished.exit, "lms");
        Ok(())
    }

    async fn find(&self, model: &str) -> Result<Option<Instance>, ApiError> {
        Ok(self.instances().await?.into_iter().find(|instance| instance.model == model))
    }
}

#[async_trait]
impl ServerClient for LmStudioClient {
    async fn health(&self) -> Result<Health, ApiError> {
        let greeting: Greeting = self.http.get("/lmstudio-greeting", HEALTH_LIMIT).await?;
        if greeting.lmstudio {
            return Ok(Health { version: None });
        }
        Err(ApiError::new(ErrorCode::BadAnswer, "Another program answers at LM Studio's address."))
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        Ok(match self.library().await? {
            Library::V1(models) => models.into_iter().map(model_v1).collect(),
            Library::V0(rows) => models_v0(&rows),
        })
    }

    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        Ok(match self.library().await? {
            Library::V1(models) => models.iter().flat_map(instances_v1).collect(),
            Library::V0(rows) => instances_v0(&rows),
        })
    }

    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
        // A second load would make a twin, so what is there is used.
        if let Some(there) = self.find(&request.model).await? {
            return Ok(there);
        }
        match self.library().await? {
            Library::V1(_) => {
                let body = Load { model: &request.model, context_length: request.context };
                let loaded: Loaded =
                    self.http.post("/api/v1/models/load", &body, None).await.map_err(load_error)?;
                let listed =
                    self.instances().await?.into_iter().find(|instance| instance.id == loaded.instance_id);
                listed.ok_or_else(|| not_there(&request.model))
            }
            Library::V0(rows) => {
                // `lms load` picks the nearest name, so an unknown one would load something else.
                if !rows.iter().any(|row| row.id == request.model) {
                    return Err(ApiError::not_found(format!("LM Studio has no model {}.", request.model)));
                }
                self.lms(&["load", &request.model, "--yes"]).await?;
                self.find(&request.model).await?.ok_or_else(|| not_there(&request.model))
            }
        }
    }

    async fn unload(&self, instance: &str) -> Result<(), ApiError> {
        match self.library().await? {
            Library::V1(_) => {
                let body = Unload { instance_id: instance };
                match self.http.post::<Unloaded>("/api/v1/models/unload", &body, Some(LIST_LIMIT)).await {
                    Ok(_) => {}
                    Err(error)
                        if error.code == ErrorCode::NotFound || error.message.contains("is not loaded") => {}
                    Err(error) => return Err(error),
                }
            }
            Library::V0(_) => self.lms(&["unload", instance]).await?,
        }
        let begun = Instant::now();
        // A 200 is no proof.
        while self.instances().await?.iter().any(|other| other.id == instance) {
            if begun.elapsed() > UNLOAD_LIMIT {
                return Err(ApiError::new(ErrorCode::TimedOut, format!("LM Studio still holds {instance}."))
                    .hint("Restart LM Studio to free its memory."));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        let (model, max_tokens) = (request.instance.as_str(), request.max_tokens);
        let known = *self.speaks_v1.lock().unwrap_or_else(PoisonError::into_inner);
        let v1 = match known {
            Some(v1) => v1,
            None => matches!(self.library().await?, Library::V1(_)),
        };
        if v1 {
            let body = ChatV1 {
                model,
                input: &request.prompt,
                stream: true,
                store: false,
                temperature: 0.0,
                max_output_tokens: max_tokens,
            };
            let lines = self.http.stream("/api/v1/chat", &body).await?;
            return Ok(lines
                .flat_map(|line| stream::iter(line.and_then(|l| event_v1(&l)).transpose()))
                .boxed());
        }
        let stream_options = StreamOptions { include_usage: true };
        let lines = if request.raw {
            let body = CompletionV0 {
                model,
                prompt: &request.prompt,
                stream: true,
                stream_options,
                temperature: 0.0,
                max_tokens,
            };
            self.http.stream("/v1/completions", &body).await?
        } else {
            let messages = [Message { role: "user", content: &request.prompt }];
            let body = ChatV0 { model, messages, stream: true, stream_options, temperature: 0.0, max_tokens };
            self.http.stream("/v1/chat/completions", &body).await?
        };
        let mut answer = OpenAiAnswer::default();
        Ok(lines.flat_map(move |line| stream::iter(line.and_then(|l| answer.event(&l)).transpose())).boxed())
    }

    fn openai(&self) -> Endpoint {
        let endpoint = self.http.endpoint();
        Endpoint { base_url: format!("{}/v1", endpoint.base_url), key: endpoint.key.clone() }
    }
}

fn load_error(error: ApiError) -> ApiError {
    if error.code != ErrorCode::ServerError {
        return error;
    }
    let guardrail = error.message.contains("insufficient system resources");
    let code = if guardrail { ErrorCode::DoesNotFit } else { ErrorCode::LoadFailed };
    let hint = match guardrail {
        true => "Unload another model, or relax the model loading guardrails in LM Studio.",
        false => "Look at LM Studio's log.",
    };
    ApiError { code, ..error }.hint(hint)
}

fn not_there(model: &str) -> ApiError {
    ApiError::new(
        ErrorCode::LoadFailed,
        format!("LM Studio said nothing against it, but {model} is not loaded."),
    )
    .hint("Look at LM Studio's log.")
}

fn purpose(kind: &str) -> ModelPurpose {
    match kind {
        "llm" | "vlm" => ModelPurpose::Llm,
        "embedding" | "embeddings" => ModelPurpose::Embedding,
        _ => ModelPurpose::Other,
    }
}

fn model_v1(model: ModelV1) -> Model {
    Model {
        server: ServerId::new(ID),
        title: model.display_name.filter(|name| !name.is_empty()).unwrap_or_else(|| model.key.clone()),
        purpose: purpose(&model.kind),
        format: model.format,
        quantization: model.quantization.and_then(|quantization| quantization.name),
        parameters: model.params_string,
        size_bytes: model.size_bytes,
        context_max: model.max_context_length,
        name: model.key,
    }
}

fn instances_v1(model: &ModelV1) -> Vec<Instance> {
    let instance = |copy: &InstanceV1| instance(&copy.id, &model.key, copy.config.context_length);
    model.loaded_instances.iter().map(instance).collect()
}

fn instance(id: &str, model: &str, context: Option<u64>) -> Instance {
    Instance {
        id: id.to_owned(),
        server: ServerId::new(ID),
        model: model.to_owned(),
        memory_bytes: None,
        gpu_memory_bytes: None,
        context,
        expiry: Expiry::NotReported,
    }
}

/// A second copy has the key of the first with `:2` behind it.
fn key_of<'a>(id: &'a str, rows: &[RowV0]) -> &'a str {
    match id.rsplit_once(':') {
        Some((key, number)) if number.parse::<u32>().is_ok() && rows.iter().any(|row| row.id == key) => key,
        _ => id,
    }
}

fn instances_v0(rows: &[RowV0]) -> Vec<Instance> {
    let loaded = rows.iter().filter(|row| row.state == "loaded");
    loaded.map(|row| instance(&row.id, key_of(&row.id, rows), row.loaded_context_length)).collect()
}

/// Copies of one model are rows of their own in v0; they are one model here.
fn models_v0(rows: &[RowV0]) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for row in rows {
        let key = key_of(&row.id, rows);
        if models.iter().any(|model| model.name == key) {
            continue;
        }
        models.push(Model {
            server: ServerId::new(ID),
            name: key.to_owned(),
            title: key.rsplit('/').next().unwrap_or(key).to_owned(),
            purpose: purpose(&row.kind),
            format: row.compatibility_type.clone(),
            quantization: row.quantization.clone(),
            parameters: None,
            size_bytes: None,
            context_max: row.max_context_length,
        });
    }
    models
}

fn event_v1(line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
    let Some(data) = sse_data(&line.text) else {
        return Ok(None);
    };
    let event: EventV1 = serde_json::from_str(data).map_err(|_| match error_text(data.as_bytes()) {
        Some(said) => server_error(&said),
        None => not_understood(),
    })?;
    match event.kind.as_str() {
        "message.delta" | "reasoning.delta" => {
            Ok(Some(GenerateEvent { at: line.at, text: event.content.unwrap_or_default(), end: None }))
        }
        "error" => Err(server_error(&event.error.map(|error| error.message).unwrap_or_default())),
        "chat.end" => {
            let stats = event.result.map(|result| result.stats).unwrap_or_default();
            Ok(Some(GenerateEvent { at: line.at, text: String::new(), end: Some(end_v1(&stats)) }))
        }
        _ => Ok(None),
    }
}

fn end_v1(stats: &StatsV1) -> GenerateEnd {
    GenerateEnd {
        // v1 does not say why an answer ended.
        finish: None,
        output_tokens: stats.total_output_tokens,
        prompt_tokens: stats.input_tokens,
        cached_tokens: None,
        decode_tok_s: stats.tokens_per_second.filter(|rate| rate.is_finite() && *rate > 0.0),
        prefill_tok_s: None,
    }
}

/// The usage comes after the last piece, in a chunk without choices; `[DONE]` closes the answer.
#[derive(Default)]
struct OpenAiAnswer {
    finish: Option<String>,
    usage: Option<Usage>,
}

impl OpenAiAnswer {
    fn event(&mut self, line: &Line) -> Result<Option<GenerateEvent>, ApiError> {
        let Some(data) = sse_data(&line.text) else {
            return Ok(None);
        };
        if data == "[DONE]" {
            let end = GenerateEnd {
                finish: self.finish.take(),
                output_tokens: self.usage.and_then(|usage| usage.completion_tokens),
                prompt_tokens: self.usage.and_then(|usage| usage.prompt_tokens),
                ..GenerateEnd::default()
            };
            return Ok(Some(GenerateEvent { at: line.at, text: String::new(), end: Some(end) }));
        }
        if let Some(said) = error_text(data.as_bytes()) {
            return Err(server_error(&said));
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| not_understood())?;
        self.usage = chunk.usage.or(self.usage);
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Ok(None);
        };
        self.finish = choice.finish_reason.or(self.finish.take());
        let delta = choice.delta;
        let text =
            choice.text.or(delta.content).or(delta.reasoning_content).or(delta.reasoning).unwrap_or_default();
        Ok(Some(GenerateEvent { at: line.at, text, end: None }))
    }
}

fn server_error(said: &str) -> ApiError {
    ApiError::new(ErrorCode::ServerError, format!("LM Studio: {said}"))
}

fn not_understood() -> ApiError {
    ApiError::new(ErrorCode::BadAnswer, "LM Studio sent an event that is not understood.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { at: std::time::Instant::now(), text: text.into() }
    }

    #[test]
    fn the_captured_v0_list_with_a_twin_is_one_model_with_two_instances() {
        let list: ModelsV0 = serde_json::from_str(
            r#"{"data":[
            {"id":"qwen3-0.6b-mlx","object":"model","type":"llm","compatibility_type":"mlx","quantization":"4bit",
             "state":"loaded","max_context_length":40960,"loaded_context_length":4096,"capabilities":["tool_use"]},
            {"id":"qwen3-0.6b-mlx:2","object":"model","type":"llm","compatibility_type":"mlx","quantization":"4bit",
             "state":"loaded","max_context_length":40960,"loaded_context_length":4096},
            {"id":"text-embedding-nomic-embed-text-v1.5","type":"embeddings","state":"not-loaded"}],"object":"list"}"#,
        )
        .unwrap();
        let instances = instances_v0(&list.data);
        assert!(instances.iter().all(|instance| instance.model == "qwen3-0.6b-mlx"));
        assert_eq!(instances[1].id, "qwen3-0.6b-mlx:2");
        let models = models_v0(&list.data);
        assert_eq!(models.len(), 2);
        assert_eq!(models[1].purpose, ModelPurpose::Embedding);
        assert_eq!(models[0].size_bytes, None, "v0 reports no sizes");
        let row = r#"{"data":[{"id":"smollm2:135","type":"llm","state":"loaded"}]}"#;
        let list: ModelsV0 = serde_json::from_str(row).unwrap();
        assert_eq!(instances_v0(&list.data)[0].model, "smollm2:135", "no copy without a first one");
    }

    #[test]
    fn v1_events_give_text_stats_and_errors() {
        let delta = event_v1(&line(r#"data: {"type":"message.delta","content":"Hi"}"#)).unwrap().unwrap();
        assert_eq!(delta.text, "Hi");
        assert!(event_v1(&line("event: message.delta")).unwrap().is_none());
        assert!(
            event_v1(&line(r#"data: {"type":"prompt_processing.progress","progress":0.5}"#))
                .unwrap()
                .is_none()
        );
        let end = r#"data: {"type":"chat.end","result":{"stats":{"input_tokens":646,"total_output_tokens":586,
            "tokens_per_second":29.75,"time_to_first_token_seconds":1.088}}}"#;
        let end = event_v1(&line(&end.replace('\n', ""))).unwrap().unwrap().end.unwrap();
        assert_eq!(
            (end.output_tokens, end.prompt_tokens, end.decode_tok_s),
            (Some(586), Some(646), Some(29.75))
        );
        let error = r#"data: {"type":"error","error":{"type":"unknown","message":"engine ended"}}"#;
        assert_eq!(event_v1(&line(error)).unwrap_err().message, "LM Studio: engine ended");
    }

    #[test]
    fn a_guardrail_refusal_does_not_fit() {
        let said = "LM Studio: Failed to load LLM 'x': Error: Model loading was stopped due to insufficient system resources.";
        assert_eq!(load_error(ApiError::new(ErrorCode::ServerError, said)).code, ErrorCode::DoesNotFit);
    }
}
