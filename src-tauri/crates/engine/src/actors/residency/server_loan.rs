//! A whole server lent: its borrower may have models taken out of its memory and put in, and have it started again, as often as it
//! likes. Afterwards memory is as it was, however the borrower ends. What is not ours is never touched: on somebody else's server
//! only the active model and what was loaded for the loan leave memory.

use super::{
    Connection, ResidencyWiring, SERVER_LIMIT, bounded, event::Event, late::Loading, proof,
    server_memory::Borrowed,
};
use crate::actors::bounds::until_cancelled;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, Model, ModelRef},
    server::ServerId,
    switch::Active,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A server takes up to 30 s to let go of a model, and its list is read before and after.
pub(super) const UNLOAD_LIMIT: Duration = Duration::from_secs(60);
const CANCELLED: &str = "It was cancelled.";

pub(super) struct Request {
    pub server: ServerId,
    /// What is done with it, for whoever is refused meanwhile: "A benchmark of X".
    pub why: String,
    pub cancel: CancellationToken,
    pub reply: oneshot::Sender<Result<ServerLoan, ApiError>>,
}

/// The right to a server's memory. Comes back when it is dropped; [`ServerLoan::give_back`] waits until memory is as before.
pub struct ServerLoan {
    pub(super) around: ResidencyWiring,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) ending: CancellationToken,
    pub(super) cancel: CancellationToken,
    pub(super) connection: Connection,
    /// The active model, if it is one of this server.
    pub(super) active: Option<Active>,
    /// `None` once it has come back.
    pub(super) borrowed: Option<Borrowed>,
}

impl ServerLoan {
    /// How the server is asked; another after each restart.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What was in memory when it was lent.
    pub fn before(&self) -> &[Instance] {
        self.borrowed.as_ref().map_or(&[], |borrowed| &borrowed.before)
    }

    /// Whether the server was started by Pilothouse.
    pub fn is_ours(&self) -> bool {
        self.borrowed.as_ref().is_some_and(|borrowed| borrowed.ours)
    }

    /// Whether a model that is in memory may be taken out. Errors: not_ours.
    pub fn may_take_out(&self, instance: &str) -> Result<(), ApiError> {
        let Some(borrowed) = &self.borrowed else { return Err(ended()) };
        let active = self.active.as_ref().is_some_and(|active| active.instance == instance);
        if borrowed.ours || active || borrowed.loaded.iter().any(|one| one == instance) {
            return Ok(());
        }
        let title = self.around.hub.now().server_title(&borrowed.server);
        let text = format!("{instance} is in memory on {title}, and somebody else has put it there.");
        Err(ApiError::new(ErrorCode::NotOurs, text)
            .hint("Take it out there first, or make it the active model."))
    }

    /// Takes an instance out of memory, its answers ended first; requests for the active model wait from then on until the loan is
    /// over. Errors: not_ours, cancelled, timed_out, and what the server says.
    pub async fn take_out(&mut self, instance: &str) -> Result<(), ApiError> {
        self.may_take_out(instance)?;
        self.hold_if_active(instance).await;
        let server = self.server()?;
        let leases = self.around.leases.clone();
        leases.close(&server, instance);
        let taken = async {
            self.drained(&server, instance).await?;
            let what = format!("Taking {instance} out of memory");
            let unload = self.around.unload(&server, &*self.connection.client, instance);
            bounded(&what, UNLOAD_LIMIT, &self.cancel, unload).await
        };
        let taken = taken.await;
        leases.reopen(&server, instance);
        self.around.supervisor(&server)?.refresh().await;
        taken?;
        if let Some(borrowed) = &mut self.borrowed {
            let was = borrowed.loaded.len();
            borrowed.loaded.retain(|one| one != instance);
            if borrowed.loaded.len() < was {
                let stray = ModelRef { server, model: instance.to_owned() };
                self.around.note_stray(&stray, false).await;
            }
        }
        Ok(())
    }

    /// Puts a model into memory as its server loads it, and says how long the load took. Errors: does_not_fit, cancelled,
    /// timed_out, and what the server says.
    pub async fn put_in(&mut self, model: &Model) -> Result<(Instance, Duration), ApiError> {
        let was_there = self.before().iter().any(|one| one.model == model.name);
        if !was_there {
            self.around.want_room(model)?;
        }
        let reference = model.reference();
        if !was_there {
            self.around.note_stray(&reference, true).await;
        }
        let (limit, _) = self.around.load_limit(&reference).await;
        let (around, connection) = (self.around.clone(), self.connection.clone());
        let begun = Instant::now();
        let Loading { instance, late } =
            around.begin_load(&reference, &connection, None, Arc::new(|_| {}), None);
        let loaded = bounded("The load", limit, &self.cancel, instance).await;
        let took = begun.elapsed();
        if let Some(borrowed) = &mut self.borrowed {
            match &loaded {
                Ok(instance) if !was_there && !borrowed.loaded.contains(&instance.id) => {
                    borrowed.loaded.push(instance.id.clone());
                }
                Ok(_) => {}
                Err(_) => borrowed.late = late.filter(|late| !late.is_over()),
            }
        }
        self.around.supervisor(&reference.server)?.refresh().await;
        loaded.map(|instance| (instance, took))
    }

