//! One request of a run, from its prompt to its figures.

use crate::actors::{residency::Side, supervisor::Connection};
use futures_util::StreamExt;
use pilothouse_domain::{
    bench::{self, RawTrial, Trial, TrialPhase},
    error::{ApiError, ErrorCode},
    model::ModelRef,
};
use pilothouse_leases::Target;
use pilothouse_servers::{GenerateEnd, GenerateRequest};
use std::time::{Duration, Instant};

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

/// Beyond reading the prompt, half a token a second is slower than anything that is worth a benchmark: a trial that takes
/// longer has hung.
pub(super) fn trial_limit(max_tokens: u32) -> Duration {
    Duration::from_secs(120) + Duration::from_secs(2) * max_tokens
}

/// One streamed answer, stamped by our clock as its bytes are read.
pub(super) async fn stream(
    asked: &Asked,
    request: &GenerateRequest,
) -> Result<(RawTrial, GenerateEnd), ApiError> {
    let begun = Instant::now();
    let since = |at: Instant| at.saturating_duration_since(begun).as_nanos() as u64;
    let mut answer = asked.connection.client.generate(request).await?;
    let mut raw = RawTrial::default();
    let mut end = None;
    while let Some(event) = answer.next().await {
        let event = event?;
        if !event.text.is_empty() {
            raw.text_came(since(event.at));
        }
        end = event.end.or(end);
    }
    raw.end_ns = since(Instant::now());
    let end = end.ok_or_else(|| {
        ApiError::new(
            ErrorCode::BadAnswer,
            "The answer ended without its last record; the server cut it off.",
        )
    })?;
    raw.output_tokens = end.output_tokens;
    raw.prompt_tokens = end.prompt_tokens;
    raw.cached_tokens = end.cached_tokens;
    Ok((raw, end))
}

/// The figures of an answer.
pub(super) fn judge(phase: TrialPhase, raw: &RawTrial, end: &GenerateEnd, max_tokens: u32) -> Trial {
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
pub(super) fn failed(phase: TrialPhase, error: &ApiError, took: Duration) -> Trial {
    Trial {
        phase,
        total_ms: took.as_secs_f64() * 1000.0,
        flaw: Some(format!("{FAILED}{}", error.message)),
        ..Trial::default()
    }
}
