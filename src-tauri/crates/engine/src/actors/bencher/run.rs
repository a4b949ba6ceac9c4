use super::{BenchRequest, BencherWiring, beside::Beside, fingerprint::fingerprint, prompt};
use crate::{
    actors::{
        bounds::{until_cancelled, within},
        residency::Borrowed,
        supervisor::Connection,
    },
    hub::Report,
    store::NewRun,
};
use futures_util::StreamExt;
use pilothouse_domain::{
    Timestamp,
    bench::{
        self, BenchProgress, RawTrial, Run, RunDetail, RunState, Trial, TrialPhase,
        warmup::{self, MAX_WARMUPS, Warmth},
    },
    error::{ApiError, ErrorCode},
    machine::Machine,
    model::{Model, ModelRef, find_model},
    notice::Happening,
};
use pilothouse_leases::Target;
use pilothouse_servers::{GenerateEnd, GenerateRequest};
use pilothouse_system::hardware::this_machine;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A run from its preparation to its row.
pub(super) struct BenchRun {
    around: BencherWiring,
    request: BenchRequest,
    cancel: CancellationToken,
}

/// What stays the same over all requests of a run.
struct Arm {
    run_id: i64,
    target: ModelRef,
    title: String,
    lease: Target,
    connection: Connection,
}

/// Beyond reading the prompt, half a token a second is slower than anything that is worth a benchmark: a trial that takes
/// longer has hung.
fn trial_limit(max_tokens: u32) -> Duration {
    Duration::from_secs(120) + Duration::from_secs(2) * max_tokens
}

impl BenchRun {
    pub fn new(around: BencherWiring, request: BenchRequest, cancel: CancellationToken) -> Self {
        Self { around, request, cancel }
    }

    pub async fn run(self) -> Result<RunDetail, ApiError> {
        let model = self.model()?;
        let why = format!("A benchmark of {}", model.title);
        let borrowed = self.around.residency.borrow(model.clone(), why, self.cancel.clone()).await?;
        let result = self.measured(&model, &borrowed).await;
        borrowed.give_back().await;
        result
    }

    async fn measured(&self, model: &Model, borrowed: &Borrowed) -> Result<RunDetail, ApiError> {
        let target = model.reference();
        let mut run = self.new_run(model, borrowed.instance.context, &this_machine().await);
        if let Some(store) = &self.around.store {
            let new = NewRun {
                started_at: run.started_at,
                plan: run.plan.clone(),
                server: run.server.clone(),
                model: run.model.clone(),
                server_version: run.server_version.clone(),
                fingerprint: run.fingerprint.clone(),
            };
            match store.begin_run(&new).await {
                Ok(id) => run.run_id = id,
                Err(error) => tracing::warn!(%error, "this run is not kept"),
            }
        }
        let connection = borrowed.connection.clone();
        let lease = connection.target(&target.server, &target.model, &borrowed.instance.id);
        let arm = Arm { run_id: run.run_id, target, title: model.title.clone(), lease, connection };
        let mut trials = Vec::new();
        let beside = Beside::begin(&self.around, &arm.target.server, run.started_at);
        let result = self.measure(&arm, &mut run, &mut trials).await;
        let (peak, trace) = beside.end().await;
        run.peak_memory_bytes = peak;
        self.close(&arm, RunDetail { run, trials, trace }, result).await
    }

