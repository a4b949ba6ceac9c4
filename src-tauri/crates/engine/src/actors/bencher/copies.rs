//! The plan copies: more and more copies of one model in memory, each with one request at a time.

use super::{
    BencherWiring, Runs,
    course::{Course, broke_off},
    request::{Answered, Asked},
    run::BenchRun,
    side::{Begin, Measured},
};
use crate::actors::residency::{ServerLoan, Side};
use pilothouse_domain::{
    bench::{TrialPhase, copies::Copies},
    error::{ApiError, ErrorCode},
    model::Model,
    server::{ServerId, ServerKind},
};
use pilothouse_system::hardware::this_machine;
use std::collections::BTreeMap;

/// Copies of one model.
struct Copying<'a> {
    around: BencherWiring,
    model: &'a Model,
    loan: &'a mut ServerLoan,
    /// How each is asked; the first is the one that other plans measure too.
    asked: Vec<Asked>,
    /// Of the server, by the number of copies.
    memory: BTreeMap<u32, u64>,
    stopped: Option<String>,
}

impl BenchRun {
    /// Borrows the whole server: what was loaded for it leaves memory again, however it ends.
    pub(super) async fn copies(&self, model: &Model, course: &mut Course) -> Result<Runs, ApiError> {
        self.want_copies(&model.server)?;
        let mut loan = self.borrow_server(model).await?;
        let runs = Box::pin(self.copies_on(model, &mut loan, course)).await;
        self.give_back(loan).await;
        runs
    }

    /// Errors: unsupported, with what can be measured instead.
    fn want_copies(&self, server: &ServerId) -> Result<(), ApiError> {
        let snapshot = self.around.hub.now();
        let Some(view) = snapshot.server(server).filter(|view| !view.abilities.copies) else { return Ok(()) };
        let why = match view.kind {
            ServerKind::LlamaServer => "starts one process for each name of a model",
            ServerKind::Ollama => "keeps one copy of a model and lets it answer several requests at a time",
            _ => "is not told to load copies",
        };
        let text = format!("{} cannot hold several copies of one model: it {why}.", view.title);
        Err(ApiError::new(ErrorCode::Unsupported, text).hint(
            "Measure requests at a time of one copy instead: pilothouse sweep. Copies can be measured on LM Studio.",
        ))
    }

    async fn copies_on(
        &self,
        model: &Model,
        loan: &mut ServerLoan,
        course: &mut Course,
    ) -> Result<Runs, ApiError> {
        let mut held: Vec<_> = loan.before().iter().filter(|one| one.model == model.name).cloned().collect();
        if held.is_empty() {
            held.push(loan.put_in(model).await?.0);
        }
        let Some(first) = held.first() else { return Err(ApiError::internal("Nothing was loaded.")) };
        let machine = this_machine().await;
        let begin = Begin {
            plan: &self.request.plan,
            machine: &machine,
            power: &course.power,
            against: None,
            resume: &[],
        };
        let connection = loan.connection().clone();
        let side = |instance| Side { instance, connection: connection.clone() };
        let mut measured = Measured::begin(&self.around, model, &side(first.clone()), &begin).await?;
        let target = model.reference();
        let asked = held.into_iter().map(|instance| Asked::of(&target, &side(instance))).collect();
        let around = self.around.clone();
        let mut copying = Copying { around, model, loan, asked, memory: BTreeMap::new(), stopped: None };
        let result = copying.all(&mut measured, course).await;
        let Copying { memory, stopped, .. } = copying;
        measured.run.copies = Some(Copies::of(&measured.trials, &memory, stopped));
        measured.run.disturbed = course.gate.end().await;
        let detail = measured.close(&self.around, result.as_ref().err()).await;
        self.tell(vec![detail], result)
    }
}

impl Copying<'_> {
    async fn all(&mut self, measured: &mut Measured, course: &mut Course) -> Result<(), ApiError> {
        course.quiet_before(measured).await?;
        course.warm_up(measured).await?;
        for copies in course.plan.concurrency.clone() {
            if !self.loaded(copies).await? {
                return Ok(());
            }
            course.quiet_before(measured).await?;
            let asked = self.asked.get(..copies as usize).unwrap_or(&self.asked);
            course.copies_level(measured, asked).await?;
            let snapshot = self.around.hub.now();
            let usage = snapshot.gauges.as_ref().and_then(|gauges| {
                gauges.servers.iter().find(|usage| usage.id == self.model.server)?.memory_bytes
            });
            self.memory.extend(usage.map(|bytes| (copies, bytes)));
        }
        Ok(())
    }

    /// Whether there are so many copies now; one more that does not fit is the end of the run, not a failure.
    async fn loaded(&mut self, copies: u32) -> Result<bool, ApiError> {
        while (self.asked.len() as u32) < copies {
            let instance = match self.loan.put_in_copy(self.model).await {
                Ok(instance) => instance,
                Err(error) if error.code == ErrorCode::DoesNotFit => {
                    let next = self.asked.len() + 1;
                    self.stopped = Some(format!("{next} copies do not fit: {}", error.message));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            let side = Side { instance, connection: self.loan.connection().clone() };
            self.asked.push(Asked::of(&self.model.reference(), &side));
        }
        Ok(true)
    }
}

impl Course {
    /// Closed loop: each copy gets its next request when its last has ended. The first of each is thrown away. Written down
    /// afterwards, so that nothing is late for a token.
    async fn copies_level(&mut self, side: &mut Measured, asked: &[Asked]) -> Result<(), ApiError> {
        let mut ended = vec![];
        let result = self.copies_at_work(side, asked, &mut ended).await;
        for trial in ended {
            side.add(&self.around, trial).await;
        }
        result
    }

    async fn copies_at_work(
        &mut self,
        side: &Measured,
        asked: &[Asked],
        ended: &mut Vec<pilothouse_domain::bench::Trial>,
    ) -> Result<(), ApiError> {
        let copies = asked.len() as u32;
        let each = self.plan.trials + 1;
        let mut sent = vec![0; asked.len()];
        let mut failures = 0;
        // Dropped with this future, it ends what is under way.
        let mut under_way = tokio::task::JoinSet::new();
        let mut free: Vec<usize> = (0..asked.len()).collect();
        loop {
            for copy in free.drain(..).filter(|copy| sent[*copy] < each).collect::<Vec<_>>() {
                let phase = if sent[copy] == 0 { TrialPhase::Warmup } else { TrialPhase::Measured };
                sent[copy] += 1;
                let ask = self.asking(&asked[copy], phase);
                under_way.spawn(async move { (copy, ask.await) });
            }
            let Some(answered) = under_way.join_next().await else { return Ok(()) };
            let (copy, answered) = answered.map_err(|error| broke_off(&error))?;
            let Answered { begun, mut trial, .. } = answered?;
            trial.concurrency = Some(copies);
            trial.begun_ms = Some(side.since_begin(begun));
            failures = self.copy_answered(side, &trial, copies, failures)?;
            ended.push(trial);
            free.push(copy);
        }
    }
}
