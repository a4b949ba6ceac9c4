//! The time between the events of an answer, as a reader sees its words come.
//!
//! They are the client's: from one event with text to the next, by the clock of the read that brought them. An event may hold
//! several tokens, and a read several events, so that a gap is no time per token; what a server does with its stream is a part of
//! it. Where several requests are under way they tell who waits for whom.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The gaps of one answer that are kept, its first ones: longer answers than any plan asks for.
pub const MOST_GAPS: usize = 4096;

/// To bound a quantile from above with 95 % confidence by the greatest of n values wants 0.95^59 and 0.99^299 <= 0.05.
const MIN_FOR_P95: usize = 59;
const MIN_FOR_P99: usize = 299;

/// How gaps are spread. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct GapSpread {
    /// How many there are.
    pub n: u32,
    pub p50_ms: f64,
    /// Of fewer than 59 the longest.
    pub p95_ms: f64,
    /// Of fewer than 299 the longest.
    pub p99_ms: f64,
    pub longest_ms: f64,
}

/// How the gaps of several answers are spread, taken together: each gap counts the same. `None`: there is none.
pub fn spread<'a>(answers: impl IntoIterator<Item = &'a [u32]>) -> Option<GapSpread> {
    let mut all: Vec<u32> = answers.into_iter().flatten().copied().collect();
    all.sort_unstable();
    let longest = *all.last()?;
    let ms = |us: f64| us / 1000.0;
    let bounded = |share: f64, fewest: usize| {
        if all.len() < fewest { f64::from(longest) } else { quantile(&all, share) }
    };
    Some(GapSpread {
        n: u32::try_from(all.len()).unwrap_or(u32::MAX),
        p50_ms: ms(quantile(&all, 0.5)),
        p95_ms: ms(bounded(0.95, MIN_FOR_P95)),
        p99_ms: ms(bounded(0.99, MIN_FOR_P99)),
        longest_ms: ms(f64::from(longest)),
    })
}

/// Between neighbours in proportion (Hyndman and Fan 1996, Sample Quantiles in Statistical Packages, type 7).
fn quantile(sorted: &[u32], share: f64) -> f64 {
    let at = share * (sorted.len().saturating_sub(1)) as f64;
    let value = |index: usize| sorted.get(index).or(sorted.last()).map_or(0.0, |us| f64::from(*us));
    let (below, above) = (value(at as usize), value(at as usize + 1));
    below + (above - below) * at.fract()
}

/// Gaps as they are kept: an unsigned LEB128 number for each (DWARF 5, section 7.6), in microseconds. A gap of 10 ms takes two
/// bytes, one of a second three.
pub fn encode(gaps_us: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(gaps_us.len() * 2);
    for gap in gaps_us {
        let mut rest = *gap;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

/// The same back. `None`: these bytes are no gaps.
pub fn decode(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut gaps = vec![];
    let (mut value, mut shift) = (0_u64, 0);
    for byte in bytes {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            gaps.push(u32::try_from(value).ok()?);
            (value, shift) = (0, 0);
        } else if shift > 28 {
            return None;
        }
    }
    (shift == 0 && gaps.len() <= MOST_GAPS).then_some(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn gaps_of_several_answers_are_taken_together() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([&[][..]]), None, "an answer of one event has no gap");
        let few = spread([&[10_000, 20_000][..], &[30_000]]).unwrap();
        assert_eq!((few.n, few.p50_ms, few.p95_ms, few.p99_ms, few.longest_ms), (3, 20.0, 30.0, 30.0, 30.0));
        let hundred: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        let many = spread([&hundred[..]]).unwrap();
        assert_eq!((many.p50_ms, many.p95_ms), (50.5, 95.05));
        assert_eq!(many.p99_ms, 100.0, "of a hundred nobody knows more than the longest");
        let thousand: Vec<u32> = (1..=1001).map(|n| n * 1000).collect();
        assert_eq!(spread([&thousand[..]]).unwrap().p99_ms, 991.0);
        let stall = spread([&[5000; 400][..], &[1_000_000]]).unwrap();
        assert_eq!((stall.p99_ms, stall.longest_ms), (5.0, 1000.0), "one stall is seen as the longest");
    }

    #[test]
    fn bytes_that_are_no_gaps_are_not_read() {
        for (what, bytes) in [
            ("cut off", vec![0x80]),
            ("too large", vec![0xff, 0xff, 0xff, 0xff, 0x7f]),
            ("endless", vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
            ("too many", vec![1; MOST_GAPS + 1]),
            ("the second is cut off", vec![1, 0xff]),
        ] {
            assert_eq!(decode(&bytes), None, "{what}");
        }
        assert_eq!(encode(&[0, 127, 128, 10_000]), [0, 127, 0x80, 1, 0x90, 0x4e]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_again(gaps in vec(any::<u32>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&gaps)), Some(gaps));
        }

        #[test]
        fn any_bytes_can_be_looked_at(bytes in vec(any::<u8>(), 0..64)) {
            if let Some(gaps) = decode(&bytes) {
                prop_assert!(gaps.len() <= bytes.len());
            }
        }
    }
}
