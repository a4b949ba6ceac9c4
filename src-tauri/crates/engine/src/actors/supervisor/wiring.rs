//! What a supervisor is connected to.

use crate::{actors::notifier::NotifierHandle, hub::Hub, server_log::ServerLog};
use pilothouse_domain::backoff::RestartPolicy;
use pilothouse_leases::Leases;
use pilothouse_system::process::Processes;
use std::{path::PathBuf, sync::Arc};

/// What a supervisor needs of the engine.
pub struct SupervisorWiring {
    pub hub: Hub,
    pub notifier: NotifierHandle,
    pub log: Arc<ServerLog>,
    /// Folder for the record of our process and its output.
    pub run_dir: PathBuf,
    pub policy: RestartPolicy,
    /// Answers under way, and what goes wrong with them.
    pub leases: Leases,
    /// What the system tells of the server's processes.
    pub processes: Arc<dyn Processes>,
}
