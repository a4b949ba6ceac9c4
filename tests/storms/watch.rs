//! The snapshots of a running engine, each within a millisecond of its being published: the long poll of the web door.

use pilothouse_tests::sandbox::Sandbox;
use serde_json::Value;
use tokio::time::Instant;

pub struct Watch {
    http: reqwest::Client,
    address: String,
    token: String,
    known: Option<u64>,
    asked: Instant,
}

/// What a storm wants to know of a snapshot. Models are `<server>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The phase of the switch under way.
    pub phase: Option<String>,
    pub active: Option<String>,
    /// The number of the last switch that ended.
    pub ended: Option<i64>,
    /// The phase of the scene that is being applied.
    pub arranging: Option<String>,
    /// The scene in force.
    pub scene: Option<String>,
}

impl Watch {
    /// Finds the door by the engine's own record.
    pub fn on(sandbox: &Sandbox) -> Self {
        let record = std::fs::read(sandbox.home().join("run/engine.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            address: format!("{}/api/changes", text("web_url").trim_end_matches('/')),
            token: text("token"),
            known: None,
            asked: Instant::now(),
        }
    }

    /// When the last snapshot that came was asked for: at that moment, or later, it was the newest.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// The present snapshot, or the next one. `None`: the engine does not answer.
    pub async fn next(&mut self) -> Option<View> {
        loop {
            let known = self.known.map(|known| format!("?known={known}")).unwrap_or_default();
            let asked = Instant::now();
            let request = self.http.get(format!("{}{known}", self.address)).bearer_auth(&self.token);
            let reply: Value = request.send().await.ok()?.json().await.ok()?;
            let snapshot = &reply["snapshot"];
            if let Some(revision) = snapshot["revision"].as_u64() {
                (self.known, self.asked) = (Some(revision), asked);
                return Some(View::of(snapshot));
            }
        }
    }
}

impl View {
    fn of(snapshot: &Value) -> Self {
        Self {
            phase: snapshot["switching"]["phase"].as_str().map(str::to_owned),
            active: id(&snapshot["active"]),
            ended: snapshot["last_switch"]["switch_id"].as_i64(),
            arranging: snapshot["arranging"]["phase"].as_str().map(str::to_owned),
            scene: snapshot["scenes"]
                .as_array()
                .and_then(|scenes| scenes.iter().find(|scene| scene["in_force"] == true))
                .and_then(|scene| scene["name"].as_str().map(str::to_owned)),
        }
    }
}

/// `<server>/<name>` of what a document says is active.
pub fn id(active: &Value) -> Option<String> {
    Some(format!("{}/{}", active["server"].as_str()?, active["model"].as_str()?))
}
