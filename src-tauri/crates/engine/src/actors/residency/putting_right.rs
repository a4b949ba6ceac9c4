//! How the memory of a server that was lent is put right again.

use super::{
    Connection, ResidencyWiring, bounded,
    server_loan::UNLOAD_LIMIT,
    server_memory::{Borrowed, PutRight},
};
use pilothouse_domain::{
    error::ApiError,
    model::{Instance, LoadSettings, ModelRef},
    server::{Ownership, ServerId},
};
use pilothouse_servers::LoadRequest;
use std::{collections::BTreeMap, sync::Arc};
use tokio_util::sync::CancellationToken;

impl ResidencyWiring {
    /// A server that answers, and what it has in memory; `with`: see [`Borrowed::with`]. Errors: as `reach`.
    pub(super) async fn server_to_lend(
        &self,
        server: &ServerId,
        with: BTreeMap<String, LoadSettings>,
        cancel: &CancellationToken,
    ) -> Result<(Connection, Borrowed), ApiError> {
        let (connection, before) = self.reach(server, cancel).await?;
        let ours = self.hub.now().server(server).and_then(|view| view.ownership) == Some(Ownership::Ours);
        let server = server.clone();
        Ok((connection, Borrowed { server, before, with, loaded: vec![], late: None, held: false, ours }))
    }

    /// Takes out what was put in, and puts in what was there.
    pub(super) async fn put_right(&self, mut borrowed: Borrowed, ending: &CancellationToken) -> PutRight {
        let mut late = borrowed.late.take();
        if let Some(coming) = late.take_if(|late| borrowed.had(&late.model)) {
            // It is what belongs there: a second load beside it would make a twin.
            let (limit, _) = self.load_limit(&coming.model).await;
            if bounded("Loading it again", limit, ending, coming.arrival()).await.is_err()
                && !coming.is_over()
            {
                late = Some(coming);
            }
        }
        let mut strays = vec![];
        let now = match self.reach(&borrowed.server, ending).await {
            Ok((connection, _)) => {
                strays = self.take_out_loaded(&borrowed, &connection, ending).await;
                self.load_missing(&borrowed, &connection, ending).await
            }
            Err(error) => Err(error),
        };
        if now.is_err() && strays.is_empty() {
            let stray = |one: &String| ModelRef { server: borrowed.server.clone(), model: one.clone() };
            strays = borrowed.loaded.iter().map(stray).collect();
        }
        if let Ok(supervisor) = self.supervisor(&borrowed.server)
            && !ending.is_cancelled()
        {
            supervisor.refresh().await;
        }
        PutRight { strays, late, held: borrowed.held, server: borrowed.server, now }
    }

    async fn take_out_loaded(
        &self,
        borrowed: &Borrowed,
        connection: &Connection,
        ending: &CancellationToken,
    ) -> Vec<ModelRef> {
        let mut strays = vec![];
        for instance in &borrowed.loaded {
            let stray = ModelRef { server: borrowed.server.clone(), model: instance.clone() };
            let unload = self.unload(&borrowed.server, &*connection.client, instance);
            match bounded("Taking a model out of memory", UNLOAD_LIMIT, ending, unload).await {
                Ok(()) => self.note_stray(&stray, false).await,
                Err(error) => {
                    tracing::warn!(%error, %stray, "was loaded for a loan and is still in memory");
                    strays.push(stray);
                }
            }
        }
        strays
    }

    /// What is in memory once everything of before is there again. Errors: what the server says.
    pub(super) async fn load_missing(
        &self,
        borrowed: &Borrowed,
        connection: &Connection,
        cancel: &CancellationToken,
    ) -> Result<Vec<Instance>, ApiError> {
        let listed =
            bounded("The list of models in memory", UNLOAD_LIMIT, cancel, connection.client.instances());
        let mut now = listed.await?;
        for before in &borrowed.before {
            if now.iter().any(|one| one.id == before.id) {
                continue;
            }
            let own = borrowed.with.get(&before.model).copied().unwrap_or_default();
            // Whoever else loaded it had a context of his own.
            let of_others = before.context.filter(|_| !borrowed.ours);
            let with = LoadSettings { context: own.context.or(of_others), ..own };
            let request = LoadRequest::new(&before.model, with);
            let reference = ModelRef { server: borrowed.server.clone(), model: before.model.clone() };
            let (limit, _) = self.load_limit(&reference).await;
            let load = self.load(&borrowed.server, &*connection.client, &request, Arc::new(|_| {}));
            now.push(bounded("Loading it again", limit, cancel, load).await?);
        }
        Ok(now)
    }
}
