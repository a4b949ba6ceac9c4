//! Loads that go on when nobody waits for them any more: LM Studio finishes what it has begun, and lists it only then. Each is
//! followed to its end; what has arrived by then and nobody wants is taken out, and whoever wants it again joins it.

use super::{Connection, ResidencyWiring};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, ModelRef},
};
use pilothouse_servers::{LoadProgress, LoadRequest};
use std::time::Duration;

/// The highest ceiling that the settings allow a load: longer nobody follows it.
const FOLLOWED_FOR: Duration = Duration::from_secs(7200);

/// A load that its server goes on with, whoever waits for it.
#[derive(Clone)]
pub(super) struct LateLoad {
    pub model: ModelRef,
    /// It is one more copy: `model` names the instance that it is expected to become.
    pub copy: bool,
    pub arrival: Shared<BoxFuture<'static, Result<Instance, ApiError>>>,
}

impl LateLoad {
    /// On its own, whoever waits for it.
    fn following(
        model: ModelRef,
        load: impl Future<Output = Result<Instance, ApiError>> + Send + 'static,
    ) -> Self {
        let name = model.model.clone();
        let load = async move {
            tokio::time::timeout(FOLLOWED_FOR, load).await.unwrap_or_else(|_| {
                let text = format!("{name} was not loaded within two hours.");
                Err(ApiError::new(ErrorCode::TimedOut, text))
            })
        };
        let load = tokio::spawn(load).map(|ended| {
            ended.unwrap_or_else(|error| Err(ApiError::internal(format!("The load ended: {error}."))))
        });
        Self { model, copy: false, arrival: load.boxed().shared() }
    }

    pub fn arrival(&self) -> impl Future<Output = Result<Instance, ApiError>> + use<> {
        self.arrival.clone()
    }

    pub fn is_over(&self) -> bool {
        self.arrival.peek().is_some()
    }
}

/// A load as its asker waits for it. Dropping it ends a load that ends with its asker, and leaves any other to go on.
pub(super) struct Loading<'a> {
    pub instance: BoxFuture<'a, Result<Instance, ApiError>>,
    /// Where it goes on without its asker.
    pub late: Option<LateLoad>,
}

impl ResidencyWiring {
    /// Begins to put a model into memory, or joins a load of it that still goes on; `context`: other than the server's default.
    /// Errors of the load: what the server says.
    pub(super) fn begin_load<'a>(
        &'a self,
        model: &'a ModelRef,
        connection: &'a Connection,
        joined: Option<LateLoad>,
        progress: LoadProgress,
        context: Option<u64>,
    ) -> Loading<'a> {
        self.begin_load_with(model, connection, joined, progress, LoadSettings::context(context))
    }

    /// The same with all that can be said of a load.
    pub(super) fn begin_load_with<'a>(
        &'a self,
        model: &'a ModelRef,
        connection: &'a Connection,
        joined: Option<LateLoad>,
        progress: LoadProgress,
        with: LoadSettings,
    ) -> Loading<'a> {
        let request = LoadRequest::new(&model.model, with);
        if joined.is_none() && !connection.client.loads_go_on() {
            let load = async move { self.load(&model.server, &*connection.client, &request, progress).await };
            return Loading { instance: load.boxed(), late: None };
        }
        let late = joined.unwrap_or_else(|| {
            let (around, server, client) = (self.clone(), model.server.clone(), connection.client.clone());
            let load = async move { around.load(&server, &*client, &request, progress).await };
            LateLoad::following(model.clone(), load)
        });
        Loading { instance: late.arrival.clone().boxed(), late: Some(late) }
    }
}

impl ResidencyWiring {
    /// Begins to load one more copy of a model, which goes on without its asker. `copy`: the name that it is expected to have.
    pub(super) fn begin_copy(&self, copy: ModelRef, model: &str, connection: &Connection) -> LateLoad {
        let request = LoadRequest::usual(model);
        let (around, server, client) = (self.clone(), copy.server.clone(), connection.client.clone());
        let load = async move {
            let instance = client.load_copy(&request).await?;
            around.supervisor(&server)?.staying(&instance.id).await;
            Ok(instance)
        };
        LateLoad { copy: true, ..LateLoad::following(copy, load) }
    }
}
