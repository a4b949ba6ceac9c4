//! What is on disk and what is in memory, without clock, network or waiting: every change is a function of the state
//! and of the time it is given (Unix milliseconds).

use super::catalogue::{CatalogueModel, Kind};

/// Idle time after which a JIT-loaded instance goes.
pub const JIT_TTL_MS: u64 = 3_600_000;
const DEFAULT_CONTEXT: u64 = 4096;
const DEFAULT_PARALLEL: u32 = 4;

/// Who asked for a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Rest,
    Cli,
    Jit,
}

/// A wish to load.
#[derive(Debug, Clone)]
pub struct LoadAsk {
    /// Exact key.
    pub key: String,
    /// Tokens; may be above the model's maximum, as the real server allows.
    pub context: Option<u64>,
    /// The id of the new instance; by default the key, with `:2`, `:3`… when taken.
    pub identifier: Option<String>,
    pub ttl_ms: Option<u64>,
    pub parallel: Option<u32>,
    pub origin: Origin,
}

impl LoadAsk {
    pub fn new(key: impl Into<String>, origin: Origin) -> Self {
        Self { key: key.into(), context: None, identifier: None, ttl_ms: None, parallel: None, origin }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadRefusal {
    NotDownloaded,
    IdentifierTaken,
}

/// One load under way. A later instance with the same id has another serial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadTicket {
    pub id: String,
    serial: u64,
}

/// What a request does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Queued,
    ProcessingPrompt,
    Generating,
    ComputingEmbedding,
}

#[derive(Debug, Clone)]
struct Request {
    ticket: u64,
    work: Work,
}

/// A model in memory, or on its way there.
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: String,
    pub key: String,
    pub context: u64,
    /// 0 to 1 while it loads, `None` afterwards.
    pub loading: Option<f64>,
    pub origin: Origin,
    pub ttl_ms: Option<u64>,
    pub last_used_ms: Option<u64>,
    /// Requests at a time; `None` for embedding models.
    pub parallel: Option<u32>,
    serial: u64,
    requests: Vec<Request>,
}

impl Instance {
    /// As `lms ps --json` names it.
    pub fn status(&self) -> &'static str {
        let doing = |work| self.requests.iter().any(|request| request.work == work);
        if doing(Work::Generating) {
            "generating"
        } else if doing(Work::ProcessingPrompt) {
            "processingPrompt"
        } else if doing(Work::ComputingEmbedding) {
            "computingEmbedding"
        } else {
            "idle"
        }
    }

    /// Requests, the running ones among them.
    pub fn queued(&self) -> usize {
        self.requests.len()
    }

    pub fn is_loaded(&self) -> bool {
        self.loading.is_none()
    }
}

/// What answers a request that names `model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The id of a loaded instance.
    Loaded(String),
    /// The id of one that is loading.
    Loading(String),
    /// The key of a model that JIT loads.
    OnDisk(String),
    NothingLoaded,
    SeveralLoaded,
    NotDownloaded,
}

#[derive(Debug)]
pub struct State {
    pub catalogue: Vec<CatalogueModel>,
    pub instances: Vec<Instance>,
    jit: bool,
    next: u64,
}

impl State {
    pub fn new(catalogue: Vec<CatalogueModel>, jit: bool) -> Self {
        Self { catalogue, instances: vec![], jit, next: 1 }
    }

    pub fn jit(&self) -> bool {
        self.jit
    }

