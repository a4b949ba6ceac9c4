//! The owner of the benchmark under way: one at a time. Its models are lent by residency, so that nothing is switched, loaded or
//! asked for a token of health beside it, and memory afterwards is as before.
//!
//! `run`: from a request to its rows; `side`: one model that is measured; `course`: which request comes when
//! (`open_loop`, `conversation` and `replay`: under plans with a course of their own; `loads` and `copies`: under those that take
//! models out of memory and put them in); `request`: one request; `quiet_gate`: who disturbs; `beside`: what the gauges show
//! meanwhile.

mod beside;
mod conversation;
mod copies;
mod course;
mod fingerprint;
#[cfg(test)]
mod held_tests;
mod loads;
mod open_loop;
#[cfg(test)]
mod plans_tests;
mod prompt;
mod quiet_gate;
mod replay;
mod request;
mod run;
mod side;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting_tests;

use super::{notifier::NotifierHandle, residency::ResidencyHandle, supervisors::Supervisors};
use crate::{
    hub::{Hub, Report},
    store::Store,
};
use pilothouse_domain::{
    bench::{BenchPlan, RunDetail, quiet::CpuTimes, replay::ReplayPrompt},
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use pilothouse_leases::Leases;
use pilothouse_system::{
    gauges::GaugePast,
    hardware::Power,
    page_cache::{cached_share, drop_from_cache},
};
use run::BenchRun;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// What the bencher needs of the engine.
#[derive(Clone)]
pub struct BencherWiring {
    pub hub: Hub,
    pub leases: Leases,
    pub notifier: NotifierHandle,
    pub store: Option<Store>,
    /// Lends the model that is measured.
    pub residency: ResidencyHandle,
    /// Know how their servers load a model.
    pub supervisors: Supervisors,
    pub past: GaugePast,
    pub neighbours: Arc<dyn Neighbours>,
}

/// What the system tells of the programs beside a run. Blocking.
pub trait Neighbours: Send + Sync {
    /// `None`: not told.
    fn cpu_times(&self) -> Option<CpuTimes>;
    fn power(&self) -> Power;
    /// Share of these files in the page cache, 0–1. `None`: not told.
    fn cached_share(&self, _files: &[PathBuf]) -> Option<f64> {
        None
    }
    /// Lets go of these files in the page cache. `false`: that cannot be done here.
    fn drop_from_cache(&self, _files: &[PathBuf]) -> bool {
        false
    }
}

/// What this system tells.
pub struct ThisMachine;

impl Neighbours for ThisMachine {
    fn cpu_times(&self) -> Option<CpuTimes> {
        pilothouse_system::process::cpu_times()
    }

    fn power(&self) -> Power {
        pilothouse_system::hardware::power()
    }

    /// By their sizes: one that is not told makes the whole untold.
    fn cached_share(&self, files: &[PathBuf]) -> Option<f64> {
        let (mut there, mut all) = (0.0, 0.0);
        for file in files {
            let bytes = std::fs::metadata(file).ok()?.len() as f64;
            there += bytes * cached_share(file)?;
            all += bytes;
        }
        (all > 0.0).then(|| there / all)
    }

    fn drop_from_cache(&self, files: &[PathBuf]) -> bool {
        !files.is_empty() && files.iter().all(|file| drop_from_cache(file).is_ok())
    }
}

/// What shall be measured.
#[derive(Debug, Clone)]
pub struct BenchRequest {
    /// `None`: the active model.
    pub model: Option<String>,
    pub server: Option<ServerId>,
    pub plan: BenchPlan,
    /// The other side of a comparison, and its server where it is named.
    pub against: Option<(String, Option<ServerId>)>,
    /// Of a replay: its prompts.
    pub replay: Vec<ReplayPrompt>,
    /// The runs that were cut off and shall go on, one or both sides; everything else but the plan then follows from them.
    pub resume: Vec<RunDetail>,
    /// It is a comparison of a model with itself, only to learn how much this machine scatters: no more blocks than asked for.
    pub noise: bool,
}

/// One run, or one for each side of a comparison.
type Runs = Vec<RunDetail>;
type BenchReply = oneshot::Sender<Result<Runs, ApiError>>;

enum Ask {
    Bench(BenchRequest, BenchReply),
    Cancel(oneshot::Sender<Result<(), ApiError>>),
    Shutdown(oneshot::Sender<()>),
}

/// The mailbox of the bencher.
#[derive(Clone)]
pub struct BencherHandle(mpsc::Sender<Ask>);

impl BencherHandle {
    pub fn start(around: BencherWiring) -> Self {
        let (sender, mailbox) = mpsc::channel(16);
        tokio::spawn(serve(around, mailbox));
        Self(sender)
    }

    /// Runs a benchmark and waits for its end: one run, or one for each side.
    /// Errors: busy, not_quiet, does_not_fit, not_found, ambiguous, no_active_model, cancelled, and what the server says.
    pub async fn bench(&self, request: BenchRequest) -> Result<Runs, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Bench(request, reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Cancels the run under way. Errors: not_found.
    pub async fn cancel(&self) -> Result<(), ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Ask::Cancel(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Cancels what is under way and ends.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.0.send(Ask::Shutdown(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

fn ended() -> ApiError {
    ApiError::new(ErrorCode::NotRunning, "Pilothouse is shutting down.")
}

struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<Runs, ApiError>>,
    reply: BenchReply,
}

async fn serve(around: BencherWiring, mut mailbox: mpsc::Receiver<Ask>) {
    let mut running: Option<Running> = None;
    loop {
        tokio::select! {
            ask = mailbox.recv() => match ask {
                Some(Ask::Bench(request, reply)) => match begin(&around, request, running.is_some()) {
                    Ok((cancel, task)) => running = Some(Running { cancel, task, reply }),
                    Err(error) => drop(reply.send(Err(error))),
                },
                Some(Ask::Cancel(reply)) => {
                    let answer = running.as_ref().map(|running| running.cancel.cancel());
                    let _ = reply.send(answer.ok_or_else(|| ApiError::not_found("No benchmark is under way.")));
                }
                Some(Ask::Shutdown(reply)) => {
                    if let Some(running) = running.take() {
                        running.cancel.cancel();
                        let _ = running.task.await;
                    }
                    let _ = reply.send(());
                    return;
                }
                None => return,
            },
            result = end_of(&mut running) => {
                around.hub.report(Report::Bench(None));
                if let Some(running) = running.take() {
                    let _ = running.reply.send(result);
                }
            }
        }
    }
}

type Begun = (CancellationToken, tokio::task::JoinHandle<Result<Runs, ApiError>>);

fn begin(around: &BencherWiring, request: BenchRequest, busy: bool) -> Result<Begun, ApiError> {
    if busy {
        return Err(ApiError::new(ErrorCode::Busy, "A benchmark is under way already.").retryable());
    }
    let cancel = CancellationToken::new();
    let run = BenchRun::new(around.clone(), request, cancel.clone());
    Ok((cancel, tokio::spawn(run.run())))
}

async fn end_of(running: &mut Option<Running>) -> Result<Runs, ApiError> {
    match running {
        Some(running) => (&mut running.task).await.unwrap_or_else(|_| {
            Err(ApiError::internal("The benchmark ended unexpectedly.").hint("Look at Pilothouse's log."))
        }),
        None => std::future::pending().await,
    }
}
