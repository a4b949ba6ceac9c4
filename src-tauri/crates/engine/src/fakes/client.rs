use super::{
    faults::{Fault, Shape},
    world::{Act, FakeServer},
};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    hang::{ProcessWork, Slot},
    model::{Expiry, Instance, Model},
    server::{Abilities, Ownership, ServerId, ServerKind},
    settings::ServersSettings,
};
use pilothouse_servers::{
    Found, GenerateEnd, GenerateEvent, GenerateRequest, GenerateStream, Health, Installation, Launch,
    LoadProgress, LoadRequest, ServerAdapter, ServerClient,
};
use pilothouse_system::model_files::ModelFiles;
use pilothouse_system::process::{Child, Exit, ProcessSpec, Processes};
use std::{sync::Arc, time::Duration};

/// As the clients of real servers have them.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);
const LIST_LIMIT: Duration = Duration::from_secs(10);
const UNLOAD_LIMIT: Duration = Duration::from_secs(30);
/// Where each child of it would listen.
const PORT: u16 = 7000;

#[async_trait]
impl ServerClient for FakeServer {
    async fn health(&self) -> Result<Health, ApiError> {
        let fault = {
            let mut world = self.lock();
            world.health_calls += 1;
            world.faults.health.clone()
        };
        self.suffer_within(HEALTH_LIMIT, fault).await?;
        Ok(Health { version: Some("1".into()) })
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        let fault = self.lock().faults.list.clone();
        self.suffer_within(LIST_LIMIT, fault).await?;
        let models = self.lock().models.clone();
        Ok(models.iter().map(|(name, bytes)| self.model(name, *bytes)).collect())
    }

    /// What is in memory when it is asked, however late the answer comes.
    async fn instances(&self) -> Result<Vec<Instance>, ApiError> {
        let (fault, held) = {
            let world = self.lock();
            let held: Vec<Instance> = world.held.values().map(|(_, instance)| instance.clone()).collect();
            (world.faults.list.clone(), held)
        };
        self.suffer_within(LIST_LIMIT, fault).await?;
        Ok(held)
    }

    async fn load(&self, request: &LoadRequest, progress: LoadProgress) -> Result<Instance, ApiError> {
        if !self.lock().loads_go_on {
            return self.load_now(request, progress).await;
        }
        let (server, request) = (self.clone(), request.clone());
        let load = tokio::spawn(async move { server.load_now(&request, progress).await });
        load.await.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
    }

    fn loads_go_on(&self) -> bool {
        self.lock().loads_go_on
    }

    fn keeps_its_context(&self) -> bool {
        self.lock().keeps_its_context
    }

    async fn unload(&self, instance: &str) -> Result<(), ApiError> {
        let fault = {
            let mut world = self.lock();
            world.unload_calls += 1;
            world.faults.unload.clone()
        };
        self.suffer_within(UNLOAD_LIMIT, fault).await?;
        if self.let_go(instance) {
            self.lock().acts.push(Act::Unloaded(instance.to_owned()));
        }
        Ok(())
    }

    /// One token after the other, each the name of the instance; waits for a free place first.
    async fn generate(&self, request: &GenerateRequest) -> Result<GenerateStream, ApiError> {
        let fault = {
            let mut world = self.lock();
            world.tokens_asked += 1;
            world.faults.generate.clone()
        };
        self.suffer(fault).await?;
        let name = request.instance.clone();
        let life = self.life(&name)?;
        let place = self.place().await?;
        let answer = UnderWay::begin(self, name, life, place);
        let (prompt_tokens, cached_tokens) = self.read(&request.prompt).await;
        let shape = self.lock().faults.shape;
        let tokens = u64::from(request.max_tokens.max(1));
        let events = stream::unfold((answer, 0), move |(answer, given)| async move {
            if given > tokens {
                return None;
            }
            let model = answer.told_as();
            if given == tokens {
                let end = GenerateEnd {
                    finish: Some("length".into()),
                    output_tokens: (shape != Shape::Uncounted).then_some(given as u32),
                    prompt_tokens,
                    cached_tokens,
                    ..GenerateEnd::default()
                };
                return Some((Ok(event(String::new(), model, Some(end))), (answer, given + 1)));
            }
            let together = match shape {
                Shape::Stream | Shape::Uncounted => 1,
                Shape::Batches(size) => size.min(tokens - given),
                Shape::Whole => tokens,
            };
            let mut text = String::new();
            for token in given..given + together {
                match answer.token(token).await {
                    Ok(more) => text.push_str(&more),
                    Err(error) => return Some((Err(error), (answer, tokens + 1))),
                }
            }
            Some((Ok(event(text, model, None)), (answer, given + together)))
        });
        Ok(events.boxed())
    }

