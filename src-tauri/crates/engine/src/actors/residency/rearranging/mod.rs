//! One change of what is held beside the active model, from its plan to its report: a scene, a load on request, a model that
//! leaves. All of it or nothing: any failure before the commit puts back what was there.

mod back;
mod circumstances;
mod moves;
mod switching;

pub(super) use circumstances::{in_memory, plan_view};
pub(super) use switching::as_switch;

use super::{Connection, ResidencyWiring, clearing::Clearing, holding::Holding, late::LateLoad};
use crate::{
    actors::bounds::until_cancelled,
    hub::{Report, Standing},
};
use futures_util::FutureExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Instance, LoadSettings, Model, ModelRef},
    residency::{Arrangement, ArrangementPlan, InMemory, Move, Spare},
    scene::SceneReport,
    server::ServerId,
    switch::{Active, StepTiming, SwitchOutcome, SwitchPhase, SwitchReport},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use switching::Shown;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why memory is rearranged.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Purpose {
    /// A person makes this model active with settings of its load, or takes that back.
    Switch(ModelRef),
    /// A person applies roles; the scene that they are of.
    Scene(Option<String>),
    /// What was before is brought back: “Restore”, or an undo.
    Restore,
    /// A program has asked for this model.
    Wish(ModelRef),
    /// A role's model or a pinned one was lost, or is loaded after a start.
    Again(ModelRef),
    /// A person takes it out.
    Unload(ModelRef),
    /// A person takes one copy of it out, by its server's identifier; another one answers on.
    Copy(ModelRef, String),
    /// No model is active from now on; what was stays in memory for others.
    Deactivate,
    /// Nobody has asked for it for its time, or memory runs short.
    Idle(ModelRef),
}

impl Purpose {
    /// As it stands in a sentence: "Hybrid", "Qwen2.5 3B".
    pub fn title(&self, around: &ResidencyWiring) -> String {
        match self {
            Self::Scene(Some(name)) => name.clone(),
            Self::Scene(None) => "This set of roles".into(),
            Self::Restore => "What was before".into(),
            Self::Deactivate => "No active model".into(),
            Self::Switch(model)
            | Self::Wish(model)
            | Self::Again(model)
            | Self::Unload(model)
            | Self::Copy(model, _)
            | Self::Idle(model) => around.hub.now().model_title(&model.server, &model.model),
        }
    }

    fn scene(&self) -> Option<String> {
        match self {
            Self::Scene(name) => name.clone(),
            _ => None,
        }
    }

    /// The model that becomes active, where it is a switch.
    pub fn switch(&self) -> Option<&ModelRef> {
        match self {
            Self::Switch(to) => Some(to),
            _ => None,
        }
    }

    pub fn is_copy(&self) -> bool {
        matches!(self, Self::Copy(..))
    }

    /// It only takes out: then the model leaves first, and what does not leave stays where it was.
    pub fn leaves(&self) -> Option<&ModelRef> {
        match self {
            Self::Unload(model) | Self::Copy(model, _) | Self::Idle(model) => Some(model),
            _ => None,
        }
    }
}

/// A model that shall be in memory.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub model: Model,
    pub with: LoadSettings,
    pub bytes: Option<u64>,
    pub load_s: Option<f64>,
    /// Its copy, once it is looked at.
    pub instance: Option<Instance>,
    pub roles: Vec<String>,
}

/// What is asked of a rearrangement.
#[derive(Clone)]
pub(super) struct Order {
    pub purpose: Purpose,
    /// What is held then. Instances are filled in as they are loaded.
    pub after: Arrangement,
    pub targets: Vec<Target>,
    /// What may be evicted besides, with what it was loaded with.
    pub spare: Vec<Spare>,
    /// Cuts answers at once.
    pub now: bool,
}

/// How it ended, and what is held now.
pub(super) struct Rearranged {
    pub purpose: Purpose,
    pub result: Result<SceneReport, ApiError>,
    /// The same as a switch tells of it, where it was one.
    pub switch: Option<SwitchReport>,
    pub arrangement: Arrangement,
    pub standing: Standing,
    pub absent: BTreeMap<String, String>,
    pub unloaded: Vec<Active>,
    pub strays: Vec<ModelRef>,
    pub late: Vec<LateLoad>,
}

/// A model that was taken out, and how it comes back.
struct TakenOut {
    active: Active,
    with: LoadSettings,
}

pub(super) struct Rearrangement {
    around: ResidencyWiring,
    order: Order,
    holding: Holding,
    before: Arrangement,
    standing_before: Standing,
    /// What is held at this moment.
    held: Arrangement,
    standing: Standing,
    waits: BTreeSet<String>,
    absent: BTreeMap<String, String>,
    cancel: CancellationToken,
    /// Our own end.
    ending: CancellationToken,
    pub now: CancellationToken,
    connections: BTreeMap<ServerId, Connection>,
    began: Instant,
    shown: Shown,
    load_ms: Option<u64>,
    first_token_ms: Option<u64>,
    timings: Vec<StepTiming>,
    loaded: Vec<ModelRef>,
    taken_out: Vec<TakenOut>,
    unloaded: Vec<Active>,
    answers_cut: u32,
    reasons: Vec<String>,
    journalled: bool,
    committed: bool,
    strays: Vec<ModelRef>,
    /// Strays that are wanted now.
    wanted_strays: Vec<ModelRef>,
    late: Vec<LateLoad>,
    /// Loads of earlier transactions that still go on.
    joined: Vec<LateLoad>,
    clearing: Option<Clearing>,
}

