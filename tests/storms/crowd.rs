//! A crowd of clients that ask and ask while the active model changes again and again. Nobody may notice more than a wait.

use crate::{
    answers::{self, Answered, Flaw, Kind},
    full,
    scene::{CONTEXT, Place, Room, Scene, is_tight},
    table,
    timeline::Timeline,
};
use pilothouse_tests::sandbox::Tools;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Tokens of an answer: short, so that many of them pass.
const TOKENS: u32 = 8;
/// Nobody waits longer for anything.
const HANG: Duration = Duration::from_secs(300);
/// Answers between two switches.
const BETWEEN: usize = 40;
/// The longest drain that the settings in force allow.
const DRAIN: Duration = Duration::from_secs(30);
/// For the proof, the unloading, and a machine whose two cores do everything at once.
const SLACK: Duration = Duration::from_secs(10);

/// How large it is; `PILOTHOUSE_STORM_CROWD=200x4` asks for 200 clients and 4 switches.
struct Size {
    clients: usize,
    switches: usize,
}

impl Size {
    fn wanted() -> Self {
        let asked = std::env::var("PILOTHOUSE_STORM_CROWD").ok();
        let asked = asked.as_deref().and_then(|asked| asked.split_once('x'));
        if let Some((clients, switches)) = asked {
            return Self { clients: clients.parse().unwrap(), switches: switches.parse().unwrap() };
        }
        match full() {
            true => Self { clients: 200, switches: 20 },
            false => Self { clients: 24, switches: 3 },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_on_llama_server_with_room_notices_no_switch() {
    let Some(tools) = Tools::find() else { return };
    let mut outcome = Outcome::default();
    for parallel in [1, 4].into_iter().take(if full() { 2 } else { 1 }) {
        let scene = Scene::llama_server(&tools, Room::ForBoth, parallel, CONTEXT).await;
        outcome.take(storm(scene, &format!("llama-server, {parallel} at a time, room for both")).await);
    }
    outcome.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_on_llama_server_without_room_notices_no_switch() {
    let Some(tools) = Tools::find() else { return };
    let mut outcome = Outcome::default();
    // Four at a time in the small size, so that both are tried in it.
    for parallel in [4, 1].into_iter().take(if full() { 2 } else { 1 }) {
        let scene = Scene::llama_server(&tools, Room::ForOne, parallel, CONTEXT).await;
        outcome.take(storm(scene, &format!("llama-server, {parallel} at a time, tight")).await);
    }
    outcome.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_on_ollama_notices_no_switch() {
    let Some(tools) = Tools::find() else { return };
    let mut outcome = Outcome::default();
    for room in [Room::ForBoth, Room::ForOne].into_iter().take(if full() { 2 } else { 1 }) {
        let scene = Scene::ollama(&tools, room).await;
        outcome.take(storm(scene, &format!("Ollama, {}", room.words())).await);
    }
    outcome.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_notices_no_scene_over_two_servers() {
    let Some(tools) = Tools::find() else { return };
    let mut outcome = Outcome::default();
    let scene = Scene::of_scenes(&tools).await;
    outcome.take(storm_of(scene, "scenes over llama-server and Ollama", Changes::Scenes).await);
    outcome.judge();
}

/// What is changed under the crowd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changes {
    Switches,
    Scenes,
}

/// One switch under the crowd.
struct Switched {
    to: Place,
    begun: Instant,
    took: Duration,
    load: Option<Duration>,
    outcome: String,
    reason: Option<String>,
    steps: String,
    /// The previous model left before the next one was loaded.
    tight: bool,
}

/// What a storm left.
struct Blown {
    title: String,
    answers: Vec<Answered>,
    switches: Vec<Switched>,
    timeline: Timeline,
    lasted: Duration,
    room: Room,
}

async fn storm(scene: Scene, title: &str) -> Blown {
    storm_of(scene, title, Changes::Switches).await
}

/// Lets the crowd loose, switches to and fro, and ends when everybody has the last answer.
async fn storm_of(mut scene: Scene, title: &str, changes: Changes) -> Blown {
    let size = Size::wanted();
    let begun = Instant::now();
    let timeline = Timeline::follow(&scene.sandbox).await;
    let (report, mut answers) = mpsc::unbounded_channel();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let crowd: Vec<_> = (0..size.clients)
        .map(|nth| {
            let kind = if nth % 2 == 0 { Kind::Streamed } else { Kind::Whole };
            let (stop, count, report) = (stop.clone(), count.clone(), report.clone());
            let address = answers::address(&scene.sandbox);
            tokio::spawn(async move {
                let http = answers::client();
                while !stop.load(Ordering::Relaxed) {
                    let answered = answers::ask(&http, &address, kind, TOKENS, HANG).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    let failed = answered.flaw.is_some();
                    let _ = report.send(answered);
                    if failed {
                        // As every client does; a refusal costs nothing and would be counted a thousand times.
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            })
        })
        .collect();
    drop(report);
    let mut switches = Vec::new();
    for nth in 0..size.switches {
        let wanted = count.load(Ordering::Relaxed) + BETWEEN;
        let patience = Instant::now() + Duration::from_secs(120);
        while count.load(Ordering::Relaxed) < wanted && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let to = if nth % 2 == 0 { scene.to } else { scene.from };
        switches.push(switch(&scene, to, changes).await);
    }
    stop.store(true, Ordering::Relaxed);
    for one in crowd {
        one.await.unwrap();
    }
    let mut taken = Vec::new();
    while let Some(answered) = answers.recv().await {
        taken.push(answered);
    }
    let (lasted, room) = (begun.elapsed(), scene.room);
    scene.end().await;
    Blown { title: title.to_owned(), answers: taken, switches, timeline, lasted, room }
}

async fn switch(scene: &Scene, to: Place, changes: Changes) -> Switched {
    let begun = Instant::now();
    let answer = match changes {
        Changes::Switches => scene.switch(to, &[]).await.unwrap(),
        Changes::Scenes => scene.apply(if to == scene.to { "Two" } else { "One" }).await.unwrap(),
    };
    let json = &answer.json;
    let steps = json["steps"].as_array().into_iter().flatten();
    let steps: Vec<String> =
        steps.map(|step| format!("{} {}", step["name"].as_str().unwrap_or_default(), step["ms"])).collect();
    Switched {
        to,
        begun,
        took: begun.elapsed(),
        load: json["load_ms"].as_u64().or(loads(json)).map(Duration::from_millis),
        outcome: json["outcome"].as_str().or(json["error"]["code"].as_str()).unwrap_or("none").to_owned(),
        reason: json["reason"].as_str().or(json["error"]["message"].as_str()).map(str::to_owned),
        steps: steps.join(", "),
        tight: is_tight(json) == Some(true),
    }
}

/// What the loads of a scene took, in milliseconds.
fn loads(report: &serde_json::Value) -> Option<u64> {
    let steps = report["steps"].as_array()?.iter().filter(|step| step["name"] == "load");
    Some(steps.filter_map(|step| step["ms"].as_u64()).sum())
}

impl Blown {
    /// The longest time that an answer under way at the begin of a switch went on from there.
    fn longest_under_way(&self, switch: &Switched) -> Duration {
        let under_way =
            self.answers.iter().filter(|one| one.sent <= switch.begun && one.done >= switch.begun);
        // A request that only waited is no answer under way: the one that answered from before is.
        let admitted = under_way.filter(|one| one.by.as_deref() != Some(&switch.to.id()));
        admitted.map(|one| one.done - switch.begun).max().unwrap_or_default()
    }

    fn is_in_time(&self, switch: &Switched) -> bool {
        let allowed = switch.load.unwrap_or_default() + self.longest_under_way(switch).min(DRAIN) + SLACK;
        switch.outcome == "committed" && switch.took <= allowed
    }

    /// Answers by a model that was not active at any moment of the request, or by another than the gateway says.
    fn is_wrong(&self, one: &Answered) -> bool {
        let Some(by) = &one.by else { return one.flaw.is_none() };
        let named =
            one.named.as_ref().is_some_and(|named| by.split_once('/').is_none_or(|(_, by)| by != named));
        named || !self.timeline.was_active(by, one.sent, one.done)
    }
}

#[derive(Default)]
struct Outcome {
    storms: Vec<Blown>,
}

impl Outcome {
    fn take(&mut self, blown: Blown) {
        self.storms.push(blown);
    }

    #[allow(clippy::print_stdout, reason = "figures")]
    fn judge(self) {
        let complaints: Vec<String> = self.storms.iter().flat_map(Blown::tell).collect();
        // In the message, so that who sees no more of a run than its failures knows what was noticed.
        assert!(complaints.is_empty(), "noticed: {}", complaints.join("; "));
        println!("nobody noticed");
    }
}

impl Blown {
    /// Prints its tables; what somebody noticed.
    #[allow(clippy::print_stdout, reason = "figures")]
    fn tell(&self) -> Vec<String> {
        let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
        let rows: Vec<Vec<String>> = self
            .switches
            .iter()
            .enumerate()
            .map(|(nth, switch)| {
                vec![
                    (nth + 1).to_string(),
                    switch.to.id(),
                    switch.outcome.clone(),
                    seconds(switch.took),
                    switch.load.map_or("–".into(), seconds),
                    seconds(self.longest_under_way(switch)),
                    if self.is_in_time(switch) { "ok".into() } else { "BAD".into() },
                    switch.steps.clone(),
                    switch.reason.clone().unwrap_or_else(|| "–".into()),
                ]
            })
            .collect();
        let heads = [
            "switch",
            "to",
            "outcome",
            "took s",
            "load s",
            "longest answer under way s",
            "verdict",
            "steps ms",
            "reason",
        ];
        table::print(&format!("{}: switches", self.title), &heads, &rows);
        let count = |test: &dyn Fn(&Flaw) -> bool| {
            self.answers.iter().filter(|one| one.flaw.as_ref().is_some_and(test)).count()
        };
        let cut = count(&|flaw| matches!(flaw, Flaw::Cut(_)));
        let bare = count(&|flaw| matches!(flaw, Flaw::Bare { .. } | Flaw::NoAnswer(_)));
        let refused = count(&|flaw| matches!(flaw, Flaw::Refused { .. }));
        let hung = count(&|flaw| matches!(flaw, Flaw::Hung));
        let wrong = self.answers.iter().filter(|one| self.is_wrong(one)).count();
        let committed = self.switches.iter().filter(|switch| switch.outcome == "committed").count();
        let in_time = self.switches.iter().filter(|switch| self.is_in_time(switch)).count();
        let mut waits: Vec<Duration> = self.answers.iter().map(|one| one.done - one.sent).collect();
        waits.sort();
        let cells = [
            self.answers.len().to_string(),
            (self.answers.len() - cut - bare - refused - hung).to_string(),
            cut.to_string(),
            wrong.to_string(),
            bare.to_string(),
            refused.to_string(),
            hung.to_string(),
            format!("{committed} of {}", self.switches.len()),
            format!("{in_time} of {}", self.switches.len()),
            waits.get(waits.len() / 2).copied().map_or("–".into(), seconds),
            waits.last().copied().map_or("–".into(), seconds),
            seconds(self.lasted),
        ];
        let heads = [
            "answers",
            "good",
            "cut",
            "by the wrong model",
            "bare errors",
            "refused",
            "hung",
            "switches committed",
            "in time",
            "median wait s",
            "longest wait s",
            "lasted s",
        ];
        table::print(
            &format!("{}: {} clients", self.title, Size::wanted().clients),
            &heads,
            &[cells.to_vec()],
        );
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for flaw in self.answers.iter().filter_map(|one| one.flaw.as_ref()) {
            *kinds.entry(kind(flaw)).or_default() += 1;
        }
        for (kind, times) in &kinds {
            println!("{times:5} x {kind}");
        }
        let mut complaints: Vec<String> =
            kinds.into_iter().map(|(kind, times)| format!("{times} x {kind}")).collect();
        let first_wrong = self.answers.iter().find(|one| self.is_wrong(one));
        if let Some(one) = first_wrong {
            complaints.push(format!("{wrong} x by the wrong model, the first: {one:?}"));
        }
        for switch in self.switches.iter().filter(|switch| !self.is_in_time(switch)) {
            complaints.push(format!(
                "{} to {} in {} s ({} s of loads, {} s of answers under way): {}: {}",
                switch.outcome,
                switch.to.id(),
                seconds(switch.took),
                switch.load.map_or("–".into(), seconds),
                seconds(self.longest_under_way(switch)),
                switch.reason.as_deref().unwrap_or("no reason"),
                switch.steps,
            ));
        }
        let tight = self.switches.iter().filter(|switch| switch.tight).count();
        println!("{tight} of {} switches were tight", self.switches.len());
        // Other programs may give memory back meanwhile; a storm without any tight switch would prove nothing.
        if self.room == Room::ForOne && tight == 0 {
            complaints.push("no switch was tight".into());
        }
        complaints
    }
}

/// What is the same in many flaws.
fn kind(flaw: &Flaw) -> String {
    let alike = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(160).collect()
    };
    match flaw {
        Flaw::Refused { status, code } => format!("refused: {status} {code}"),
        Flaw::Bare { status, body } => format!("bare: {status} {body}"),
        Flaw::Cut(how) => format!("cut: {}", alike(how)),
        Flaw::NoAnswer(how) => format!("no answer: {}", alike(how)),
        Flaw::Hung => "hung".into(),
    }
}
