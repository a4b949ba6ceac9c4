//! The way to the running engine: its record says where it listens and with which token.

use pilothouse_domain::snapshot::Snapshot;
use pilothouse_engine::{
    api::{ApiError, Call, CallResult, ErrorCode, Reply},
    single_engine::EngineRecord,
};
use pilothouse_system::{connect::client_for, paths::Paths};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// The least time between two looks at a long call: gauges and counts change more often than people read.
const LOOK: Duration = Duration::from_millis(50);

pub struct Session {
    http: reqwest::Client,
    record: EngineRecord,
}

/// An error as the engine's door sends it.
#[derive(Deserialize)]
struct Refusal {
    error: ApiError,
}

impl Session {
    /// Errors: not_running, with how to start one.
    pub fn connect() -> Result<Self, ApiError> {
        let paths = Paths::from_env()?;
        let record = EngineRecord::read(&paths).ok_or_else(|| {
            ApiError::new(ErrorCode::NotRunning, "Pilothouse does not run.")
                .hint("Start it: “pilothouse serve”, or open the tray app.")
        })?;
        Ok(Self { http: client_for(&record.web_url), record })
    }

    /// The address of the web UI with its token.
    pub fn web_url(&self) -> String {
        format!("{}#token={}", self.record.web_url, self.record.token)
    }

    /// The same without the token.
    pub fn web_address(&self) -> &str {
        &self.record.web_url
    }

    pub async fn call(&self, call: Call) -> CallResult {
        self.answer(self.http.post(format!("{}api/call", self.record.web_url)).json(&call)).await
    }

    async fn answer(&self, asked: reqwest::RequestBuilder) -> CallResult {
        let answer = asked.bearer_auth(&self.record.token).send().await.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.lost(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| unreadable(&error));
        }
        let refusal: Refusal = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
        Err(refusal.error)
    }

    /// Makes a call that takes its time and shows the snapshot meanwhile. The first Ctrl-C makes the call `cancel`, and the
    /// first call goes on to its end.
    pub async fn call_and_watch(
        &self,
        call: Call,
        cancel: Call,
        mut show: impl FnMut(&Snapshot),
    ) -> CallResult {
        let work = self.call(call);
        // One listener for the whole time: a signal that comes while a snapshot is asked for would find none.
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(work, interrupt);
        let (mut cancel, mut known) = (Some(cancel), None);
        loop {
            let news = async {
                tokio::time::sleep(LOOK).await;
                self.news(known).await
            };
            tokio::select! {
                reply = &mut work => return reply,
                heard = &mut interrupt, if cancel.is_some() => {
                    // Where signals cannot be heard, the call just goes on.
                    if let (Ok(()), Some(cancel)) = (heard, cancel.take()) {
                        self.call(cancel).await?;
                    }
                }
                news = news => {
                    if let Some(snapshot) = news? {
                        known = Some(snapshot.revision);
                        show(&snapshot);
                    }
                }
            }
        }
    }

    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, ApiError> {
        match self.call(Call::whole_snapshot()).await? {
            Reply::Snapshot { snapshot, .. } => Ok(snapshot),
            other => Err(unexpected(&other)),
        }
    }

    /// The snapshot as soon as it is another one than the known. `None`: it has been the same for as long as the door waits.
    pub async fn news(&self, known: Option<u64>) -> Result<Option<Arc<Snapshot>>, ApiError> {
        let known = known.map(|known| format!("?known={known}")).unwrap_or_default();
        let asked = self.http.get(format!("{}api/changes{known}", self.record.web_url));
        match self.answer(asked).await? {
            Reply::Snapshot { snapshot, .. } => Ok(Some(snapshot)),
            Reply::Unchanged { .. } => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    fn lost(&self, error: &reqwest::Error) -> ApiError {
        let text = format!("Pilothouse (process {}) does not answer: {error}.", self.record.pid);
        ApiError::new(ErrorCode::Unreachable, text).hint("Look at its log, or start it again.").retryable()
    }
}

pub fn unexpected(reply: &Reply) -> ApiError {
    let name = serde_json::to_value(reply).ok().and_then(|json| json["reply"].as_str().map(str::to_owned));
    ApiError::internal(format!("The engine answered {} to another question.", name.unwrap_or_default()))
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::new(ErrorCode::BadAnswer, format!("The engine's answer could not be read: {error}."))
        .hint("The engine may be of another version; start it again.")
}
