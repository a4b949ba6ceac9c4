//! The running simulator behind both listeners: the state with a clock, loads that take time, and the public server.

use super::{
    answer::V1Error,
    catalogue, home,
    listener::Serving,
    options::{FailLoad, Faults, Options, Profile},
    public,
    state::{LoadAsk, LoadRefusal, LoadTicket, State},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc::UnboundedSender, watch};
use tokio_util::sync::CancellationToken;

const LOAD_STEPS: u32 = 20;

#[derive(Debug)]
pub struct Service {
    pub options: Options,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    changed: watch::Sender<u64>,
    public: tokio::sync::Mutex<Option<Serving>>,
    /// Somebody asked the whole backend to end.
    pub shutdown: CancellationToken,
}

/// A load that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub id: String,
    pub seconds: f64,
}

/// Why a load failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadFailure {
    NotDownloaded(String),
    IdentifierTaken(String),
    /// The text after `Failed to load …: Error: `, and whether the status is 200 all the same.
    Engine {
        key: String,
        text: String,
        with_200: bool,
    },
}

impl LoadFailure {
    /// As `/api/v1/models/load` tells it.
    pub fn v1(&self) -> V1Error {
        match self {
            Self::NotDownloaded(key) => {
                V1Error::new(404, "model_not_found", format!("Model {key} not found in downloaded models"))
            }
            Self::IdentifierTaken(id) => {
                V1Error::new(400, "invalid_request", format!("Model with identifier '{id}' already exists."))
            }
            Self::Engine { key, text, with_200 } => {
                let status = if *with_200 { 200 } else { 500 };
                V1Error::new(
                    status,
                    "model_load_failed",
                    format!("Failed to load LLM '{key}': Error: {text}"),
                )
            }
        }
    }

    /// The bare text, as `lms` prints it.
    pub fn text(&self) -> String {
        match self {
            Self::Engine { text, .. } => text.clone(),
            other => other.v1().message,
        }
    }
}

/// Takes a load back that nobody waits for any more.
struct UnderWay<'a> {
    service: &'a Service,
    ticket: LoadTicket,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.service.with(|state| state.give_up_load(&self.ticket));
    }
}

impl Service {
    pub fn new(options: Options) -> anyhow::Result<Arc<Self>> {
        options.check()?;
        let mut models = match &options.models {
            Some(file) => catalogue::read(file)?,
            None => catalogue::built_in(),
        };
        if options.profile == Profile::Bionic && options.models.is_none() {
            models.push(catalogue::of_bionic());
        }
        Ok(Arc::new(Self {
            state: Mutex::new(State::new(models, !options.no_jit)),
            faults: Mutex::new(options.faults.clone()),
            changed: watch::Sender::new(0),
            public: tokio::sync::Mutex::new(None),
            shutdown: CancellationToken::new(),
            options,
        }))
    }

