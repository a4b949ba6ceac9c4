//! An answer without an end, and a switch that must not wait for its end.

use crate::{
    answers::{self, Endless, Event, Kind},
    full,
    scene::{Room, Scene},
    table,
};
use pilothouse_tests::sandbox::Tools;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Tokens of context: for an answer of several minutes.
const CONTEXT: u64 = 32_768;
/// The drain limit that these tests set, once it is a setting.
const DRAIN_S: u64 = 3;
/// What it is without one.
const FIXED_DRAIN_S: u64 = 30;
/// Beyond the drain: load, proof, and a busy machine.
const SLACK: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_cuts_an_answer_without_end_and_says_so() {
    let Some(tools) = Tools::find() else { return };
    let mut rows = Vec::new();
    let settled = limit(&tools.cli);
    for room in [Room::ForBoth, Room::ForOne].into_iter().take(if full() { 2 } else { 1 }) {
        let mut scene = Scene::llama_server(&tools, room, 1, CONTEXT).await;
        settled.set(&mut scene).await;
        rows.push(cut(&mut scene, room.words(), &[], settled.seconds).await);
        scene.end().await;
    }
    if full() {
        let mut scene = Scene::ollama(&tools, Room::ForBoth).await;
        settled.set(&mut scene).await;
        rows.push(cut(&mut scene, Room::ForBoth.words(), &[], settled.seconds).await);
        scene.end().await;
    }
    judge("A switch while an answer streams without end", &rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_shall_not_wait_cuts_at_once() {
    let Some(tools) = Tools::find() else { return };
    let mut rows = Vec::new();
    for room in [Room::ForBoth, Room::ForOne].into_iter().take(if full() { 2 } else { 1 }) {
        let mut scene = Scene::llama_server(&tools, room, 1, CONTEXT).await;
        rows.push(cut(&mut scene, room.words(), &["--now"], 0).await);
        scene.end().await;
    }
    judge("switch --now while an answer streams without end", &rows);
}

/// How long answers may go on, and whether that can be set.
#[derive(Clone, Copy)]
struct Limit {
    seconds: u64,
    can_be_set: bool,
}

/// A program that knows the setting carries the file with all of them. One that does not would refuse the whole file.
fn limit(program: &Path) -> Limit {
    let program = std::fs::read(program).unwrap();
    let can_be_set = program.windows(b"drain_s".len()).any(|window| window == b"drain_s");
    Limit { seconds: if can_be_set { DRAIN_S } else { FIXED_DRAIN_S }, can_be_set }
}

impl Limit {
    async fn set(self, scene: &mut Scene) {
        if self.can_be_set {
            scene.with_settings(&format!("[switching]\ndrain_s = {}\n\n", self.seconds)).await;
        }
    }
}

struct Row {
    cells: Vec<String>,
    ok: bool,
}

fn judge(title: &str, rows: &[Row]) {
    let heads = [
        "from",
        "room",
        "drain limit",
        "outcome",
        "took",
        "the answer ended",
        "after so many pieces",
        "with",
        "a question after the commit",
        "the report says",
        "verdict",
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells.clone()).collect();
    table::print(title, &heads, &cells);
    assert!(rows.iter().all(|row| row.ok), "see the table");
}

async fn cut(scene: &mut Scene, room: &str, flags: &'static [&'static str], limit_s: u64) -> Row {
    let (from, to) = (scene.from, scene.to);
    let long = Endless::begin(&scene.sandbox, 1_000_000).await;
    let begun = Instant::now();
    let switching = scene.switch(to, flags).await.unwrap();
    let took = begun.elapsed();
    let report = &switching.json;
    let outcome =
        report["outcome"].as_str().or(report["error"]["code"].as_str()).unwrap_or("none").to_owned();
    let (http, address) = (answers::client(), answers::address(&scene.sandbox));
    let next = answers::ask(&http, &address, Kind::Whole, 1, Duration::from_secs(20)).await;
    let end = match outcome == "committed" {
        true => long.end(SLACK).await,
        // It goes on, as it should.
        false => {
            long.leave().await;
            None
        }
    };
    let said = report["reason"].as_str().or(report["error"]["message"].as_str()).unwrap_or("–").to_owned();

    let mut wrong = Vec::new();
    if outcome != "committed" {
        wrong.push("the switch did not commit".to_owned());
    }
    if took > Duration::from_secs(limit_s) + SLACK {
        wrong.push("it took too long".into());
    }
    match end.as_ref().map(|end| &end.last) {
        Some(Some(Ok(Event::Error(_)))) => {}
        Some(Some(Ok(Event::Done))) => wrong.push("the answer ended by itself, or as if it had".into()),
        Some(_) => wrong.push("the answer ended without an error in it".into()),
        None => wrong.push("the answer goes on".into()),
    }
    if !said.contains("1 answer was cut") {
        wrong.push("nobody says that an answer was cut".into());
    }
    if next.flaw.is_some() || next.by != Some(to.id()) {
        wrong.push("the next question is not answered by the new model".into());
    }
    let ended_after = end.as_ref().map(|end| end.at.into_std().saturating_duration_since(begun));
    let cells = vec![
        from.id(),
        room.to_owned(),
        format!("{limit_s} s"),
        outcome,
        format!("{:.1} s", took.as_secs_f64()),
        ended_after.map_or("never".into(), |after| format!("{:.1} s after the click", after.as_secs_f64())),
        end.as_ref().map_or("–".into(), |end| end.pieces.to_string()),
        end.as_ref().map_or("–".into(), |end| last_words(&end.last)),
        match &next.flaw {
            None => format!("by {}", next.by.clone().unwrap_or_default()),
            Some(flaw) => format!("{flaw:?}"),
        },
        said,
        if wrong.is_empty() { "ok".into() } else { format!("BAD: {}", wrong.join("; ")) },
    ];
    Row { cells, ok: wrong.is_empty() }
}

fn last_words(last: &Option<Result<Event, String>>) -> String {
    match last {
        None => "nothing more".into(),
        Some(Ok(Event::Done)) => "[DONE]".into(),
        Some(Ok(Event::Error(error))) => format!("an error: {error}"),
        Some(Ok(Event::Piece(_))) => "a piece".into(),
        Some(Err(how)) => format!("a break: {}", how.chars().take(60).collect::<String>()),
    }
}