    async fn load_copy(&self, request: &LoadRequest) -> Result<Instance, ApiError> {
        let (fault, takes) = {
            let mut world = self.lock();
            world.load_calls += 1;
            (world.faults.next_loads.pop_front().unwrap_or_default(), world.load_takes)
        };
        self.suffer(fault).await?;
        tokio::time::sleep(takes).await;
        let held = self.held();
        let numbered = (2..).map(|number| format!("{}:{number}", request.model));
        let id =
            std::iter::once(request.model.clone()).chain(numbered).find(|id| !held.contains(id)).unwrap();
        let instance = self.take_copy_in(&request.model, &id, Expiry::Never)?;
        self.lock().acts.push(Act::Loaded(id));
        Ok(instance)
    }

    fn openai(&self) -> Endpoint {
        Endpoint { base_url: format!("{}/v1", self.endpoint().base_url), key: None }
    }

    fn oddities(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().faults.odd)
    }

    async fn slots(&self, _port: u16) -> Option<Vec<Slot>> {
        self.slots_now()
    }
}

fn event(text: String, model: String, end: Option<GenerateEnd>) -> GenerateEvent {
    // By the clock of the test.
    GenerateEvent { at: tokio::time::Instant::now().into_std(), text, model: Some(model), end }
}

/// One answer, counted for as long as it lives.
struct UnderWay {
    server: FakeServer,
    name: String,
    life: u64,
    number: u64,
    takes: Duration,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl UnderWay {
    fn begin(server: &FakeServer, name: String, life: u64, place: tokio::sync::OwnedSemaphorePermit) -> Self {
        let mut world = server.lock();
        let number = world.answers.keys().next_back().map_or(0, |last| last + 1);
        world.answers.insert(number, 0);
        let takes = world.token_takes;
        drop(world);
        Self { server: server.clone(), name, life, number, takes, _place: place }
    }

    fn told_as(&self) -> String {
        self.server.lock().faults.answers_as.clone().unwrap_or_else(|| self.name.clone())
    }

    async fn token(&self, given: u64) -> Result<String, ApiError> {
        tokio::time::sleep(self.takes).await;
        let there = self.server.life(&self.name).is_ok_and(|life| life == self.life);
        let mut world = self.server.lock();
        if !there || world.faults.down {
            world.acts.push(Act::Cut(self.name.clone()));
            return Err(ApiError::new(ErrorCode::Unreachable, "The answer broke off.").retryable());
        }
        if given == 0 {
            world.acts.push(Act::Spoke(self.name.clone()));
        }
        *world.answers.entry(self.number).or_default() += 1;
        Ok(format!("{} ", self.name))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.server.lock().answers.remove(&self.number);
    }
}

impl FakeServer {
    async fn load_now(&self, request: &LoadRequest, progress: LoadProgress) -> Result<Instance, ApiError> {
        let (fault, takes) = {
            let mut world = self.lock();
            world.load_calls += 1;
            let next = world.faults.next_loads.pop_front();
            (next.unwrap_or_else(|| world.faults.load.clone()), world.load_takes)
        };
        self.suffer(fault).await?;
        if !takes.is_zero() && !self.lock().held.contains_key(&request.model) {
            tokio::time::sleep(takes / 2).await;
            progress(0.5);
            tokio::time::sleep(takes / 2).await;
        }
        // It may have died meanwhile.
        self.suffer(Fault::None).await?;
        let instance = self.take_in(&request.model, Expiry::Never)?;
        let mut world = self.lock();
        world.acts.push(Act::Loaded(request.model.clone()));
        let held = world.held.get_mut(&instance.id).map(|(_, held)| held);
        let context = request.with.context.or(instance.context);
        held.into_iter().for_each(|held| held.context = context);
        Ok(Instance { context, ..instance })
    }

    /// Reads what of a prompt its cache does not have. Returns its words and those from the cache, where they are counted.
    async fn read(&self, prompt: &str) -> (Option<u32>, Option<u32>) {
        let words: Vec<String> = prompt.split_whitespace().map(str::to_owned).collect();
        let (takes, cached) = {
            let mut world = self.lock();
            let Some(takes) = world.word_takes else { return (None, None) };
            let kept = world.cache.as_ref();
            let cached = kept.map(|kept| kept.iter().zip(&words).take_while(|(a, b)| a == b).count());
            if let Some(cache) = &mut world.cache {
                cache.clone_from(&words);
            }
            (takes, cached)
        };
        let anew = words.len() - cached.unwrap_or(0);
        tokio::time::sleep(takes * anew as u32).await;
        (Some(words.len() as u32), cached.map(|words| words as u32))
    }

