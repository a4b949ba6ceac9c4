//! What slow work led to, as one more event for the actor.

use super::{
    connection::Connection,
    record::Record,
    work::{Probe, Speech, Started},
};
use crate::api::Check;
use pilothouse_domain::{error::ApiError, hang::Reading, server::Backend};
use pilothouse_servers::{Found, Installation};
use pilothouse_system::process::{Exit, OwnedProcess, ProcessSpec};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What a launch led to, and what stops it where that is no process of ours.
pub(super) type Launched = Result<(Started, Option<Vec<ProcessSpec>>), ApiError>;

/// `generation` tells which connection it is about: late ones are dropped.
pub(super) enum Outcome {
    Located(Installation),
    Found(Found, Option<Vec<ProcessSpec>>),
    /// Nobody of the kind answers: a stranger at its address, if there is one, and the program that may run behind it.
    Alone(Option<ApiError>, Option<Backend>),
    Readopted {
        launch: u64,
        process: Option<OwnedProcess>,
        record: Record,
    },
    /// How launch number `launch` ended; `None`: it was called off before there was a process.
    Started {
        launch: u64,
        result: Option<Launched>,
    },
    Ended {
        generation: u64,
        exit: Exit,
    },
    /// `number`: the how manieth probe that was.
    Probed {
        generation: u64,
        number: u64,
        probe: Probe,
    },
    /// What could be seen of its work.
    Read {
        generation: u64,
        reading: Reading,
        /// The answers that were waited for when it began, by instance.
        awaited: BTreeMap<String, usize>,
    },
    BackoffOver {
        generation: u64,
    },
    /// The product's own stop commands have run.
    StopCommanded {
        generation: u64,
        result: Result<(), ApiError>,
    },
    Spoken {
        generation: u64,
        result: Result<Speech, ApiError>,
    },
    HolderEnded {
        generation: u64,
    },
    /// What somebody asked to be checked; `spoken`: whether it gave a token, if it was asked for one.
    Checked {
        generation: u64,
        checks: Vec<Check>,
        spoken: Option<Result<Speech, ApiError>>,
        reply: oneshot::Sender<Vec<Check>>,
    },
    /// Somebody else's server was ended for ours, or not.
    TakenOver(Result<(), ApiError>, oneshot::Sender<Result<Connection, ApiError>>),
}

impl Outcome {
    /// The connection that it is about, where only the present one counts.
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Ended { generation, .. }
            | Self::Probed { generation, .. }
            | Self::Read { generation, .. }
            | Self::BackoffOver { generation }
            | Self::StopCommanded { generation, .. }
            | Self::Spoken { generation, .. }
            | Self::HolderEnded { generation } => Some(*generation),
            // Its asker waits for it in any case.
            Self::Checked { .. } | Self::TakenOver(..) => None,
            Self::Located(_) | Self::Found(..) | Self::Alone(..) => None,
            // Launches have numbers of their own.
            Self::Readopted { .. } | Self::Started { .. } => None,
        }
    }
}
