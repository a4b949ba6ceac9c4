use super::faults::{Fault, Faults};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    hang::ProcessWork,
    model::{Expiry, Instance, Model, ModelPurpose},
    server::{Ownership, ServerId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// Memory that several fake servers share.
#[derive(Debug, Clone)]
pub struct Memory {
    total: u64,
    used: Arc<Mutex<u64>>,
}

impl Memory {
    pub fn of(total: u64) -> Self {
        Self { total, used: Arc::default() }
    }

    pub fn free(&self) -> u64 {
        self.total - *self.used.lock().unwrap()
    }

    fn take(&self, bytes: u64) -> bool {
        let mut used = self.used.lock().unwrap();
        let fits = bytes <= self.total - *used;
        *used += if fits { bytes } else { 0 };
        fits
    }

    fn give_back(&self, bytes: u64) {
        *self.used.lock().unwrap() -= bytes;
    }
}

/// Something that was done to a fake server, in the order in which it ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Loaded(String),
    Unloaded(String),
    /// An answer of this instance gave its first token.
    Spoke(String),
    /// An answer was cut because its instance left memory.
    Cut(String),
}

/// A process that is none of ours.
const PID: u32 = 7;

pub(super) struct World {
    pub models: BTreeMap<String, u64>,
    /// By name, with a number that tells one life in memory from the next.
    pub held: BTreeMap<String, (u64, Instance)>,
    pub lives: u64,
    pub faults: Faults,
    pub acts: Vec<Act>,
    pub launches: u32,
    pub load_calls: u32,
    pub unload_calls: u32,
    pub tokens_asked: u32,
    pub health_calls: u32,
    pub token_takes: Duration,
    /// To read a word of a prompt that its cache does not have; `None`: nothing is read or counted.
    pub word_takes: Option<Duration>,
    /// The words of the last prompt and its answer, if its cache keeps them.
    pub cache: Option<Vec<String>>,
    pub load_takes: Duration,
    pub slots: Option<u32>,
    /// What its next start takes over of the settings; `None`: nothing was said.
    pub parallel: Option<u32>,
    pub ignores_parallel: bool,
    /// Answers that nobody waits for: since when, and whether they go on.
    pub orphans: Vec<(Instant, bool)>,
    /// Answers under way that came by `generate`, and their tokens so far.
    pub answers: BTreeMap<u64, u64>,
    /// What the processes have done so far; `None`: the system does not tell.
    pub work: Option<ProcessWork>,
    /// Children of the server's process that hold a model: pid and model.
    pub children: Option<Vec<(u32, String)>>,
    pub next_pid: u32,
    /// Its own process, as it is found running.
    pub pid: u32,
    /// Whether its program is on this machine, for one that is not ours.
    pub installed: bool,
    /// A load goes on when its asker leaves.
    pub loads_go_on: bool,
    /// It holds several copies of a model.
    pub copies: bool,
    pub keeps_its_context: bool,
    /// Its models have files that can be read here.
    pub files: bool,
}

/// A server that exists only in memory. A clone is the same server.
#[derive(Clone)]
pub struct FakeServer {
    pub(super) id: ServerId,
    pub(super) found_as: Ownership,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) memory: Memory,
    /// Places for answers.
    pub(super) places: Arc<Semaphore>,
}

impl FakeServer {
    /// An adopted server without models and with as much memory as anybody wants, which loads at once.
    pub fn new(id: &str) -> Self {
        let world = World {
            models: BTreeMap::new(),
            held: BTreeMap::new(),
            lives: 0,
            faults: Faults::default(),
            acts: vec![],
            launches: 0,
            load_calls: 0,
            unload_calls: 0,
            tokens_asked: 0,
            health_calls: 0,
            token_takes: Duration::ZERO,
            word_takes: None,
            cache: None,
            load_takes: Duration::ZERO,
            slots: None,
            parallel: None,
            ignores_parallel: false,
            orphans: vec![],
            answers: BTreeMap::new(),
            work: None,
            children: None,
            next_pid: 100,
            pid: PID,
            installed: false,
            loads_go_on: false,
            copies: false,
            keeps_its_context: false,
            files: false,
        };
        Self {
            id: ServerId::new(id),
            found_as: Ownership::Adopted,
            world: Arc::new(Mutex::new(world)),
            memory: Memory::of(u64::MAX),
            places: Arc::new(Semaphore::new(64)),
        }
    }

