mod differing;
mod simulated;

use super::*;
use crate::{
    Timestamp,
    bench::{plan::BenchPlan, stats::SplitMix64, trial::Trial},
};

/// Normal noise, seeded.
pub(crate) struct Noise(SplitMix64);

impl Noise {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(SplitMix64(seed))
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.0.next() >> 63 == 1
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let (x, y) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * x.ln()).sqrt() * (std::f64::consts::TAU * y).cos()
    }
}

/// Two runs without trials that were measured in turns.
fn sides() -> (RunDetail, RunDetail) {
    let plan = BenchPlan::named("ab", None).unwrap();
    let detail = |id: i64, server: &str| {
        let mut run = Run::begun(id, Timestamp::UNIX_EPOCH, plan.clone(), server.into(), "m");
        run.state = RunState::Done;
        RunDetail { run, trials: vec![], trace: None, cards: None }
    };
    let (mut a, mut b) = (detail(1, "ollama"), detail(2, "lmstudio"));
    (a.run.against, b.run.against) = (Some(2), Some(1));
    (a, b)
}

/// A trial with figures that hang together as they do in a real one: 64 tokens in, 64 out.
fn trial(block: u32, decode_tok_s: f64, ttft_ms: f64) -> Trial {
    Trial {
        block: Some(block),
        ttft_ms: Some(ttft_ms),
        decode_tok_s: Some(decode_tok_s),
        prefill_tok_s: Some(64_000.0 / ttft_ms),
        total_ms: ttft_ms + 63_000.0 / decode_tok_s,
        output_tokens: Some(64),
        prompt_tokens: Some(64),
        cached_tokens: Some(0),
        ..Trial::default()
    }
}
