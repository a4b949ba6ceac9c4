//! A Pilothouse with two models that are alike, on the servers and in the tightness that a storm is about.

use crate::{
    memory::{self, Models},
    watch::id,
};
use pilothouse_tests::{
    gguf,
    sandbox::{Answer, GGUF, Group, LIMIT, Sandbox, Tools, command, until},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What a model says that it was trained for; more than anybody asks for, and different for each, so that they are
/// different models.
const TRAINED: u32 = 1 << 24;
/// Tokens of context where nothing depends on it.
pub const CONTEXT: u64 = 4096;
/// Where room is short the models really hold as much as this many tokens take: 3 GiB, so that other programs on the machine
/// may take or give back a gigabyte meanwhile.
const LARGE_CONTEXT: u64 = 140_000;
/// So often is it tried to make room short while other programs take and give back memory.
const TIGHTENINGS: usize = 3;

/// Whether both models fit beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    ForBoth,
    /// The previous model must leave before the next one is loaded.
    ForOne,
}

impl Room {
    pub fn words(self) -> &'static str {
        match self {
            Self::ForBoth => "room for both",
            Self::ForOne => "tight",
        }
    }
}

/// A model of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub server: &'static str,
    pub model: &'static str,
}

impl Place {
    pub fn id(self) -> String {
        format!("{}/{}", self.server, self.model)
    }
}

const LLAMA: &str = "llama-server";
const OLLAMA: &str = "ollama";

pub struct Scene {
    pub sandbox: Arc<Sandbox>,
    pub engine: Group,
    /// Active at the begin.
    pub from: Place,
    pub to: Place,
    /// Cannot be loaded, although it looks like the others.
    pub broken: Place,
    /// In memory because somebody else has loaded it.
    pub stranger: Option<Place>,
    pub room: Room,
}

impl Scene {
    /// Both models on llama-server, which answers so many requests at a time, each with so many tokens of context.
    pub async fn llama_server(tools: &Tools, room: Room, parallel: u32, context: u64) -> Self {
        let tools = without_ollama(tools);
        let place = |model| Place { server: LLAMA, model };
        let [from, to, broken] = ["alpha", "beta", "broken"].map(place);
        let real = if room == Room::ForOne { LARGE_CONTEXT } else { context * u64::from(parallel) };
        let sandbox = Sandbox::new(&tools, &llama_settings(parallel, real / u64::from(parallel), real));
        patient(&sandbox);
        let folder = sandbox.home().join("data/models");
        gguf::variant(&sandbox.embedded.join(GGUF), &folder.join("alpha.gguf"), TRAINED);
        gguf::variant(&sandbox.embedded.join(GGUF), &folder.join("beta.gguf"), TRAINED + 1);
        let engine = sandbox.serve().await;
        let mut scene = Self { sandbox: sandbox.into(), engine, from, to, broken, stranger: None, room };
        scene.sandbox.until_active(&mut scene.engine, LLAMA).await;
        // Only now: a first start would try it.
        gguf::variant(&scene.sandbox.embedded.join(GGUF), &folder.join("broken.gguf"), TRAINED + 2);
        gguf::spoil(&folder.join("broken.gguf"));
        scene.sandbox.until_listed("broken").await;
        scene.make_active(from).await;
        if room == Room::ForOne {
            scene
                .tighten(parallel, |sandbox, reckoned| {
                    set_llama(sandbox, &llama_settings(parallel, reckoned, real))
                })
                .await;
        }
        scene
    }

    /// Both models on Ollama.
    pub async fn ollama(tools: &Tools, room: Room) -> Self {
        let place = |model| Place { server: OLLAMA, model };
        let [from, to, broken] = ["alpha:1", "beta:1", "broken:1"].map(place);
        let real = if room == Room::ForOne { LARGE_CONTEXT } else { CONTEXT };
        let sandbox = Sandbox::new(tools, "[servers.llama-server]\nenabled = false\n\n");
        patient(&sandbox);
        set_ollama_context(&sandbox, real);
        let mut engine = sandbox.serve().await;
        sandbox.until_ready(&mut engine, OLLAMA).await;
        let mut scene = Self { sandbox: sandbox.into(), engine, from, to, broken, stranger: None, room };
        for (nth, model) in [from, to].into_iter().enumerate() {
            scene.add_to_ollama(model, nth as u32, Some(real)).await;
        }
        scene.make_active(from).await;
        if room == Room::ForOne {
            scene.tighten(1, set_ollama_context).await;
        }
        scene
    }

