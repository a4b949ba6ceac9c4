//! How things stand some time after a start.

use super::row::{REST, shown};
use crate::{
    answers::{self, Flaw, Kind},
    memory::{self, Models},
    scene::Scene,
    watch::id,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How things stand when nothing moves any more, or when the patience for it is at its end.
pub struct Rest {
    pub found: Models,
    pub active: Option<String>,
    pub gateway: String,
    pub settled: bool,
    pub after: Duration,
    pub notices: Vec<Value>,
}

impl Rest {
    /// The notice that names the active model and what happened.
    pub fn said(&self, active: Option<&str>) -> Option<String> {
        let model = active?.split_once('/')?.1;
        let text = |notice: &Value, key: &str| notice[key].as_str().unwrap_or_default().to_owned();
        let words = |notice: &Value| format!("{}: {}", text(notice, "title"), text(notice, "body"));
        self.notices.iter().map(words).find(|words| words.contains(model))
    }
}

pub async fn come_to_rest(scene: &mut Scene, wanted: &Models, active: Option<&str>) -> Rest {
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
            (Some(Flaw::Refused { status, code }), None) => (format!("{status} {code}"), true),
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
