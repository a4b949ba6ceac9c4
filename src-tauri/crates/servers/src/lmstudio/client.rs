use super::{
    ID,
    home::Home,
    launch::lms,
    told::server_error,
    v0::{instances_v0, models_v0},
    v1::{AnswerV1, instances_v1, model_v1},
    wire::{
        ChatV1, Greeting, InstanceV1, Load, Loaded, ModelV1, ModelsV0, ModelsV1, RowV0, Unload, Unloaded,
    },
};
use crate::{
    GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest, ServerClient,
    http::{HEALTH_LIMIT, LIST_LIMIT, ServerHttp},
    openai::{Asking, embed},
    reading::events,
    rows::{Oddities, Rows},
};
use async_trait::async_trait;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, Model},
    server::ServerId,
};
use pilothouse_system::{connect::is_here, process::run_until};
use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(200);
/// How often the list is read while `lms` works; each time adds a line to the server's log.
const LMS_POLL: Duration = Duration::from_secs(1);
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);
/// `lms load` of a large model from a slow disk.
const LMS_LIMIT: Duration = Duration::from_secs(600);

pub(super) struct LmStudioClient {
    http: ServerHttp,
    home: Home,
    /// Whether the last list came by v1, so that an answer need not wait for another.
    speaks_v1: Mutex<Option<bool>>,
    /// How hosts before 0.4 are asked.
    asking: Asking,
    oddities: Oddities,
}

/// What the server knows, in whichever dialect it speaks.
enum Library {
    V1(Vec<ModelV1>),
    V0(Vec<RowV0>),
}