    /// From llama-server to Ollama, in which somebody else holds a model as well.
    pub async fn two_servers(tools: &Tools) -> Self {
        let from = Place { server: LLAMA, model: "alpha" };
        let [to, broken, stranger] =
            ["beta:1", "broken:1", "stranger:1"].map(|model| Place { server: OLLAMA, model });
        let sandbox = Sandbox::new(tools, &llama_settings(1, CONTEXT, CONTEXT));
        patient(&sandbox);
        set_ollama_context(&sandbox, CONTEXT);
        let file = sandbox.home().join("data/models/alpha.gguf");
        gguf::variant(&sandbox.embedded.join(GGUF), &file, TRAINED);
        let mut engine = sandbox.serve().await;
        sandbox.until_ready(&mut engine, OLLAMA).await;
        sandbox.until_active(&mut engine, LLAMA).await;
        let mut scene = Self {
            sandbox: sandbox.into(),
            engine,
            from,
            to,
            broken,
            stranger: Some(stranger),
            room: Room::ForBoth,
        };
        for (nth, model) in [to, broken, stranger].into_iter().enumerate() {
            scene.add_to_ollama(model, nth as u32 + 1, None).await;
        }
        scene.break_in_ollama();
        scene.make_active(from).await;
        scene
    }

    /// Two scenes over both servers: `One` has alpha on llama-server active, `Two` gamma on Ollama and beta beside it. Gamma is in memory
    /// in both, so that each change loads and unloads on one server while the other goes on.
    pub async fn of_scenes(tools: &Tools) -> Self {
        let from = Place { server: LLAMA, model: "alpha" };
        let [to, broken] = ["gamma:1", "broken:1"].map(|model| Place { server: OLLAMA, model });
        let role = |scene: &str, role: &str, server: &str, model: &str| {
            format!("[scenes.{scene}.roles.{role}]\nserver = \"{server}\"\nmodel = \"{model}\"\n\n")
        };
        let scenes = [
            role("One", "critical", LLAMA, "alpha"),
            role("One", "background", OLLAMA, "gamma:1"),
            role("Two", "critical", OLLAMA, "gamma:1"),
            role("Two", "background", LLAMA, "beta"),
        ];
        let sandbox = Sandbox::new(tools, &(llama_settings(1, CONTEXT, CONTEXT) + &scenes.concat()));
        patient(&sandbox);
        set_ollama_context(&sandbox, CONTEXT);
        let folder = sandbox.home().join("data/models");
        gguf::variant(&sandbox.embedded.join(GGUF), &folder.join("alpha.gguf"), TRAINED);
        gguf::variant(&sandbox.embedded.join(GGUF), &folder.join("beta.gguf"), TRAINED + 1);
        let mut engine = sandbox.serve().await;
        sandbox.until_ready(&mut engine, OLLAMA).await;
        sandbox.until_active(&mut engine, LLAMA).await;
        let scene =
            Self { sandbox: sandbox.into(), engine, from, to, broken, stranger: None, room: Room::ForBoth };
        scene.add_to_ollama(to, 2, None).await;
        let first = scene.sandbox.run(&["scene", "apply", "One"]);
        assert_eq!(first.code, Some(0), "{first:?}");
        scene
    }

    /// Begins to apply a scene without waiting for it.
    pub fn apply(&self, name: &'static str) -> tokio::task::JoinHandle<Answer> {
        let sandbox = self.sandbox.clone();
        tokio::task::spawn_blocking(move || sandbox.run(&["scene", "apply", name]))
    }

