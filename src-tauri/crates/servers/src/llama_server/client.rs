use super::{
    ID,
    answer::CompletionAnswer,
    library::{Library, Scan},
    loading::News,
    preset::{Presets, Wishes, can_stand},
    wire::{Chat, Completion, ModelEntry, ModelList, ModelName, Props, Success},
};
use crate::{
    GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest, ServerClient,
    http::{HEALTH_LIMIT, LIST_LIMIT, Line, ServerHttp},
    openai::{Message, OpenAiAnswer, embed},
    reading::events,
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
    model::{Expiry, Instance, LoadSettings, Model},
    server::ServerId,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(100);
/// The router itself kills a child that does not end within ten seconds.
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct LlamaClient {
    http: ServerHttp,
    library: Arc<Library>,
    presets: Arc<Presets>,
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
    pub fn new(endpoint: &Endpoint, library: Arc<Library>, presets: Arc<Presets>) -> Self {
        Self {
            http: ServerHttp::new(endpoint, "llama-server"),
            library,
            presets,
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

    /// Changes what is wished of the router, and lets it read that, and look for files again where some have come or gone.
    async fn change(&self, files_changed: bool, change: impl FnOnce(&mut Wishes)) -> Result<(), ApiError> {
        let _alone = self.presets.changing.lock().await;
        let here = &self.http.endpoint().base_url;
        let changed = self.presets.change(here, change)?;
        if files_changed || changed.is_some() {
            let _: ModelList = self.http.get("/models?reload=1", LIST_LIMIT).await?;
        }
        if let Some(text) = changed {
            self.presets.was_read(here, text);
        }
        Ok(())
    }

    /// Lets the router know with what a model that is not in memory is to be loaded. Errors: unsupported, system, and those of the
    /// router.
    async fn wish(&self, request: &LoadRequest) -> Result<(), ApiError> {
        let (id, with) = (&request.model, request.with);
        let usual = with == LoadSettings::default();
        if !usual && !can_stand(id) {
            let text = format!("llama-server takes no settings of its own for a model named {id}.");
            return Err(ApiError::new(ErrorCode::Unsupported, text)
                .hint("Rename its file: without [, ], = and spaces around it."));
        }
        let change = |wishes: &mut Wishes| {
            match usual {
                true => drop(wishes.with.remove(id)),
                false => drop(wishes.with.insert(id.clone(), with)),
            }
            match request.usual_context {
                None => drop(wishes.contexts.remove(id)),
                Some(context) => drop(wishes.contexts.insert(id.clone(), context)),
            }
        };
        self.change(false, change).await
    }

    /// Waits until a model that is being loaded is there.
    async fn loaded(&self, id: &str, mut news: News) -> Result<Instance, ApiError> {
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
                _ => news.until_worth_a_look(POLL).await,
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
        let scan = self.library.clone().looked_through().await;
        let Scan { models, embeds, changed } = scan.map_err(|silence| {
            ApiError::new(ErrorCode::TimedOut, format!("The models cannot be listed: {silence}."))
                .hint("A folder of models on another machine may be gone; it is tried again.")
        })?;
        self.change(changed, |wishes| wishes.embeds = embeds).await?;
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

    /// All of it goes into the file of settings that a router of ours reads.
    fn cannot_load_with(&self, with: &LoadSettings) -> Option<ApiError> {
        if *with == LoadSettings::default() || self.presets.is_for(&self.http.endpoint().base_url) {
            return None;
        }
        let text = "This llama-server was not started by Pilothouse, so it loads each model as its own settings say.";
        Some(ApiError::new(ErrorCode::Unsupported, text).hint("Let Pilothouse start it."))
    }

    /// With what one of ours was loaded stands in its router's file until it is loaded again.
    fn keeps_its_context(&self) -> bool {
        self.presets.is_for(&self.http.endpoint().base_url)
    }

    async fn load(&self, request: &LoadRequest, progress: LoadProgress) -> Result<Instance, ApiError> {
        if let Some(error) = self.cannot_load_with(&request.with) {
            return Err(error);
        }
        let id = &request.model;
        let entry = self.entry(id).await?.ok_or_else(|| unknown(id))?;
        let news = News::of(&self.http, id, progress).await;
        if entry.status.value == "unloaded" {
            self.wish(request).await?;
        }
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
        self.loaded(id, news).await
    }

    async fn unload(&self, instance: &str) -> Result<(), ApiError> {
        let ask = async || {
            let name = ModelName { model: instance };
            self.http.post::<Success>("/models/unload", &name, Some(LIST_LIMIT)).await
        };
        let mut asked = ask().await;
        let begun = Instant::now();
        loop {
            match self.entry(instance).await? {
                None => return Ok(()),
                Some(entry) if entry.status.value == "unloaded" => return Ok(()),
                Some(_) if begun.elapsed() < UNLOAD_LIMIT => {
                    tokio::time::sleep(POLL).await;
                    // Nobody may have heard it.
                    if asked.as_ref().is_err_and(|error| error.code == ErrorCode::Unreachable) {
                        asked = ask().await;
                    }
                }
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

    async fn embed(&self, instance: &str, text: &str) -> Result<Vec<f32>, ApiError> {
        if let Some(child) = self.child(instance) {
            match embed(&child, "/v1", "llama-server", instance, text).await {
                Err(error) if error.code == ErrorCode::Unreachable => {
                    tracing::debug!(%error, instance, "its child does not answer; asking the router");
                }
                answered => return answered,
            }
        }
        embed(&self.http, "/v1", "llama-server", instance, text).await
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

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("llama-server has no model {id}."))
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

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encoded("a b/ü&c-1.Q4"), "a%20b%2F%C3%BC%26c-1.Q4");
    }
}
