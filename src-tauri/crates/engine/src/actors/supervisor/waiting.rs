//! Who waits for what of one server.

use super::connection::Connection;
use pilothouse_domain::error::ApiError;
use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Waiting {
    ready: Vec<oneshot::Sender<Result<Connection, ApiError>>>,
    stopped: Vec<oneshot::Sender<Result<(), ApiError>>>,
    /// With the number of the probe whose answer they wait for, or a later one.
    listed: Vec<(u64, oneshot::Sender<()>)>,
    located: Vec<oneshot::Sender<()>>,
}

impl Waiting {
    pub fn for_ready(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        self.ready.push(reply);
    }

    pub fn for_stop(&mut self, reply: oneshot::Sender<Result<(), ApiError>>) {
        self.stopped.push(reply);
    }

    pub fn for_list(&mut self, reply: oneshot::Sender<()>, number: u64) {
        self.listed.push((number, reply));
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

    pub fn for_located(&mut self, reply: oneshot::Sender<()>) {
        self.located.push(reply);
    }

    /// The program was looked for.
    pub fn located(&mut self) {
        for reply in self.located.drain(..) {
            let _ = reply.send(());
        }
    }

    /// A probe has ended.
    pub fn listed(&mut self, number: u64) {
        for (_, reply) in self.listed.extract_if(.., |(wanted, _)| *wanted <= number) {
            let _ = reply.send(());
        }
    }
}
