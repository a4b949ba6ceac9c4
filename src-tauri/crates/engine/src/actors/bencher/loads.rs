//! The plan load: a model is loaded again and again, and its first two requests after each load are timed.

use super::{
    BencherWiring, Runs,
    course::Course,
    request::Asked,
    run::BenchRun,
    side::{Begin, Measured},
};
use crate::{
    actors::{
        bounds::apart,
        residency::{ServerLoan, Side},
    },
    hub::Hub,
};
use pilothouse_domain::{
    bench::{
        TrialPhase,
        load::{LoadFrom, LoadTrial, Loads, not_cached, not_dropped},
    },
    error::{ApiError, ErrorCode},
    gauge::Gauges,
    model::{Instance, Model},
    notice::Happening,
    server::Ownership,
};
use pilothouse_system::hardware::this_machine;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Looking at a few pages of each file, or letting go of them.
const CACHE_LIMIT: Duration = Duration::from_secs(10);
/// The longest wait for memory to be back after an unload.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// Samples whose memory differs by less are alike. Bytes.
const ALIKE: u64 = 64 << 20;

/// One model that is loaded again and again.
struct Loading<'a> {
    around: BencherWiring,
    model: &'a Model,
    loan: &'a mut ServerLoan,
    files: Vec<PathBuf>,
    /// Its copy in memory now.
    instance: Instance,
    done: Vec<LoadTrial>,
    /// Why nothing is loaded from disk (any more).
    disk_absent: Option<String>,
}

impl BenchRun {
    /// Borrows the whole server: memory afterwards is as before.
    pub(super) async fn loads(&self, model: &Model, course: &mut Course) -> Result<Runs, ApiError> {
        let mut loan = self.borrow_server(model).await?;
        let runs = Box::pin(self.loads_on(model, &mut loan, course)).await;
        self.give_back(loan).await;
        runs
    }

    /// Errors: unsupported (nobody here loads and unloads there), and as `ResidencyHandle::borrow_server`.
    pub(super) async fn borrow_server(&self, model: &Model) -> Result<ServerLoan, ApiError> {
        let snapshot = self.around.hub.now();
        let server = snapshot.server(&model.server);
        let remote = server.is_some_and(|server| server.ownership == Some(Ownership::Remote));
        if remote || server.is_none_or(|server| !server.abilities.load || !server.abilities.unload) {
            let text =
                format!("Pilothouse does not load models on {}.", snapshot.server_title(&model.server));
            return Err(ApiError::new(ErrorCode::Unsupported, text)
                .hint("Loads can be measured on llama-server, Ollama and LM Studio of this machine."));
        }
        let why = format!("A benchmark of {}", model.title);
        self.around.residency.borrow_server(model.server.clone(), why, self.cancel.clone()).await
    }

    /// What could not be brought back is said by residency where it is the active model; of others by a notice.
    pub(super) async fn give_back(&self, loan: ServerLoan) {
        if let Err(error) = loan.give_back().await {
            tracing::warn!(%error, "memory is not as it was before the benchmark");
            self.around.notifier.tell(Happening::Trouble { error });
        }
    }

    async fn loads_on(
        &self,
        model: &Model,
        loan: &mut ServerLoan,
        course: &mut Course,
    ) -> Result<Runs, ApiError> {
        let there = loan.before().iter().find(|one| one.model == model.name).cloned();
        let instance = match there {
            Some(instance) => {
                loan.may_take_out(&instance.id)?;
                instance
            }
            // Not measured: it brings the file into the page cache.
            None => loan.put_in(model).await?.0,
        };
        let machine = this_machine().await;
        let begin = Begin {
            plan: &self.request.plan,
            machine: &machine,
            power: &course.power,
            against: None,
            resume: &[],
        };
        let side = Side { instance: instance.clone(), connection: loan.connection().clone() };
        let mut measured = Measured::begin(&self.around, model, &side, &begin).await?;
        let files = match self.around.supervisors.get(&model.server) {
            Ok(supervisor) => supervisor.weight_files(&model.name).await,
            Err(_) => vec![],
        };
        let disk_absent = files.is_empty().then(|| {
            "The model's files cannot be read here, so they cannot be dropped from the page cache.".into()
        });
        let around = self.around.clone();
        let mut loading = Loading { around, model, loan, files, instance, done: vec![], disk_absent };
        let result = loading.all(&mut measured, course).await;
        let Loading { done, disk_absent, .. } = loading;
        measured.run.loads = Some(Loads::of(done, model.size_bytes, disk_absent));
        measured.run.disturbed = course.gate.end().await;
        let detail = measured.close(&self.around, result.as_ref().err()).await;
        self.tell(vec![detail], result)
    }
}