    fn model(&self) -> Result<Model, ApiError> {
        let snapshot = self.around.hub.now();
        let models: Vec<Model> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        let (name, server) = match (&self.request.model, &snapshot.active) {
            (Some(name), _) => (name.clone(), self.request.server.clone()),
            (None, Some(active)) => (active.model.clone(), Some(active.server.clone())),
            (None, None) => {
                return Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                    .hint("Switch to a model first, or name one."));
            }
        };
        find_model(&models, &name, server.as_ref()).cloned()
    }

    fn new_run(&self, model: &Model, context: Option<u64>, machine: &Machine) -> Run {
        let snapshot = self.around.hub.now();
        let server = snapshot.server(&model.server);
        let fingerprint = fingerprint(&snapshot, model, context, machine);
        let mut run = Run::begun(
            Timestamp::now().as_millisecond(),
            Timestamp::now(),
            self.request.plan.clone(),
            model.server.clone(),
            model.name.clone(),
        );
        run.server_version = server.and_then(|s| s.version.clone());
        run.fingerprint = fingerprint;
        run
    }

    async fn measure(&self, arm: &Arm, run: &mut Run, trials: &mut Vec<Trial>) -> Result<(), ApiError> {
        let (mut ttft, mut decode) = (Vec::new(), Vec::new());
        loop {
            self.progress(arm, TrialPhase::Warmup, ttft.len() as u32, MAX_WARMUPS, decode.last().copied());
            let trial = self.trial(arm, trials, TrialPhase::Warmup, run).await?;
            // An answer that came at once has no first token, but a time.
            ttft.push(trial.ttft_ms.unwrap_or(trial.total_ms));
            decode.extend(trial.decode_tok_s);
            run.warmups += 1;
            match warmup::judge(&ttft, &decode) {
                Warmth::Warm => break,
                Warmth::GoOn if run.warmups < MAX_WARMUPS => {}
                Warmth::GoOn | Warmth::Unsettled => {
                    run.note =
                        Some(format!("The server had not settled after {MAX_WARMUPS} warm-up requests."));
                    break;
                }
            }
        }
        let mut last = None;
        for done in 0..run.plan.trials {
            self.progress(arm, TrialPhase::Measured, done, run.plan.trials, last);
            last = self.trial(arm, trials, TrialPhase::Measured, run).await?.decode_tok_s;
        }
        Ok(())
    }

    fn progress(&self, arm: &Arm, phase: TrialPhase, done: u32, total: u32, rate: Option<f64>) {
        self.around.hub.report(Report::Bench(Some(BenchProgress {
            phase,
            done,
            total,
            last_decode_tok_s: rate,
            ..BenchProgress::of(arm.run_id, arm.target.server.clone(), &arm.target.model)
        })));
    }

    async fn trial(
        &self,
        arm: &Arm,
        trials: &mut Vec<Trial>,
        phase: TrialPhase,
        run: &mut Run,
    ) -> Result<Trial, ApiError> {
        let request = GenerateRequest {
            instance: arm.lease.instance.clone(),
            prompt: prompt::unique(rand::random(), run.plan.prompt_words),
            max_tokens: run.plan.max_tokens,
            raw: true,
        };
        // Counted as under way: nobody asks the server for a token of proof beside a measurement.
        let lease = self.around.leases.enter(&arm.lease);
        let limit = trial_limit(run.plan.max_tokens);
        let streamed = within("A request of the benchmark", limit, stream(arm, &request));
        let (raw, end) = until_cancelled(&self.cancel, "The benchmark was cancelled.", streamed)
            .await
            .map_err(|error| {
                let unexplained = error.code == ErrorCode::TimedOut && error.hint.is_none();
                let hint = format!("Look at the server's log: pilothouse logs {}", arm.target.server);
                if unexplained { error.hint(hint) } else { error }
            })?;
        drop(lease);
        let trial = judge(trials.len() as u32, phase, &raw, &end, run.plan.max_tokens);
        if let Some(store) = &self.around.store
            && let Err(error) = store.add_trial(arm.run_id, &trial).await
        {
            tracing::warn!(%error, "a trial was not kept");
        }
        trials.push(trial.clone());
        Ok(trial)
    }

    async fn close(
        &self,
        arm: &Arm,
        detail: RunDetail,
        result: Result<(), ApiError>,
    ) -> Result<RunDetail, ApiError> {
        let RunDetail { mut run, trials, trace } = detail;
        run.state = match &result {
            Ok(()) => RunState::Done,
            Err(error) if error.code == ErrorCode::Cancelled => RunState::Cancelled,
            Err(_) => RunState::CutOff,
        };
        if let Err(error) = &result {
            run.note = Some(error.message.clone());
        }
        run.sum_up(&trials);
        run.note = run.note.take().or_else(|| why_incomplete(&trials));
        if let Some(store) = &self.around.store
            && let Err(error) =
                store.end_run(run.run_id, run.state, run.note.as_deref(), run.peak_memory_bytes).await
        {
            tracing::warn!(%error, "the end of the run was not kept");
        }
        if let (Some(store), Some(trace)) = (&self.around.store, &trace)
            && let Err(error) = store.add_trace(run.run_id, trace).await
        {
            tracing::warn!(%error, "the gauges of the run were not kept");
        }
        let title = arm.title.clone();
        match result {
            Ok(()) => {
                self.around.hub.report(Report::LastRun(run.clone()));
                self.around.notifier.tell(Happening::BenchDone {
                    title,
                    server_title: self.around.hub.now().server_title(&arm.target.server),
                    decode_tok_s: run.decode_tok_s.as_ref().map(|summary| summary.median),
                    ttft_ms: run.ttft_ms.as_ref().map(|summary| summary.median),
                });
                Ok(RunDetail { run, trials, trace })
            }
            Err(error) => {
                if error.code != ErrorCode::Cancelled {
                    self.around.notifier.tell(Happening::BenchFailed { title, error: error.clone() });
                }
                Err(error)
            }
        }
    }
}