    pub fn with_model(self, name: &str, bytes: u64) -> Self {
        self.lock().models.insert(name.into(), bytes);
        self
    }

    /// It reads a prompt word by word, counts them, and may keep those of the last one. It has one place then.
    pub fn that_reads(self, word: Duration, keeps: bool) -> Self {
        {
            let mut world = self.lock();
            world.word_takes = Some(word);
            world.cache = keeps.then(Vec::new);
        }
        Self { places: Arc::new(Semaphore::new(1)), ..self }
    }

    /// It shares its memory with others.
    pub fn in_memory(self, memory: &Memory) -> Self {
        Self { memory: memory.clone(), ..self }
    }

    pub fn remote(self) -> Self {
        Self { found_as: Ownership::Remote, ..self }
    }

    /// Ours to start and to end: its process is a real one that sleeps.
    pub fn ours(self) -> Self {
        Self { found_as: Ownership::Ours, ..self }
    }

    /// It gives so many answers at a time and tells of its slots.
    pub fn with_slots(self, slots: u32) -> Self {
        self.lock().slots = Some(slots);
        Self { places: Arc::new(Semaphore::new(slots as usize)), ..self }
    }

    /// It goes on with as many slots as it has, whatever the settings say.
    pub fn ignore_parallel(&self) {
        self.lock().ignores_parallel = true;
    }

    /// How long a load and each token take.
    pub fn with_pace(self, load: Duration, token: Duration) -> Self {
        {
            let mut world = self.lock();
            (world.load_takes, world.token_takes) = (load, token);
        }
        self
    }

    /// Its models live in children of its process, which the system shows.
    pub fn with_children(self) -> Self {
        self.lock().children = Some(vec![]);
        self
    }

    /// It finishes what it has begun to load, whether anybody waits for it or not, as LM Studio does.
    pub fn with_loads_that_go_on(self) -> Self {
        self.lock().loads_go_on = true;
        self
    }

    /// It loads with the context that it is told and stays with it, as LM Studio does.
    pub fn with_contexts(self) -> Self {
        self.lock().keeps_its_context = true;
        self
    }

    /// It holds several copies of a model, as LM Studio does.
    pub fn with_copies(self) -> Self {
        self.lock().copies = true;
        self
    }

    /// Its models have files that can be read here.
    pub fn with_files(&self) {
        self.lock().files = true;
    }

    /// The process that it is found with.
    pub fn with_pid(self, pid: u32) -> Self {
        self.lock().pid = pid;
        self
    }

    /// Its program is put on this machine, or taken off it.
    pub fn set_installed(&self, installed: bool) {
        self.lock().installed = installed;
    }

    /// Changes how calls go from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Its owner loads a model without asking anybody. Panics when it has no such model or no memory for it.
    pub fn load_by_owner(&self, model: &str, expiry: Expiry) {
        assert!(self.take_in(model, expiry).is_ok(), "{model} cannot be loaded");
    }

    /// A model leaves memory without a word of ours: its owner unloads it.
    pub fn drop_model(&self, model: &str) {
        self.let_go(model);
    }

    /// The process that holds a model dies; the server goes on listing it.
    pub fn kill_child(&self, model: &str) {
        if let Some(children) = &mut self.lock().children {
            children.retain(|(_, held)| held != model);
        }
    }

    /// Everything that was in memory is gone, and nothing answers until `come_back`.
    pub fn die(&self) {
        for model in self.held() {
            self.let_go(&model);
        }
        self.lock().faults.down = true;
    }

    pub fn is_down(&self) -> bool {
        self.lock().faults.down
    }

    /// Whether its owner could load a model now.
    pub fn has_room_for(&self, model: &str) -> bool {
        let world = self.lock();
        let bytes = world.models.get(model).copied();
        world.held.contains_key(model) || bytes.is_some_and(|bytes| bytes <= self.memory.free())
    }

    pub fn come_back(&self) {
        self.lock().faults.down = false;
    }

    /// An answer that nobody waits for takes a slot; `moving`: it goes on.
    pub fn leave_answer(&self, moving: bool) {
        self.lock().orphans.push((Instant::now(), moving));
    }

    pub fn free_slots(&self) {
        self.lock().orphans.clear();
    }

    /// What the system tells of its processes from now on.
    pub fn set_work(&self, work: Option<ProcessWork>) {
        self.lock().work = work;
    }

    /// Names of what is in memory.
    pub fn held(&self) -> Vec<String> {
        self.lock().held.keys().cloned().collect()
    }

