//! LM Studio's guardrail does not subtract the memory of the model that a switch is about to unload: it refuses the new one
//! as long as the old one is there. Simulated.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, until_notice, until_state, without_ollama},
};
use pilothouse_tests::{
    sandbox::{Answer, Group, Sandbox, Tools, until},
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, Options, state::State},
};
use serde_json::{Value, json};

const FIRST: &str = "simulated/first-1b";
const SECOND: &str = "simulated/second-1b";

struct Scene {
    sandbox: Sandbox,
    engine: Group,
    theirs: LmStudioSim,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// The first of two models is active; both are so small that Pilothouse itself sees room for the two.
    async fn start(load_seconds: f64) -> Option<Self> {
        let tools = Tools::find().map(without_ollama)?;
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("catalogue.json");
        std::fs::write(&models, json!([small(FIRST), small(SECOND)]).to_string()).unwrap();
        let options =
            Options { models: Some(models), load_seconds, ttft_ms: 5, ..Options::new(folder.path()) };
        let theirs = LmStudioSim::start(options).await.unwrap();
        let settings = format!(
            "{NO_LLAMA}[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n",
            theirs.base_url().unwrap(),
            folder.path().display().to_string()
        );
        let sandbox = Sandbox::new(&tools, &settings);
        let mut engine = sandbox.serve().await;
        until_state(&sandbox, &mut engine, "lmstudio", "ready").await;
        sandbox.until_listed(SECOND).await;
        let first = sandbox.switch(FIRST, "lmstudio");
        assert_eq!(first.code, Some(0), "{first:?}");
        let scene = Self { sandbox, engine, theirs, _folder: folder };
        assert_eq!(scene.in_memory(), [FIRST]);
        Some(scene)
    }

    /// Loads are refused in this way: those of one model, or of any.
    fn refuse(&self, fault: FailLoad, only: Option<&str>) {
        let fail_load_model = only.map(str::to_owned);
        self.theirs.set_faults(Faults { fail_load: Some(fault), fail_load_model, ..Faults::default() });
    }

    /// The models that LM Studio has in memory.
    fn in_memory(&self) -> Vec<String> {
        self.theirs.look(|state| {
            let loaded = state.instances.iter().filter(|instance| instance.is_loaded());
            loaded.map(|instance| instance.key.clone()).collect()
        })
    }

    async fn until_active_again(&mut self, model: &str) {
        self.sandbox.until_active(&mut self.engine, "lmstudio").await;
        let status = self.sandbox.ask(&["status"]).unwrap();
        assert_eq!(status["active"]["model"], model, "{status:#}");
        assert_eq!(self.in_memory(), [model]);
        assert_eq!(ask(&self.sandbox).await.status(), 200);
    }
}

fn small(key: &str) -> Value {
    json!({
        "key": key, "type": "llm", "display_name": key, "publisher": "simulated", "format": "gguf",
        "size_bytes": 1_000_000, "max_context": 4096,
    })
}

fn steps(switched: &Answer) -> Vec<&str> {
    let steps = switched.json["steps"].as_array().unwrap();
    steps.iter().filter_map(|step| step["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_the_active_model_causes_is_overcome_by_unloading_it_simulated() {
    let Some(mut scene) = Scene::start(0.1).await else { return };
    scene.refuse(FailLoad::GuardrailBeside, None);
    let switched = scene.sandbox.switch(SECOND, "lmstudio");
    assert_eq!(switched.code, Some(0), "{switched:?}");
    assert_eq!(
        steps(&switched),
        ["ensure_server", "load", "hold", "unload_previous", "load", "prove", "commit"]
    );
    scene.until_active_again(SECOND).await;
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_stays_loads_the_unloaded_model_again_simulated() {
    let Some(mut scene) = Scene::start(0.1).await else { return };
    scene.refuse(FailLoad::Guardrail, Some(SECOND));
    let refused = scene.sandbox.switch(SECOND, "lmstudio");
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert_eq!(steps(&refused), ["ensure_server", "load", "hold", "unload_previous", "load"]);
    let error = &refused.json["error"];
    assert_eq!(error["code"], "does_not_fit", "{error}");
    assert!(error["message"].as_str().unwrap().contains("resources"), "{error}");
    assert!(error["hint"].is_string(), "{error}");
    scene.until_active_again(FIRST).await;
    scene.theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_unload_for_the_guardrail_it_puts_the_model_back_simulated() {
    let Some(mut scene) = Scene::start(2.0).await else { return };
    scene.refuse(FailLoad::GuardrailBeside, None);
    let mut client = scene.sandbox.begin(&["switch", SECOND, "--server", "lmstudio"]);
    until("the second load, without the first model", LIMIT, || async {
        let alone = |state: &State| state.instances.iter().all(|instance| instance.key == SECOND);
        let there = |state: &State| state.instances_of(SECOND).next().is_some();
        scene.theirs.look(|state| alone(state) && there(state)).then_some(())
    })
    .await;
    scene.engine.kill_leader();
    client.stop();
    // LM Studio goes on with a load whose asker is gone; then its guardrail refuses the first model.
    until("the end of that load", LIMIT, || async { (scene.in_memory() == [SECOND]).then_some(()) }).await;

    scene.engine = scene.sandbox.serve().await;
    until_notice(&scene.sandbox, &mut scene.engine, "A switch was cut off").await;
    scene.until_active_again(FIRST).await;
    scene.theirs.stop().await;
}
