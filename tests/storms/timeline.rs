//! Which model was active when.

use crate::watch::Watch;
use pilothouse_tests::sandbox::Sandbox;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

/// An engine tells what it did a moment after it did it.
const BLUR: Duration = Duration::from_millis(100);

/// A model, and when it may have been active: from the last moment at which another one surely was still shown, to the first at
/// which another one was. However late this process gets to see a change on a busy machine, it lies between the two.
struct Span {
    active: Option<String>,
    begin: Instant,
    end: Option<Instant>,
}

/// Follows a running engine.
pub struct Timeline {
    spans: Arc<Mutex<Vec<Span>>>,
    task: JoinHandle<()>,
}

impl Timeline {
    pub async fn follow(sandbox: &Sandbox) -> Self {
        let mut watch = Watch::on(sandbox);
        let first = watch.next().await.unwrap();
        let spans =
            Arc::new(Mutex::new(vec![Span { active: first.active, begin: watch.asked(), end: None }]));
        let task = tokio::spawn({
            let spans = spans.clone();
            async move {
                let mut asked = watch.asked();
                loop {
                    let Some(view) = watch.next().await else {
                        // No change may be passed over.
                        tokio::time::sleep(BLUR).await;
                        continue;
                    };
                    let mut spans = spans.lock().unwrap();
                    if let Some(last) = spans.last_mut().filter(|last| last.active != view.active) {
                        last.end = Some(Instant::now());
                        spans.push(Span { active: view.active, begin: asked, end: None });
                    }
                    asked = watch.asked();
                }
            }
        });
        Self { spans, task }
    }

    /// Whether a model was active at some moment between the two.
    pub fn was_active(&self, model: &str, from: Instant, to: Instant) -> bool {
        self.spans.lock().unwrap().iter().any(|span| {
            let overlaps = span.begin <= to + BLUR && span.end.is_none_or(|end| end + BLUR >= from);
            overlaps && span.active.as_deref() == Some(model)
        })
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.task.abort();
    }
}
