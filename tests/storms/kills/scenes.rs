//! Pilothouse is killed while a scene is applied over two real servers. The next start has all of one scene: what the journal
//! says, never half of both.

use super::row::REST;
use crate::{
    full,
    journal::Journal,
    memory::{self, Models},
    scene::Scene,
    table,
    watch::{View, Watch},
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A phase of the scene, and how much later the engine is killed. The last column: it belongs to the small size.
const INSTANTS: [(&str, u64, bool); 9] = [
    ("preparing", 0, false),
    ("loading", 0, true),
    ("loading", 100, false),
    ("loading", 300, false),
    ("proving", 0, true),
    ("proving", 50, false),
    ("unloading", 0, false),
    (IN_FORCE, 0, true),
    (IN_FORCE, 100, false),
];
const IN_FORCE: &str = "in force";
const TRIES: usize = 3;

/// All that a scene means: models with their servers, contexts, parallels, KV types, pins, which leads, what is active.
#[derive(Debug, Clone, PartialEq)]
struct State {
    status: Value,
    in_memory: Models,
}

async fn state(scene: &Scene) -> Option<State> {
    let status = scene.sandbox.ask(&["status"])?;
    let still = status["arranging"].is_null() && status["switching"].is_null();
    let kept = ["scene", "roles", "active", "pins", "on_request"];
    let status = kept.iter().map(|key| ((*key).to_owned(), status[*key].clone())).collect();
    let mut in_memory = memory::in_memory(&scene.sandbox).await;
    let runners = memory::runners(&scene.sandbox);
    if runners != in_memory.len() {
        in_memory.insert(format!("in {runners} processes"));
    }
    still.then_some(State { status, in_memory })
}

/// Waits until the same is there twice in a row, and as wanted; gives what is there at the end of the patience otherwise.
async fn come_to_rest(scene: &Scene, wanted: Option<&State>) -> Option<State> {
    let begun = Instant::now();
    let mut before = None;
    loop {
        let now = state(scene).await;
        let good = now.is_some() && now == before && wanted.is_none_or(|wanted| now.as_ref() == Some(wanted));
        if good || begun.elapsed() > REST {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// Applies a scene in peace and says what is there then.
async fn apply(scene: &mut Scene, name: &'static str) -> State {
    let answer = scene.apply(name).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
    come_to_rest(scene, None).await.unwrap()
}

pub struct Outcomes {
    rows: Vec<Vec<String>>,
    unseen: Vec<String>,
    bad: usize,
}

pub async fn blow(scene: &mut Scene) -> Outcomes {
    let two = apply(scene, "Two").await;
    let one = apply(scene, "One").await;
    assert_ne!(one, two);
    let mut outcomes = Outcomes { rows: vec![], unseen: vec![], bad: 0 };
    for (phase, later_ms, _) in INSTANTS.into_iter().filter(|(.., small)| *small || full()) {
        let words = format!("{phase} + {later_ms} ms");
        let mut hit = false;
        for _ in 0..TRIES {
            assert_eq!(apply(scene, "One").await, one, "the scene before is not what it was");
            if let Some(last) = die(scene, phase, later_ms).await {
                outcomes.take(scene, &words, &last, (&one, &two)).await;
                hit = true;
                break;
            }
        }
        if !hit {
            outcomes.unseen.push(words);
        }
    }
    outcomes
}

/// Begins with the second scene and kills the engine at the instant; gives what it told last. `None`: there was no such instant.
async fn die(scene: &mut Scene, phase: &str, later_ms: u64) -> Option<View> {
    let mut watch = Watch::on(&scene.sandbox);
    watch.next().await?;
    let mut client = scene.sandbox.begin(&["scene", "apply", "Two"]);
    let follow = async {
        let mut begun = false;
        let mut last = loop {
            let view = watch.next().await?;
            begun |= view.arranging.is_some();
            let in_force = view.scene.as_deref() == Some("Two");
            if view.arranging.as_deref() == Some(phase) || (phase == IN_FORCE && in_force) {
                break view;
            }
            if begun && view.arranging.is_none() {
                return None;
            }
        };
        let later = tokio::time::Instant::now() + Duration::from_millis(later_ms);
        while let Ok(Some(view)) = tokio::time::timeout_at(later, watch.next()).await {
            last = view;
        }
        Some(last)
    };
    let last = tokio::time::timeout(REST, follow).await.ok().flatten();
    if last.is_some() {
        scene.engine.kill_leader();
    }
    client.stop();
    last
}

impl Outcomes {
    /// Starts the engine again after its death and looks what it makes of what was left.
    async fn take(&mut self, scene: &mut Scene, words: &str, last: &View, (one, two): (&State, &State)) {
        let left = memory::in_memory(&scene.sandbox).await;
        let journal = Journal::left_by_the_dead(&scene.sandbox).await;
        let written = journal.role("critical") == two.status["roles"][1]["model"].as_str();
        let (name, wanted) = if written { ("Two", two) } else { ("One", one) };
        scene.engine = scene.sandbox.serve().await;
        let begun = Instant::now();
        let rest = come_to_rest(scene, Some(wanted)).await;
        let mut wrong = vec![];
        if rest.as_ref() != Some(wanted) {
            wrong.push(format!("wanted {wanted:?}, found {rest:?}"));
        }
        if last.scene.as_deref() == Some("Two") && !written {
            wrong.push("it was told as in force, and is forgotten".into());
        }
        if last.arranging.as_deref() == Some("preparing") && written {
            wrong.push("it was written down before anything was loaded".into());
        }
        self.bad += usize::from(!wrong.is_empty());
        let models = |models: &Models| models.iter().cloned().collect::<Vec<_>>().join(", ");
        self.rows.push(vec![
            words.to_owned(),
            last.arranging.clone().unwrap_or_else(|| "none".into()),
            name.to_owned(),
            models(&left),
            rest.map(|rest| models(&rest.in_memory)).unwrap_or_default(),
            format!("{:.1} s", begun.elapsed().as_secs_f64()),
            if wrong.is_empty() { "ok".into() } else { format!("BAD: {}", wrong.join("; ")) },
        ]);
    }

    #[allow(clippy::print_stdout, reason = "figures")]
    pub fn judge(self) {
        let heads = ["instant", "phase at the end", "journal", "left behind", "at rest", "after", "verdict"];
        table::print("Killed while a scene is applied over llama-server and Ollama", &heads, &self.rows);
        for unseen in &self.unseen {
            println!("not hit in {TRIES} tries, too short or not there: {unseen}");
        }
        println!("{} instants, {} of them bad", self.rows.len(), self.bad);
        assert!(!self.rows.is_empty(), "no instant was hit");
        assert_eq!(self.bad, 0, "see the table");
    }
}
