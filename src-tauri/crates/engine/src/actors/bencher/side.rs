//! One model that is measured: its run so far, and how it is asked.

use super::{BencherWiring, beside::Beside, fingerprint::fingerprint, request::has_failed};
use crate::{
    actors::{residency::Side, supervisor::Connection},
    store::NewRun,
};
use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Run, RunDetail, RunState, Trial, TrialPhase,
        drift::drift,
        sweep::{LevelGauges, Sweep},
        trace_reasons::reasons,
    },
    error::{ApiError, ErrorCode},
    machine::Machine,
    model::{Model, ModelRef},
    server::Ownership,
};
use pilothouse_leases::Target;
use pilothouse_system::hardware::Power;
use std::time::Instant;

/// What the files of a model tell, whoever loads them.
const OF_FILES: [&str; 2] = ["weights_digest", "bits_per_weight"];

/// How an instance is asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub lease: Target,
    pub connection: Connection,
}

impl Asked {
    pub fn of(model: &ModelRef, side: &Side) -> Self {
        let connection = side.connection.clone();
        let lease = connection.target(&model.server, &model.model, &side.instance.id);
        Self { lease, connection }
    }
}

/// A run under way.
pub(super) struct Measured {
    pub target: ModelRef,
    pub run: Run,
    pub trials: Vec<Trial>,
    pub asked: Asked,
    pub begun: Instant,
    /// Failed requests one after another.
    pub failed_in_a_row: u32,
    beside: Beside,
}

/// What a run is begun with.
pub(super) struct Begin<'a> {
    pub plan: &'a BenchPlan,
    pub machine: &'a Machine,
    pub power: &'a Power,
    /// The first side of the comparison that it is the second of.
    pub against: Option<i64>,
}

impl Measured {
    /// Writes down that it has begun.
    pub async fn begin(around: &BencherWiring, model: &Model, side: &Side, begin: &Begin<'_>) -> Self {
        let (target, started_at) = (model.reference(), Timestamp::now());
        let snapshot = around.hub.now();
        let mut run = Run::begun(
            started_at.as_millisecond(),
            started_at,
            begin.plan.clone(),
            model.server.clone(),
            model.name.clone(),
        );
        run.server_version = snapshot.server(&model.server).and_then(|server| server.version.clone());
        run.against = begin.against;
        run.fingerprint = fingerprint(&snapshot, model, &side.instance, begin);
        if let Ok(supervisor) = around.supervisors.get(&model.server) {
            let mut makeup = supervisor.makeup(model).await;
            // How somebody else's server loads its models is not told by our settings.
            if snapshot.server(&model.server).and_then(|server| server.ownership) != Some(Ownership::Ours) {
                makeup.retain(|key, _| OF_FILES.contains(key));
            }
            let told = makeup.into_iter().map(|(key, value)| (key.to_owned(), value));
            run.fingerprint.extend(told);
        }
        if let Some(store) = &around.store {
            let new = NewRun {
                started_at,
                plan: run.plan.clone(),
                server: run.server.clone(),
                model: run.model.clone(),
                server_version: run.server_version.clone(),
                fingerprint: run.fingerprint.clone(),
                against: run.against,
            };
            match store.begin_run(&new).await {
                Ok(id) => run.run_id = id,
                Err(error) => tracing::warn!(%error, "this run is not kept"),
            }
        }
        let beside = Beside::begin(around, &target, side.instance.id.clone(), started_at);
        let asked = Asked::of(&target, side);
        let begun = Instant::now();
        Self { target, run, trials: vec![], asked, begun, failed_in_a_row: 0, beside }
    }

    /// Takes a request in and writes it down.
    pub async fn add(&mut self, around: &BencherWiring, mut trial: Trial) {
        trial.seq = self.trials.len() as u32;
        self.failed_in_a_row = if has_failed(&trial) { self.failed_in_a_row + 1 } else { 0 };
        if trial.phase == TrialPhase::Warmup {
            self.run.warmups += 1;
        }
        if let Some(store) = &around.store
            && let Err(error) = store.add_trial(self.run.run_id, &trial).await
        {
            tracing::warn!(%error, "a trial was not kept");
        }
        self.trials.push(trial);
    }

    /// Milliseconds since the begin of the run.
    pub fn since_begin(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.begun).as_secs_f64() * 1000.0
    }

    pub fn measured(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.phase == TrialPhase::Measured)
    }

    /// Sums up, and writes down how it ended.
    pub async fn close(self, around: &BencherWiring, result: Result<(), &ApiError>) -> RunDetail {
        let Self { mut run, trials, beside, .. } = self;
        let seen = beside.end().await;
        run.state = match result {
            Ok(()) => RunState::Done,
            Err(error) if error.code == ErrorCode::Cancelled => RunState::Cancelled,
            Err(_) => RunState::CutOff,
        };
        if let Err(error) = result {
            run.note = Some(error.message.clone());
        }
        run.peak_memory_bytes = seen.peak_memory_bytes;
        run.peak_gpu_memory_bytes = seen.peak_gpu_memory_bytes;
        run.sum_up(&trials);
        run.weigh(&trials, &seen.cards);
        if run.plan.is_sweep() {
            let beside = |from: f64, to: f64| LevelGauges {
                memory_bytes: seen.cards.memory_bytes(&[(from, to)]),
                gpu_load_percent: seen.cards.gpu_load_percent(&[(from, to)]),
                power_w: seen.cards.power_w(&[(from, to)]),
            };
            run.sweep = Some(Sweep::of(&trials, beside));
        }
        let notes: Vec<String> = run.note.take().into_iter().chain(why_incomplete(&trials)).collect();
        run.note = Some(notes.join(" ")).filter(|note| !note.is_empty());
        let cards = Some(seen.cards).filter(|cards| !cards.at_ms.is_empty());
        let mut detail = RunDetail { run, trials, trace: seen.trace, cards };
        detail.run.reasons = drift(&detail.trials).map(|drift| drift.words).into_iter().collect();
        detail.run.reasons.extend(reasons(&detail));
        if let Some(store) = &around.store
            && let Err(error) = store.end_run(&detail).await
        {
            tracing::warn!(%error, "the end of the run was not kept");
        }
        detail
    }
}

/// What is missing in a run that went to its end, and why.
fn why_incomplete(trials: &[Trial]) -> Option<String> {
    let measured = || trials.iter().filter(|trial| trial.phase == TrialPhase::Measured);
    if !measured().any(Trial::counts) {
        let flaw = measured().find_map(|trial| trial.flaw.as_deref())?;
        return Some(format!("No trial counts: {flaw}."));
    }
    let flawed = measured().filter(|trial| !trial.counts()).count();
    let uncounted = measured().all(|trial| trial.output_tokens.is_none());
    match (uncounted, flawed) {
        (true, _) => Some("The server does not tell how many tokens it gave, so there are no rates.".into()),
        (false, 0) => None,
        (false, flawed) => Some(format!("{flawed} of {} trials do not count.", measured().count())),
    }
}