impl Loading<'_> {
    async fn all(&mut self, measured: &mut Measured, course: &mut Course) -> Result<(), ApiError> {
        course.quiet_before(measured).await?;
        course.rewarm(measured, 1).await?;
        let loads = course.plan.trials;
        for load in 1..=loads {
            for from in [LoadFrom::PageCache, LoadFrom::Disk] {
                if from == LoadFrom::PageCache || self.disk_absent.is_none() {
                    course.quiet_before(measured).await?;
                    let kinds = if self.disk_absent.is_none() { 2 } else { 1 };
                    course.at_load(measured, self.done.len() as u32, loads * kinds);
                    self.one(from, load, measured, course).await?;
                }
            }
        }
        Ok(())
    }

    async fn one(
        &mut self,
        from: LoadFrom,
        load: u32,
        measured: &mut Measured,
        course: &mut Course,
    ) -> Result<(), ApiError> {
        self.loan.take_out(&self.instance.id).await?;
        settled(&self.around.hub).await;
        let share = match from {
            LoadFrom::PageCache => self.cached_share().await,
            LoadFrom::Disk => {
                let dropped = self.dropped().await;
                let share = self.cached_share().await;
                self.disk_absent = not_dropped(dropped, share);
                share
            }
        };
        let (instance, took) = self.loan.put_in(self.model).await?;
        let side = Side { instance: instance.clone(), connection: self.loan.connection().clone() };
        measured.asked = Asked::of(&measured.target, &side);
        self.instance = instance;
        if from == LoadFrom::Disk && self.disk_absent.is_some() {
            return Ok(());
        }
        // The first one warms up what the second finds warm; only that one is of the kind that other runs measure.
        let cold = course.after_load(measured, TrialPhase::Warmup, load, took).await?;
        let warm = course.after_load(measured, TrialPhase::Measured, load, Duration::ZERO).await?;
        let flaw = match from {
            LoadFrom::PageCache => not_cached(share),
            LoadFrom::Disk => None,
        };
        self.done.push(LoadTrial {
            from,
            cached_share: share,
            load_s: took.as_secs_f64(),
            ttft_cold_ms: cold.ttft_ms,
            ttft_warm_ms: warm.ttft_ms,
            flaw: flaw.or(cold.flaw),
        });
        Ok(())
    }

    async fn cached_share(&self) -> Option<f64> {
        let (neighbours, files) = (Arc::clone(&self.around.neighbours), self.files.clone());
        apart("the page cache", CACHE_LIMIT, move || neighbours.cached_share(&files)).await
    }

    async fn dropped(&self) -> bool {
        let (neighbours, files) = (Arc::clone(&self.around.neighbours), self.files.clone());
        let drop = apart("the page cache", CACHE_LIMIT, move || Some(neighbours.drop_from_cache(&files)));
        drop.await.unwrap_or(false)
    }
}

/// Waits until two samples of the gauges in a row show as much memory in use, so that what an unload freed is free; where nothing is
/// sampled there is nothing to wait for.
async fn settled(hub: &Hub) {
    let mut snapshots = hub.snapshots();
    let of = |gauges: &Gauges| gauges.memory_used_bytes.map(|used| (gauges.at, used));
    let Some((mut at, _)) = snapshots.borrow_and_update().gauges.as_ref().and_then(of) else { return };
    let mut last = None;
    let settle = async {
        while snapshots.changed().await.is_ok() {
            let sampled = snapshots.borrow_and_update().gauges.as_ref().and_then(of);
            let Some((now, used)) = sampled.filter(|(now, _)| *now > at) else { continue };
            at = now;
            if last.replace(used).is_some_and(|last: u64| last.abs_diff(used) < ALIKE) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(SETTLE_LIMIT, settle).await;
}
