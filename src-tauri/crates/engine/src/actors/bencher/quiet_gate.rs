//! Waits for a quiet machine before it is measured on, and keeps who disturbed meanwhile.

use super::BencherWiring;
use crate::actors::bounds::{apart, until_cancelled};
use pilothouse_domain::{
    bench::{
        Disturbance,
        cooling::{self, BLOCK_LIMIT, RUN_LIMIT, Warmth},
        plan::{BenchPlan, WhenDisturbed},
        quiet::{CpuTimes, Look, fold, in_words},
    },
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long the machine is looked at before anything is measured, and between looks while it is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// A look over less than this says nothing: the kernel counts processor time in hundredths of a second.
const SHORTEST_S: f64 = 0.3;
/// Reading all processes takes milliseconds; a kernel that hangs is not waited for.
const READ_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct QuietGate {
    around: BencherWiring,
    servers: BTreeSet<ServerId>,
    when_disturbed: WhenDisturbed,
    /// What is left of the time that may be waited.
    patience: Duration,
    last: Option<Moment>,
    on_battery: Option<bool>,
    pub disturbed: Vec<Disturbance>,
    /// Of the cards before the first block.
    first_warmth: Option<Warmth>,
    /// What is left of the time that they may take to cool down.
    cooling: Duration,
}

/// What later looks are held against.
struct Moment {
    times: CpuTimes,
    swap_used_bytes: Option<u64>,
}

impl QuietGate {
    pub fn new(
        around: &BencherWiring,
        servers: BTreeSet<ServerId>,
        plan: &BenchPlan,
        on_battery: Option<bool>,
    ) -> Self {
        Self {
            around: around.clone(),
            servers,
            when_disturbed: plan.when_disturbed,
            patience: Duration::from_secs(plan.quiet_wait_s.into()),
            last: None,
            on_battery,
            disturbed: vec![],
            first_warmth: None,
            cooling: RUN_LIMIT,
        }
    }

    /// Looks at the machine, and waits while somebody disturbs, as long as there is patience left; `waits` hears for whom.
    /// Errors: not_quiet where the run shall stop then, cancelled.
    pub async fn pass(
        &mut self,
        cancel: &CancellationToken,
        waits: impl Fn(&[Disturbance]),
    ) -> Result<(), ApiError> {
        // What was seen since the last look, while requests were under way.
        let measured = self.look(true).await;
        fold(&mut self.disturbed, measured.clone());
        if self.last.is_some() && measured.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            self.last = self.moment().await;
            self.rest(cancel).await?;
            let disturbing = self.look(false).await;
            if disturbing.is_empty() {
                self.patience = self.patience.saturating_sub(begun.elapsed());
                return Ok(());
            }
            if begun.elapsed() < self.patience {
                waits(&disturbing);
                continue;
            }
            self.patience = Duration::ZERO;
            if self.when_disturbed == WhenDisturbed::Stop {
                return Err(not_quiet(&disturbing));
            }
            fold(&mut self.disturbed, disturbing);
            return Ok(());
        }
    }

    /// Waits until the cards are no warmer than before the first block, or for so long that they will not be: then the run is
    /// marked. Errors: cancelled.
    pub async fn cool_down(
        &mut self,
        cancel: &CancellationToken,
        waits: impl Fn(&[Disturbance]),
    ) -> Result<(), ApiError> {
        let begun = Instant::now();
        let limit = self.cooling.min(BLOCK_LIMIT);
        loop {
            let snapshot = self.around.hub.now();
            let gpus = snapshot.gauges.as_ref().map(|gauges| &gauges.gpus[..]).unwrap_or_default();
            let first = self.first_warmth.get_or_insert_with(|| cooling::warmth(gpus));
            let warm = cooling::too_warm(first, gpus, begun.elapsed());
            if warm.is_empty() || begun.elapsed() >= limit {
                self.cooling = self.cooling.saturating_sub(begun.elapsed());
                fold(&mut self.disturbed, warm);
                return Ok(());
            }
            waits(&warm);
            self.rest(cancel).await?;
        }
    }

    /// The last look of a run.
    pub async fn end(&mut self) -> Vec<Disturbance> {
        let measured = self.look(true).await;
        fold(&mut self.disturbed, measured);
        std::mem::take(&mut self.disturbed)
    }

    async fn rest(&self, cancel: &CancellationToken) -> Result<(), ApiError> {
        let rest = async {
            tokio::time::sleep(LOOK).await;
            Ok(())
        };
        until_cancelled(cancel, "The benchmark was cancelled.", rest).await
    }

    async fn moment(&self) -> Option<Moment> {
        let neighbours = Arc::clone(&self.around.neighbours);
        let times = apart("the list of processes", READ_LIMIT, move || neighbours.cpu_times()).await?;
        let gauges = self.around.hub.now();
        let swap_used_bytes = gauges.gauges.as_ref().and_then(|gauges| gauges.swap_used_bytes);
        Some(Moment { times, swap_used_bytes })
    }

    /// Who disturbed since the last look; this one takes its place. Nobody is named without evidence.
    async fn look(&mut self, measuring: bool) -> Vec<Disturbance> {
        let Some(now) = self.moment().await else { return vec![] };
        let Some(before) = &self.last else { return vec![] };
        if now.times.at_s - before.times.at_s < SHORTEST_S {
            return vec![];
        }
        let snapshot = self.around.hub.now();
        let gauges = snapshot.gauges.as_ref();
        let mut own = BTreeSet::from([std::process::id()]);
        let usages = gauges.iter().flat_map(|gauges| &gauges.servers);
        own.extend(usages.filter(|usage| self.servers.contains(&usage.id)).flat_map(|usage| &usage.pids));
        let others = self.servers.iter().map(|server| self.around.leases.under_way(server)).sum();
        let look = Look {
            before: &before.times,
            after: &now.times,
            own: &own,
            cores: gauges.map_or(1, |gauges| gauges.cpu_cores.max(1)),
            gauges,
            swap_before: before.swap_used_bytes,
            measuring,
            on_battery: self.on_battery,
            other_requests: others,
        };
        let disturbing = look.disturbances();
        self.last = Some(now);
        disturbing
    }
}

fn not_quiet(disturbing: &[Disturbance]) -> ApiError {
    let names: Vec<String> = disturbing.iter().map(in_words).collect();
    ApiError::new(ErrorCode::NotQuiet, format!("The machine is not quiet: {}.", names.join(", ")))
        .hint("End what disturbs, or measure all the same: such a run is marked.")
        .retryable()
}