    /// The model with exactly this key.
    pub fn model(&self, key: &str) -> Option<&CatalogueModel> {
        self.catalogue.iter().find(|model| model.key == key)
    }

    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    pub fn instances_of(&self, key: &str) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(move |instance| instance.key == key)
    }

    /// Puts a loading instance in its place. Never idempotent: a loaded model gets a twin.
    pub fn begin_load(&mut self, ask: &LoadAsk) -> Result<LoadTicket, LoadRefusal> {
        let model = self.model(&ask.key).ok_or(LoadRefusal::NotDownloaded)?;
        let (parallel, context) = match model.kind {
            Kind::Llm => (Some(ask.parallel.unwrap_or(DEFAULT_PARALLEL)), DEFAULT_CONTEXT),
            Kind::Embedding => (None, model.max_context),
        };
        let id = match &ask.identifier {
            Some(identifier) if self.instance(identifier).is_some() => {
                return Err(LoadRefusal::IdentifierTaken);
            }
            Some(identifier) => identifier.clone(),
            None => self.free_id(&ask.key),
        };
        let serial = self.next_number();
        self.instances.push(Instance {
            id: id.clone(),
            key: ask.key.clone(),
            context: ask.context.unwrap_or(context),
            loading: Some(0.0),
            origin: ask.origin,
            ttl_ms: ask.ttl_ms,
            last_used_ms: None,
            parallel,
            serial,
            requests: vec![],
        });
        Ok(LoadTicket { id, serial })
    }

    fn free_id(&self, key: &str) -> String {
        let twins = (2..).map(|number| format!("{key}:{number}"));
        let mut ids = std::iter::once(key.to_owned()).chain(twins);
        ids.find(|id| self.instance(id).is_none()).unwrap_or_else(|| key.to_owned())
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn by_ticket(&mut self, ticket: &LoadTicket) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.serial == ticket.serial)
    }

    /// `progress` from 0 to 1. False: the load was given up meanwhile.
    pub fn load_progress(&mut self, ticket: &LoadTicket, progress: f64) -> bool {
        self.by_ticket(ticket).map(|instance| instance.loading = Some(progress)).is_some()
    }

    /// False: the load was given up meanwhile.
    pub fn finish_load(&mut self, ticket: &LoadTicket, now_ms: u64) -> bool {
        let done = |instance: &mut Instance| {
            instance.loading = None;
            instance.last_used_ms = Some(now_ms);
        };
        self.by_ticket(ticket).map(done).is_some()
    }

    pub fn give_up_load(&mut self, ticket: &LoadTicket) {
        self.instances.retain(|instance| instance.serial != ticket.serial || instance.is_loaded());
    }

    /// False: nothing loaded has this id. A key is no id.
    pub fn unload(&mut self, id: &str) -> bool {
        let before = self.instances.len();
        self.instances.retain(|instance| instance.id != id || !instance.is_loaded());
        self.instances.len() < before
    }

    /// Who answers a request for `model`; an instance id goes before a key.
    pub fn target(&self, model: Option<&str>) -> Target {
        let Some(model) = model.filter(|model| !model.is_empty()) else {
            let mut loaded =
                self.instances.iter().filter(|instance| self.is_llm(instance) && instance.is_loaded());
            return match (loaded.next(), loaded.next()) {
                (None, _) => Target::NothingLoaded,
                (Some(only), None) => Target::Loaded(only.id.clone()),
                (Some(_), Some(_)) => Target::SeveralLoaded,
            };
        };
        let named = self.instance(model);
        let same_key = || self.instances_of(model).max_by_key(|instance| instance.is_loaded());
        match named.or_else(same_key) {
            Some(instance) if instance.is_loaded() => Target::Loaded(instance.id.clone()),
            Some(instance) => Target::Loading(instance.id.clone()),
            None if self.model(model).is_none() => Target::NotDownloaded,
            None if self.jit => Target::OnDisk(model.to_owned()),
            None => Target::NothingLoaded,
        }
    }

    fn is_llm(&self, instance: &Instance) -> bool {
        self.model(&instance.key).is_some_and(|model| model.kind == Kind::Llm)
    }

    /// Whether another LLM is loaded than the one of this load.
    pub fn has_llm_beside(&self, ticket: &LoadTicket) -> bool {
        let mut others = self.instances.iter().filter(|instance| instance.serial != ticket.serial);
        others.any(|instance| instance.is_loaded() && self.is_llm(instance))
    }

    /// "Only keep last JIT loaded model": what JIT loaded goes, what a person loaded stays.
    pub fn evict_for_jit(&mut self) {
        self.instances.retain(|instance| instance.origin != Origin::Jit || !instance.is_loaded());
    }

    /// Queues a request. `None`: no such instance.
    pub fn enter(&mut self, id: &str, now_ms: u64) -> Option<u64> {
        let ticket = self.next_number();
        let instance =
            self.instances.iter_mut().find(|instance| instance.id == id && instance.is_loaded())?;
        instance.last_used_ms = Some(now_ms);
        instance.requests.push(Request { ticket, work: Work::Queued });
        Some(ticket)
    }

    /// Whether a slot is free for the request. `None`: its instance is gone.
    pub fn admitted(&self, ticket: u64) -> Option<bool> {
        self.instances.iter().find_map(|instance| {
            let position = instance.requests.iter().position(|request| request.ticket == ticket)?;
            Some(position < instance.parallel.unwrap_or(1) as usize)
        })
    }

    /// False: the instance is gone.
    pub fn set_work(&mut self, ticket: u64, work: Work) -> bool {
        let mut requests = self.instances.iter_mut().flat_map(|instance| &mut instance.requests);
        requests.find(|request| request.ticket == ticket).map(|request| request.work = work).is_some()
    }

    pub fn leave(&mut self, ticket: u64, now_ms: u64) {
        for instance in &mut self.instances {
            let before = instance.requests.len();
            instance.requests.retain(|request| request.ticket != ticket);
            if instance.requests.len() < before {
                instance.last_used_ms = Some(now_ms);
            }
        }
    }

    /// A request for JIT may bring its own TTL.
    pub fn set_ttl(&mut self, id: &str, ttl_ms: u64) {
        if let Some(instance) = self.instances.iter_mut().find(|instance| instance.id == id) {
            instance.ttl_ms = Some(ttl_ms);
        }
    }

    /// Drops what was idle for longer than its TTL, and says what.
    pub fn expire(&mut self, now_ms: u64) -> Vec<String> {
        let over = |instance: &Instance| {
            let idle = instance.is_loaded() && instance.requests.is_empty();
            let since = instance.last_used_ms.unwrap_or(now_ms);
            idle && instance.ttl_ms.is_some_and(|ttl| now_ms.saturating_sub(since) >= ttl)
        };
        let gone =
            self.instances.iter().filter(|instance| over(instance)).map(|instance| instance.id.clone());
        let gone: Vec<String> = gone.collect();
        self.instances.retain(|instance| !gone.contains(&instance.id));
        gone
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
