//! One request of a run, from its prompt to its figures.

use super::prompt;
use crate::actors::{
    bounds::{until_cancelled, within},
    residency::Side,
    supervisor::Connection,
};
use futures_util::StreamExt;
use pilothouse_domain::{
    bench::{self, BenchPlan, RawTrial, Trial, TrialPhase},
    error::{ApiError, ErrorCode},
    model::ModelRef,
};
use pilothouse_leases::{Leases, Target};
use pilothouse_servers::{GenerateEnd, GenerateRequest};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How an instance is asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub lease: Target,
    pub connection: Connection,
}

impl Asked {
    pub fn of(model: &ModelRef, side: &Side) -> Self {
        let connection = side.connection.clone();
        let lease = connection.target(&model.server, &model.model, &side.instance.id);
        Self { lease, connection }
    }
}

/// One request of a run as it is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub prompt: String,
    pub max_tokens: u32,
    /// Its beginning may come from the server's cache.
    pub reuses_prefix: bool,
    /// Its answer ends where the model ends it, and is no worse for being short.
    pub ends_by_itself: bool,
}

impl Question {
    /// Words that follow from `text`, as many as the plan says, which begin unlike any other prompt.
    pub fn of(plan: &BenchPlan, text: u64) -> Self {
        Self {
            prompt: prompt::unique(rand::random(), text, plan.prompt_words),
            max_tokens: plan.max_tokens,
            reuses_prefix: false,
            ends_by_itself: false,
        }
    }

    /// Fewer tokens than half of these are a flaw.
    fn wanted_tokens(&self) -> u32 {
        if self.ends_by_itself { 1 } else { self.max_tokens }
    }
}

/// What became of a request.
pub(super) struct Answered {
    pub begun: Instant,
    pub trial: Trial,
    /// The answer; empty where the request failed.
    pub text: String,
}

/// Asks, and turns what fails into a trial with a flaw. Errors: cancelled.
pub(super) async fn ask(
    leases: &Leases,
    asked: &Asked,
    cancel: &CancellationToken,
    phase: TrialPhase,
    question: Question,
) -> Result<Answered, ApiError> {
    let wanted = question.wanted_tokens();
    let limit = trial_limit(question.max_tokens);
    let request = GenerateRequest {
        instance: asked.lease.instance.clone(),
        prompt: question.prompt,
        max_tokens: question.max_tokens,
        raw: true,
        reuses_prefix: question.reuses_prefix,
        ends_by_itself: question.ends_by_itself,
    };
    // Counted as under way: nobody asks the server for a token of proof beside a measurement.
    let lease = leases.enter(&asked.lease);
    let begun = Instant::now();
    let streamed = within("A request of the benchmark", limit, stream(asked, &request));
    let answered = until_cancelled(cancel, "The benchmark was cancelled.", streamed).await;
    drop(lease);
    match answered {
        Ok((raw, end, text)) => Ok(Answered { begun, trial: judge(phase, &raw, &end, wanted), text }),
        Err(error) if error.code == ErrorCode::Cancelled => Err(error),
        Err(error) => {
            Ok(Answered { begun, trial: failed(phase, &error, begun.elapsed()), text: String::new() })
        }
    }
}

/// Beyond reading the prompt, half a token a second is slower than anything that is worth a benchmark: a trial that takes
/// longer has hung.
fn trial_limit(max_tokens: u32) -> Duration {
    Duration::from_secs(120) + Duration::from_secs(2) * max_tokens
}

/// One streamed answer with its text, stamped by our clock as its bytes are read. The clock is tokio's, which is the system's
/// but in tests that set it.
async fn stream(
    asked: &Asked,
    request: &GenerateRequest,
) -> Result<(RawTrial, GenerateEnd, String), ApiError> {
    let begun = Instant::now().into_std();
    let since = |at: std::time::Instant| at.saturating_duration_since(begun).as_nanos() as u64;
    let mut answer = asked.connection.client.generate(request).await?;
    let mut raw = RawTrial::default();
    let (mut end, mut text) = (None, String::new());
    while let Some(event) = answer.next().await {
        let event = event?;
        if !event.text.is_empty() {
            raw.text_came(since(event.at));
            text.push_str(&event.text);
        }
        end = event.end.or(end);
    }
    raw.end_ns = since(Instant::now().into_std());
    let end = end.ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadAnswer,
            "The answer ended without its last record; the server cut it off.",
        )
    })?;
    raw.output_tokens = end.output_tokens;
    raw.prompt_tokens = end.prompt_tokens;
    raw.cached_tokens = end.cached_tokens;
    Ok((raw, end, text))
}

/// The figures of an answer.
fn judge(phase: TrialPhase, raw: &RawTrial, end: &GenerateEnd, max_tokens: u32) -> Trial {
    let flaw = bench::flaw(raw, max_tokens);
    // What came at once says nothing of its first token.
    let timed = !raw.came_at_once();
    Trial {
        phase,
        ttft_ms: bench::ttft_ms(raw).filter(|_| timed),
        decode_tok_s: bench::decode_tok_s(raw),
        prefill_tok_s: bench::prefill_tok_s(raw).filter(|_| timed),
        total_ms: raw.end_ns as f64 / 1e6,
        output_tokens: raw.output_tokens,
        prompt_tokens: raw.prompt_tokens,
        cached_tokens: raw.cached_tokens,
        server_decode_tok_s: end.decode_tok_s,
        server_prefill_tok_s: end.prefill_tok_s,
        finish: end.finish.clone(),
        flaw,
        gaps_us: (phase == TrialPhase::Measured).then(|| raw.gaps_us.clone()),
        ..Trial::default()
    }
}

/// How the flaw of a request begins that came to nothing.
const FAILED: &str = "failed: ";

/// Whether it came to nothing, rather than to an answer that does not count.
pub(super) fn has_failed(trial: &Trial) -> bool {
    trial.flaw.as_ref().is_some_and(|flaw| flaw.starts_with(FAILED))
}

/// A request that came to nothing: it does not count, and the run goes on.
fn failed(phase: TrialPhase, error: &ApiError, took: Duration) -> Trial {
    Trial {
        phase,
        total_ms: took.as_secs_f64() * 1000.0,
        flaw: Some(format!("{FAILED}{}", error.message)),
        ..Trial::default()
    }
}
