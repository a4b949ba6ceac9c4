//! What is asked of residency beside switches, who waits for it, and how it is taken back.

use super::{
    SwitchReply,
    holding::Holding,
    rearranging::{Purpose, Rearranged},
};
use pilothouse_domain::{
    error::ApiError,
    model::{LoadSettings, Model, ModelRef},
    residency::Arrangement,
    scene::{Held, ScenePlan, SceneReport},
    server::ServerId,
    switch::{Active, SwitchReport},
};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// A role as it shall be held, and what is known of its model.
#[derive(Debug, Clone)]
pub struct RoleWanted {
    pub role: String,
    pub held: Held,
    pub model: Model,
    /// What it takes with these settings, in bytes.
    pub bytes: Option<u64>,
}

/// A model that shall become active, and with what it shall be loaded.
#[derive(Debug, Clone)]
pub struct ModelWanted {
    pub model: Model,
    pub with: LoadSettings,
    /// What it takes with these settings, in bytes.
    pub bytes: Option<u64>,
}

/// What shall be held.
#[derive(Debug, Clone)]
pub enum Aim {
    /// This model active, loaded so, and everything else as it is.
    Active(Box<ModelWanted>),
    Roles {
        scene: Option<String>,
        roles: Vec<RoleWanted>,
    },
    /// What was there before the last scene.
    Before,
}

/// What has left memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Unloaded {
    pub unloaded: Vec<Active>,
    pub answers_cut: u32,
    pub deactivated: Option<Active>,
    pub took_ms: u64,
}

/// What an undo was.
#[derive(Debug, Clone, PartialEq)]
pub enum Undone {
    Switch(Box<SwitchReport>),
    Scene(SceneReport),
    Unloaded(Unloaded),
}

pub(super) type SceneReply = oneshot::Sender<Result<SceneReport, ApiError>>;
pub(super) type UnloadReply = oneshot::Sender<Result<Unloaded, ApiError>>;

/// What is asked for.
pub(super) enum Request {
    Apply {
        aim: Aim,
        now: bool,
        dry_run: bool,
        waiter: Waiter,
    },
    Plan {
        aim: Aim,
        reply: oneshot::Sender<Result<ScenePlan, ApiError>>,
    },
    /// `None`: the active one.
    Unload {
        model: Option<ModelRef>,
        now: bool,
        dry_run: bool,
        reply: UnloadReply,
    },
    /// One copy of a model that is in memory several times.
    UnloadCopy {
        server: ServerId,
        instance: String,
        reply: UnloadReply,
    },
    Undo(oneshot::Sender<Result<Undone, ApiError>>),
    Pin {
        model: ModelRef,
        pinned: bool,
        reply: oneshot::Sender<Result<(), ApiError>>,
    },
}

/// Who waits for the end of a rearrangement.
pub(super) enum Waiter {
    Switch(SwitchReply),
    Scene(SceneReply),
    Unload(UnloadReply),
}

/// A rearrangement under way.
pub(super) struct Rearranging {
    pub purpose: Purpose,
    pub after: Arrangement,
    pub cancel: CancellationToken,
    pub now: CancellationToken,
    pub task: JoinHandle<(Rearranged, Holding)>,
    pub waiters: Vec<Waiter>,
    /// It takes something back, and is not taken back itself.
    pub is_undo: bool,
}

impl Waiter {
    pub fn refuse(self, error: ApiError) {
        match self {
            Self::Switch(reply) => drop(reply.send(Err(error))),
            Self::Scene(reply) => drop(reply.send(Err(error))),
            Self::Unload(reply) => drop(reply.send(Err(error))),
        }
    }

    /// `switch`: the same as a switch tells of it, where it was one.
    pub fn tell(
        self,
        result: &Result<SceneReport, ApiError>,
        switch: Option<&SwitchReport>,
        unloaded: &[Active],
        deactivated: Option<&Active>,
    ) {
        match (self, result) {
            (Self::Switch(reply), Err(error)) => drop(reply.send(Err(error.clone()))),
            (Self::Switch(reply), Ok(_)) => {
                let none = || ApiError::internal("The change under way was no switch.");
                drop(reply.send(switch.cloned().ok_or_else(none)));
            }
            (Self::Scene(reply), result) => drop(reply.send(result.clone())),
            (Self::Unload(reply), Ok(SceneReport { error: None, answers_cut, took_ms, .. })) => {
                let unloaded = Unloaded {
                    unloaded: unloaded.to_vec(),
                    answers_cut: *answers_cut,
                    deactivated: deactivated.cloned(),
                    took_ms: *took_ms,
                };
                drop(reply.send(Ok(unloaded)));
            }
            (Self::Unload(reply), Ok(SceneReport { error: Some(error), .. }) | Err(error)) => {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}

/// How something is taken back.
#[derive(Debug, Clone)]
pub(super) enum Back {
    To(Option<ModelRef>),
    /// To what was active, as it was loaded.
    Active(ModelRef, Box<Arrangement>),
    Arrangement(Box<Arrangement>),
}

impl Back {
    /// To what was active then, as it was loaded.
    pub fn to(before: &Arrangement) -> Self {
        match &before.active {
            Some(active) => Self::Active(active.reference(), Box::new(before.clone())),
            None => Self::To(None),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Undo {
    pub back: Back,
    pub until: Instant,
}
