//! Who waits for what of one server.

use super::Connection;
use pilothouse_domain::error::ApiError;
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Waiting {
    ready: Vec<oneshot::Sender<Result<Connection, ApiError>>>,
    stopped: Vec<oneshot::Sender<Result<(), ApiError>>>,
    listed: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    pub fn for_ready(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        self.ready.push(reply);
    }

    pub fn for_stop(&mut self, reply: oneshot::Sender<Result<(), ApiError>>) {
        self.stopped.push(reply);
    }

    pub fn for_list(&mut self, reply: oneshot::Sender<()>) {
        self.listed.push(reply);
    }

    pub fn wants_list(&self) -> bool {
        !self.listed.is_empty()
    }

    pub fn ready(&mut self, result: &Result<Connection, ApiError>) {
        for reply in self.ready.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    pub fn stopped(&mut self, result: &Result<(), ApiError>) {
        for reply in self.stopped.drain(..) {
            let _ = reply.send(result.clone());
        }
    }

    pub fn listed(&mut self) {
        for reply in self.listed.drain(..) {
            let _ = reply.send(());
        }
    }
}
