//! Which model was active when.

use crate::watch::Watch;
use pilothouse_tests::sandbox::Sandbox;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// What is seen here may be seen so much later, or earlier, than a client sees it.
const BLUR: Duration = Duration::from_millis(100);

/// From when on which model was active.
type Changes = Vec<(Instant, Option<String>)>;

/// Follows a running engine.
pub struct Timeline {
    changes: Arc<Mutex<Changes>>,
    task: JoinHandle<()>,
}

impl Timeline {
    pub async fn follow(sandbox: &Sandbox) -> Self {
        let mut watch = Watch::on(sandbox);
        let first = watch.next().await.unwrap();
        let changes = Arc::new(Mutex::new(vec![(Instant::now(), first.active)]));
        let task = tokio::spawn({
            let changes = changes.clone();
            async move {
                while let Some(view) = watch.next().await {
                    let mut changes = changes.lock().unwrap();
                    if changes.last().is_some_and(|(_, active)| *active != view.active) {
                        changes.push((Instant::now(), view.active));
                    }
                }
            }
        });
        Self { changes, task }
    }

    /// Whether a model was active at some moment between the two.
    pub fn was_active(&self, model: &str, from: Instant, to: Instant) -> bool {
        let changes = self.changes.lock().unwrap();
        let ends = changes.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        changes.iter().zip(ends).any(|((begin, active), end)| {
            let overlaps = *begin <= to + BLUR && end.is_none_or(|end| end + BLUR >= from);
            overlaps && active.as_deref() == Some(model)
        })
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}
