//! When a server is warm. One or two requests are not enough: the Vulkan backend compiles its pipelines lazily per
//! shape, and on an H100 the third equal request had a prefill 200 times as fast as the second.

/// Requests that must agree before the server counts as warm.
const AGREE: usize = 3;
/// So many warm-ups there are at the least.
pub const MIN_WARMUPS: u32 = AGREE as u32;
/// Largest ratio between them (the rule of NVIDIA's perf_analyzer for a stable load level, docs/inference_load_modes.md).
const SPREAD: f64 = 1.10;
/// Absolute tolerance for first-token times, in milliseconds: below it a ratio is scheduler noise.
const TTFT_SLACK_MS: f64 = 15.0;
/// After so many requests the measurement begins anyway and the run carries a note.
pub const MAX_WARMUPS: u32 = 12;

/// What to do after a warm-up request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    GoOn,
    Warm,
    /// Never settled.
    Unsettled,
}

/// Judges by the time to the first token (ms) and decode rate (tok/s) of the warm-up requests so far. Of a server that tells no
/// rate at all, by the time alone.
pub fn judge(ttft_ms: &[f64], decode_tok_s: &[f64]) -> Warmth {
    let rates_agree = decode_tok_s.is_empty() || last_agree(decode_tok_s, 0.0);
    let settled = last_agree(ttft_ms, TTFT_SLACK_MS) && rates_agree;
    if settled {
        Warmth::Warm
    } else if ttft_ms.len() >= MAX_WARMUPS as usize {
        Warmth::Unsettled
    } else {
        Warmth::GoOn
    }
}

fn last_agree(values: &[f64], slack: f64) -> bool {
    let Some(last) = values.len().checked_sub(AGREE).map(|from| &values[from..]) else {
        return false;
    };
    let min = last.iter().copied().fold(f64::INFINITY, f64::min);
    let max = last.iter().copied().fold(0.0, f64::max);
    min > 0.0 && (max / min <= SPREAD || max - min <= slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_rates_is_warm_by_its_times() {
        assert_eq!(judge(&[100.0, 100.0], &[]), Warmth::GoOn);
        assert_eq!(judge(&[100.0, 100.0, 101.0], &[]), Warmth::Warm);
        // One that tells some is not.
        assert_eq!(judge(&[100.0, 100.0, 101.0], &[50.0]), Warmth::GoOn);
        assert_eq!(judge(&[5.0; 4], &[50.0, 51.0]), Warmth::GoOn);
    }

    #[test]
    fn the_recorded_h100_trace_is_not_warm_after_two() {
        // nvidia-h100/llama-server-h100.log: prefill 1456, 1202 and 5 ms; decode 380, 424, 418 tok/s.
        assert_eq!(judge(&[1456.0, 1202.0], &[380.0, 424.0]), Warmth::GoOn);
        assert_eq!(judge(&[1456.0, 1202.0, 5.0], &[380.0, 424.0, 418.0]), Warmth::GoOn);
        let ttft = [1456.0, 1202.0, 5.0, 6.0, 5.0];
        assert_eq!(judge(&ttft, &[380.0, 424.0, 418.0, 420.0, 419.0]), Warmth::Warm);
    }

    #[test]
    fn a_server_that_never_settles_is_said_to_be_so() {
        let swinging: Vec<f64> = (0..MAX_WARMUPS).map(|n| if n % 2 == 0 { 50.0 } else { 100.0 }).collect();
        assert_eq!(judge(&swinging, &swinging), Warmth::Unsettled);
    }
}