    async fn add_to_ollama(&self, place: Place, nth: u32, context: Option<u64>) {
        let file = self.sandbox.home().join(format!("variant-{nth}.gguf"));
        gguf::variant(&self.sandbox.embedded.join(GGUF), &file, TRAINED + nth);
        create_in_ollama(self.sandbox.ollama_port, place.model, &file);
        std::fs::remove_file(&file).unwrap();
        if let Some(context) = context {
            let body = serde_json::json!({
                "model": place.model, "from": place.model, "parameters": { "num_ctx": context }, "stream": false,
            });
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let address = format!("http://127.0.0.1:{}/api/create", self.sandbox.ollama_port);
            assert!(http.post(address).json(&body).send().await.unwrap().status().is_success());
        }
        self.sandbox.until_listed(place.model).await;
    }

    /// Spoils the weights of the broken model in Ollama's store. A model is refused when it is made of such a file.
    fn break_in_ollama(&self) {
        let models = self.sandbox.home().parent().unwrap().join("ollama-models");
        let (name, tag) = self.broken.model.split_once(':').unwrap();
        let manifest = models.join("manifests/registry.ollama.ai/library").join(name).join(tag);
        let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter();
        let weights = layers.max_by_key(|layer| layer["size"].as_u64()).unwrap();
        let digest = weights["digest"].as_str().unwrap().replace(':', "-");
        gguf::spoil(&models.join("blobs").join(digest));
    }

    /// Puts a context into the settings with which the models do not fit beside each other, and makes sure of it.
    async fn tighten(&mut self, parallel: u32, set: impl Fn(&Sandbox, u64)) {
        for _ in 0..TIGHTENINGS {
            let reckoned = self.context_that_is_too_much(parallel).await;
            self.end().await;
            set(&self.sandbox, reckoned);
            self.begin().await;
            self.make_active(self.from).await;
            // The first samples of a new engine are needed to know what is free.
            let tight = until("a plan", LIMIT, || async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let plan =
                    self.sandbox.ask(&["switch", self.to.model, "--server", self.to.server, "--dry-run"])?;
                is_tight(&plan)
            })
            .await;
            if tight {
                return;
            }
        }
        panic!("other programs take and give back too much memory for a tight switch");
    }

    /// A context with which either model is reckoned to need more than is free, and less than is free without the other one:
    /// halfway, so that others may take or give back a little meanwhile.
    async fn context_that_is_too_much(&mut self, parallel: u32) -> u64 {
        let (free, held) = until("the ledger to know the model", LIMIT, || async {
            // Samples of before the load must be over.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let memory = self.sandbox.ask(&["memory"])?;
            let pools = memory["pools"].as_array()?.iter().filter(|pool| pool["for_models"] == true);
            let tenants = pools.flat_map(|pool| pool["tenants"].as_array().into_iter().flatten());
            let held = tenants.filter(|tenant| tenant["model"] == self.from.model);
            let held: u64 = held.filter_map(|tenant| tenant["bytes"].as_u64()).sum();
            (held > 1 << 30).then_some((memory["headroom_bytes"].as_u64()?, held))
        })
        .await;
        let reckoned = |context: u64| {
            let (context, parallel) = (context.to_string(), parallel.to_string());
            let arguments = [
                "fit",
                self.to.model,
                "--server",
                self.to.server,
                "--context",
                &context,
                "--parallel",
                &parallel,
            ];
            self.sandbox.run(&arguments).json["needed_bytes"].as_u64().unwrap()
        };
        let (base, more) = (reckoned(CONTEXT), reckoned(2 * CONTEXT));
        let wanted = free + held / 2;
        CONTEXT + wanted.saturating_sub(base) * CONTEXT / (more - base)
    }

    /// Ends the engine in peace.
    pub async fn end(&mut self) {
        self.engine.terminate();
        assert!(self.sandbox.assert_clean_end(&mut self.engine).await.success());
    }

    /// Starts an engine and waits until the model of the begin is active.
    async fn begin(&mut self) {
        self.engine = self.sandbox.serve().await;
        self.sandbox.until_active(&mut self.engine, self.from.server).await;
    }

    /// Starts the engine again with further settings.
    pub async fn with_settings(&mut self, more: &str) {
        self.end().await;
        let text = std::fs::read_to_string(self.sandbox.settings_file()).unwrap();
        std::fs::write(self.sandbox.settings_file(), format!("{text}\n{more}")).unwrap();
        self.begin().await;
    }

    /// Makes a model active and waits until nothing else but that of a stranger is in memory; helps if need be. Not part of
    /// any measurement.
    pub async fn make_active(&mut self, place: Place) {
        self.sandbox
            .until(&mut self.engine, &format!("{} to be active", place.id()), |status| {
                if !status["switching"].is_null() {
                    return None;
                }
                let active = id(&status["active"]) == Some(place.id());
                (active || self.sandbox.switch(place.model, place.server).code == Some(0)).then_some(())
            })
            .await;
        if let Some(stranger) = self.stranger {
            memory::load_as_a_stranger(&self.sandbox, stranger.model).await;
        }
        let wanted = self.with_stranger(place.id());
        until("nothing else to be in memory", LIMIT, || async {
            let found = memory::in_memory(&self.sandbox).await;
            for other in found.difference(&wanted) {
                memory::unload(&self.sandbox, other).await;
            }
            (found == wanted && id(&self.sandbox.ask(&["status"])?["active"]) == Some(place.id()))
                .then_some(())
        })
        .await;
    }

    /// This model, and the stranger's.
    pub fn with_stranger(&self, active: impl Into<String>) -> Models {
        [active.into()].into_iter().chain(self.stranger.map(Place::id)).collect()
    }

    /// Begins a switch without waiting for it.
    pub fn switch(&self, to: Place, flags: &'static [&'static str]) -> tokio::task::JoinHandle<Answer> {
        let sandbox = self.sandbox.clone();
        tokio::task::spawn_blocking(move || {
            let words = [&["switch", to.model, "--server", to.server][..], flags].concat();
            sandbox.run(&words)
        })
    }
}

