//! What our process writes.

use super::wiring::SupervisorWiring;
use crate::api::LogSource;
use pilothouse_domain::server::ServerId;
use pilothouse_servers::ServerAdapter;
use pilothouse_system::process::OutputTail;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Its output, followed into the server's log.
pub(super) struct Output {
    lines_of_work: Arc<AtomicU64>,
    _tail: OutputTail,
}

impl Output {
    pub fn follow(adapter: &Arc<dyn ServerAdapter>, around: &SupervisorWiring) -> Self {
        let lines_of_work = Arc::new(AtomicU64::new(0));
        let (counter, kind, log) = (lines_of_work.clone(), adapter.clone(), around.log.clone());
        let tail = OutputTail::follow(output_path(around, &adapter.id()), move |line| {
            if kind.tells_of_work(line) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            log.push(LogSource::Server, line);
        });
        Self { lines_of_work, _tail: tail }
    }

    /// Lines so far that tell of work.
    pub fn lines_of_work(&self) -> u64 {
        self.lines_of_work.load(Ordering::Relaxed)
    }
}

pub(super) fn output_path(around: &SupervisorWiring, server: &ServerId) -> PathBuf {
    around.run_dir.join(format!("{server}.output"))
}
