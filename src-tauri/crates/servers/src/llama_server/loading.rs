//! A load as the router tells of it while it goes on.

use super::wire::{ModelEvent, ModelProgress};
use crate::{
    LoadProgress,
    http::{Line, ServerHttp, sse_data},
};
use futures_util::{StreamExt, stream::BoxStream};
use pilothouse_domain::error::ApiError;
use std::time::Duration;

/// The router begins to answer at once.
const SUBSCRIBE_LIMIT: Duration = Duration::from_millis(500);

/// What the router tells of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    /// How far its load has come, 0–1.
    Fraction(f64),
    /// It is not being loaded any more, or not yet.
    Changed,
}

/// The news of one load. Builds before 2026 have none.
pub(super) struct News {
    lines: Option<BoxStream<'static, Result<Line, ApiError>>>,
    model: String,
    progress: LoadProgress,
    furthest: Option<f64>,
}

impl News {
    /// To be asked for before the load is, so that nothing of it is missed.
    pub async fn of(http: &ServerHttp, model: &str, progress: LoadProgress) -> Self {
        let asked = tokio::time::timeout(SUBSCRIBE_LIMIT, http.events("/models/sse")).await;
        let lines = match asked {
            Ok(Ok(lines)) => Some(lines),
            Ok(Err(error)) => {
                tracing::debug!(%error, "this router tells no progress of a load");
                None
            }
            Err(_) => None,
        };
        Self { lines, model: model.to_owned(), progress, furthest: None }
    }

    /// Passes on what is told, until there is a reason to look at the model: it is loaded or has failed, or the time is over.
    pub async fn until_worth_a_look(&mut self, limit: Duration) {
        let over = tokio::time::sleep(limit);
        tokio::pin!(over);
        loop {
            let line = tokio::select! {
                () = &mut over => return,
                line = next(&mut self.lines) => line,
            };
            match line {
                Some(Ok(line)) => match told(&line.text, &self.model) {
                    Some(Told::Fraction(done)) => self.pass_on(done),
                    Some(Told::Changed) => return,
                    None => {}
                },
                Some(Err(_)) | None => self.lines = None,
            }
        }
    }

    /// Only ever onwards.
    fn pass_on(&mut self, done: f64) {
        if self.furthest.is_none_or(|furthest| done > furthest) {
            self.furthest = Some(done);
            (self.progress)(done);
        }
    }
}

/// Waits for ever where nothing is told.
async fn next(
    lines: &mut Option<BoxStream<'static, Result<Line, ApiError>>>,
) -> Option<Result<Line, ApiError>> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

fn told(line: &str, model: &str) -> Option<Told> {
    let event: ModelEvent = serde_json::from_str(sse_data(line)?).ok()?;
    if event.model != model {
        return None;
    }
    let data = event.data?;
    match data.progress.as_ref().and_then(ModelProgress::fraction) {
        Some(done) => Some(Told::Fraction(done)),
        None => (data.status? != "loading").then_some(Told::Changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use std::sync::{Arc, Mutex};

    /// As b10068 tells it.
    const RECORDED: [&str; 9] = [
        r#"data: {"model":"*","event":"models_reload"}"#,
        "",
        r#"data: {"model":"q15","event":"model_status","data":{"status":"loading"}}"#,
        r#"data: {"model":"q15","event":"status_change","data":{"status":"loading","progress":{"stages":["text_model"],"current":"text_model","value":0.0}}}"#,
        r#"data: {"model":"q15","event":"status_change","data":{"status":"loading","progress":{"stages":["text_model"],"current":"text_model","value":0.0}}}"#,
        r#"data: {"model":"other","event":"status_change","data":{"status":"loading","progress":{"stages":["text_model"],"current":"text_model","value":0.9}}}"#,
        r#"data: {"model":"q15","event":"status_change","data":{"status":"loading","progress":{"stages":["text_model"],"current":"text_model","value":0.4869285523891449}}}"#,
        r#"data: {"model":"q15","event":"status_change","data":{"status":"loading","progress":{"stages":["text_model"],"current":"text_model","value":1.0}}}"#,
        r#"data: {"model":"q15","event":"status_change","data":{"status":"loaded","info":{"id":"q15","meta":{"n_ctx":4096}}}}"#,
    ];

    fn news(lines: &[&str]) -> (News, Arc<Mutex<Vec<f64>>>) {
        let seen = Arc::<Mutex<Vec<f64>>>::default();
        let at = std::time::Instant::now();
        let lines: Vec<_> = lines.iter().map(|text| Ok(Line { at, text: (*text).to_owned() })).collect();
        let noted = seen.clone();
        let progress: LoadProgress = Arc::new(move |done| noted.lock().unwrap().push(done));
        let lines = Some(stream::iter(lines).boxed());
        (News { lines, model: "q15".into(), progress, furthest: None }, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_is_followed_to_its_end() {
        let (mut news, seen) = news(&RECORDED);
        let begun = tokio::time::Instant::now();
        news.until_worth_a_look(Duration::from_secs(9)).await;
        assert_eq!(*seen.lock().unwrap(), [0.0, 0.4869285523891449, 1.0]);
        assert!(begun.elapsed().is_zero(), "that it is loaded is worth a look at once");
        // The router ends, or never told anything: there is the clock.
        news.until_worth_a_look(Duration::from_secs(9)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
    }

    #[test]
    fn stages_come_one_after_the_other() {
        let fraction = |progress: serde_json::Value| {
            serde_json::from_value::<ModelProgress>(progress).unwrap().fraction()
        };
        for (progress, wanted) in [
            (
                serde_json::json!({ "stages": ["text_model"], "current": "text_model", "value": 0.25 }),
                Some(0.25),
            ),
            (serde_json::json!({ "stages": ["a", "b"], "current": "a", "value": 0.5 }), Some(0.25)),
            (serde_json::json!({ "stages": ["a", "b"], "current": "b", "value": 0.5 }), Some(0.75)),
            (serde_json::json!({ "stages": ["a", "b"], "current": "b", "value": 7 }), Some(1.0)),
            (serde_json::json!({ "stages": ["a"], "current": "z", "value": 0.5 }), None),
            (serde_json::json!({ "stages": [], "current": null, "value": 0.5 }), None),
            (serde_json::json!({ "stages": ["a"], "current": "a", "value": "half" }), None),
            (serde_json::json!({}), None),
        ] {
            assert_eq!(fraction(progress.clone()), wanted, "{progress}");
        }
    }

    #[test]
    fn what_is_no_news_of_the_model_is_none() {
        for line in ["", ": ping", "data: {", r#"data: {"model":"q15"}"#, r#"data: [1]"#] {
            assert_eq!(told(line, "q15"), None, "{line}");
        }
        let failed =
            r#"data: {"model":"q15","event":"model_status","data":{"status":"unloaded","exit_code":1}}"#;
        assert_eq!(told(failed, "q15"), Some(Told::Changed));
    }
}