/// Whether the previous model leaves before the next one is loaded, by the steps of a report. `None`: there are none.
pub fn is_tight(report: &Value) -> Option<bool> {
    let steps = report["steps"].as_array()?.iter().map(|step| step["name"].as_str().unwrap_or_default());
    let steps: Vec<&str> = steps.collect();
    let unload = steps.iter().position(|step| step.starts_with("unload"))?;
    let load = steps.iter().position(|step| *step == "load")?;
    Some(unload < load)
}

/// Puts other settings of llama-server at the end of the file, where a scene keeps them.
fn set_llama(sandbox: &Sandbox, settings: &str) {
    let text = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let own = text.find("[servers.llama-server]").unwrap();
    std::fs::write(sandbox.settings_file(), format!("{}{settings}", &text[..own])).unwrap();
}

/// Settings of llama-server by which both models are reckoned with one context and loaded with another: what a server is
/// really told last wins.
fn llama_settings(parallel: u32, context: u64, real_in_all: u64) -> String {
    let mut text = format!("[servers.llama-server]\nparallel = {parallel}\ncontext = {context}\n\n");
    if context * u64::from(parallel) != real_in_all {
        for model in ["alpha", "beta"] {
            text +=
                &format!("[servers.llama-server.models.{model}.options]\nctx-size = \"{real_in_all}\"\n\n");
        }
    }
    text
}

/// Ollama is reckoned with the context of the settings, and loads with the one that a model names itself.
fn set_ollama_context(sandbox: &Sandbox, context: u64) {
    let text = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let (before, after) = text.split_once("[servers.ollama]\n").unwrap();
    let after = match after.split_once('\n') {
        Some((first, rest)) if first.starts_with("context = ") => rest,
        _ => after,
    };
    let text = format!("{before}[servers.ollama]\ncontext = {context}\n{after}");
    std::fs::write(sandbox.settings_file(), text).unwrap();
}

/// A wait for a switch is no failure of a storm; the gateway shall not give up early.
fn patient(sandbox: &Sandbox) {
    let text = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    std::fs::write(sandbox.settings_file(), text.replace("wait_s = 20", "wait_s = 600")).unwrap();
}

fn without_ollama(tools: &Tools) -> Tools {
    Tools { cli: tools.cli.clone(), embedded: tools.embedded.clone(), ollama: PathBuf::from("/no/ollama") }
}

fn create_in_ollama(port: u16, name: &str, gguf: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/ollama-model.sh");
    let status =
        command(script).arg(format!("http://127.0.0.1:{port}")).arg(name).arg(gguf).status().unwrap();
    assert!(status.success(), "Ollama did not take {name}");
}
