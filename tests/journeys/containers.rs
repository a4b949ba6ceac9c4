//! The owner's four containers, of which two are unhealthy and nobody noticed.

use pilothouse_tests::{
    sandbox::{LIMIT, Sandbox, Tools, until},
    sims::docker::{Container, DockerSim},
};
use std::ffi::OsStr;

#[tokio::test(flavor = "multi_thread")]
async fn two_unhealthy_containers_are_seen_everywhere_and_can_be_switched_off_simulated() {
    let Some(tools) = Tools::find() else { return };
    let sandbox =
        Sandbox::new(&tools, "[servers.llama-server]\nautostart = false\n\n[gauges]\ndocker = true\n");
    let port = |name: &str, port| Container { ports: vec![(port, port)], ..Container::running(name) };
    let sick = |name: &str, port| Container { ports: vec![(port, port)], ..Container::unhealthy(name) };
    let containers =
        vec![port("postgres", 5432), sick("admin", 5050), port("vectors", 6333), sick("search", 8080)];
    let sim = DockerSim::start(&sandbox.home().join("docker.sock"), containers, Default::default()).unwrap();
    let mut engine = sandbox.serve_with(&[("DOCKER_HOST", OsStr::new(&sim.host()))]).await;

    let notice =
        sandbox.until(&mut engine, "a notice", |status| status["notices"].as_array()?.first().cloned()).await;
    assert_eq!(notice["title"], "2 containers are unhealthy", "{notice:#}");
    assert!(notice["body"].as_str().unwrap().contains("admin, search"), "{notice:#}");
    // The share of a core takes two looks.
    let gauges = until("two looks", LIMIT, || async {
        let gauges = sandbox.ask(&["gauges"])?;
        gauges["containers"][0]["cpu_percent"].is_number().then_some(gauges)
    })
    .await;
    let admin = &gauges["containers"][0];
    assert_eq!((&admin["name"], &admin["health"]), (&"admin".into(), &"unhealthy".into()), "{gauges:#}");
    assert_eq!(admin["ports"][0], "5050 → 5050/tcp", "{gauges:#}");
    assert_eq!(admin["memory_bytes"], 200_000_000, "{gauges:#}");
    let doctor = sandbox.ask(&["doctor"]).unwrap();
    let warned = doctor["checks"].as_array().unwrap().iter().filter(|check| {
        check["result"] == "warn" && check["name"].as_str().is_some_and(|name| name.starts_with("container "))
    });
    assert_eq!(warned.count(), 2, "{doctor:#}");

    let text = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let off = text.replace("docker = true", "docker = false");
    assert_ne!(text, off);
    std::fs::write(sandbox.settings_file(), off).unwrap();
    until("its end", LIMIT, || async {
        let gauges = sandbox.ask(&["gauges"])?;
        gauges["containers_absent"].as_str()?.contains("switched off").then_some(())
    })
    .await;
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