impl LmStudioClient {
    /// `key_unread`: why there may be a key that could not be read.
    pub fn new(endpoint: &Endpoint, home: Home, key_unread: Option<String>) -> Self {
        let http = ServerHttp::new(endpoint, "LM Studio").keyed_by(&ServerId::new(ID)).key_unread(key_unread);
        Self {
            http,
            home,
            speaks_v1: Mutex::default(),
            asking: Asking::default(),
            oddities: Oddities::default(),
        }
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
            Ok(mut list) => {
                // What is odd in a model's copies is odd in the list.
                let copies =
                    list.models.rows.iter_mut().map(|model| std::mem::take(&mut model.loaded_instances.odd));
                list.models.odd += copies.sum::<usize>();
                let mut models = self.oddities.sorted("models", list.models, |model| &model.key);
                for model in &mut models {
                    let copies = std::mem::take(&mut model.loaded_instances.rows);
                    model.loaded_instances = Rows { rows: each_once(copies), odd: 0 };
                }
                Ok(Library::V1(models))
            }
            Err(error)
                if matches!(
                    error.code,
                    ErrorCode::ServerError | ErrorCode::BadAnswer | ErrorCode::NotFound
                ) =>
            {
                let list = self.http.get::<ModelsV0>("/api/v0/models", LIST_LIMIT).await?;
                Ok(Library::V0(self.oddities.sorted("models", list.data, |row| &row.id)))
            }
            Err(error) => Err(error),
        }
    }

    async fn load_v1(&self, request: &LoadRequest) -> Result<Instance, ApiError> {
        let body = Load { model: &request.model, context_length: request.with.context };
        let loaded: Loaded = self.http.post("/api/v1/models/load", &body, None).await.map_err(load_error)?;
        let listed = self.instances().await?.into_iter().find(|instance| instance.id == loaded.instance_id);
        listed.ok_or_else(|| not_there(&request.model))
    }

    /// Runs `lms` until it ends or what it is to do is `seen`, for it may never end (lms#507). Gives what it said against
    /// it; exit codes of `lms` lie, so the list that is read afterwards is what counts.
    async fn lms(&self, args: &[&str], seen: impl Future<Output = ()>) -> Result<Option<String>, ApiError> {
        let program = self.home.lms().ok_or_else(|| {
            ApiError::new(
                ErrorCode::Unsupported,
                "This LM Studio loads models by its command lms, which is not there.",
            )
            .hint("Start LM Studio once, or update it to 0.4.")
        })?;
        let Some(finished) = run_until(&lms(&program, args), LMS_LIMIT, seen).await? else {
            tracing::info!(?args, "lms went on after its work was done");
            return Ok(None);
        };
        tracing::info!(?args, exit = %finished.exit, "lms");
        let said = finished.stderr.lines().filter_map(|line| line.trim().strip_prefix("Error: ")).next_back();
        Ok(said.map(str::to_owned))
    }

    /// Ends when the copies in memory are as wanted.
    async fn until(&self, wanted: impl Fn(&[Instance]) -> bool) {
        loop {
            tokio::time::sleep(LMS_POLL).await;
            if self.instances().await.is_ok_and(|instances| wanted(&instances)) {
                return;
            }
        }
    }

    /// By its command, which knows more than the API does: how many requests run at a time. `rows`: the names that there are.
    async fn load_by_lms(
        &self,
        request: &LoadRequest,
        mut names: impl Iterator<Item = &str>,
    ) -> Result<Instance, ApiError> {
        let model = &request.model;
        // `lms load` picks the nearest name, so an unknown one would load something else.
        if !names.any(|name| name == model) {
            return Err(ApiError::not_found(format!("LM Studio has no model {model}.")));
        }
        let mut args = vec!["load".to_owned(), model.clone(), "--yes".into()];
        let mut flag = |name: &str, value: Option<String>| {
            args.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        flag("--context-length", request.with.context.map(|tokens| tokens.to_string()));
        flag("--parallel", request.with.parallel.map(|requests| requests.to_string()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = self.lms(&args, self.until(|all| all.iter().any(|one| one.model == *model))).await?;
        self.find(model).await?.ok_or_else(|| match said {
            Some(said) => load_error(server_error(&said)),
            None => not_there(model),
        })
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

    /// The context by every way. Requests at a time by `lms load --parallel`, which came with 0.4 (lms, January 2026); the API refuses
    /// the field up to 0.4.16 (LM Studio bug tracker, 2024). The KV type by none (the same, 2061).
    fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        let unsupported =
            |text: &str, hint: &str| Some(ApiError::new(ErrorCode::Unsupported, text).hint(hint));
        if let Some(error) = takes_no_kv_type(with) {
            return Some(error);
        }
        with.parallel?;
        let text = "This LM Studio takes no number of requests at a time with a load.";
        if *self.speaks_v1.lock().unwrap_or_else(PoisonError::into_inner) == Some(false) {
            return unsupported(text, "Update it to 0.4.");
        }
        match is_here(&self.http.endpoint().base_url) && self.home.lms().is_some() {
            true => None,
            false => unsupported(text, "It takes it by its command lms alone, which is not here."),
        }
    }

    /// No load tells how far it has come: the API answers when it is over, and `lms` shows people a bar.
    async fn load(&self, request: &LoadRequest, _progress: LoadProgress) -> Result<Instance, ApiError> {
        if let Some(error) = self.cannot_load_with(&request.with) {
            return Err(error);
        }
        // A second load would make a twin, so what is there is used.
        if let Some(there) = self.find(&request.model).await? {
            return Ok(there);
        }
        match self.library().await? {
            Library::V1(models) if request.with.parallel.is_some() => {
                self.load_by_lms(request, models.iter().map(|model| model.key.as_str())).await
            }
            Library::V1(_) => self.load_v1(request).await,
            // Of which generation it is may not have been known before.
            Library::V0(rows) => match self.cannot_load_with(&request.with) {
                Some(error) => Err(error),
                None => self.load_by_lms(request, rows.iter().map(|row| row.id.as_str())).await,
            },
        }
    }

    /// A load of what is in memory makes a twin, with `:2`, `:3`… behind its key.
    async fn load_copy(&self, request: &LoadRequest) -> Result<Instance, ApiError> {
        match self.library().await? {
            Library::V1(_) => self.load_v1(request).await,
            Library::V0(_) => {
                let text = "This LM Studio loads copies only by hand.";
                Err(ApiError::new(ErrorCode::Unsupported, text).hint("Update it to 0.4."))
            }
        }
    }

    /// By v1 a load goes on when its connection is closed; `lms` takes its own load along when it is ended.
    fn loads_go_on(&self) -> bool {
        *self.speaks_v1.lock().unwrap_or_else(PoisonError::into_inner) != Some(false)
    }

    fn keeps_its_context(&self) -> bool {
        true
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
            Library::V0(_) => {
                let seen = self.until(|all| all.iter().all(|one| one.id != instance));
                self.lms(&["unload", instance], seen).await?;
            }
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

    /// A prompt that goes to the model as it is takes the way of every other server: the newer API puts it into the chat template,
    /// which adds tokens that nobody else reads.
    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        if request.raw {
            return self.asking.generate(&self.http, "/v1", "LM Studio", request).await;
        }
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
            return Ok(events(lines, AnswerV1::default()));
        }
        self.asking.generate(&self.http, "/v1", "LM Studio", request).await
    }

    async fn embed(&self, instance: &str, text: &str) -> Result<Vec<f32>, ApiError> {
        embed(&self.http, "/v1", "LM Studio", instance, text).await
    }

    /// What was loaded here has no time to live: neither the API nor `lms load` gives one by itself. One that an answer loaded goes
    /// after an hour without another, and nothing takes that from it.
    async fn keep(&self, _instance: &str) -> Result<bool, ApiError> {
        Ok(false)
    }

    fn oddities(&self) -> Vec<String> {
        self.oddities.untold()
    }

    fn openai(&self) -> Endpoint {
        let endpoint = self.http.endpoint();
        Endpoint { base_url: format!("{}/v1", endpoint.base_url), key: endpoint.key.clone() }
    }
}

/// Whatever its version is.
pub(super) fn takes_no_kv_type(with: &LoadSettings) -> Option<ApiError> {
    with.kv_type?;
    let error = ApiError::new(ErrorCode::Unsupported, "LM Studio takes no KV type with a load.");
    Some(error.hint("Set it in LM Studio, among the model's own settings."))
}

/// A copy that is there twice is one.
fn each_once(copies: Vec<InstanceV1>) -> Vec<InstanceV1> {
    let mut seen = BTreeSet::new();
    copies.into_iter().filter(|copy| seen.insert(copy.id.clone())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardrail_refusal_does_not_fit() {
        let said = "LM Studio: Failed to load LLM 'x': Error: Model loading was stopped due to insufficient system resources.";
        assert_eq!(load_error(ApiError::new(ErrorCode::ServerError, said)).code, ErrorCode::DoesNotFit);
    }
}
