//! What "Try it" asked: answers of the active model, kept for reading on by offset.

use super::supervisors::Supervisors;
use crate::{
    api::AnswerChunk,
    gateway::InFlight,
    hub::Hub,
    ports::{GenerateEnd, GenerateRequest, GenerateStream},
};
use futures_util::StreamExt;
use pilothouse_domain::{
    bench::{self, RawTrial},
    error::{ApiError, ErrorCode},
    switch::Active,
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Answers that are kept; older ones are forgotten.
const KEPT: usize = 8;
/// Answers under way at a time.
const AT_ONCE: usize = 4;
/// How long a read waits for something new.
const READ_WAIT: Duration = Duration::from_secs(1);
const MAX_PROMPT: usize = 100_000;

#[derive(Debug, Clone, Default)]
struct Progress {
    text: String,
    raw: RawTrial,
    done: bool,
    error: Option<ApiError>,
}

struct Answer {
    id: u64,
    from: Active,
    progress: watch::Receiver<Progress>,
    cancel: CancellationToken,
}

/// The answers of one engine.
pub struct Answers {
    hub: Hub,
    supervisors: Supervisors,
    in_flight: InFlight,
    kept: Mutex<(u64, VecDeque<Answer>)>,
}

impl Answers {
    pub fn new(hub: Hub, supervisors: Supervisors, in_flight: InFlight) -> Self {
        Self { hub, supervisors, in_flight, kept: Mutex::new((0, VecDeque::new())) }
    }

    /// Asks the active model. Errors: no_active_model, busy, invalid_call, and what the server says.
    pub async fn ask(&self, prompt: String, max_tokens: u32) -> Result<u64, ApiError> {
        if prompt.trim().is_empty() || prompt.len() > MAX_PROMPT {
            return Err(ApiError::new(ErrorCode::InvalidCall, "A prompt has 1 to 100 000 characters."));
        }
        let Some(active) = self.hub.now().active.clone() else {
            return Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                .hint("Switch to a model first."));
        };
        let under_way = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.1.iter().filter(|answer| !answer.progress.borrow().done).count()
        };
        if under_way >= AT_ONCE {
            return Err(ApiError::new(ErrorCode::Busy, "Several answers are under way already.").retryable());
        }
        let supervisor = self.supervisors.get(&active.server)?;
        let client = supervisor.ensure_ready().await?.client;
        let request = GenerateRequest { instance: active.instance.clone(), prompt, max_tokens, raw: false };
        let (sender, progress) = watch::channel(Progress::default());
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        // A switch lets it end, like a request through the gateway.
        let guard = self.in_flight.enter(&active.server, &active.instance);
        tokio::spawn(async move {
            let _guard = guard;
            let begun = Instant::now();
            let work = async {
                match client.generate(&request).await {
                    Ok(stream) => read(stream, begun, &sender).await,
                    Err(error) => Err(error),
                }
            };
            let result = tokio::select! {
                result = work => result,
                () = stop.cancelled() => Err(ApiError::cancelled("Stopped.")),
            };
            sender.send_modify(|progress| {
                progress.done = true;
                progress.error = result.err();
            });
        });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let id = kept.0;
        kept.1.push_back(Answer { id, from: active, progress, cancel });
        if kept.1.len() > KEPT
            && let Some(old) = kept.1.pop_front()
        {
            old.cancel.cancel();
        }
        Ok(id)
    }

    /// Reads on from a character offset; waits a moment for something new. Errors: not_found.
    pub async fn read(&self, id: u64, offset: u64) -> Result<AnswerChunk, ApiError> {
        let (mut progress, from) = self.find(id, |answer| (answer.progress.clone(), answer.from.clone()))?;
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let news = progress.wait_for(|now| now.done || now.text.chars().count() > skip);
        let _ = tokio::time::timeout(READ_WAIT, news).await;
        let now = progress.borrow().clone();
        let text: String = now.text.chars().skip(skip).collect();
        Ok(AnswerChunk {
            answer: id,
            offset: offset + text.chars().count() as u64,
            text,
            done: now.done,
            server: from.server,
            model: from.model,
            ttft_ms: bench::ttft_ms(&now.raw),
            decode_tok_s: bench::decode_tok_s(&now.raw),
            output_tokens: now.raw.output_tokens,
            error: now.error,
        })
    }

    /// Errors: not_found.
    pub fn cancel(&self, id: u64) -> Result<(), ApiError> {
        self.find(id, |answer| answer.cancel.cancel())
    }

    /// Stops all answers under way.
    pub fn shutdown(&self) {
        for answer in &self.kept.lock().unwrap_or_else(PoisonError::into_inner).1 {
            answer.cancel.cancel();
        }
    }

    fn find<T>(&self, id: u64, take: impl FnOnce(&Answer) -> T) -> Result<T, ApiError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = kept.1.iter().find(|answer| answer.id == id);
        hit.map(take).ok_or_else(|| ApiError::not_found("This answer is not kept any more."))
    }
}

async fn read(
    mut stream: GenerateStream,
    begun: Instant,
    sender: &watch::Sender<Progress>,
) -> Result<(), ApiError> {
    let mut ended = false;
    while let Some(event) = stream.next().await {
        let event = event?;
        let at = event.at.saturating_duration_since(begun).as_nanos() as u64;
        ended |= event.end.is_some();
        sender.send_modify(|progress| {
            let raw = &mut progress.raw;
            raw.end_ns = at;
            if !event.text.is_empty() {
                raw.first_token_ns.get_or_insert(at);
                raw.last_token_ns = Some(at);
                raw.token_events += 1;
                progress.text.push_str(&event.text);
            }
            if let Some(GenerateEnd { output_tokens, prompt_tokens, cached_tokens, .. }) = event.end {
                raw.output_tokens = output_tokens;
                raw.prompt_tokens = prompt_tokens;
                raw.cached_tokens = cached_tokens;
            }
        });
    }
    match ended {
        true => Ok(()),
        false => Err(ApiError::new(ErrorCode::BadAnswer, "The server cut the answer off.")),
    }
}
