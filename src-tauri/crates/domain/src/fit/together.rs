//! Which models fit in memory together: every set to which no further model could be added.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// One such set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TogetherSet {
    /// As they were given.
    pub models: Vec<String>,
    pub needed_bytes: u64,
    /// Less than the smallest model that was left out.
    pub left_bytes: u64,
}

/// The answer: the sets with the largest models first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Together {
    pub free_bytes: u64,
    pub sets: Vec<TogetherSet>,
    /// Whether these are all; there can be more than anybody could read.
    pub complete: bool,
    /// Models that do not fit even alone.
    pub too_large: Vec<String>,
    /// Models of which no size is known, with the reason.
    pub unknown: Vec<String>,
}

/// All maximal sets of `models` (name, bytes) in `free_bytes`, up to `most` of them. Exact: every set that is given fits, and
/// to none could a model be added; with `complete` there is no other.
pub fn together(models: &[(String, u64)], free_bytes: u64, most: usize) -> Together {
    let too_large = models.iter().filter(|(_, bytes)| *bytes > free_bytes);
    let too_large = too_large.map(|(name, _)| name.clone()).collect();
    let mut fitting: Vec<&(String, u64)> = models.iter().filter(|(_, bytes)| *bytes <= free_bytes).collect();
    // The name decides between equals, so that the same question has the same answer.
    fitting.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    // What all models from a place on take together.
    let mut rest = vec![0u64; fitting.len() + 1];
    for (place, (_, bytes)) in fitting.iter().enumerate().rev() {
        rest[place] = rest[place + 1].saturating_add(*bytes);
    }
    let mut search = Search { models: &fitting, rest: &rest, most, chosen: Vec::new(), sets: Vec::new() };
    let complete = fitting.is_empty() || search.from(0, free_bytes, None);
    let sets = search
        .sets
        .into_iter()
        .map(|places| {
            let needed_bytes = places.iter().map(|place| fitting[*place].1).sum();
            let models = places.iter().map(|place| fitting[*place].0.clone()).collect();
            TogetherSet { models, needed_bytes, left_bytes: free_bytes - needed_bytes }
        })
        .collect();
    Together { free_bytes, sets, complete, too_large, unknown: Vec::new() }
}

struct Search<'a> {
    /// Largest first.
    models: &'a [&'a (String, u64)],
    rest: &'a [u64],
    most: usize,
    chosen: Vec<usize>,
    sets: Vec<Vec<usize>>,
}

impl Search<'_> {
    /// Decides the models from `place` on. `left_out`: the smallest that was left out. `false`: there were more sets than
    /// are wanted.
    fn from(&mut self, place: usize, free: u64, left_out: Option<u64>) -> bool {
        // Even with all that may still come, what was left out would fit: no such set is maximal.
        if left_out.is_some_and(|smallest| free.saturating_sub(self.rest[place]) >= smallest) {
            return true;
        }
        if self.rest[place] <= free {
            if self.sets.len() == self.most {
                return false;
            }
            let set = self.chosen.iter().copied().chain(place..self.models.len()).collect();
            self.sets.push(set);
            return true;
        }
        let bytes = self.models[place].1;
        if bytes <= free {
            self.chosen.push(place);
            let went_on = self.from(place + 1, free - bytes, left_out);
            self.chosen.pop();
            if !went_on {
                return false;
            }
        }
        self.from(place + 1, free, Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn named(sizes: &[u64]) -> Vec<(String, u64)> {
        sizes.iter().enumerate().map(|(index, bytes)| (format!("m{index}"), *bytes)).collect()
    }

    /// By trying all subsets.
    fn tried(models: &[(String, u64)], free: u64) -> BTreeSet<BTreeSet<String>> {
        let subset = |bits: u32| models.iter().enumerate().filter(move |(index, _)| bits >> index & 1 == 1);
        let sum = |bits: u32| subset(bits).map(|(_, (_, bytes))| bytes).sum::<u64>();
        let all = (0..1u32 << models.len()).filter(|bits| sum(*bits) <= free);
        let maximal = all.filter(|bits| {
            (0..models.len()).all(|index| bits >> index & 1 == 1 || sum(*bits) + models[index].1 > free)
        });
        let names = |bits| subset(bits).map(|(_, (name, _))| name.clone()).collect::<BTreeSet<_>>();
        maximal.map(names).filter(|set| !set.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn it_finds_what_trying_all_subsets_finds(sizes in proptest::collection::vec(1u64..40, 0..10), free in 0u64..100) {
            let models = named(&sizes);
            let found = together(&models, free, 10_000);
            prop_assert!(found.complete);
            let sets: BTreeSet<BTreeSet<String>> =
                found.sets.iter().map(|set| set.models.iter().cloned().collect()).collect();
            prop_assert_eq!(sets.len(), found.sets.len(), "none twice");
            prop_assert_eq!(sets, tried(&models, free));
        }
    }

    #[test]
    fn there_can_be_more_than_anybody_reads() {
        let sizes: Vec<u64> = (1..=60).map(|size| size * 700_000_000).collect();
        let found = together(&named(&sizes), 128 << 30, 1000);
        assert_eq!((found.sets.len(), found.complete), (1000, false));
        assert!(
            found.sets.iter().all(|set| set.needed_bytes <= 128 << 30 && set.left_bytes < 42_000_000_000)
        );
    }

    #[test]
    fn what_never_fits_is_named() {
        let found = together(&named(&[5, 50]), 10, 100);
        assert_eq!(found.too_large, ["m1"]);
        assert_eq!(found.sets[0].models, ["m0"]);
    }
}
