//! What "Try it" asked: answers of the active model, kept for reading on by offset.

use super::{residency::ResidencyHandle, supervisors::Supervisors};
use crate::{api::AnswerChunk, hub::Hub};
use futures_util::StreamExt;
use pilothouse_domain::{
    bench::{self, RawTrial},
    error::{ApiError, ErrorCode},
    switch::Active,
};
use pilothouse_leases::{Asked, Lease, Leases, Refused};
use pilothouse_servers::{GenerateEnd, GenerateRequest, GenerateStream};
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
/// The same while an answer waits for something else.
const WAITING_READ: Duration = Duration::from_millis(200);
const MAX_PROMPT: usize = 100_000;

#[derive(Debug, Clone)]
struct Progress {
    /// Who answers; until it is its turn, who is active.
    from: Active,
    /// What is waited for before it begins.
    waiting: Option<String>,
    text: String,
    raw: RawTrial,
    done: bool,
    error: Option<ApiError>,
}

struct Answer {
    id: u64,
    progress: watch::Receiver<Progress>,
    cancel: CancellationToken,
}

/// What an answer needs of the engine while it is under way.
#[derive(Clone)]
struct Asker {
    hub: Hub,
    supervisors: Supervisors,
    residency: ResidencyHandle,
    leases: Leases,
}

/// The answers of one engine.
pub struct Answers {
    hub: Hub,
    asker: Asker,
    kept: Mutex<(u64, VecDeque<Answer>)>,
}

impl Answers {
    pub fn new(hub: Hub, supervisors: Supervisors, residency: ResidencyHandle, leases: Leases) -> Self {
        let asker = Asker { hub: hub.clone(), supervisors, residency, leases };
        Self { hub, asker, kept: Mutex::new((0, VecDeque::new())) }
    }

    /// Asks the active model: waits for a switch under way, starts its server and loads it if need be, and says so while it
    /// does. Errors: no_active_model, busy, invalid_call; later ones stand in the answer.
    pub fn ask(&self, prompt: String, max_tokens: u32) -> Result<u64, ApiError> {
        if prompt.trim().is_empty() || prompt.len() > MAX_PROMPT {
            return Err(ApiError::new(ErrorCode::InvalidCall, "A prompt has 1 to 100 000 characters."));
        }
        let Some(from) = self.hub.now().active.clone() else {
            return Err(ApiError::new(ErrorCode::NoActiveModel, "No model is active.")
                .hint("Switch to a model first."));
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.1.iter().filter(|answer| !answer.progress.borrow().done).count() >= AT_ONCE {
            return Err(ApiError::new(ErrorCode::Busy, "Several answers are under way already.").retryable());
        }
        let waiting = self.asker.what_comes_first(&from);
        let progress = Progress {
            from,
            waiting,
            text: String::new(),
            raw: RawTrial::default(),
            done: false,
            error: None,
        };
        let (sender, progress) = watch::channel(progress);
        let cancel = CancellationToken::new();
        tokio::spawn(self.asker.clone().answer(prompt, max_tokens, sender, cancel.clone()));
        kept.0 += 1;
        let id = kept.0;
        kept.1.push_back(Answer { id, progress, cancel });
        if kept.1.len() > KEPT
            && let Some(old) = kept.1.pop_front()
        {
            old.cancel.cancel();
        }
        Ok(id)
    }

    /// Reads on from a character offset; waits a moment for something new. Errors: not_found.
    pub async fn read(&self, id: u64, offset: u64) -> Result<AnswerChunk, ApiError> {
        let mut progress = self.find(id, |answer| answer.progress.clone())?;
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        // What is waited for is said soon, and without a hot loop of reads.
        let limit = if progress.borrow().waiting.is_some() { WAITING_READ } else { READ_WAIT };
        let news = progress.wait_for(|now| now.done || now.text.chars().count() > skip);
        let _ = tokio::time::timeout(limit, news).await;
        let now = progress.borrow().clone();
        let text: String = now.text.chars().skip(skip).collect();
        Ok(AnswerChunk {
            answer: id,
            offset: offset + text.chars().count() as u64,
            text,
            done: now.done,
            server: now.from.server,
            model: now.from.model,
            waiting: now.waiting,
            // An answer that came at once says nothing of its first token.
            ttft_ms: bench::ttft_ms(&now.raw).filter(|_| !(now.done && now.raw.came_at_once())),
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

impl Asker {
    async fn answer(
        self,
        prompt: String,
        max_tokens: u32,
        sender: watch::Sender<Progress>,
        stop: CancellationToken,
    ) {
        let result = tokio::select! {
            result = self.asked(prompt, max_tokens, &sender) => result,
            () = stop.cancelled() => Err(ApiError::cancelled("Stopped.")),
        };
        sender.send_modify(|progress| {
            progress.waiting = None;
            progress.done = true;
            progress.error = result.err();
        });
    }

    async fn asked(
        &self,
        prompt: String,
        max_tokens: u32,
        sender: &watch::Sender<Progress>,
    ) -> Result<(), ApiError> {
        self.residency.available().await?;
        // A switch lets it end, like a request through the gateway.
        let lease = self.leases.take(Asked::Active).await.map_err(refused)?;
        let from = lease.target();
        sender.send_modify(|progress| {
            let (server, model, instance) = (from.server.clone(), from.model.clone(), from.instance.clone());
            progress.from = Active { server, model, instance };
            progress.waiting = None;
        });
        let client = self.supervisors.get(&from.server)?.ensure_ready().await?.client;
        let request = GenerateRequest {
            instance: from.instance.clone(),
            prompt,
            max_tokens,
            raw: false,
            reuses_prefix: true,
            ends_by_itself: true,
        };
        let begun = Instant::now();
        let work = async { read(client.generate(&request).await?, begun, sender).await };
        tokio::select! {
            result = work => result,
            () = Lease::cut(&lease).cancelled() => {
                let text = "The answer was cut: its model left memory for another one.";
                Err(ApiError::cancelled(text).hint("Ask again."))
            }
        }
    }

    /// Why the answer does not begin at once, in words; `None`: it does.
    fn what_comes_first(&self, active: &Active) -> Option<String> {
        let snapshot = self.hub.now();
        if let Some(switching) = &snapshot.switching {
            let title = snapshot.model_title(&switching.to.server, &switching.to.model);
            return Some(format!("Waiting for the switch to {title}"));
        }
        let title = snapshot.model_title(&active.server, &active.model);
        let server = snapshot.server(&active.server)?;
        if !server.state.is_up() {
            return Some(format!("Starting {} and loading {title}", server.title));
        }
        let there = snapshot.instances.iter().any(|i| i.server == active.server && i.id == active.instance);
        (!there && !snapshot.is_remote(&active.server)).then(|| format!("Loading {title}"))
    }
}

fn refused(refused: Refused) -> ApiError {
    let text = refused.to_string();
    match refused {
        Refused::NoActiveModel => ApiError::new(ErrorCode::NoActiveModel, text),
        Refused::Down { .. } => ApiError::new(ErrorCode::Unreachable, text),
        Refused::Cannot { .. } => ApiError::new(ErrorCode::LoadFailed, text),
        Refused::ShuttingDown => ApiError::new(ErrorCode::NotRunning, text),
        Refused::NotLoadable { error, .. } => error,
        _ => ApiError::new(ErrorCode::Busy, text).retryable(),
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
                raw.text_came(at);
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
