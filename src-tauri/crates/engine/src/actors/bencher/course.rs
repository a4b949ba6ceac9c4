//! Which request comes when: trial by trial, side by side in blocks, or more and more at a time. Plans with a course of their
//! own have a file each: `open_loop`, `conversation`, `replay`.

use super::{
    BencherWiring,
    quiet_gate::QuietGate,
    request::{Answered, Asked, Question, ask, has_failed},
    side::Measured,
};
use crate::hub::Report;
use pilothouse_domain::{
    bench::{
        BenchPlan, BenchProgress, Disturbance, RunDetail, Trial, TrialPhase,
        comparison::{NoiseFloor, compare},
        plan::MAX_BLOCKS,
        warmup::{self, MAX_WARMUPS, Warmth},
    },
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use pilothouse_system::hardware::Power;
use std::time::Duration;
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// So many failures one after another end a run: the server has gone, or cannot.
const FAILURES: u32 = 3;
/// Blocks that are added while the intervals of a comparison are too wide.
const MORE_BLOCKS: u32 = 5;
/// Half the width of an interval that is narrow enough, as a ratio.
const NARROW: f64 = 0.02;
/// The most blocks, as a multiple of those that were asked for.
const BLOCKS_FACTOR: u32 = 3;

/// The course of one run or comparison.
pub(super) struct Course {
    pub around: BencherWiring,
    pub plan: BenchPlan,
    pub cancel: CancellationToken,
    pub gate: QuietGate,
    /// As it was at the begin.
    pub power: Power,
    /// Time that the requests so far took, and their number: what is left is reckoned from it.
    pub spent: Spent,
    /// Only to learn how much this machine scatters: a comparison of a model with itself.
    pub noise: bool,
    /// When the first request that counts was about to be sent.
    pub measuring_since: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Spent {
    seconds: f64,
    requests: u32,
}

/// Where a run is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub done: u32,
    pub total: u32,
    pub block: Option<(u32, u32)>,
    pub concurrency: Option<u32>,
    pub turn: Option<(u32, u32)>,
    pub rate: Option<f64>,
    /// Where it is known otherwise than by the requests so far.
    pub left_s: Option<f64>,
}

impl Course {
    /// Requests that are thrown away, until the server answers evenly.
    pub async fn warm_up(&mut self, side: &mut Measured) -> Result<(), ApiError> {
        let (mut ttft, mut decode) = (Vec::new(), Vec::new());
        // One that goes on has warmed up before.
        let earlier = side.run.warmups;
        loop {
            let place = Place {
                done: side.run.warmups - earlier,
                total: MAX_WARMUPS,
                rate: decode.last().copied(),
                ..Place::default()
            };
            self.progress(side, TrialPhase::Warmup, place, &[]);
            let question = Question::of(&self.plan, rand::random());
            let trial = self.one(side, TrialPhase::Warmup, question, None).await?.trial;
            if !has_failed(&trial) {
                // An answer that came at once has no first token, but a time.
                ttft.push(trial.ttft_ms.unwrap_or(trial.total_ms));
                decode.extend(trial.decode_tok_s);
            }
            match warmup::judge(&ttft, &decode) {
                Warmth::Warm => return Ok(()),
                Warmth::GoOn if side.run.warmups - earlier < MAX_WARMUPS => {}
                Warmth::GoOn | Warmth::Unsettled => {
                    side.run.unsettled = true;
                    side.remark(&format!("The server had not settled after {MAX_WARMUPS} warm-up requests."));
                    return Ok(());
                }
            }
        }
    }

    /// So many requests that are thrown away, of a model that was only just loaded again.
    pub async fn rewarm(&mut self, side: &mut Measured, requests: u32) -> Result<(), ApiError> {
        for _ in 0..requests {
            let question = Question::of(&self.plan, rand::random());
            self.one(side, TrialPhase::Warmup, question, None).await?;
        }
        Ok(())
    }

    /// Trial after trial, from where the run is on.
    pub async fn trials(&mut self, side: &mut Measured) -> Result<(), ApiError> {
        let mut rate = None;
        for done in side.measured().count() as u32..self.plan.trials {
            let place = Place { done, total: self.plan.trials, rate, ..Place::default() };
            self.quiet(side, place).await?;
            if self.is_over() {
                side.remark(&format!("The time was over after {done} of {} trials.", self.plan.trials));
                break;
            }
            self.progress(side, TrialPhase::Measured, place, &[]);
            let question = Question::of(&self.plan, rand::random());
            rate = self.one(side, TrialPhase::Measured, question, None).await?.trial.decode_tok_s;
        }
        Ok(())
    }

    /// Whether a comparison has as many blocks as it needs after this one.
    pub fn is_enough(&mut self, block: u32, a: &mut Measured, b: &mut Measured) -> bool {
        if self.is_over() {
            for side in [a, b] {
                side.remark(&format!("The time was over after {block} blocks."));
            }
            return true;
        }
        if block < self.plan.trials {
            return false;
        }
        if self.noise {
            return true;
        }
        let most = self.plan.trials.saturating_mul(BLOCKS_FACTOR).min(MAX_BLOCKS).max(self.plan.trials);
        if block >= most {
            return true;
        }
        // Stopping on the width of an interval biases nothing; stopping on a verdict would.
        (block - self.plan.trials).is_multiple_of(MORE_BLOCKS) && is_narrow(a, b)
    }

    /// Whether the time that the plan gives is over; it runs from the first call. The first trial, block or level always comes.
    fn is_over(&mut self) -> bool {
        let since = *self.measuring_since.get_or_insert_with(Instant::now);
        let budget = self.plan.budget_s.map(|seconds| Duration::from_secs(seconds.into()));
        budget.is_some_and(|budget| since.elapsed() >= budget)
    }

    /// One trial of a side within a block.
    pub async fn block_trial(&mut self, side: &mut Measured, block: u32, text: u64) -> Result<(), ApiError> {
        let blocks = self.plan.trials.max(block);
        let place = Place {
            done: block - 1,
            total: blocks,
            block: Some((block, blocks)),
            rate: side.measured().last().and_then(|trial| trial.decode_tok_s),
            ..Place::default()
        };
        self.progress(side, TrialPhase::Measured, place, &[]);
        let question = Question::of(&self.plan, text);
        self.one(side, TrialPhase::Measured, question, Some(block)).await?;
        Ok(())
    }

    /// Where a run of loads is: each has two requests after it.
    pub fn at_load(&self, side: &Measured, done: u32, loads: u32) {
        let place = Place { done: 2 * done, total: 2 * loads, ..Place::default() };
        self.progress(side, TrialPhase::Measured, place, &[]);
    }

    /// A request that follows a load, which took so long.
    pub async fn after_load(
        &mut self,
        side: &mut Measured,
        phase: TrialPhase,
        load: u32,
        took: Duration,
    ) -> Result<Trial, ApiError> {
        self.spent.seconds += took.as_secs_f64();
        let question = Question::of(&self.plan, rand::random());
        Ok(self.one(side, phase, question, Some(load)).await?.trial)
    }

    /// A request of one copy of the model, on its own.
    pub fn asking(
        &self,
        asked: &Asked,
        phase: TrialPhase,
    ) -> impl Future<Output = Result<Answered, ApiError>> + Send + use<> {
        let (leases, asked, cancel) = (self.around.leases.clone(), asked.clone(), self.cancel.clone());
        let question = Question::of(&self.plan, rand::random());
        async move { ask(&leases, &asked, &cancel, phase, question).await }
    }

    /// Counts an answer of one of so many copies; `failures`: those one after another before it. Errors: server_error.
    pub fn copy_answered(
        &mut self,
        side: &Measured,
        trial: &Trial,
        copies: u32,
        failures: u32,
    ) -> Result<u32, ApiError> {
        side.same_server(&self.around)?;
        self.spent.take(trial, copies);
        let place = Place { concurrency: Some(copies), rate: trial.decode_tok_s, ..Place::default() };
        self.progress(side, TrialPhase::Measured, place, &[]);
        match trial.flaw.as_ref().filter(|_| has_failed(trial)) {
            None => Ok(0),
            Some(flaw) if failures + 1 >= FAILURES.max(copies) => {
                Err(given_up(&side.target.server, failures + 1, flaw))
            }
            Some(_) => Ok(failures + 1),
        }
    }

    /// The gate before a block or trial.
    pub async fn quiet_before(&mut self, side: &Measured) -> Result<(), ApiError> {
        let done = side.measured().count() as u32;
        self.quiet(side, Place { done, total: self.plan.trials, ..Place::default() }).await
    }

    /// The gate before a block: the cards as cool as before the first one, then a quiet machine.
    pub async fn ready_for_block(&mut self, side: &Measured) -> Result<(), ApiError> {
        let done = side.measured().count() as u32;
        let place = Place { done, total: self.plan.trials, ..Place::default() };
        let Self { around, gate, cancel, spent, noise, .. } = self;
        let waits = |disturbing: &[Disturbance]| {
            report(around, (spent, *noise), side, TrialPhase::Measured, place, disturbing);
        };
        gate.cool_down(cancel, waits).await?;
        self.quiet(side, place).await
    }

    pub async fn quiet(&mut self, side: &Measured, place: Place) -> Result<(), ApiError> {
        let Self { around, gate, cancel, spent, noise, .. } = self;
        let waits = |disturbing: &[Disturbance]| {
            report(around, (spent, *noise), side, TrialPhase::Measured, place, disturbing);
        };
        gate.pass(cancel, waits).await
    }

    /// More and more requests at a time, then one at a time again.
    pub async fn sweep(&mut self, side: &mut Measured) -> Result<(), ApiError> {
        let mut levels = self.plan.concurrency.clone();
        let total = levels.iter().map(|level| self.plan.requests_at(*level)).sum::<u32>() + self.plan.trials;
        // Has the machine grown slower meanwhile?
        levels.push(1);
        for level in levels {
            let done = side.measured().count() as u32;
            let place = Place { done, total, concurrency: Some(level), ..Place::default() };
            self.quiet(side, place).await?;
            if self.is_over() {
                side.remark(&format!("The time was over before {level} at a time."));
                break;
            }
            self.level(side, level, place).await?;
        }
        Ok(())
    }

    /// Closed loop: each worker sends its next request when its last has ended. What is written down is written afterwards, so
    /// that nothing is late for a token.
    async fn level(&mut self, side: &mut Measured, level: u32, place: Place) -> Result<(), ApiError> {
        let mut ended = vec![];
        let result = self.workers(side, level, place, &mut ended).await;
        for trial in ended {
            side.add(&self.around, trial).await;
        }
        result
    }

    async fn workers(
        &mut self,
        side: &Measured,
        level: u32,
        place: Place,
        ended: &mut Vec<Trial>,
    ) -> Result<(), ApiError> {
        // The first of each worker is thrown away: on a card the programs for so many at a time may only be built with it.
        let warm = if level > 1 { level as usize } else { 0 };
        let wanted = warm + self.plan.requests_at(level) as usize;
        let (mut sent, mut failures) = (0, 0);
        // Dropped with this future, it ends what is under way.
        let mut under_way = JoinSet::new();
        while ended.len() < wanted {
            while sent < wanted && under_way.len() < level as usize {
                let phase = if sent < warm { TrialPhase::Warmup } else { TrialPhase::Measured };
                under_way.spawn(self.asking(&side.asked, phase));
                sent += 1;
            }
            let Some(answered) = under_way.join_next().await else { break };
            let Answered { begun, mut trial, .. } = answered.map_err(|error| broke_off(&error))??;
            side.same_server(&self.around)?;
            self.spent.take(&trial, level);
            trial.concurrency = Some(level);
            trial.begun_ms = Some(side.since_begin(begun));
            let measured = (ended.len() + 1).saturating_sub(warm) as u32;
            let place = Place { done: place.done + measured, rate: trial.decode_tok_s, ..place };
            self.progress(side, TrialPhase::Measured, place, &[]);
            let failed = trial.flaw.clone().filter(|_| has_failed(&trial));
            ended.push(trial);
            failures = if failed.is_some() { failures + 1 } else { 0 };
            if let Some(flaw) = failed.filter(|_| failures >= FAILURES.max(level)) {
                return Err(given_up(&side.target.server, failures, &flaw));
            }
        }
        Ok(())
    }

    /// One request, which is kept.
    pub async fn one(
        &mut self,
        side: &mut Measured,
        phase: TrialPhase,
        question: Question,
        block: Option<u32>,
    ) -> Result<Answered, ApiError> {
        let mut answered = self.asked(side, phase, question).await?;
        answered.trial.block = block;
        self.take(side, answered.trial.clone()).await?;
        Ok(answered)
    }

    /// One request, which is not kept yet.
    pub async fn asked(
        &mut self,
        side: &Measured,
        phase: TrialPhase,
        question: Question,
    ) -> Result<Answered, ApiError> {
        side.same_server(&self.around)?;
        let asked = ask(&self.around.leases, &side.asked, &self.cancel, phase, question);
        let mut answered = asked.await?;
        side.same_server(&self.around)?;
        self.spent.take(&answered.trial, 1);
        answered.trial.begun_ms = Some(side.since_begin(answered.begun));
        Ok(answered)
    }

    /// Errors: server_error, where too many failed one after another.
    pub async fn take(&self, side: &mut Measured, trial: Trial) -> Result<(), ApiError> {
        let flaw = trial.flaw.clone();
        side.add(&self.around, trial).await;
        match flaw {
            Some(flaw) if side.failed_in_a_row >= FAILURES => {
                Err(given_up(&side.target.server, side.failed_in_a_row, &flaw))
            }
            _ => Ok(()),
        }
    }

    pub fn progress(&self, side: &Measured, phase: TrialPhase, place: Place, waits_for: &[Disturbance]) {
        report(&self.around, (&self.spent, self.noise), side, phase, place, waits_for);
    }
}

impl Spent {
    fn take(&mut self, trial: &Trial, at_a_time: u32) {
        self.seconds += trial.total_ms / 1000.0 / f64::from(at_a_time.max(1));
        self.requests += 1;
    }

    fn left_s(&self, requests: u32) -> Option<f64> {
        (self.requests > 0).then(|| self.seconds / f64::from(self.requests) * f64::from(requests))
    }
}

fn report(
    around: &BencherWiring,
    (spent, noise): (&Spent, bool),
    side: &Measured,
    phase: TrialPhase,
    place: Place,
    waits_for: &[Disturbance],
) {
    // Both sides of each block that is to come.
    let times = if place.block.is_some() { 2 } else { 1 };
    let left = place.total.saturating_sub(place.done) * times;
    around.hub.report(Report::Bench(Some(BenchProgress {
        phase,
        done: place.done,
        total: place.total,
        last_decode_tok_s: place.rate,
        block: place.block,
        concurrency: place.concurrency,
        waits_for: waits_for.to_vec(),
        turn: place.turn,
        noise,
        left_s: place.left_s.or(spent.left_s(left)).filter(|_| phase == TrialPhase::Measured),
        ..BenchProgress::of(side.run.run_id, side.target.server.clone(), &side.target.model)
    })));
}

/// Whether the interval of the decode ratio, or of the whole requests' where there are no rates, is as narrow as it needs to be:
/// two per cent to either side. The range of too few pairs is none, however narrow.
fn is_narrow(a: &Measured, b: &Measured) -> bool {
    let detail = |side: &Measured| RunDetail {
        run: side.run.clone(),
        trials: side.trials.clone(),
        trace: None,
        cards: None,
    };
    let (a, mut b) = (detail(a), detail(b));
    b.run.against = Some(a.run.run_id);
    let compared = compare(&a, &b, NoiseFloor::assumed());
    let ratio = |name: &str| compared.metrics.iter().find(|metric| metric.name == name)?.ratio;
    let ratio = ratio("decode_tok_s").or_else(|| ratio("e2e_ms"));
    ratio.is_some_and(|ratio| ratio.level > 0.0 && (ratio.high - ratio.low) / 2.0 <= NARROW)
}

pub(super) fn broke_off(error: &JoinError) -> ApiError {
    ApiError::internal(format!("A request broke off: {error}."))
}

pub(super) fn given_up(server: &ServerId, failures: u32, flaw: &str) -> ApiError {
    let text = format!("{failures} requests of the benchmark one after another {flaw}");
    ApiError::new(ErrorCode::ServerError, text)
        .hint(format!("Look at the server's log: pilothouse logs {server}"))
}
