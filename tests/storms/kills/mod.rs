//! Pilothouse is killed, or quit, at every instant of a switch. The journal that it leaves allows one set of models; the next
//! start must bring exactly that into memory, and say so.

mod instants;
mod rest;
mod row;
mod scenes;

use crate::{
    full,
    scene::{CONTEXT, Room, Scene},
    table,
};
use instants::{QUIT, QUIT_TIGHT, TIGHT, WITH_ROOM, When};
use pilothouse_tests::sandbox::Tools;
use row::{End, HEADS, Row, instant};

const TRIES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForBoth, 1, CONTEXT).await;
    storm.blow(&mut scene, "room for both", WITH_ROOM, End::Killed).await;
    scene.end().await;
    storm.judge("Killed in a switch with room for both (llama-server)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_of_a_tight_switch_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForOne, 1, CONTEXT).await;
    storm.blow(&mut scene, "tight", TIGHT, End::Killed).await;
    scene.end().await;
    storm.judge("Killed in a switch for which the previous model leaves first (llama-server)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_between_two_servers_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::two_servers(&tools).await;
    storm.blow(&mut scene, "two servers", WITH_ROOM, End::Killed).await;
    scene.end().await;
    storm.judge("Killed in a switch from llama-server to Ollama, which holds a stranger's model too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quit_at_any_instant_leaves_what_the_journal_allows() {
    let Some(tools) = Tools::find() else { return };
    let mut storm = Storm::default();
    let mut scene = Scene::llama_server(&tools, Room::ForBoth, 1, CONTEXT).await;
    storm.blow(&mut scene, "room for both", QUIT, End::Quit).await;
    scene.end().await;
    let mut scene = Scene::llama_server(&tools, Room::ForOne, 1, CONTEXT).await;
    storm.blow(&mut scene, "tight", QUIT_TIGHT, End::Quit).await;
    scene.end().await;
    if full() {
        let mut scene = Scene::two_servers(&tools).await;
        storm.blow(&mut scene, "two servers", QUIT, End::Quit).await;
        scene.end().await;
    }
    storm.judge("Quit in a switch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_of_a_scene_leaves_one_of_both_whole() {
    let Some(tools) = Tools::find() else { return };
    let mut scene = Scene::of_scenes(&tools).await;
    let outcomes = scenes::blow(&mut scene).await;
    scene.end().await;
    outcomes.judge();
}

/// One configuration after the other, and what came of it.
#[derive(Default)]
struct Storm {
    rows: Vec<Row>,
    unseen: Vec<String>,
    /// Instants of a switch that fails: how many there were to be, and how many were hit.
    failing: (usize, usize),
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
            if when.fails {
                self.failing.0 += 1;
                self.failing.1 += usize::from(row.is_some());
            }
            match row {
                Some(row) => self.rows.push(row),
                None => self.unseen.push(format!("{configuration}: {}", when.words())),
            }
        }
    }

    #[allow(clippy::print_stdout, reason = "figures")]
    fn judge(self, title: &str) {
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.cells.clone()).collect();
        table::print(title, &HEADS, &rows);
        for unseen in &self.unseen {
            println!("not hit in {TRIES} tries, too short or not there: {unseen}");
        }
        let bad = self.rows.iter().filter(|row| !row.ok).count();
        println!("{} instants, {bad} of them bad", self.rows.len());
        assert!(!self.rows.is_empty(), "no instant was hit");
        let (wanted, hit) = self.failing;
        assert!(wanted == 0 || hit > 0, "no switch failed: what should make it fail does not");
        assert_eq!(bad, 0, "see the table");
    }
}