/// One streamed answer, stamped by our clock as its bytes are read.
async fn stream(arm: &Arm, request: &GenerateRequest) -> Result<(RawTrial, GenerateEnd), ApiError> {
    let begun = Instant::now();
    let since = |at: Instant| at.saturating_duration_since(begun).as_nanos() as u64;
    let mut answer = arm.connection.client.generate(request).await?;
    let mut raw = RawTrial::default();
    let mut end = None;
    while let Some(event) = answer.next().await {
        let event = event?;
        if !event.text.is_empty() {
            raw.text_came(since(event.at));
        }
        end = event.end.or(end);
    }
    raw.end_ns = since(Instant::now());
    let end = end.ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadAnswer,
            "The answer ended without its last record; the server cut it off.",
        )
    })?;
    raw.output_tokens = end.output_tokens;
    raw.prompt_tokens = end.prompt_tokens;
    raw.cached_tokens = end.cached_tokens;
    Ok((raw, end))
}

fn judge(seq: u32, phase: TrialPhase, raw: &RawTrial, end: &GenerateEnd, max_tokens: u32) -> Trial {
    let flaw = bench::flaw(raw, max_tokens);
    // What came at once says nothing of its first token.
    let timed = !raw.came_at_once();
    Trial {
        seq,
        phase,
        ttft_ms: bench::ttft_ms(raw).filter(|_| timed),
        decode_tok_s: bench::decode_tok_s(raw),
        prefill_tok_s: bench::prefill_tok_s(raw).filter(|_| timed),
        total_ms: raw.end_ns as f64 / 1e6,
        output_tokens: raw.output_tokens,
        prompt_tokens: raw.prompt_tokens,
        cached_tokens: raw.cached_tokens,
        server_decode_tok_s: end.decode_tok_s,
        server_prefill_tok_s: end.prefill_tok_s,
        finish: end.finish.clone(),
        flaw,
        ..Trial::default()
    }
}

/// What is missing in a run that went to its end, and why.
fn why_incomplete(trials: &[Trial]) -> Option<String> {
    let measured = || trials.iter().filter(|trial| trial.phase == TrialPhase::Measured);
    if !measured().any(Trial::counts) {
        let flaw = measured().find_map(|trial| trial.flaw.as_deref())?;
        return Some(format!("No trial counts: {flaw}."));
    }
    let uncounted = measured().all(|trial| trial.output_tokens.is_none());
    uncounted.then(|| "The server does not tell how many tokens it gave, so there are no rates.".into())
}
