//! A Docker engine that is not as it should be: it costs its containers and nothing else.

use crate::scene::{LIMIT, NO_LLAMA, until_notice, without_ollama};
use pilothouse_tests::{
    sandbox::{Group, Sandbox, Tools, until},
    sims::docker::{Container, DockerSim, Fault, SECRET},
};
use serde_json::Value;
use std::ffi::OsStr;

/// A Pilothouse that looks at a simulated Docker.
struct Scene {
    sandbox: Sandbox,
    sim: DockerSim,
}

impl Scene {
    fn new(containers: Vec<Container>, fault: Fault) -> Option<Self> {
        let sandbox = Sandbox::new(&without_ollama(Tools::find()?), NO_LLAMA);
        let sim = DockerSim::start(&sandbox.home().join("docker.sock"), containers, fault).unwrap();
        Some(Self { sandbox, sim })
    }

    async fn serve(&self) -> Group {
        self.serve_with(&[]).await
    }

    async fn serve_with(&self, variables: &[(&str, &OsStr)]) -> Group {
        let host = self.sim.host();
        let mut all = vec![("DOCKER_HOST", OsStr::new(&host))];
        all.extend(variables);
        self.sandbox.serve_with(&all).await
    }

    /// Waits until the gauges have what is looked for.
    async fn until_gauges<T>(&self, what: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        until(what, LIMIT, || async { found(&self.sandbox.ask(&["gauges"])?) }).await
    }

    async fn until_absent(&self, words: &str) {
        self.until_gauges(words, |gauges| {
            gauges["containers_absent"].as_str()?.contains(words).then_some(())
        })
        .await;
    }

    /// The other gauges go on, and the engine ends as it should.
    async fn nothing_else_is_lost(self, mut engine: Group) {
        let first = self.sandbox.ask(&["gauges"]).unwrap();
        assert!(first["memory_used_bytes"].is_u64(), "{first:#}");
        self.until_gauges("a later sample", |gauges| (gauges["at"] != first["at"]).then_some(())).await;
        engine.terminate();
        assert!(self.sandbox.assert_clean_end(&mut engine).await.success());
    }
}

fn check<'a>(doctor: &'a Value, name: &str) -> &'a Value {
    let checks = doctor["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {doctor:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_containers_are_noticed_at_the_start_and_later_simulated() {
    let containers = |search: Container| {
        vec![
            Container::unhealthy("admin"),
            search,
            Container::running("database"),
            Container::exited("old", 137),
        ]
    };
    let Some(scene) = Scene::new(containers(Container::running("search")), Fault::None) else { return };
    let mut engine = scene.serve().await;
    let sandbox = &scene.sandbox;
    let notice = until_notice(sandbox, &mut engine, "admin").await;
    assert_eq!(notice["title"], "Container admin is unhealthy", "{notice:#}");
    assert!(notice["body"].as_str().unwrap().contains("may get no answer"), "{notice:#}");

    scene.sim.set(containers(Container::unhealthy("search")));
    until_notice(sandbox, &mut engine, "Container search is unhealthy").await;
    let gauges = sandbox.ask(&["gauges"]).unwrap();
    let names: Vec<&str> =
        gauges["containers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "old", "search", "database"], "{gauges:#}");
    // Its exit code is about the whole machine, a busy one too.
    let doctor = sandbox.run(&["doctor"]).json;
    let search = check(&doctor, "container search");
    assert_eq!(
        (&search["result"], &search["hint"]),
        (&"warn".into(), &"Look at its log: docker logs search".into())
    );

    scene.sim.set(containers(Container::running("search")));
    scene
        .until_gauges("its recovery", |gauges| {
            let all = gauges["containers"].as_array()?;
            let search = all.iter().find(|one| one["name"] == "search")?;
            (search["health"] == "healthy" && search["problem"].is_null()).then_some(())
        })
        .await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["notices"].as_array().unwrap().len(), 2, "one per incident: {status:#}");
    scene.nothing_else_is_lost(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_that_hangs_costs_its_containers_alone_simulated() {
    let Some(scene) = Scene::new(vec![Container::running("db")], Fault::Silent) else { return };
    let engine = scene.serve().await;
    scene.until_absent("does not answer").await;
    let doctor = scene.sandbox.run(&["doctor"]).json;
    assert_eq!(check(&doctor, "Docker")["result"], "skipped", "{doctor:#}");
    scene.nothing_else_is_lost(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_an_endless_answer_of_docker_cost_its_containers_alone_simulated() {
    let Some(scene) = Scene::new(vec![Container::running("db")], Fault::None) else { return };
    let engine = scene.serve().await;
    scene.until_gauges("a container", |gauges| (gauges["containers"][0]["name"] == "db").then_some(())).await;
    scene.sim.set_fault(Fault::Flood);
    scene.until_absent("too long").await;
    scene.sim.set_fault(Fault::Garbage);
    scene.until_absent("makes no sense").await;
    scene.nothing_else_is_lost(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_docker_the_reason_is_said_once_and_calmly() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&without_ollama(tools), NO_LLAMA);
    let mut engine = sandbox.serve().await;
    let gauges = until("the reason", LIMIT, || async {
        let gauges = sandbox.ask(&["gauges"])?;
        gauges["containers_absent"].as_str()?.contains("no Docker here").then_some(gauges)
    })
    .await;
    assert_eq!(gauges["containers"], serde_json::json!([]), "{gauges:#}");
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["notices"], serde_json::json!([]), "no Docker is no news: {status:#}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

/// The client library logs whole answers, and what a container is made of holds passwords.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_a_container_reaches_no_log_and_no_answer_simulated() {
    let Some(scene) = Scene::new(vec![Container::running("db")], Fault::None) else { return };
    let engine = scene.serve_with(&[("PILOTHOUSE_LOG", OsStr::new("trace"))]).await;
    scene.until_gauges("a container", |gauges| (gauges["containers"][0]["name"] == "db").then_some(())).await;
    assert!(scene.sim.asked().iter().any(|path| path.ends_with("/json")), "it was asked about");
    let log = std::fs::read_to_string(scene.sandbox.home().join("logs/pilothouse.log")).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "everything is logged");
    assert!(!log.contains(SECRET), "the log has the password");
    let answers =
        [scene.sandbox.run(&["gauges"]), scene.sandbox.run(&["status"]), scene.sandbox.run(&["doctor"])];
    assert!(answers.iter().all(|answer| !answer.stdout.contains(SECRET)), "{answers:?}");
    scene.nothing_else_is_lost(engine).await;
}
