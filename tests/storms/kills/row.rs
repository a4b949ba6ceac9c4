//! One row of the table: an instant, what it left, and what the next start made of it.

use super::{
    instants::{Moment, When},
    rest::{Rest, come_to_rest},
};
use crate::{
    answers::Endless,
    journal::{Journal, Switch},
    memory::{self, Models},
    scene::{Place, Room, Scene},
    watch::{View, Watch},
};
use pilothouse_tests::sandbox::signal;
use std::time::{Duration, Instant};

/// For everything to come to rest after a start.
pub const REST: Duration = Duration::from_secs(40);
/// A quit takes less than five seconds; the rest is the machine's.
const QUIT_LIMIT: Duration = Duration::from_secs(15);

/// How the engine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGKILL.
    Killed,
    /// SIGTERM.
    Quit,
}

/// What came of one instant.
pub struct Row {
    pub cells: Vec<String>,
    pub ok: bool,
}

pub const HEADS: [&str; 11] = [
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

/// What an engine left that was ended in a switch.
struct Death {
    when: When,
    end: End,
    to: Place,
    /// What it told last.
    last: View,
    quit_after: Option<Duration>,
    /// What it left in memory.
    left: Models,
    journal: Journal,
    /// The journal's row of the switch, if it was begun.
    switch: Option<Switch>,
    /// Until when the stranger's model stayed before.
    stay: Option<jiff::Timestamp>,
}

/// Begins a switch, ends the engine at the instant, starts it again and looks. `None`: the instant was not hit.
pub async fn instant(scene: &mut Scene, configuration: &str, when: When, end: End) -> Option<Row> {
    let death = die(scene, when, end).await?;
    if death.had_room(scene) {
        scene.engine = scene.sandbox.serve().await;
        return None;
    }
    let allowed = death.allowed();
    let wanted = match (&allowed, end) {
        (Some(model), End::Killed) => scene.with_stranger(model.clone()),
        // What a server of ours held for others goes with it.
        (Some(model), End::Quit) => [model.clone()].into(),
        (None, _) => Models::new(),
    };
    scene.engine = scene.sandbox.serve().await;
    let rest = come_to_rest(scene, &wanted, allowed.as_deref()).await;
    let mut wrong = death.mistakes(&wanted, &rest);
    if let (Some(before), End::Killed) = (death.stay, end)
        && stay_of_stranger(scene).await.is_some_and(|now| now > before)
    {
        wrong.push("the stranger's model stays longer than its owner wants".into());
    }
    Some(death.row(configuration, &rest, &wrong))
}

/// Begins a switch and ends the engine at the instant.
async fn die(scene: &mut Scene, when: When, end: End) -> Option<Death> {
    scene.make_active(scene.from).await;
    let stay = stay_of_stranger(scene).await;
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
    Some(Death { when, end, to, last, quit_after, left, journal, switch, stay })
}

impl Death {
    /// Whether a switch that was to be tight was none: another program gave so much memory back that both fit.
    fn had_room(&self, scene: &Scene) -> bool {
        let loading = matches!(self.last.phase.as_deref(), Some("loading" | "proving"));
        let both = self.end == End::Killed && loading && self.left.contains(&scene.from.id());
        scene.room == Room::ForOne && both
    }

    /// The model that may be active at the next start.
    fn allowed(&self) -> Option<String> {
        match &self.switch {
            Some(switch) => switch.allows().cloned(),
            None => self.journal.active.clone(),
        }
    }

    fn committed(&self) -> bool {
        self.switch.as_ref().is_some_and(|switch| switch.outcome.as_deref() == Some("committed"))
    }

    /// What is not as it must be.
    fn mistakes(&self, wanted: &Models, rest: &Rest) -> Vec<String> {
        let mut wrong = Vec::new();
        if rest.found != *wanted || rest.active != self.allowed() {
            wrong.push(format!("{} is active, not the allowed one alone in memory", shown(&rest.active)));
        }
        if !rest.settled {
            wrong.push(format!("the gateway says {}", rest.gateway));
        }
        let was_told = self.last.active.as_deref() == Some(&self.to.id());
        if was_told && !self.committed() {
            wrong.push("the new model was shown as active, and is forgotten".into());
        }
        if self.committed() && self.journal.active.as_ref() != Some(&self.to.id()) {
            wrong.push("committed, but not the active one in the history".into());
        }
        let cut_off = self.switch.as_ref().is_some_and(|switch| switch.outcome.is_none());
        let leftovers = self.end == End::Killed && self.left != *wanted;
        if (cut_off || leftovers) && rest.said(self.allowed().as_deref()).is_none() {
            wrong.push("no notice says which model is active and why".into());
        }
        if self.quit_after.is_some_and(|after| after > QUIT_LIMIT) {
            wrong.push("the quit took too long".into());
        }
        wrong
    }

    fn row(&self, configuration: &str, rest: &Rest, wrong: &[String]) -> Row {
        let written = match &self.switch {
            None => "no switch".to_owned(),
            Some(switch) => format!("{}, {}", switch.phase, switch.outcome.as_deref().unwrap_or("open")),
        };
        let quit = self.quit_after.map(|after| format!(", quit in {:.1} s", after.as_secs_f64()));
        let allowed = self.allowed();
        let cells = vec![
            configuration.to_owned(),
            format!("{}{}", self.when.words(), quit.unwrap_or_default()),
            self.last.phase.clone().unwrap_or_else(|| "none".into()),
            shown(&self.last.active),
            format!("{written}; active {}", shown(&self.journal.active)),
            shown(&allowed),
            listed(&self.left),
            listed(&rest.found),
            format!("{:.1} s", rest.after.as_secs_f64()),
            rest.said(allowed.as_deref()).unwrap_or_else(|| "–".into()),
            if wrong.is_empty() { "ok".into() } else { format!("BAD: {}", wrong.join("; ")) },
        ];
        Row { cells, ok: wrong.is_empty() }
    }
}

/// Follows the switch to the instant; gives the last view. `None`: it ended without.
async fn until_moment(watch: &mut Watch, first: &View, when: When, to: &str) -> Option<View> {
    let follow = async {
        let mut last = loop {
            let view = watch.next().await?;
            let ended = view.ended != first.ended;
            let hit = match when.moment {
                Moment::Phase(phase) => view.phase.as_deref() == Some(phase),
                Moment::Active => view.active.as_deref() == Some(to),
                Moment::Ended => ended,
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

async fn stay_of_stranger(scene: &Scene) -> Option<jiff::Timestamp> {
    memory::stays_until(&scene.sandbox, scene.stranger?.model).await
}

pub fn shown(model: &Option<String>) -> String {
    model.clone().unwrap_or_else(|| "none".into())
}

fn listed(models: &Models) -> String {
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    if models.is_empty() { "nothing".into() } else { models.join(", ") }
}
