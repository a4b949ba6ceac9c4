//! Servers that answer and take their time over it. How slow a real one is cannot be chosen.

use crate::scene::{NO_LLAMA, reason, until_state, without_ollama};
use pilothouse_tests::{
    sandbox::{Sandbox, Tools, server},
    sims::lmstudio::{Faults, LmStudioSim, Options},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The states in which the server is shown for a while; it is known as running all the time.
async fn states_for(sandbox: &Sandbox, time: Duration) -> BTreeSet<String> {
    let begun = Instant::now();
    let mut states = BTreeSet::new();
    while begun.elapsed() < time {
        let status = sandbox.ask(&["status"]).unwrap();
        let shown = server(&status, "lmstudio").unwrap();
        assert_eq!(shown["ownership"], "adopted", "it is there: {shown:#}");
        states.insert(shown["state"].as_str().unwrap().to_owned());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    states
}

/// A check of its health may take two seconds, and there is one every two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_a_second_is_ready_and_one_that_takes_three_is_shown_simulated() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let folder = tempfile::tempdir().unwrap();
    let slow = |greeting_delay_ms| Faults { greeting_delay_ms, ..Faults::default() };
    let options = Options { faults: slow(1000), ..Options::new(folder.path()) };
    let theirs = LmStudioSim::start(options).await.unwrap();
    let settings = format!(
        "{NO_LLAMA}[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n",
        theirs.base_url().unwrap(),
        folder.path().display().to_string()
    );
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "lmstudio", "ready").await;
    let states = states_for(&sandbox, Duration::from_secs(7)).await;
    assert_eq!(states, BTreeSet::from(["ready".to_owned()]), "a second is no silence");

    theirs.set_faults(slow(3000));
    let shown = sandbox
        .until(&mut engine, "it to be degraded", |status| {
            let server = server(status, "lmstudio")?;
            assert_eq!(server["ownership"], "adopted", "it is there: {server:#}");
            (server["state"] == "degraded").then(|| server.clone())
        })
        .await;
    assert!(reason(&shown).contains("did not answer within 2 s"), "{shown:#}");
    let states = states_for(&sandbox, Duration::from_secs(5)).await;
    assert_eq!(states, BTreeSet::from(["degraded".to_owned()]), "slow is not gone");

    theirs.set_faults(Faults::default());
    let shown = until_state(&sandbox, &mut engine, "lmstudio", "ready").await;
    assert!(shown["reason"].is_null(), "{shown:#}");
    assert_eq!((&shown["ownership"], &shown["restarts"]), (&"adopted".into(), &0.into()), "{shown:#}");
    theirs.stop().await;
}