    /// Reads or changes the state, and wakes who waits for a change.
    pub fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut lock(&self.state));
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Reads the state.
    pub fn look<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&lock(&self.state))
    }

    /// Waits until `read` finds something.
    pub async fn wait_for<R>(&self, read: impl Fn(&State) -> Option<R>) -> R {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(found) = self.look(&read) {
                return found;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    pub fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    /// Loads and waits for the end. Dropping the future cancels the load.
    pub async fn load(
        &self,
        ask: &LoadAsk,
        progress: Option<&UnboundedSender<f64>>,
    ) -> Result<Loaded, LoadFailure> {
        let fault = self.faults().of_load(&ask.key);
        let ticket = self.with(|state| state.begin_load(ask)).map_err(|refusal| match refusal {
            LoadRefusal::NotDownloaded => LoadFailure::NotDownloaded(ask.key.clone()),
            LoadRefusal::IdentifierTaken => {
                LoadFailure::IdentifierTaken(ask.identifier.clone().unwrap_or_default())
            }
        })?;
        let under_way = UnderWay { service: self, ticket: ticket.clone() };
        let begun = Instant::now();
        let refused = match fault {
            Some(FailLoad::Guardrail | FailLoad::Guardrail200) => true,
            Some(FailLoad::GuardrailBeside) => self.look(|state| state.has_llm_beside(&ticket)),
            _ => false,
        };
        if refused {
            let text = self.guardrail_text(&ask.key);
            return Err(LoadFailure::Engine {
                key: ask.key.clone(),
                text,
                with_200: fault == Some(FailLoad::Guardrail200),
            });
        }
        for step in 1..=LOAD_STEPS {
            tokio::time::sleep(Duration::from_secs_f64(self.options.load_seconds / f64::from(LOAD_STEPS)))
                .await;
            if step == LOAD_STEPS / 2 {
                match fault {
                    Some(FailLoad::Hang) => std::future::pending::<()>().await,
                    Some(FailLoad::Sigabrt) => {
                        let text = format!(
                            "Engine protocol runtime llama-server for {} exited before becoming healthy. exitCode=null, signal=SIGABRT",
                            ticket.id
                        );
                        return Err(LoadFailure::Engine { key: ask.key.clone(), text, with_200: false });
                    }
                    _ => {}
                }
            }
            let done = f64::from(step) / f64::from(LOAD_STEPS);
            self.with(|state| state.load_progress(&ticket, done));
            // A listener that went away does not stop the load.
            let _ = progress.map(|progress| progress.send(done));
        }
        self.with(|state| state.finish_load(&ticket, now_ms()));
        drop(under_way);
        Ok(Loaded { id: ticket.id, seconds: begun.elapsed().as_secs_f64() })
    }

    fn guardrail_text(&self, key: &str) -> String {
        let bytes = self.look(|state| state.model(key).map_or(0, |model| model.size_bytes));
        let gigabytes = bytes as f64 * 1.2 / 1e9;
        format!(
            "Model loading was stopped due to insufficient system resources. Under the current settings, this model \
             requires approximately {gigabytes:.2} GB of memory, and continuing to load it would likely overload your \
             system and cause it to freeze. If you think this is incorrect, you can adjust the model loading \
             guardrails in settings."
        )
    }

    /// False: nothing loaded has this id. With the fault, true and nothing happens.
    pub fn unload(&self, id: &str) -> bool {
        if self.faults().unload_noop {
            return self.look(|state| state.instance(id).is_some());
        }
        self.with(|state| state.unload(id))
    }

    /// Turns the public server on and writes its configuration. One that listens on this port already stays; one on
    /// another port is stopped first. Returns the port. Errors: the port is taken, the file cannot be written.
    pub async fn start_public(self: &Arc<Self>, port: u16, bind: &str, cors: bool) -> anyhow::Result<u16> {
        let mut public = self.public.lock().await;
        if let Some(serving) = public.take_if(|serving| port != serving.port) {
            serving.stop().await;
        }
        let port = match public.as_ref() {
            Some(serving) => serving.port,
            None => public.insert(Serving::start(port, public::router(self.clone(), cors)).await?).port,
        };
        home::write_server_config(&self.options.home, port, bind, cors, !self.options.no_jit)?;
        home::log(&self.options.home, &format!("The server listens on port {port} (simulated)."));
        Ok(port)
    }

    /// Turns the public server off; requests under way are cut. `None`: it was off.
    pub async fn stop_public(&self) -> Option<u16> {
        let serving = self.public.lock().await.take()?;
        let port = serving.port;
        serving.stop().await;
        Some(port)
    }

    pub async fn public_port(&self) -> Option<u16> {
        self.public.lock().await.as_ref().map(|serving| serving.port)
    }

    /// Cuts the public server without waiting, unless somebody is just starting or stopping it.
    pub fn cut_public(&self) {
        if let Ok(public) = self.public.try_lock()
            && let Some(serving) = public.as_ref()
        {
            serving.cut();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
