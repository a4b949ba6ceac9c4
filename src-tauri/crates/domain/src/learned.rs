//! What loads have shown: memory that instances really took, by which later estimates are corrected.

use crate::{
    Timestamp,
    anatomy::KvType,
    estimate::{Estimate, PartKind, Place, Wish},
    model::Model,
    server::ServerId,
};

/// Loads that count, the newest ones.
const COUNTED: usize = 10;
/// An estimate is lowered after so many loads only: on a processor a context that nobody has filled takes less.
const LOADS_TO_LOWER: u32 = 3;

/// What makes loads comparable: the same weights in the same program, asked for in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoadKey {
    pub server: ServerId,
    /// Of the server; `None`: it tells none.
    pub server_version: Option<String>,
    /// The model's name on that server.
    pub model: String,
    /// Bytes of the weights on disk: another quantisation under the same name is another model.
    pub size_bytes: Option<u64>,
    pub wish: Wish,
    pub on_gpu: bool,
}

/// One load of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredLoad {
    pub key: LoadKey,
    /// When the instance was first seen.
    pub at: Timestamp,
    /// The most that it held while it was in memory.
    pub peak_bytes: u64,
}

/// What earlier loads say of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// The most that any of them took.
    pub peak_bytes: u64,
    pub loads: u32,
}

impl Correction {
    /// From the peaks of loads with the same key, newest first. `None`: there are none.
    pub fn of(peaks: &[u64]) -> Option<Self> {
        let counted = &peaks[..peaks.len().min(COUNTED)];
        let peak_bytes = counted.iter().copied().max()?;
        Some(Self { peak_bytes, loads: counted.len() as u32 })
    }

    /// Whether it replaces a figure that was reckoned: a larger one at once, a smaller one when it has proved itself.
    pub fn replaces(&self, reckoned_bytes: u64) -> bool {
        self.peak_bytes >= reckoned_bytes || self.loads >= LOADS_TO_LOWER
    }
}

impl LoadKey {
    /// A load of this model by its server, which tells that version.
    pub fn of(model: &Model, server_version: Option<String>, wish: Wish, place: Place) -> Self {
        Self {
            server: model.server.clone(),
            server_version,
            model: model.name.clone(),
            size_bytes: model.size_bytes,
            wish,
            on_gpu: place.on_gpu(),
        }
    }

    /// The type of the cache as it is stored.
    pub fn kv(&self) -> &'static str {
        self.wish.kv.name()
    }

    /// A wish from its stored parts; an unknown type of the cache is f16.
    pub fn wish_of(context: u64, parallel: u32, kv: &str) -> Wish {
        Wish { context, parallel, kv: KvType::parse(kv).unwrap_or_default() }
    }
}

/// Puts what was measured at earlier loads with the same wish in place of what was reckoned. Never less than the weights: what
/// a Mac's process is charged with may leave out the file that it maps, and two servers that map one file share its pages.
pub fn corrected(mut estimate: Estimate, correction: Option<Correction>) -> Estimate {
    let total = estimate.total_bytes();
    let Some(Correction { peak_bytes, loads }) = correction.filter(|correction| correction.replaces(total))
    else {
        return estimate;
    };
    let weights = estimate.parts.iter().filter(|part| part.what == PartKind::Weights).map(|part| part.bytes);
    let measured_bytes = peak_bytes.max(weights.fold(0, u64::saturating_add));
    let source = match loads {
        1 => "measured at one earlier load".to_owned(),
        loads => format!("the most of {loads} earlier loads, measured"),
    };
    if measured_bytes >= total {
        estimate.add(PartKind::Learned, measured_bytes - total, source);
        return estimate;
    }
    // What is too much is taken off the parts that are least certain.
    let mut surplus = total - measured_bytes;
    for kind in [PartKind::Runner, PartKind::Compute, PartKind::KvCache] {
        for part in estimate.parts.iter_mut().filter(|part| part.what == kind) {
            let less = surplus.min(part.bytes);
            if less == 0 {
                continue;
            }
            part.bytes -= less;
            surplus -= less;
            part.source.clone_from(&source);
        }
    }
    estimate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Part;

    #[test]
    fn the_largest_of_the_last_loads_counts() {
        assert_eq!(Correction::of(&[]), None);
        assert_eq!(Correction::of(&[5, 9, 7]), Some(Correction { peak_bytes: 9, loads: 3 }));
        let mut many = vec![5; 10];
        many.push(99);
        assert_eq!(Correction::of(&many), Some(Correction { peak_bytes: 5, loads: 10 }));
    }

    #[test]
    fn a_larger_figure_counts_at_once_and_a_smaller_one_after_three_loads() {
        let of = |peak_bytes, loads| Correction { peak_bytes, loads }.replaces(100);
        assert!(of(120, 1) && of(100, 1));
        assert!(!of(80, 1) && !of(80, 2));
        assert!(of(80, 3));
    }

    #[test]
    fn what_was_measured_wins() {
        let weights_bytes = 91_120_000;
        let part = |what, bytes| Part { what, bytes, source: String::new() };
        let parts = [
            (PartKind::Weights, weights_bytes),
            (PartKind::KvCache, 47_185_920),
            (PartKind::Compute, 23_500_000),
            (PartKind::Runner, 48_500_000),
        ];
        let first = Estimate { parts: parts.map(|(what, bytes)| part(what, bytes)).into() };
        let total = first.total_bytes();
        let of = |peak_bytes| corrected(first.clone(), Some(Correction { peak_bytes, loads: 3 }));
        for measured_bytes in [total + 5_000_000, total, total - 5_000_000, total - 90_000_000] {
            assert_eq!(of(measured_bytes).total_bytes(), measured_bytes);
        }
        assert_eq!(of(total / 10).total_bytes(), weights_bytes, "a share of a file that others map too");
        let once = Correction { peak_bytes: total / 10, loads: 1 };
        assert_eq!(corrected(first.clone(), Some(once)), first, "one load alone lowers nothing");
        assert_eq!(corrected(first.clone(), None), first);
    }
}
