//! Whether models fit in memory, one or several together, and what would fit instead.
//!
//! [`judge`] is the answer beside each model of a list; [`report`] is the full one, with its arithmetic; [`together`] finds
//! what can share the memory.

mod asked;
mod mixes;
mod report;
mod sizes;
mod together;
mod typical;
mod usual;

pub use asked::{Meant, check_context, meant};
pub(crate) use report::{CONTEXTS, NARROWER};
pub use report::{Candidate, Evicted, FitReport, FitVerdict, NeededPart, Offer, OfferChange, Room, report};
pub use sizes::{Noted, SizeRow, SizeTable, noted_sizes, size_table};
pub use together::{Together, TogetherSet, together};
pub use typical::{typical, unknown_model};
pub use usual::{Known, leaves_context_open, place, usual};

use crate::{estimate::Place, ledger::Ledger, units::gigabytes};

/// An answer with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    Fits { reason: String },
    DoesNotFit { reason: String },
    Unknown { reason: String },
}

impl Fit {
    /// `true`, `false` or unknown, as the JSON says it.
    pub fn as_option(&self) -> Option<bool> {
        match self {
            Self::Fits { .. } => Some(true),
            Self::DoesNotFit { .. } => Some(false),
            Self::Unknown { .. } => None,
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Fits { reason } | Self::DoesNotFit { reason } | Self::Unknown { reason } => reason,
        }
    }
}

/// What one model takes when its server loads it as the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelNeed {
    pub bytes: u64,
    /// Where that is.
    pub place: Place,
    /// Tokens with which it is to be loaded, where the settings leave that open and its server can be told.
    pub context: Option<u64>,
}

/// Why it is not known what a model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoNeed {
    pub why: String,
    /// Bytes or files of it are missing.
    pub damaged: bool,
}

/// What one model would take, as [`judge`] wants to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// It is in memory.
    Loaded,
    /// Reckoned or measured, in bytes.
    About(u64),
    /// Only the size of its weights is known, if that, and why.
    AtLeast(Option<u64>, &'a str),
}

/// Judges a model that a switch would load. `active`: the model that would leave for it, with its title and bytes.
pub fn judge(need: Need<'_>, ledger: Option<&Ledger>, active: Option<(&str, u64)>) -> Fit {
    let (need, exact) = match need {
        Need::Loaded => return Fit::Fits { reason: "loaded now".into() },
        Need::About(bytes) => (bytes, None),
        Need::AtLeast(Some(bytes), why) => (bytes, Some(why)),
        Need::AtLeast(None, why) => return Fit::Unknown { reason: why.into() },
    };
    let Some(ledger) = ledger else {
        return Fit::Unknown { reason: "the machine's memory could not be read".into() };
    };
    let what = match exact {
        None => format!("needs about {}", gigabytes(need)),
        Some(_) => format!("the weights alone take {}", gigabytes(need)),
    };
    let most = ledger.ceiling.bytes.saturating_sub(ledger.reserve_bytes);
    if need > most {
        let reason = format!("{what}; models may take {} here ({})", gigabytes(most), ledger.ceiling.source);
        return Fit::DoesNotFit { reason };
    }
    let free = ledger.headroom_bytes;
    if let Some(why) = exact {
        return Fit::Unknown { reason: why.into() };
    }
    match active {
        _ if need <= free => Fit::Fits { reason: format!("{what}, {} free", gigabytes(free)) },
        Some((title, bytes)) if need <= free.saturating_add(bytes) => {
            Fit::Fits { reason: format!("{what}: there is room once {title} has left") }
        }
        _ => Fit::DoesNotFit { reason: format!("{what}, {} more than is free", gigabytes(need - free)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Ceiling;

    const GB: u64 = 1_000_000_000;

    /// 36 GB of which models may take 28, with 10 free.
    fn books() -> Ledger {
        Ledger {
            at: crate::Timestamp::UNIX_EPOCH,
            pools: vec![],
            ceiling: Ceiling { bytes: 28 * GB, source: "GPU working set".into(), on_gpu: true },
            in_use_bytes: 17 * GB,
            reserve_bytes: GB,
            headroom_bytes: 10 * GB,
            unknown: vec![],
        }
    }

    #[test]
    fn a_model_is_judged_beside_and_instead_of_the_active_one() {
        let ledger = books();
        let of = |bytes, active| judge(Need::About(bytes), Some(&ledger), active);
        let active = Some(("Qwen 7B", 5 * GB));
        assert_eq!(of(9 * GB, active).reason(), "needs about 9.00 GB, 10.0 GB free");
        let instead = of(14 * GB, active);
        assert_eq!(instead.as_option(), Some(true));
        assert_eq!(instead.reason(), "needs about 14.0 GB: there is room once Qwen 7B has left");
        let too_much = of(16 * GB, active);
        assert_eq!(too_much.as_option(), Some(false));
        assert_eq!(too_much.reason(), "needs about 16.0 GB, 6.00 GB more than is free");
        assert_eq!(of(14 * GB, None).as_option(), Some(false));
        assert!(of(30 * GB, active).reason().contains("models may take 27.0 GB here"));
    }

    #[test]
    fn of_what_is_not_known_only_the_certain_is_said() {
        let ledger = books();
        let of = |need| judge(need, Some(&ledger), None).as_option();
        assert_eq!(of(Need::Loaded), Some(true));
        assert_eq!(of(Need::AtLeast(Some(5 * GB), "its file cannot be read")), None);
        assert_eq!(of(Need::AtLeast(Some(50 * GB), "its file cannot be read")), Some(false));
        assert_eq!(of(Need::AtLeast(None, "its size is not told")), None);
        assert_eq!(judge(Need::About(1), None, None).as_option(), None);
    }
}
