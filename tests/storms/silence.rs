//! Servers that say nothing for a while and then go on: no reason to give up the model that works.

use crate::{
    answers::{self, Kind},
    full,
    memory::{self, Models},
    scene::{CONTEXT, Place, Room, Scene},
    table,
    watch::id,
};
use pilothouse_tests::sandbox::{Tools, pid, server, signal};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// For everything to come to rest once the server speaks again.
const REST: Duration = Duration::from_secs(60);
/// Seconds of silence: longer than one question to a server may take, than two in a row, and in between.
const LENGTHS: &[u64] = &[25, 12, 19];

fn lengths() -> &'static [u64] {
    if full() { LENGTHS } else { &LENGTHS[..1] }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_of_a_server_costs_nobody_the_active_model() {
    let Some(tools) = Tools::find() else { return };
    let mut rows = Vec::new();
    let mut scene = Scene::llama_server(&tools, Room::ForBoth, 1, CONTEXT).await;
    for seconds in lengths() {
        rows.push(silence(&mut scene, *seconds).await);
    }
    scene.end().await;
    if full() {
        let mut scene = Scene::ollama(&tools, Room::ForBoth).await;
        for seconds in LENGTHS {
            rows.push(silence(&mut scene, *seconds).await);
        }
        scene.end().await;
    }
    judge("A switch on a server that is stopped meanwhile", &rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_away_from_a_silent_server_goes_on() {
    let Some(tools) = Tools::find() else { return };
    let mut scene = Scene::two_servers(&tools).await;
    let mut rows = Vec::new();
    for seconds in lengths() {
        rows.push(silence(&mut scene, *seconds).await);
    }
    scene.end().await;
    judge("A switch to another server while the one of the active model is stopped", &rows);
}

struct Row {
    cells: Vec<String>,
    ok: bool,
}

fn judge(title: &str, rows: &[Row]) {
    let heads = [
        "from",
        "to",
        "silent for",
        "outcome",
        "took",
        "steps ms",
        "reason",
        "answers during it",
        "active after it",
        "in memory",
        "at rest after",
        "verdict",
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells.clone()).collect();
    table::print(title, &heads, &cells);
    assert!(rows.iter().all(|row| row.ok), "see the table");
}

/// Stops the server of the active model, begins a switch, and lets the server go on after so many seconds.
async fn silence(scene: &mut Scene, seconds: u64) -> Row {
    let (from, to) = (scene.from, scene.to);
    scene.make_active(from).await;
    let before = leader(scene, from);
    signal(before, libc::SIGSTOP);
    let begun = Instant::now();
    let switching = scene.switch(to, &[]);
    let over = begun + Duration::from_secs(seconds);
    let during = ask_until(scene, over).await;
    signal(before, libc::SIGCONT);
    let ended = tokio::time::timeout(REST, switching).await;
    let took = begun.elapsed();
    let report = ended.ok().map(|answer| answer.unwrap().json).unwrap_or_default();
    let outcome =
        report["outcome"].as_str().or(report["error"]["code"].as_str()).unwrap_or("none").to_owned();
    let wanted = if outcome == "committed" { to } else { from };
    let (found, active, rest, answered) = come_to_rest(scene, wanted).await;
    let after = leader(scene, from);

    let mut wrong = Vec::new();
    if active.as_deref() != Some(&wanted.id()) {
        wrong.push("the active model is lost".to_owned());
    }
    if !answered {
        wrong.push("the gateway does not answer by it".into());
    }
    if found != scene.with_stranger(wanted.id()) {
        wrong.push("memory holds something else".into());
    }
    if before != after {
        wrong.push("the server was ended".into());
    }
    let reason = report["reason"].as_str().or(report["error"]["message"].as_str()).unwrap_or("–");
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    let cells = vec![
        from.id(),
        to.id(),
        format!("{seconds} s"),
        outcome,
        format!("{:.1} s", took.as_secs_f64()),
        steps(&report),
        reason.to_owned(),
        during,
        active.unwrap_or_else(|| "none".into()),
        found.join(", "),
        format!("{:.1} s", rest.as_secs_f64()),
        if wrong.is_empty() { "ok".into() } else { format!("BAD: {}", wrong.join("; ")) },
    ];
    Row { cells, ok: wrong.is_empty() }
}

fn steps(report: &serde_json::Value) -> String {
    let steps = report["steps"].as_array().into_iter().flatten();
    let steps = steps.map(|step| format!("{} {}", step["name"].as_str().unwrap_or_default(), step["ms"]));
    steps.collect::<Vec<_>>().join(", ")
}

/// The process of a server, as Pilothouse knows it.
fn leader(scene: &Scene, place: Place) -> i32 {
    let status = scene.sandbox.ask(&["status"]).unwrap();
    server(&status, place.server).and_then(pid).unwrap_or_default()
}

/// Asks the active model again and again during the silence; says what came of it.
async fn ask_until(scene: &Scene, over: Instant) -> String {
    let address = answers::address(&scene.sandbox);
    let mut asked = Vec::new();
    while let Some(left) = over.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        // Each for itself: one that waits for the silent server keeps no other from being answered.
        let (address, by) = (address.clone(), scene.to.id());
        asked.push(tokio::spawn(async move {
            let answer = answers::ask(&answers::client(), &address, Kind::Whole, 1, left).await;
            match answer.flaw {
                None if answer.by == Some(by) => "good by the new one",
                None => "good by the old one",
                // Whoever waits until the server goes on has not lost anything yet.
                Some(answers::Flaw::Hung) => "waiting",
                Some(answers::Flaw::Refused { .. }) => "refused",
                Some(_) => "broken",
            }
        }));
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
    }
    let mut counts = BTreeMap::new();
    for one in asked {
        *counts.entry(one.await.unwrap()).or_insert(0) += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(what, times)| format!("{times} {what}")).collect();
    counts.join(", ")
}

/// What is in memory and active once nothing moves any more, how long that took, and whether the gateway answers by the model
/// that is wanted.
async fn come_to_rest(scene: &Scene, wanted: Place) -> (Models, Option<String>, Duration, bool) {
    let begun = Instant::now();
    let (http, address) = (answers::client(), answers::address(&scene.sandbox));
    loop {
        let status = scene.sandbox.ask(&["status"]).unwrap_or_default();
        let active = id(&status["active"]);
        let answer = answers::ask(&http, &address, Kind::Whole, 1, Duration::from_secs(20)).await;
        let answered = answer.flaw.is_none() && answer.by == Some(wanted.id());
        let found = memory::in_memory(&scene.sandbox).await;
        let good = answered
            && status["switching"].is_null()
            && active == Some(wanted.id())
            && found == scene.with_stranger(wanted.id());
        if good || begun.elapsed() > REST {
            return (found, active, begun.elapsed(), answered);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
