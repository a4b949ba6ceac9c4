//! What it takes to load a model, and what its first request after that waits for.

use super::stats::{self, Summary};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Of a file that counts as wholly in the page cache at least this share is there, and of one that counts as not there at most what is
/// left: the few pages that looking at it brings in, and what the server reads of its head.
const WHOLE: f64 = 0.9;
/// See [`WHOLE`].
const NOTHING: f64 = 0.1;

/// Where the weights came from. Two kinds of cold load, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum LoadFrom {
    /// The system still had the file in memory, as it usually has after a first load.
    PageCache,
    /// The file was dropped from the page cache before, and it was seen that it was.
    Disk,
}

impl LoadFrom {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::PageCache => "from the page cache",
            Self::Disk => "from disk",
        }
    }
}

/// One load, and the first two requests after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LoadTrial {
    pub from: LoadFrom,
    /// Share of the model's files in the page cache right before, 0–1; `None`: not told.
    pub cached_share: Option<f64>,
    /// From asking for the load until the server says that the model is there; client clock.
    pub load_s: f64,
    /// Time to the first token of the first request after it.
    pub ttft_cold_ms: Option<f64>,
    /// The same of the next request, of the same length.
    pub ttft_warm_ms: Option<f64>,
    /// Why it does not count.
    pub flaw: Option<String>,
}

/// The loads from one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct LoadSummary {
    pub from: LoadFrom,
    /// Those that count.
    pub loads: u32,
    pub load_s: Option<Summary>,
    pub ttft_cold_ms: Option<Summary>,
    pub ttft_warm_ms: Option<Summary>,
    /// Bytes of the weights by the second of the median load. `None`: their size is not known.
    pub bytes_s: Option<f64>,
}

/// The loads of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Loads {
    pub trials: Vec<LoadTrial>,
    /// The page cache first.
    pub kinds: Vec<LoadSummary>,
    pub size_bytes: Option<u64>,
    /// Why nothing more was loaded from disk; `None`: it was as often as from the page cache.
    pub disk_absent: Option<String>,
}

impl Loads {
    pub fn of(trials: Vec<LoadTrial>, size_bytes: Option<u64>, disk_absent: Option<String>) -> Self {
        let kinds = [LoadFrom::PageCache, LoadFrom::Disk];
        let kinds = kinds.into_iter().filter(|from| trials.iter().any(|trial| trial.from == *from));
        let kinds = kinds.map(|from| summary(from, &trials, size_bytes)).collect();
        Self { trials, kinds, size_bytes, disk_absent }
    }
}

fn summary(from: LoadFrom, trials: &[LoadTrial], size_bytes: Option<u64>) -> LoadSummary {
    let counted: Vec<&LoadTrial> =
        trials.iter().filter(|trial| trial.from == from && trial.flaw.is_none()).collect();
    let over = |figure: fn(&LoadTrial) -> Option<f64>| {
        let values: Vec<f64> = counted.iter().filter_map(|trial| figure(trial)).collect();
        stats::summarize(&values, "client")
    };
    let load_s = over(|trial| Some(trial.load_s));
    let bytes_s = load_s
        .as_ref()
        .filter(|load| load.median > 0.0)
        .and_then(|load| size_bytes.map(|bytes| bytes as f64 / load.median));
    LoadSummary {
        from,
        loads: counted.len() as u32,
        load_s,
        ttft_cold_ms: over(|trial| trial.ttft_cold_ms),
        ttft_warm_ms: over(|trial| trial.ttft_warm_ms),
        bytes_s,
    }
}

/// Why a load does not count as one from the page cache. What is not told is taken for the usual case: the file was read by the load
/// before.
pub fn not_cached(share: Option<f64>) -> Option<String> {
    let share = share.filter(|share| *share < WHOLE)?;
    Some(format!("only {:.0} % of the file were in the page cache", 100.0 * share))
}

/// Why a file does not count as dropped from the page cache. `None`: it does. `share`: what was seen of it after it was dropped.
pub fn not_dropped(dropped: bool, share: Option<f64>) -> Option<String> {
    match share {
        _ if !dropped => Some("The system does not let go of the file in its page cache.".into()),
        None => Some("Whether the file had left the page cache is not told.".into()),
        Some(share) if share > NOTHING => Some(format!(
            "{:.0} % of the file stayed in the page cache: another program may have it in memory.",
            100.0 * share
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(from: LoadFrom, load_s: f64, cold: Option<f64>, flaw: Option<&str>) -> LoadTrial {
        LoadTrial {
            from,
            cached_share: None,
            load_s,
            ttft_cold_ms: cold,
            ttft_warm_ms: Some(50.0),
            flaw: flaw.map(str::to_owned),
        }
    }

    #[test]
    fn loads_are_summed_up_by_where_they_came_from_and_flawed_ones_are_left_out() {
        use LoadFrom::{Disk, PageCache};
        let trials = vec![
            trial(PageCache, 1.0, Some(100.0), None),
            trial(Disk, 4.0, None, None),
            trial(PageCache, 3.0, Some(300.0), None),
            trial(PageCache, 90.0, Some(900.0), Some("only 40 % of the file were in the page cache")),
            trial(Disk, 6.0, None, None),
        ];
        let loads = Loads::of(trials, Some(10_000_000_000), None);
        let median = |summary: &Option<Summary>| summary.as_ref().map(|one| one.median);
        let rows: Vec<_> = loads
            .kinds
            .iter()
            .map(|kind| {
                (kind.from, kind.loads, median(&kind.load_s), median(&kind.ttft_cold_ms), kind.bytes_s)
            })
            .collect();
        assert_eq!(
            rows,
            [(PageCache, 2, Some(2.0), Some(200.0), Some(5e9)), (Disk, 2, Some(5.0), None, Some(2e9)),]
        );
        let only = Loads::of(vec![trial(PageCache, 1.0, None, Some("x"))], None, Some("No.".into()));
        assert_eq!((only.kinds.len(), only.kinds[0].loads, only.kinds[0].bytes_s), (1, 0, None));
        assert_eq!(only.kinds[0].load_s, None, "absent is not zero");
    }

    #[test]
    fn a_load_is_named_by_what_was_seen_of_the_page_cache() {
        for (share, counts) in
            [(None, true), (Some(1.0), true), (Some(0.9), true), (Some(0.89), false), (Some(0.0), false)]
        {
            assert_eq!(not_cached(share).is_none(), counts, "{share:?}");
        }
        for (dropped, share, said) in [
            (true, Some(0.0), None),
            (true, Some(0.1), None),
            (true, Some(0.11), Some("11 % of the file")),
            (true, Some(1.0), Some("100 % of the file")),
            (true, None, Some("not told")),
            (false, Some(0.0), Some("does not let go")),
        ] {
            match (not_dropped(dropped, share), said) {
                (None, None) => {}
                (Some(why), Some(said)) => assert!(why.contains(said), "{why}"),
                (why, said) => panic!("{dropped} {share:?}: {why:?}, not {said:?}"),
            }
        }
    }
}
