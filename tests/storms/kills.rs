//! Pilothouse is killed, or quit, at every instant of a switch. The journal that it leaves allows one set of models; the next
//! start must bring exactly that into memory, and say so.

use crate::{
    answers::{self, Endless, Kind},
    full,
    journal::Journal,
    memory::{self, Models},
    scene::{CONTEXT, Room, Scene},
    table,
    watch::{View, Watch, id},
};
use pilothouse_tests::sandbox::{Tools, signal};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How the engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGKILL.
    Killed,
    /// SIGTERM.
    Quit,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Phase(&'static str),
    /// The new model is shown as the active one.
    Active,
    /// The outcome is told.
    Ended,
}

/// An instant of a switch.
#[derive(Debug, Clone, Copy)]
struct When {
    moment: Moment,
    later_ms: u64,
    /// An answer of the previous model streams all the while.
    streams: bool,
    /// The switch fails, because its target cannot be loaded.
    fails: bool,
    /// Belongs to the small size.
    small: bool,
}

impl When {
    const fn at(moment: Moment, later_ms: u64) -> Self {
        Self { moment, later_ms, streams: false, fails: false, small: false }
    }

    const fn streaming(self) -> Self {
        Self { streams: true, ..self }
    }

    const fn failing(self) -> Self {
        Self { fails: true, ..self }
    }

    const fn small(self) -> Self {
        Self { small: true, ..self }
    }

    fn words(self) -> String {
        let moment = match self.moment {
            Moment::Phase(phase) => phase,
            Moment::Active => "new one active",
            Moment::Ended => "outcome told",
        };
        let later = if self.later_ms > 0 { format!(" + {} ms", self.later_ms) } else { String::new() };
        let streams = if self.streams { ", an answer streams" } else { "" };
        let fails = if self.fails { ", it fails" } else { "" };
        format!("{moment}{later}{streams}{fails}")
    }
}

use Moment::{Active, Ended, Phase};

/// Of a switch with room for both, on one server or between two.
const WITH_ROOM: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 100),
    When::at(Phase("loading"), 300),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 20),
    When::at(Phase("proving"), 50),
    When::at(Phase("proving"), 100),
    When::at(Active, 0).small(),
    When::at(Active, 10),
    When::at(Active, 50),
    When::at(Active, 150),
    When::at(Ended, 0).small(),
    When::at(Ended, 50),
    When::at(Active, 0).streaming(),
    When::at(Active, 1000).streaming().small(),
    When::at(Phase("loading"), 0).failing(),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 20).failing(),
    When::at(Ended, 0).failing(),
];

/// Of a switch for which the previous model must leave first.
const TIGHT: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("unloading"), 0),
    When::at(Phase("unloading"), 50),
    When::at(Phase("unloading"), 200),
    When::at(Phase("draining"), 0),
    When::at(Phase("draining"), 1000).streaming(),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 200),
    When::at(Phase("loading"), 600),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 50),
    When::at(Active, 0).small(),
    When::at(Active, 50),
    When::at(Ended, 0),
    When::at(Phase("loading"), 0).failing(),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 300).failing(),
    When::at(Phase("putting_back"), 1000).failing(),
    When::at(Ended, 0).failing(),
];

/// A quit gives the engine time to put things back, so fewer instants tell it all.
const QUIT: &[When] = &[
    When::at(Phase("preparing"), 0),
    When::at(Phase("loading"), 0),
    When::at(Phase("loading"), 200),
    When::at(Phase("proving"), 0),
    When::at(Phase("proving"), 50),
    When::at(Active, 0),
    When::at(Ended, 0),
    When::at(Active, 1000).streaming().small(),
    When::at(Phase("putting_back"), 0).failing().small(),
];

