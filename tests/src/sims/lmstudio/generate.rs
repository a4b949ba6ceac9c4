//! One answer to a prompt: find or load the instance, wait for a slot, then token after token at the set speed.

use super::{
    service::{LoadFailure, Loaded, Service, now_ms},
    state::{JIT_TTL_MS, LoadAsk, Origin, Target, Work},
    text,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

const QUEUE: usize = 16;

/// A request for text.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub model: Option<String>,
    pub prompt_tokens: u32,
    pub max_tokens: Option<u32>,
    /// Idle seconds, if JIT loads for this request.
    pub ttl_s: Option<u64>,
    /// Context length, if this request loads.
    pub context: Option<u64>,
}

/// Why a request gets no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    NothingLoaded,
    SeveralLoaded,
    NotDownloaded(String),
    LoadFailed(LoadFailure),
    /// The instance went away before its turn.
    Unloaded,
}

/// A loaded instance, and how long it took to load if this request made it so.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    pub id: String,
    pub load_seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    EndOfText,
    MaxTokens,
    Unloaded,
}

/// What an answer took.
#[derive(Debug, Clone)]
pub struct Finished {
    pub ready: Ready,
    pub text: String,
    pub prompt_tokens: u32,
    pub output_tokens: u32,
    pub ttft_seconds: f64,
    /// Without the time for the prompt.
    pub generation_seconds: f64,
    pub stop: Stop,
}

impl Finished {
    /// `None` for answers too short to tell.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let enough = self.output_tokens > 1 && self.generation_seconds > 0.0;
        enough.then(|| f64::from(self.output_tokens) / self.generation_seconds)
    }

    pub fn finish_reason(&self) -> &'static str {
        match self.stop {
            Stop::MaxTokens => "length",
            Stop::EndOfText | Stop::Unloaded => "stop",
        }
    }
}

#[derive(Debug)]
pub enum Piece {
    PromptStart,
    PromptProgress(f64),
    PromptEnd,
    Token(&'static str),
    End(Box<Finished>),
}

impl Service {
    /// The id that will answer, before anything is loaded.
    pub fn foresee(&self, model: Option<&str>) -> Result<(String, bool), Refusal> {
        match self.look(|state| state.target(model)) {
            Target::Loaded(id) | Target::Loading(id) => Ok((id, false)),
            Target::OnDisk(key) => Ok((key, true)),
            Target::NothingLoaded => Err(Refusal::NothingLoaded),
            Target::SeveralLoaded => Err(Refusal::SeveralLoaded),
            Target::NotDownloaded => Err(Refusal::NotDownloaded(model.unwrap_or_default().to_owned())),
        }
    }

    /// The instance for a request; JIT loads it when needed.
    pub async fn prepare(
        self: &Arc<Self>,
        ask: &Ask,
        progress: Option<mpsc::UnboundedSender<f64>>,
    ) -> Result<Ready, Refusal> {
        loop {
            let (id, on_disk) = self.foresee(ask.model.as_deref())?;
            if on_disk {
                let loaded = self.load_for(ask, id, progress).await.map_err(Refusal::LoadFailed)?;
                return Ok(Ready { id: loaded.id, load_seconds: Some(loaded.seconds) });
            }
            // Loading on behalf of another: when that fails, look again.
            let there = self.wait_for(|state| match state.instance(&id) {
                Some(instance) => instance.is_loaded().then_some(true),
                None => Some(false),
            });
            if there.await {
                return Ok(Ready { id, load_seconds: None });
            }
        }
    }

    /// A JIT load goes on when the client goes away, so it has a task of its own.
    async fn load_for(
        self: &Arc<Self>,
        ask: &Ask,
        key: String,
        progress: Option<mpsc::UnboundedSender<f64>>,
    ) -> Result<Loaded, LoadFailure> {
        let ttl_ms = ask.ttl_s.map_or(JIT_TTL_MS, |seconds| seconds.saturating_mul(1000));
        let load =
            LoadAsk { context: ask.context, ttl_ms: Some(ttl_ms), ..LoadAsk::new(key.clone(), Origin::Jit) };
        let service = self.clone();
        service.with(|state| state.evict_for_jit());
        let task = tokio::spawn(async move { service.load(&load, progress.as_ref()).await });
        task.await.unwrap_or_else(|error| {
            Err(LoadFailure::Engine { key, text: format!("the simulator failed: {error}"), with_200: false })
        })
    }

    /// Answers in a task that ends early when the receiver is dropped.
    pub fn generate(self: &Arc<Self>, ask: Ask, ready: Ready) -> mpsc::Receiver<Piece> {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let service = self.clone();
        tokio::spawn(async move {
            let Some(ticket) = service.with(|state| state.enter(&ready.id, now_ms())) else { return };
            tokio::select! {
                () = service.answer(&ask, ready, ticket, &pieces) => {}
                () = pieces.closed() => {}
            }
            service.with(|state| state.leave(ticket, now_ms()));
        });
        receiver
    }

    async fn answer(&self, ask: &Ask, ready: Ready, ticket: u64, pieces: &mpsc::Sender<Piece>) {
        let asked = Instant::now();
        // A closed channel is seen by the caller.
        let send = async |piece| {
            let _ = pieces.send(piece).await;
        };
        let admitted = |state: &super::state::State| match state.admitted(ticket) {
            Some(true) => Some(true),
            Some(false) => None,
            None => Some(false),
        };
        if !self.wait_for(admitted).await {
            return;
        }
        self.with(|state| state.set_work(ticket, Work::ProcessingPrompt));
        send(Piece::PromptStart).await;
        let prompt_begun = Instant::now();
        let prompt_time = Duration::from_millis(self.options.ttft_ms);
        sleep_until(prompt_begun + prompt_time / 2).await;
        send(Piece::PromptProgress(0.5)).await;
        sleep_until(prompt_begun + prompt_time).await;
        send(Piece::PromptProgress(1.0)).await;
        send(Piece::PromptEnd).await;
        self.with(|state| state.set_work(ticket, Work::Generating));

        let begun = Instant::now();
        let natural = self.options.answer_tokens;
        let wanted = ask.max_tokens.map_or(natural, |most| most.min(natural));
        let mut stop = if wanted < natural { Stop::MaxTokens } else { Stop::EndOfText };
        let (mut output_tokens, mut answer, mut ttft) = (0, String::new(), asked.elapsed());
        while output_tokens < wanted {
            let due = f64::from(output_tokens + 1) / self.options.tokens_per_second;
            sleep_until(begun + Duration::from_secs_f64(due)).await;
            if self.look(|state| state.admitted(ticket)).is_none() {
                stop = Stop::Unloaded;
                break;
            }
            let token = text::token(output_tokens);
            answer.push_str(token);
            send(Piece::Token(token)).await;
            if output_tokens == 0 {
                ttft = asked.elapsed();
            }
            output_tokens += 1;
        }
        let finished = Finished {
            ready,
            text: answer,
            prompt_tokens: ask.prompt_tokens,
            output_tokens,
            ttft_seconds: ttft.as_secs_f64(),
            generation_seconds: begun.elapsed().as_secs_f64(),
            stop,
        };
        send(Piece::End(Box::new(finished))).await;
    }

    /// The whole answer at once.
    pub async fn complete(self: &Arc<Self>, ask: Ask) -> Result<Finished, Refusal> {
        let ready = self.prepare(&ask, None).await?;
        let mut pieces = self.generate(ask, ready);
        while let Some(piece) = pieces.recv().await {
            if let Piece::End(finished) = piece {
                return Ok(*finished);
            }
        }
        Err(Refusal::Unloaded)
    }
}