/// What the actor hands over.
pub(super) struct Handed {
    pub around: ResidencyWiring,
    pub holding: Holding,
    pub before: Arrangement,
    pub standing: Standing,
    pub cancel: CancellationToken,
    pub ending: CancellationToken,
    pub strays: Vec<ModelRef>,
    pub joined: Vec<LateLoad>,
    pub clearing: Option<Clearing>,
}

impl Rearrangement {
    pub fn new(order: Order, handed: Handed) -> Self {
        let Handed { around, holding, before, standing, cancel, ending, mut strays, joined, clearing } =
            handed;
        // What is wanted now is no stray any more, unless this fails.
        let is_wanted =
            |stray: &ModelRef| order.targets.iter().any(|target| target.model.reference() == *stray);
        let wanted_strays = strays.extract_if(.., |stray| is_wanted(stray)).collect();
        let now = CancellationToken::new();
        if order.now {
            now.cancel();
        }
        Self {
            shown: Shown::new(&order.purpose, before.active.as_ref()),
            load_ms: None,
            first_token_ms: None,
            absent: holding.absent.clone(),
            held: before.clone(),
            standing_before: standing.clone(),
            standing,
            waits: BTreeSet::new(),
            around,
            order,
            holding,
            before,
            cancel,
            ending,
            now,
            connections: BTreeMap::new(),
            began: Instant::now(),
            timings: vec![],
            loaded: vec![],
            taken_out: vec![],
            unloaded: vec![],
            answers_cut: 0,
            reasons: vec![],
            journalled: true,
            committed: false,
            strays,
            wanted_strays,
            late: vec![],
            joined,
            clearing,
        }
    }

    pub async fn run(mut self) -> (Rearranged, Holding) {
        self.show(SwitchPhase::Preparing, None);
        let result = match self.forward().await {
            Ok(()) => Ok(self.report(SwitchOutcome::Committed, None)),
            // Nothing was begun: it is a refusal, not a failure.
            Err(error) if self.is_refusal(&error) => {
                self.waits.clear();
                self.standing = self.standing_before.clone();
                self.tell();
                Err(error)
            }
            Err(error) => {
                tracing::warn!(purpose = ?self.order.purpose, %error, "memory was not rearranged, putting back");
                self.put_back().await;
                let outcome = match error.code {
                    ErrorCode::Cancelled => SwitchOutcome::Cancelled,
                    _ => SwitchOutcome::RolledBack,
                };
                Ok(self.report(outcome, Some(error)))
            }
        };
        let switch = match (self.order.purpose.switch().cloned(), &result) {
            (Some(to), Ok(report)) => Some(self.write_down(&to, report).await),
            _ => None,
        };
        self.around.hub.report(self.shown.end());
        if !self.committed {
            self.strays.append(&mut self.wanted_strays);
        }
        let late = self.late.into_iter().filter(|late| !late.is_over()).collect();
        let rearranged = Rearranged {
            purpose: self.order.purpose,
            result,
            switch,
            arrangement: self.held,
            standing: self.standing,
            absent: self.absent,
            unloaded: self.unloaded,
            strays: self.strays,
            late,
        };
        (rearranged, self.holding)
    }

    async fn forward(&mut self) -> Result<(), ApiError> {
        self.hold_the_refused();
        if let Some(clearing) = self.clearing.take() {
            self.until_cancelled(clearing.map(Ok)).await?;
        }
        self.look().await?;
        self.clear_strays().await;
        let plan = self.plan()?;
        self.shown.arranging.steps = u32::try_from(plan.moves.len()).unwrap_or(u32::MAX);
        self.shown.arranging.eta_s = plan.takes_s;
        let mut moves: VecDeque<Move> = plan.moves.into();
        while let Some(one) = moves.pop_front() {
            let left = u32::try_from(moves.len() + 1).unwrap_or(u32::MAX);
            self.shown.arranging.done = self.shown.arranging.steps.saturating_sub(left);
            if let Err(error) = self.timed(one.clone()).await {
                make_room(&mut moves, &one, error.clone()).ok_or(error)?;
                self.loaded.retain(|model| Move::Load(model.clone()) != one);
            }
        }
        Ok(())
    }

    /// Requests for an active model that cannot answer wait for the one that is on its way to them.
    fn hold_the_refused(&mut self) {
        let comes = self.order.after.active.as_ref().map(Active::reference);
        let is_on_its_way = self.order.targets.iter().any(|target| Some(target.model.reference()) == comes);
        if is_on_its_way && matches!(self.standing, Standing::Refusing(_)) {
            self.standing = Standing::Held;
            self.tell();
        }
    }

