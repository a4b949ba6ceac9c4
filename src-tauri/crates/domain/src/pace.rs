//! How often the gauges are read.

/// Milliseconds between samples while a benchmark measures: 5 per second.
pub const BENCH_MS: u64 = 200;
/// Milliseconds between samples while nobody looks.
pub const UNWATCHED_MS: u64 = 5000;
/// Somebody who asked within this time still looks. Milliseconds.
pub const LOOKS_FOR_MS: u64 = 5000;

/// What the pace depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// As the settings say. Milliseconds.
    pub interval_ms: u64,
    /// The silence after which a server that does nothing is ended; 0: never. Milliseconds.
    pub hang_ms: u64,
    /// A view asked within [`LOOKS_FOR_MS`].
    pub watched: bool,
    /// A benchmark is under way.
    pub bench: bool,
    /// A switch is under way or a server does not answer: what is decided next rests on the gauges.
    pub tense: bool,
}

impl Attention {
    /// Milliseconds until the next sample.
    pub fn interval_ms(&self) -> u64 {
        if self.bench {
            return self.interval_ms.min(BENCH_MS);
        }
        if self.watched || self.tense {
            return self.interval_ms;
        }
        let slow = match self.hang_ms {
            0 => UNWATCHED_MS,
            // Whether a silent server is at work is told by its processor time: several samples must lie in the silence.
            hang_ms => UNWATCHED_MS.min(hang_ms / 4),
        };
        // A person who wants it slower than that gets it.
        slow.max(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_who_looks() {
        let calm =
            Attention { interval_ms: 1000, hang_ms: 60_000, watched: false, bench: false, tense: false };
        let cases = [
            (calm, 5000),
            (Attention { watched: true, ..calm }, 1000),
            (Attention { tense: true, ..calm }, 1000),
            (Attention { bench: true, ..calm }, 200),
            (Attention { bench: true, watched: true, tense: true, ..calm }, 200),
            (Attention { hang_ms: 8000, ..calm }, 2000),
            (Attention { hang_ms: 1000, ..calm }, 1000),
            (Attention { hang_ms: 0, ..calm }, 5000),
            (Attention { interval_ms: 60_000, ..calm }, 60_000),
            (Attention { interval_ms: 60_000, watched: true, ..calm }, 60_000),
            (Attention { interval_ms: 60_000, bench: true, ..calm }, 200),
            (Attention { interval_ms: 200, ..calm }, 5000),
        ];
        for (attention, expected) in cases {
            assert_eq!(attention.interval_ms(), expected, "{attention:?}");
        }
    }
}
