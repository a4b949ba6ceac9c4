//! With which smaller settings of a role a set of roles would fit.

use crate::{
    anatomy::KvType,
    estimate::Wish,
    fit::{CONTEXTS, NARROWER},
    model::LoadSettings,
};

/// The settings that are worth reckoning: shorter contexts and narrower types of the cache, each alone and both together. `with`: as
/// the role says, `now`: as its server would load it so. The same steps as where a single model does not fit.
pub fn smaller_settings(with: LoadSettings, now: &Wish) -> Vec<LoadSettings> {
    let contexts: Vec<u64> = CONTEXTS.into_iter().filter(|context| *context < now.context).collect();
    let narrower: Vec<KvType> =
        NARROWER.into_iter().map(|(kv, _)| kv).filter(|kv| kv.block_bytes() < now.kv.block_bytes()).collect();
    let shorter = |with: LoadSettings| {
        contexts.iter().map(move |context| LoadSettings { context: Some(*context), ..with })
    };
    let kept = narrower.iter().map(|kv| LoadSettings { kv_type: Some(*kv), ..with });
    shorter(with).chain(kept.clone()).chain(kept.flat_map(shorter)).collect()
}

/// Settings with which it would fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Smaller {
    pub with: LoadSettings,
    /// What that saves.
    pub frees_bytes: u64,
}

/// Of what was reckoned the least change of each kind that is enough alone: the longest context, and the widest type of the cache; where
/// neither is enough, the longest context with the widest narrower type. `bytes`: what the model takes as the role says now.
pub fn smaller_that_fits(
    with: LoadSettings,
    bytes: u64,
    reckoned: &[(LoadSettings, u64)],
    short_bytes: u64,
) -> Vec<Smaller> {
    let enough: Vec<Smaller> = reckoned
        .iter()
        .map(|(with, then)| Smaller { with: *with, frees_bytes: bytes.saturating_sub(*then) })
        .filter(|smaller| smaller.frees_bytes > 0 && smaller.frees_bytes >= short_bytes)
        .collect();
    // The least that is given up: the longest context, then the widest type.
    let least = |context_changes: bool, kv_changes: bool| {
        let of_kind = enough.iter().filter(|smaller| {
            (smaller.with.context != with.context) == context_changes
                && (smaller.with.kv_type != with.kv_type) == kv_changes
        });
        of_kind
            .copied()
            .max_by_key(|smaller| (smaller.with.context, smaller.with.kv_type.map(KvType::block_bytes)))
    };
    let alone: Vec<Smaller> = least(true, false).into_iter().chain(least(false, true)).collect();
    if alone.is_empty() { least(true, true).into_iter().collect() } else { alone }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(context: Option<u64>, kv_type: Option<KvType>) -> LoadSettings {
        LoadSettings { context, parallel: None, kv_type }
    }

    fn wish(context: u64, kv: KvType) -> Wish {
        Wish { context, parallel: 1, kv }
    }

    #[test]
    fn only_less_than_now_is_reckoned_and_what_the_role_says_besides_stays() {
        let mut role = with(Some(8192), None);
        role.parallel = Some(3);
        let all = smaller_settings(role, &wish(8192, KvType::F16));
        assert_eq!(all.len(), 2 + 2 + 4, "{all:?}");
        assert!(all.iter().all(|one| one.parallel == Some(3) && *one != role));
        assert!(all.iter().all(|one| one.context <= Some(8192) && one.context >= Some(2048)));
        for (now, expected) in [
            (wish(2048, KvType::Q4_0), 0),
            (wish(2048, KvType::Q8_0), 1),
            (wish(2048, KvType::F32), 2),
            (wish(4096, KvType::Q4_0), 1),
            (wish(5000, KvType::Q5_1), 2 + 1 + 2),
        ] {
            assert_eq!(smaller_settings(with(None, None), &now).len(), expected, "{now:?}");
        }
    }

    /// A model of 1,000 bytes whose cache takes a byte for each token in f16.
    #[test]
    fn the_least_change_that_is_enough_is_offered() {
        let bytes = |one: &LoadSettings| {
            let kv = one.kv_type.unwrap_or_default();
            1000 + one.context.unwrap_or(16_384) * kv.block_bytes() / KvType::F16.block_bytes()
        };
        let role = with(None, None);
        let reckoned: Vec<(LoadSettings, u64)> = smaller_settings(role, &wish(16_384, KvType::F16))
            .into_iter()
            .map(|one| (one, bytes(&one)))
            .collect();
        let (q8, q4) = (Some(KvType::Q8_0), Some(KvType::Q4_0));
        for (short, expected) in [
            (1, vec![with(Some(8192), None), with(None, q8)]),
            (7680, vec![with(Some(8192), None), with(None, q8)]),
            (7681, vec![with(Some(8192), None), with(None, q4)]),
            (12_000, vec![with(Some(4096), None)]),
            (14_000, vec![with(Some(2048), None)]),
            // A longer context with a narrower type goes before the other way round.
            (14_400, vec![with(Some(4096), q4)]),
            (15_500, vec![with(Some(2048), q4)]),
            (16_000, vec![]),
        ] {
            let found = smaller_that_fits(role, bytes(&role), &reckoned, short);
            assert!(found.iter().all(|one| one.frees_bytes == bytes(&role) - bytes(&one.with)));
            let found: Vec<LoadSettings> = found.iter().map(|one| one.with).collect();
            assert_eq!(found, expected, "{short} bytes short");
        }
    }

    #[test]
    fn what_takes_no_less_is_no_offer() {
        let role = with(Some(8192), None);
        let reckoned = [(with(Some(4096), None), 500), (with(Some(8192), Some(KvType::Q8_0)), 700)];
        assert_eq!(smaller_that_fits(role, 500, &reckoned, 0), []);
        assert_eq!(smaller_that_fits(role, 500, &[], 10), []);
    }
}
