//! One model that is measured: its run so far, and how it is asked.

use super::{
    BencherWiring,
    beside::Beside,
    fingerprint::fingerprint,
    request::{Asked, has_failed},
};
use crate::{actors::residency::Side, store::NewRun};
use pilothouse_domain::{
    Timestamp,
    bench::{
        BenchPlan, Run, RunDetail, RunState, Trial, TrialPhase,
        drift::drift,
        series::changed,
        sweep::{LevelGauges, QUERY_MS, Sweep},
        trace_reasons::reasons,
    },
    error::{ApiError, ErrorCode},
    machine::Machine,
    model::{Model, ModelRef},
    server::{Ownership, ServerId},
    snapshot::Snapshot,
};
use pilothouse_system::{hardware::Power, process::Identity};
use std::time::Duration;
use tokio::time::Instant;

/// What the files of a model tell, whoever loads them.
const OF_FILES: [&str; 2] = ["weights_digest", "bits_per_weight"];

/// What of a fingerprint tells of others.
const BESIDE: &str = "other_instances";

/// A run under way.
pub(super) struct Measured {
    pub target: ModelRef,
    pub run: Run,
    pub trials: Vec<Trial>,
    pub asked: Asked,
    pub begun: Instant,
    /// Failed requests one after another.
    pub failed_in_a_row: u32,
    /// The process of a server of ours.
    server: ServerProcess,
    beside: Beside,
}

/// What a run is begun with.
pub(super) struct Begin<'a> {
    pub plan: &'a BenchPlan,
    pub machine: &'a Machine,
    pub power: &'a Power,
    /// The first side of the comparison that it is the second of.
    pub against: Option<i64>,
    /// Runs that were cut off and shall go on.
    pub resume: &'a [RunDetail],
}

impl Begin<'_> {
    /// The one of a side, first or second.
    fn resumed(&self) -> Option<&RunDetail> {
        self.resume.get(usize::from(self.against.is_some()))
    }
}

impl Measured {
    /// Begins a run, or goes on with one that was cut off. Errors: invalid_call (what is measured is not what it was).
    pub async fn begin(
        around: &BencherWiring,
        model: &Model,
        side: &Side,
        begin: &Begin<'_>,
    ) -> Result<Self, ApiError> {
        let mut run = drafted(around, model, side, begin).await;
        let mut trials = vec![];
        match begin.resumed() {
            Some(before) => {
                want_the_same(&before.run, &run)?;
                if let Some(store) = &around.store {
                    store.reopen_run(before.run.run_id).await?;
                }
                (run, trials) = (before.run.clone(), before.trials.clone());
                (run.state, run.note) = (RunState::Running, None);
            }
            None => {
                if let Some(store) = &around.store {
                    match store.begin_run(&NewRun::of(&run)).await {
                        Ok(id) => run.run_id = id,
                        Err(error) => tracing::warn!(%error, "this run is not kept"),
                    }
                }
            }
        }
        // One that goes on does so on its own time axis, right behind its last request.
        let ends = trials.iter().filter_map(|trial| Some(trial.begun_ms? + trial.total_ms));
        let so_far = Duration::from_secs_f64(ends.fold(0.0, f64::max).max(0.0) / 1000.0);
        let begun = Instant::now();
        let server = ServerProcess::of(&around.hub.now(), &model.server);
        let begun = begun.checked_sub(so_far).unwrap_or(begun);
        let since = Timestamp::now() - so_far;
        let target = model.reference();
        let beside = Beside::begin(around, &target, side.instance.id.clone(), since);
        let asked = Asked::of(&target, side);
        Ok(Self { target, run, trials, asked, begun, failed_in_a_row: 0, server, beside })
    }