    async fn timed(&mut self, one: Move) -> Result<(), ApiError> {
        let begun = Instant::now();
        let name = circumstances::name_of(&one);
        let result = match one {
            Move::Unload(model) => self.unload(&model).await,
            Move::Load(model) => self.load(&model).await,
            Move::Prove(model) => self.prove(&model).await,
            Move::Commit => {
                self.commit().await;
                Ok(())
            }
        };
        let ms = begun.elapsed().as_millis() as u64;
        self.timings.push(StepTiming { name: name.into(), ms });
        result
    }

    /// Reaches the servers of what shall be in memory and sees what is there. A server that does not run is not started only to take
    /// something out of it.
    async fn look(&mut self) -> Result<(), ApiError> {
        let servers: BTreeSet<ServerId> =
            self.order.targets.iter().map(|target| target.model.server.clone()).collect();
        for server in servers {
            let (connection, instances) = {
                let reach = self.around.reach(&server, &self.ending);
                self.until_cancelled(reach).await?
            };
            let snapshot = self.around.hub.now();
            for target in self.order.targets.iter_mut().filter(|target| target.model.server == server) {
                target.instance = instances.iter().find(|one| one.model == target.model.name).cloned();
                if circumstances::in_memory(&snapshot, target, &self.holding) != InMemory::Yes
                    && let Some(error) = connection.client.cannot_load_with(&target.with)
                {
                    return Err(error);
                }
            }
            self.connections.insert(server, connection);
        }
        Ok(())
    }

    /// What earlier changes had to leave in memory goes before anything is loaded beside it.
    async fn clear_strays(&mut self) {
        let (now, later) = std::mem::take(&mut self.strays)
            .into_iter()
            .partition(|stray| self.connections.contains_key(&stray.server));
        self.strays = later;
        let now: Vec<ModelRef> = now;
        for stray in now {
            if let Err(error) = self.around.take_out(&stray, &self.ending).await {
                tracing::warn!(%error, model = %stray, "is still in memory");
                self.strays.push(stray);
            }
        }
    }

    fn plan(&self) -> Result<ArrangementPlan, ApiError> {
        circumstances::plan(&self.around, &self.order, &self.before, &self.holding)
    }

    fn show(&mut self, phase: SwitchPhase, model: Option<&ModelRef>) {
        self.shown.arranging.phase = phase;
        self.shown.arranging.model = model.cloned();
        self.shown.arranging.progress = None;
        self.around.hub.report(self.shown.report());
    }

    /// Tells what is held at this moment, and whose requests wait.
    fn tell(&self) {
        let active = self.held.active.clone();
        self.around.hub.report(Report::Active { active, standing: self.standing.clone() });
        let holding = Holding { absent: self.absent.clone(), ..self.holding.clone() };
        self.around.hub.report(Report::Arrangement(holding.view(&self.held, &self.waits)));
    }

    async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let by_a_person = until_cancelled(&self.cancel, "It was cancelled.", Box::pin(work));
        until_cancelled(&self.ending, "Pilothouse ended.", by_a_person).await
    }

    fn target(&self, model: &ModelRef) -> Result<&Target, ApiError> {
        let found = self.order.targets.iter().find(|target| target.model.reference() == *model);
        found.ok_or_else(|| ApiError::internal("A model is loaded that nobody wants."))
    }

    fn connection(&self, server: &ServerId) -> Result<Connection, ApiError> {
        let found = self.connections.get(server).cloned();
        found.ok_or_else(|| ApiError::internal("A step came before its server was up."))
    }

    fn report(&mut self, outcome: SwitchOutcome, error: Option<ApiError>) -> SceneReport {
        let reasons: Vec<String> = std::mem::take(&mut self.reasons);
        let is_committed = outcome == SwitchOutcome::Committed;
        SceneReport {
            scene: self.order.purpose.scene(),
            outcome,
            dry_run: false,
            took_ms: self.began.elapsed().as_millis() as u64,
            steps: std::mem::take(&mut self.timings),
            loaded: if is_committed { self.loaded.clone() } else { vec![] },
            evicted: match is_committed {
                true => self.unloaded.iter().map(Active::reference).collect(),
                false => vec![],
            },
            answers_cut: self.answers_cut,
            journalled: self.journalled,
            reason: (!reasons.is_empty()).then(|| reasons.join(" ")),
            error,
        }
    }
}

/// The way on when a load was refused for want of memory: what leaves after the commit goes first, and the load is tried once more.
/// LM Studio's guardrail counts what is about to leave, and nobody may have known that it is tight. `None`: nothing is left to try.
fn make_room(moves: &mut VecDeque<Move>, failed: &Move, error: ApiError) -> Option<()> {
    let Move::Load(model) = failed else { return None };
    let later: Vec<Move> = moves.iter().filter(|one| matches!(one, Move::Unload(_))).cloned().collect();
    if error.code != ErrorCode::DoesNotFit || later.is_empty() {
        return None;
    }
    tracing::info!(%error, "what leaves anyway may be in the way, unloading it first");
    moves.retain(|one| !matches!(one, Move::Unload(_)));
    moves.push_front(Move::Load(model.clone()));
    later.into_iter().rev().for_each(|one| moves.push_front(one));
    Some(())
}