    fn life(&self, name: &str) -> Result<u64, ApiError> {
        let world = self.lock();
        let life = world.held.get(name).map(|(life, _)| *life);
        life.ok_or_else(|| ApiError::not_found(format!("{name} is not in memory.")))
    }

    /// Waits behind the answers that have the places now, those of nobody included.
    async fn place(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
        let ended = |_| ApiError::internal("the fake has ended");
        let place = self.places.clone().acquire_owned().await.map_err(ended)?;
        while self.is_full_of_orphans() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(place)
    }

    fn is_full_of_orphans(&self) -> bool {
        let world = self.lock();
        world.slots.is_some_and(|slots| world.orphans.len() >= slots as usize)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint { base_url: format!("http://127.0.0.1:1/{}", self.id), key: None }
    }
}

#[async_trait]
impl ServerAdapter for FakeServer {
    fn id(&self) -> ServerId {
        self.id.clone()
    }

    fn kind(&self) -> ServerKind {
        match self.found_as {
            Ownership::Remote => ServerKind::OpenAi,
            _ => ServerKind::Ollama,
        }
    }

    fn title(&self) -> String {
        self.id.to_string()
    }

    fn abilities(&self) -> Abilities {
        Abilities { load: true, unload: true, copies: self.lock().copies, ..Abilities::default() }
    }

    fn found_as(&self) -> Ownership {
        self.found_as
    }

    async fn locate(&self) -> Installation {
        if self.found_as == Ownership::Ours || self.lock().installed {
            return Installation::Installed { program: "/bin/sleep".into(), version: None };
        }
        Installation::NotInstalled { reason: "It is a fake.".into(), hint: String::new() }
    }

    async fn find_running(&self) -> Option<Found> {
        let found = self.found_as != Ownership::Ours && !self.lock().faults.down;
        let pid = self.lock().pid;
        found.then(|| Found {
            endpoint: self.endpoint(),
            version: None,
            pid: Some(pid),
            keeper: None,
            left_to_owner: false,
            log: None,
        })
    }

    fn is_runner(&self, _command_line: &[String]) -> bool {
        true
    }

    async fn is_runner_of(&self, command_line: &[String], model: &str) -> bool {
        command_line.iter().any(|word| word == model)
    }

    async fn launch(&self, _installation: &Installation) -> Result<Launch, ApiError> {
        if self.found_as != Ownership::Ours {
            return Err(ApiError::new(ErrorCode::NotInstalled, "It is a fake."));
        }
        // A new process has nothing in memory.
        for model in self.held() {
            self.let_go(&model);
        }
        let mut world = self.lock();
        world.launches += 1;
        if let Some(parallel) = world.parallel.filter(|_| !world.ignores_parallel) {
            world.slots = Some(parallel);
        }
        drop(world);
        let process = ProcessSpec {
            program: "/bin/sleep".into(),
            args: vec!["1000".into()],
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        Ok(Launch::Own { process, endpoint: self.endpoint(), files: vec![] })
    }

    async fn model_files(&self, model: &str) -> Option<ModelFiles> {
        self.lock().files.then(|| ModelFiles::gguf(format!("/nowhere/{model}.gguf").into()))
    }

    fn take_settings(&self, servers: &ServersSettings) {
        self.lock().parallel = Some(servers.ollama.parallel);
    }

    async fn stop_commands(&self, _installation: &Installation) -> Option<Vec<ProcessSpec>> {
        None
    }

    fn client(&self, _endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(self.clone())
    }

    fn start_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn explain_exit(&self, exit: &Exit, _last_lines: &[String]) -> ApiError {
        ApiError::new(ErrorCode::ServerCrashed, exit.to_string())
    }
}

/// The system, as far as it knows this server's processes.
impl Processes for FakeServer {
    fn children(&self, _parent: u32) -> Option<Vec<Child>> {
        let world = self.lock();
        let child = |(pid, model): &(u32, String)| Child {
            pid: *pid,
            command_line: vec![model.clone(), "--port".into(), PORT.to_string()],
        };
        Some(world.children.as_ref()?.iter().map(child).collect())
    }

    fn work(&self, _root: u32) -> Option<ProcessWork> {
        self.lock().work.clone()
    }

    fn refuses(&self, _base_url: &str) -> bool {
        self.is_down()
    }
}
