//! Whether models fit in memory, one or several together, and what would fit instead.
//!
//! [`judge`] is the coarse answer beside each model of a list: from its size alone, so it only says what is certain.
//! [`report`] is the full one, from the head of the file; [`together`] finds what can share the memory.

mod report;
mod together;
mod typical;

pub use report::{Candidate, FitReport, FitVerdict, NeededPart, Offer, Resident, Room, report};
pub use together::{Together, TogetherSet, together};
pub use typical::{typical, unknown_model};

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

/// Judges one model. `size_bytes`: weights on disk; `total_bytes`: the machine's memory; `loaded`: it is in memory now.
pub fn judge(size_bytes: Option<u64>, total_bytes: Option<u64>, loaded: bool) -> Fit {
    match (size_bytes, total_bytes) {
        _ if loaded => Fit::Fits { reason: "loaded now".into() },
        (Some(size), Some(total)) if size > total => Fit::DoesNotFit {
            reason: format!("the weights take {}, the machine has {}", gigabytes(size), gigabytes(total)),
        },
        (Some(_), Some(_)) => Fit::Unknown { reason: "memory for the context is not estimated yet".into() },
        (None, _) => Fit::Unknown { reason: "the server does not report the model's size".into() },
        (_, None) => Fit::Unknown { reason: "the machine's memory could not be read".into() },
    }
}

/// Bytes in GB (10^9) with three significant figures, as people read them.
pub fn gigabytes(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    let digits = if gb >= 100.0 {
        0
    } else if gb >= 10.0 {
        1
    } else {
        2
    };
    format!("{gb:.digits$} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_said() {
        assert_eq!(judge(Some(50), Some(40), false).as_option(), Some(false));
        assert_eq!(judge(Some(30), Some(40), false).as_option(), None);
        assert_eq!(judge(None, Some(40), false).as_option(), None);
        assert_eq!(judge(Some(30), None, false).as_option(), None);
        assert_eq!(judge(None, None, true).as_option(), Some(true));
    }

    #[test]
    fn gigabytes_have_three_significant_figures() {
        assert_eq!(gigabytes(98_700_000), "0.10 GB");
        assert_eq!(gigabytes(4_683_074_240), "4.68 GB");
        assert_eq!(gigabytes(27_300_000_000), "27.3 GB");
        assert_eq!(gigabytes(128_000_000_000), "128 GB");
    }
}