    /// Puts one more copy of a model that is in memory beside it. Errors: unsupported, and as `put_in`.
    pub async fn put_in_copy(&mut self, model: &Model) -> Result<Instance, ApiError> {
        self.around.want_room(model)?;
        let held = self.connection.client.instances().await?;
        // What must leave memory is known to the next start before the server knows it itself.
        let free = |id: &String| held.iter().all(|one| one.id != *id);
        let numbered = (2..).map(|number: u32| format!("{}:{number}", model.name));
        let name = std::iter::once(model.name.clone()).chain(numbered).find(free).unwrap_or_default();
        let copy = ModelRef { server: model.server.clone(), model: name };
        self.around.note_stray(&copy, true).await;
        let (limit, _) = self.around.load_limit(&model.reference()).await;
        let late = self.around.begin_copy(copy.clone(), &model.name, &self.connection);
        let loaded = bounded("The load", limit, &self.cancel, late.arrival()).await;
        match &loaded {
            Ok(instance) if instance.id != copy.model => {
                let really = ModelRef { model: instance.id.clone(), ..copy.clone() };
                self.around.note_stray(&really, true).await;
                self.around.note_stray(&copy, false).await;
            }
            Ok(_) => {}
            Err(_) if late.is_over() => self.around.note_stray(&copy, false).await,
            Err(_) => {}
        }
        if let Some(borrowed) = &mut self.borrowed {
            match &loaded {
                Ok(instance) => borrowed.loaded.push(instance.id.clone()),
                Err(_) => borrowed.late = Some(late).filter(|late| !late.is_over()),
            }
        }
        self.around.supervisor(&model.server)?.refresh().await;
        loaded
    }

    /// Ends the server and starts it again; what was in memory is gone then. Not cancelled halfway. Errors: not_ours, and as a
    /// start.
    pub async fn restart(&mut self) -> Result<(), ApiError> {
        let server = self.server()?;
        let title = self.around.hub.now().server_title(&server);
        if !self.is_ours() {
            let text = format!("{title} was started by somebody else, so it is not restarted.");
            return Err(ApiError::new(ErrorCode::NotOurs, text));
        }
        let held: Vec<String> = self
            .connection
            .client
            .instances()
            .await
            .unwrap_or_default()
            .into_iter()
            .map(|one| one.id)
            .collect();
        if let Some(active) = self.active.clone() {
            self.hold_if_active(&active.instance).await;
        }
        for instance in &held {
            self.around.leases.close(&server, instance);
        }
        for instance in &held {
            // What does not end in time is cut, as for a switch.
            let drained = self.drained(&server, instance).await;
            if drained.is_err() {
                held.iter().for_each(|one| self.around.leases.reopen(&server, one));
                return drained;
            }
        }
        let supervisor = self.around.supervisor(&server)?;
        let again = async {
            supervisor.stop().await?;
            supervisor.ensure_ready().await
        };
        let connection = bounded(&format!("Restarting {title}"), SERVER_LIMIT, &self.ending, again).await;
        held.iter().for_each(|one| self.around.leases.reopen(&server, one));
        self.connection = connection?;
        supervisor.refresh().await;
        Ok(())
    }

    /// What is still done is the way back, which a person cannot cancel.
    pub fn not_cancelled_from_here(&mut self) {
        self.cancel = CancellationToken::new();
    }

    /// One real token of an instance, and the time until it came. Errors: proof_failed, cancelled, and what the server says.
    pub async fn prove(&self, model: &Model, instance: &str) -> Result<Duration, ApiError> {
        let begun = tokio::time::Instant::now();
        let token = proof::one_token(&self.around, &self.connection, model, instance);
        until_cancelled(&self.cancel, CANCELLED, token).await?;
        Ok(begun.elapsed())
    }

    /// Loads what was in memory before and is not any more, so that its borrower knows whether that is possible. Errors: what the
    /// server says.
    pub async fn bring_back(&mut self) -> Result<(), ApiError> {
        let Some(borrowed) = &self.borrowed else { return Err(ended()) };
        let back = self.around.load_missing(borrowed, &self.connection, &self.cancel);
        back.await.map(drop)
    }

    /// Memory is as it was. Errors: what of it could not be brought back, and why.
    pub async fn give_back(mut self) -> Result<(), ApiError> {
        let (reply, over) = oneshot::channel();
        self.back(Some(reply));
        over.await.unwrap_or(Ok(()))
    }

    fn back(&mut self, waits: Option<oneshot::Sender<Result<(), ApiError>>>) {
        let Some(borrowed) = self.borrowed.take() else { return };
        let events = self.events.clone();
        tokio::spawn(async move {
            drop(events.send(Event::ServerReturned(Box::new(borrowed), waits)).await);
        });
    }

    fn server(&self) -> Result<ServerId, ApiError> {
        self.borrowed.as_ref().map(|borrowed| borrowed.server.clone()).ok_or_else(ended)
    }

    /// From here on requests for the active model wait, until the loan is over.
    async fn hold_if_active(&mut self, instance: &str) {
        let is_active = self.active.as_ref().is_some_and(|active| active.instance == instance);
        let Some(borrowed) = self.borrowed.as_mut().filter(|borrowed| is_active && !borrowed.held) else {
            return;
        };
        borrowed.held = true;
        let (reply, held) = oneshot::channel();
        if self.events.send(Event::Hold(reply)).await.is_ok() {
            let _ = held.await;
        }
    }

    async fn drained(&self, server: &ServerId, instance: &str) -> Result<(), ApiError> {
        let limit = Duration::from_secs(self.around.settings.borrow().drain_s);
        let now = CancellationToken::new();
        let drain = self.around.leases.drain(server, instance, limit, &now);
        until_cancelled(&self.cancel, CANCELLED, async { Ok(drain.await) }).await.map(|_cut| ())
    }
}

impl Drop for ServerLoan {
    fn drop(&mut self) {
        self.back(None);
    }
}

fn ended() -> ApiError {
    ApiError::internal("The loan of the server is over.")
}