    /// A server that died is back within a second or two, cold and without the model, and may load it for the next request.
    /// Errors: server_error, where it is another process than at the begin.
    pub fn same_server(&self, around: &BencherWiring) -> Result<(), ApiError> {
        let snapshot = around.hub.now();
        let id = &self.target.server;
        if !self.server.is_another_now(&snapshot, id) {
            return Ok(());
        }
        let text = format!("{} ended during the benchmark and was started again.", snapshot.server_title(id));
        Err(ApiError::new(ErrorCode::ServerError, text)
            .hint(format!("Look at the server's log: pilothouse logs {id}")))
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

    /// Adds to what makes the run doubtful.
    pub fn remark(&mut self, words: &str) {
        let note = self.run.note.take().map(|note| note + " ").unwrap_or_default();
        self.run.note = Some(note + words);
    }

    pub fn measured(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().filter(|trial| trial.phase == TrialPhase::Measured)
    }

    /// Sums up, and writes down how it ended; `error`: why it did not go to its end.
    pub async fn close(self, around: &BencherWiring, error: Option<&ApiError>) -> RunDetail {
        let Self { mut run, trials, beside, .. } = self;
        let seen = beside.end().await;
        run.state = match error {
            None => RunState::Done,
            Some(error) if error.code == ErrorCode::Cancelled => RunState::Cancelled,
            Some(_) => RunState::CutOff,
        };
        if let Some(error) = error {
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
            run.sweep = Some(Sweep::of(&trials, run.plan.slo_ms.unwrap_or(QUERY_MS), beside));
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

/// The process behind a server, as far as it is told.
struct ServerProcess {
    /// Of one that we started.
    ours: Option<u32>,
    /// Of whoever started it: its supervisor may not have noticed yet that it has ended.
    process: Option<Identity>,
}

impl ServerProcess {
    fn of(snapshot: &Snapshot, id: &ServerId) -> Self {
        let pid = snapshot.server(id).and_then(|server| server.pid);
        Self { ours: pid_of_ours(snapshot, id), process: pid.and_then(Identity::of) }
    }

    /// For sure: another one answers in its place.
    fn is_another_now(&self, snapshot: &Snapshot, id: &ServerId) -> bool {
        let replaced = self.ours.zip(pid_of_ours(snapshot, id)).is_some_and(|(before, now)| before != now);
        replaced || self.process.is_some_and(|process| process.has_ended())
    }
}

fn pid_of_ours(snapshot: &Snapshot, id: &ServerId) -> Option<u32> {
    let server = snapshot.server(id)?;
    server.pid.filter(|_| server.ownership == Some(Ownership::Ours))
}

/// A run with its fingerprint, not written down yet.
async fn drafted(around: &BencherWiring, model: &Model, side: &Side, begin: &Begin<'_>) -> Run {
    let (started_at, snapshot) = (Timestamp::now(), around.hub.now());
    let mut run = Run::begun(
        started_at.as_millisecond(),
        started_at,
        begin.plan.clone(),
        model.server.clone(),
        model.name.clone(),
    );
    run.server_version = snapshot.server(&model.server).and_then(|server| server.version.clone());
    run.against = begin.against;
    run.fingerprint = fingerprint(&snapshot, model, &side.instance, begin.machine, begin.power);
    if let Ok(supervisor) = around.supervisors.get(&model.server) {
        let mut makeup = supervisor.makeup(model).await;
        // How somebody else's server loads its models is not told by our settings.
        if snapshot.server(&model.server).and_then(|server| server.ownership) != Some(Ownership::Ours) {
            makeup.retain(|key, _| OF_FILES.contains(key));
        }
        let told = makeup.into_iter().map(|(key, value)| (key.to_owned(), value));
        run.fingerprint.extend(told);
    }
    run
}

/// A run goes on only with what it has measured so far. Errors: invalid_call, with what is another now.
fn want_the_same(before: &Run, now: &Run) -> Result<(), ApiError> {
    let changes = changed(&before.fingerprint, &now.fingerprint);
    let Some(change) = changes.into_iter().find(|change| change.key != BESIDE) else { return Ok(()) };
    let key = change.key.replace('_', " ");
    let text = format!(
        "Run {} cannot go on: its {key} was {}, and is {} now.",
        before.run_id, change.before, change.after
    );
    Err(ApiError::new(ErrorCode::InvalidCall, text)
        .hint("Begin a new run; what was measured stays in the history."))
}

/// What is missing in a run that went to its end, and why.
fn why_incomplete(trials: &[Trial]) -> Option<String> {
    let measured = || trials.iter().filter(|trial| trial.phase == TrialPhase::Measured);
    if !measured().any(Trial::counts) {
        let flaw = measured().find_map(|trial| trial.flaw.as_deref())?;
        return Some(format!("No trial counts: {flaw}."));
    }
    let flawed = measured().filter(|trial| trial.flaw.is_some()).count();
    let uncounted = measured().all(|trial| trial.output_tokens.is_none());
    match (uncounted, flawed) {
        (true, _) => Some("The server does not tell how many tokens it gave, so there are no rates.".into()),
        (false, 0) => None,
        (false, flawed) => Some(format!("{flawed} of {} trials do not count.", measured().count())),
    }
}
