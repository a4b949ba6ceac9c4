//! What an answer says about the server that gives it.

use pilothouse_domain::server::ServerId;
use pilothouse_leases::Leases;
use std::time::{Duration, Instant};

/// Passes it on when an answer went wrong: refused, broken off, or given up by a client that heard nothing for a while.
pub(super) struct Heard {
    leases: Leases,
    server: ServerId,
    pub last: Instant,
    pub failed: bool,
    /// It ended early because its model leaves: that says nothing about the server.
    pub excused: bool,
}

/// A client that leaves sooner after the last piece says nothing about the server.
const PATIENCE: Duration = Duration::from_secs(5);

impl Heard {
    pub fn new(leases: &Leases, server: &ServerId) -> Self {
        Self {
            leases: leases.clone(),
            server: server.clone(),
            last: Instant::now(),
            failed: false,
            excused: false,
        }
    }

    /// Hands a result on, and holds nothing against the server.
    pub fn calm<T>(&mut self, result: T) -> T {
        self.excused = true;
        result
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if !self.excused && (self.failed || self.last.elapsed() >= PATIENCE) {
            self.leases.trouble(&self.server);
        }
    }
}