const QUIT_TIGHT: &[When] = &[
    When::at(Phase("draining"), 1000).streaming(),
    When::at(Phase("unloading"), 0),
    When::at(Phase("loading"), 0).small(),
    When::at(Phase("loading"), 500),
    When::at(Phase("proving"), 0),
    When::at(Active, 0),
    When::at(Ended, 0),
    When::at(Phase("putting_back"), 0).failing().small(),
    When::at(Phase("putting_back"), 500).failing(),
];

const TRIES: usize = 3;
/// For everything to come to rest after a start.
const REST: Duration = Duration::from_secs(40);
/// A quit takes less than five seconds; the rest is the machine's.
const QUIT_LIMIT: Duration = Duration::from_secs(15);

/// What came of one instant.
struct Row {
    cells: Vec<String>,
    ok: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForBoth, 1, CONTEXT).await;
    storm.blow(&mut scene, "room for both", WITH_ROOM, End::Killed).await;
    storm.end(scene).await;
    storm.judge("Killed in a switch with room for both (llama-server)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_of_a_tight_switch_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForOne, 1, CONTEXT).await;
    storm.blow(&mut scene, "tight", TIGHT, End::Killed).await;
    storm.end(scene).await;
    storm.judge("Killed in a switch for which the previous model leaves first (llama-server)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_between_two_servers_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::two_servers(&tools).await;
    storm.blow(&mut scene, "two servers", WITH_ROOM, End::Killed).await;
    storm.end(scene).await;
    storm.judge("Killed in a switch from llama-server to Ollama, which holds a stranger's model too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quit_at_any_instant_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForBoth, 1, CONTEXT).await;
    storm.blow(&mut scene, "room for both", QUIT, End::Quit).await;
    storm.end(scene).await;
    let mut scene = Scene::llama_server(&tools, Room::ForOne, 1, CONTEXT).await;
    storm.blow(&mut scene, "tight", QUIT_TIGHT, End::Quit).await;
    storm.end(scene).await;
    if full() {
        let mut scene = Scene::two_servers(&tools).await;
        storm.blow(&mut scene, "two servers", QUIT, End::Quit).await;
        storm.end(scene).await;
    }
    storm.judge("Quit in a switch");
}

/// One configuration after the other, and what came of it.
#[derive(Default)]
struct Storm {
    rows: Vec<Row>,
    unseen: Vec<String>,
}

impl Storm {
    async fn blow(&mut self, scene: &mut Scene, configuration: &str, instants: &[When], end: End) {
        for when in instants.iter().filter(|when| when.small || full()) {
            let mut row = None;
            for _ in 0..TRIES {
                row = instant(scene, configuration, *when, end).await;
                if row.is_some() {
                    break;
                }
            }
            match row {
                Some(row) => self.rows.push(row),
                None => self.unseen.push(format!("{configuration}: {}", when.words())),
            }
        }
    }

    async fn end(&mut self, mut scene: Scene) {
        scene.end().await;
    }

    #[allow(clippy::print_stdout, reason = "figures")]
    fn judge(self, title: &str) {
        let heads = [
            "configuration",
            "instant",
            "phase at the end",
            "shown active",
            "journal",
            "allowed",
            "left behind",
            "found after the start",
            "at rest after",
            "says which and why",
            "verdict",
        ];
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.cells.clone()).collect();
        table::print(title, &heads, &rows);
        for unseen in &self.unseen {
            println!("not hit in {TRIES} tries, too short or not there: {unseen}");
        }
        let bad = self.rows.iter().filter(|row| !row.ok).count();
        println!("{} instants, {bad} of them bad", self.rows.len());
        assert!(!self.rows.is_empty(), "no instant was hit");
        assert_eq!(bad, 0, "see the table");
    }
}

/// Begins a switch, ends the engine at the instant, starts it again and looks. `None`: the instant was not hit.
async fn instant(scene: &mut Scene, configuration: &str, when: When, end: End) -> Option<Row> {
    scene.make_active(scene.from).await;
    let stays = stay_of_stranger(scene).await;
    let before = Journal::of_the_living(&scene.sandbox).await.last_id();
    let mut watch = Watch::on(&scene.sandbox);
    let first = watch.next().await.unwrap();
    let long = match when.streams {
        true => Some(Endless::begin(&scene.sandbox, 3500).await),
        false => None,
    };
    let to = if when.fails { scene.broken } else { scene.to };
    let mut client = scene.sandbox.begin(&["switch", to.model, "--server", to.server]);
    let hit = until_moment(&mut watch, &first, when, &to.id()).await;
    let Some(last) = hit else {
        client.stop();
        if let Some(long) = long {
            long.leave().await;
        }
        return None;
    };
    let quit_after = end_engine(scene, end).await;
    client.stop();
    drop(long);
    let left = memory::in_memory(&scene.sandbox).await;
    let journal = Journal::left_by_the_dead(&scene.sandbox).await;
    let switch = journal.after(before).cloned();
    let loading = matches!(last.phase.as_deref(), Some("loading" | "proving"));
    if scene.room == Room::ForOne && end == End::Killed && loading && left.contains(&scene.from.id()) {
        // Another program gave so much memory back that both fit.
        scene.engine = scene.sandbox.serve().await;
        return None;
    }
    let allowed = match &switch {
        Some(switch) => switch.allows().cloned(),
        None => journal.active.clone(),
    };
    let wanted = match (&allowed, end) {
        (Some(model), End::Killed) => scene.with_stranger(model.clone()),
        // What a server of ours held for others goes with it.
        (Some(model), End::Quit) => [model.clone()].into(),
        (None, _) => Models::new(),
    };
    scene.engine = scene.sandbox.serve().await;
    let rest = come_to_rest(scene, &wanted, allowed.as_deref()).await;

    let mut wrong = Vec::new();
    if rest.found != wanted || rest.active != allowed {
        wrong.push(format!("{} is active, not the allowed one alone in memory", shown(&rest.active)));
    }
    if !rest.settled {
        wrong.push(format!("the gateway says {}", rest.gateway));
    }
    let was_told = last.active.as_deref() == Some(&to.id());
    let committed = switch.as_ref().is_some_and(|switch| switch.outcome.as_deref() == Some("committed"));
    if was_told && !committed {
        wrong.push("the new model was shown as active, and is forgotten".into());
    }
    if committed && journal.active.as_ref() != Some(&to.id()) {
        wrong.push("committed, but not the active one in the history".into());
    }
    let cut_off = switch.as_ref().is_some_and(|switch| switch.outcome.is_none());
    let leftovers = end == End::Killed && left != wanted;
    let said = rest.said(allowed.as_deref());
    if (cut_off || leftovers) && said.is_none() {
        wrong.push("no notice says which model is active and why".into());
    }
    if let (Some(before), End::Killed) = (stays, end)
        && stay_of_stranger(scene).await.is_some_and(|now| now > before)
    {
        wrong.push("the stranger's model stays longer than its owner wants".into());
    }
    if quit_after.is_some_and(|after| after > QUIT_LIMIT) {
        wrong.push("the quit took too long".into());
    }
    let written = match &switch {
        None => "no switch".to_owned(),
        Some(switch) => format!("{}, {}", switch.phase, switch.outcome.as_deref().unwrap_or("open")),
    };
    let ended = last.phase.clone().unwrap_or_else(|| "none".into());
    let cells = vec![
        configuration.to_owned(),
        match end {
            End::Killed => when.words(),
            End::Quit => format!("{}, quit in {:.1} s", when.words(), quit_after.unwrap().as_secs_f64()),
        },
        ended,
        shown(&last.active),
        format!("{written}; active {}", shown(&journal.active)),
        shown(&allowed),
        listed(&left),
        listed(&rest.found),
        format!("{:.1} s", rest.after.as_secs_f64()),
        said.unwrap_or_else(|| "–".into()),
        if wrong.is_empty() { "ok".into() } else { format!("BAD: {}", wrong.join("; ")) },
    ];
    Some(Row { cells, ok: wrong.is_empty() })
}

/// Follows the switch to the instant; gives the last view. `None`: it ended without.
async fn until_moment(watch: &mut Watch, first: &View, when: When, to: &str) -> Option<View> {
    let follow = async {
        let mut last = loop {
            let view = watch.next().await?;
            let ended = view.ended != first.ended;
            let hit = match when.moment {
                Phase(phase) => view.phase.as_deref() == Some(phase),
                Active => view.active.as_deref() == Some(to),
                Ended => ended,
            };
            if hit {
                break view;
            }
            if ended {
                return None;
            }
        };
        // The instant is so much later; what is told until then counts as told.
        let later = tokio::time::Instant::now() + Duration::from_millis(when.later_ms);
        while let Ok(Some(view)) = tokio::time::timeout_at(later, watch.next()).await {
            last = view;
        }
        Some(last)
    };
    tokio::time::timeout(REST, follow).await.ok().flatten()
}

/// How long a quit took.
async fn end_engine(scene: &mut Scene, end: End) -> Option<Duration> {
    match end {
        End::Killed => {
            scene.engine.kill_leader();
            None
        }
        End::Quit => {
            let begun = Instant::now();
            signal(scene.engine.pid(), libc::SIGTERM);
            while scene.engine.ended().is_none() && begun.elapsed() < REST {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Some(begun.elapsed())
        }
    }
}

/// How things stand when nothing moves any more, or when the patience for it is at its end.
struct Rest {
    found: Models,
    active: Option<String>,
    gateway: String,
    settled: bool,
    after: Duration,
    notices: Vec<Value>,
}

impl Rest {
    /// The notice that names the active model and what happened.
    fn said(&self, active: Option<&str>) -> Option<String> {
        let model = active?.split_once('/')?.1;
        let text = |notice: &Value, key: &str| notice[key].as_str().unwrap_or_default().to_owned();
        let words = |notice: &Value| format!("{}: {}", text(notice, "title"), text(notice, "body"));
        self.notices.iter().map(words).find(|words| words.contains(model))
    }
}

async fn come_to_rest(scene: &mut Scene, wanted: &Models, active: Option<&str>) -> Rest {
    let begun = Instant::now();
    let http = answers::client();
    let address = answers::address(&scene.sandbox);
    let mut good_before = false;
    loop {
        let status = scene.sandbox.ask(&["status"]).unwrap_or_default();
        let mut found = memory::in_memory(&scene.sandbox).await;
        let runners = memory::runners(&scene.sandbox);
        if runners != found.len() {
            found.insert(format!("in {runners} processes"));
        }
        let answer = answers::ask(&http, &address, Kind::Whole, 1, Duration::from_secs(20)).await;
        let (gateway, settled) = match (&answer.flaw, active) {
            (None, Some(_)) => ("200".into(), answer.by.as_deref() == active),
            (Some(answers::Flaw::Refused { status, code }), None) => (format!("{status} {code}"), true),
            (flaw, _) => (format!("{flaw:?} by {}", shown(&answer.by)), false),
        };
        let now = id(&status["active"]);
        let settled = settled && status["switching"].is_null();
        let good = settled && found == *wanted && now.as_deref() == active;
        if (good && good_before) || begun.elapsed() > REST {
            let notices = status["notices"].as_array().cloned().unwrap_or_default();
            return Rest { found, active: now, gateway, settled, after: begun.elapsed(), notices };
        }
        good_before = good;
        tokio::time::sleep(Duration::from_millis(if good { 1000 } else { 200 })).await;
    }
}

async fn stay_of_stranger(scene: &Scene) -> Option<jiff::Timestamp> {
    memory::stays_until(&scene.sandbox, scene.stranger?.model).await
}

fn shown(model: &Option<String>) -> String {
    model.clone().unwrap_or_else(|| "none".into())
}

fn listed(models: &Models) -> String {
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    if models.is_empty() { "nothing".into() } else { models.join(", ") }
}