    /// The context of a model in memory.
    pub fn context_of(&self, model: &str) -> Option<u64> {
        self.lock().held.get(model).and_then(|(_, instance)| instance.context)
    }

    pub fn acts(&self) -> Vec<Act> {
        self.lock().acts.clone()
    }

    /// How often its process was started.
    pub fn launches(&self) -> u32 {
        self.lock().launches
    }

    /// Calls of `load`, whatever came of them.
    pub fn loads(&self) -> u32 {
        self.lock().load_calls
    }

    pub fn unloads(&self) -> u32 {
        self.lock().unload_calls
    }

    /// Calls of `generate`.
    pub fn tokens(&self) -> u32 {
        self.lock().tokens_asked
    }

    pub fn health_checks(&self) -> u32 {
        self.lock().health_calls
    }

    /// Answers under way that came by `generate`.
    pub fn answering(&self) -> usize {
        self.lock().answers.len()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a call that has a time limit of its own, as all but loads and answers have.
    pub(super) async fn suffer_within(&self, limit: Duration, fault: Fault) -> Result<(), ApiError> {
        tokio::time::timeout(limit, self.suffer(fault)).await.unwrap_or_else(|_| {
            Err(ApiError::new(ErrorCode::TimedOut, "It did not answer in time.").retryable())
        })
    }

    /// Does what a fault says; returns when the call may go on.
    pub(super) async fn suffer(&self, fault: Fault) -> Result<(), ApiError> {
        if self.lock().faults.down {
            return Err(ApiError::new(ErrorCode::Unreachable, "Nothing answers there.").retryable());
        }
        match fault {
            Fault::None => Ok(()),
            Fault::Slow(so) => {
                tokio::time::sleep(so).await;
                Ok(())
            }
            Fault::Until(instant) => {
                tokio::time::sleep_until(instant).await;
                Ok(())
            }
            Fault::Fail(error) => Err(error),
            Fault::Hang => std::future::pending().await,
        }
    }

    /// Takes a model into memory, or gives what is there. Errors: not_found, does_not_fit.
    pub(super) fn take_in(&self, model: &str, expiry: Expiry) -> Result<Instance, ApiError> {
        let held = self.lock().held.get(model).map(|(_, held)| held.clone());
        held.map_or_else(|| self.take_copy_in(model, model, expiry), Ok)
    }

    /// The same for a copy of its own name.
    pub(super) fn take_copy_in(&self, model: &str, id: &str, expiry: Expiry) -> Result<Instance, ApiError> {
        let mut world = self.lock();
        let Some(bytes) = world.models.get(model).copied() else {
            return Err(ApiError::not_found(format!("There is no model {model}.")));
        };
        if !self.memory.take(bytes) {
            return Err(ApiError::new(ErrorCode::DoesNotFit, format!("There is no memory for {model}.")));
        }
        let instance = Instance {
            id: id.to_owned(),
            server: self.id.clone(),
            model: model.to_owned(),
            memory_bytes: Some(bytes),
            gpu_memory_bytes: None,
            context: Some(4096),
            expiry,
            pid: None,
            port: None,
            slots: world.slots,
            orphaned_answers: None,
        };
        world.lives += 1;
        let life = world.lives;
        world.held.insert(id.to_owned(), (life, instance.clone()));
        let pid = world.next_pid;
        if let Some(children) = &mut world.children {
            children.push((pid, id.to_owned()));
            world.next_pid += 1;
        }
        Ok(instance)
    }

    /// Somebody has loaded it with another context.
    pub fn hold_with_context(&self, model: &str, context: u64) {
        if self.take_in(model, Expiry::Never).is_ok()
            && let Some((_, held)) = self.lock().held.get_mut(model)
        {
            held.context = Some(context);
        }
    }

    pub(super) fn let_go(&self, model: &str) -> bool {
        let mut world = self.lock();
        let Some((_, instance)) = world.held.remove(model) else { return false };
        if let Some(children) = &mut world.children {
            children.retain(|(_, held)| held != model);
        }
        drop(world);
        self.memory.give_back(instance.memory_bytes.unwrap_or_default());
        true
    }

    pub(super) fn model(&self, name: &str, bytes: u64) -> Model {
        Model {
            server: self.id.clone(),
            name: name.to_owned(),
            title: name.to_owned(),
            purpose: ModelPurpose::Llm,
            format: None,
            quantization: None,
            parameters: None,
            size_bytes: Some(bytes),
            context_max: None,
            damaged: None,
        }
    }
}
