//! What a set of roles means for the memory: which models are loaded, which leave and in which order, or why it cannot be.

use super::TooMuch;
use crate::model::{LoadSettings, ModelRef};

/// Whether a model is in memory already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InMemory {
    No,
    /// As it is wanted.
    Yes,
    /// With other settings than those that are wanted: it has to leave first.
    Otherwise,
}

/// A model that shall be in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub model: ModelRef,
    pub with: LoadSettings,
    /// What it takes, if that can be told.
    pub bytes: Option<u64>,
    /// What it holds now, where it is in memory otherwise than it is wanted.
    pub held_bytes: Option<u64>,
    /// How long its loads took.
    pub load_s: Option<f64>,
    pub in_memory: InMemory,
    /// The roles that want it.
    pub roles: Vec<String>,
}

/// A model in memory that may leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaver {
    pub model: ModelRef,
    pub instance: String,
    pub bytes: Option<u64>,
}

/// A model that may be evicted if need be: loaded on request, and idle.
#[derive(Debug, Clone, PartialEq)]
pub struct Spare {
    pub leaver: Leaver,
    pub idle_s: f64,
    pub load_s: Option<f64>,
}

/// Loads whose time is not known count as this slow, in seconds for each gigabyte; between a disk and its cache.
const UNKNOWN_LOAD_S_PER_GB: f64 = 1.0;

impl Spare {
    /// The higher, the sooner it is evicted: idle time over the time that bringing it back takes, for each byte that it frees.
    pub fn value(&self) -> f64 {
        let bytes = self.leaver.bytes.unwrap_or(0) as f64;
        let reload_s = self.load_s.unwrap_or(bytes / 1e9 * UNKNOWN_LOAD_S_PER_GB).max(0.1);
        self.idle_s / reload_s * bytes
    }
}

/// What is planned by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Circumstances {
    pub wanted: Vec<Piece>,
    /// What the arrangement before held and this one does not want.
    pub leaves: Vec<Leaver>,
    /// What may be evicted besides.
    pub spare: Vec<Spare>,
    /// What further models may take now, if that is known.
    pub free_bytes: Option<u64>,
    /// What others have loaded, or what is pinned: never evicted by itself, offered to a person.
    pub others: Vec<Leaver>,
}

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    Unload(ModelRef),
    Load(ModelRef),
    /// A real answer, or it does not take up its role.
    Prove(ModelRef),
    Commit,
}

/// The moves, and what comes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrangementPlan {
    pub moves: Vec<Move>,
    /// Of them those that leave although no role of the arrangement before let go of them.
    pub evicted: Vec<ModelRef>,
    /// What stays free then; `None`: not known.
    pub free_bytes: Option<u64>,
    pub takes_s: Option<f64>,
}

/// The moves from what is in memory to what is wanted. Everything is loaded beside what is there when it fits, so that a failed load
/// costs nothing; else what leaves anyway goes first, and then, by their value, models that were loaded on request and are idle.
/// What is not known is tried beside what is there.
pub fn arrange(now: &Circumstances) -> Result<ArrangementPlan, TooMuch> {
    let loads: Vec<&Piece> = now.wanted.iter().filter(|piece| piece.in_memory != InMemory::Yes).collect();
    let again = loads.iter().filter(|piece| piece.in_memory == InMemory::Otherwise);
    let mut first: Vec<ModelRef> = again.clone().map(|piece| piece.model.clone()).collect();
    let given_back: u64 = again.filter_map(|piece| piece.held_bytes.or(piece.bytes)).sum();
    let needed = sum(loads.iter().map(|piece| piece.bytes));
    let mut later: Vec<&Leaver> = now.leaves.iter().collect();
    let mut evicted = vec![];
    let mut free = now.free_bytes.map(|free| free.saturating_add(given_back));
    if let (Some(needed), Some(room)) = (needed, free) {
        let mut room = room;
        // The largest first: as few answers as possible are disturbed before the commit.
        later.sort_by_key(|leaver| std::cmp::Reverse(leaver.bytes));
        while needed > room && !later.is_empty() {
            let leaver = later.remove(0);
            room = room.saturating_add(leaver.bytes.unwrap_or(0));
            first.push(leaver.model.clone());
        }
        let mut spare: Vec<&Spare> = now.spare.iter().collect();
        spare.sort_by(|a, b| b.value().total_cmp(&a.value()));
        let mut chosen = vec![];
        for spare in spare {
            if needed <= room {
                break;
            }
            room = room.saturating_add(spare.leaver.bytes.unwrap_or(0));
            chosen.push(spare);
        }
        // What a later one made superfluous stays.
        chosen.retain(|spare| {
            let bytes = spare.leaver.bytes.unwrap_or(0);
            let superfluous = room.saturating_sub(bytes) >= needed;
            if superfluous {
                room -= bytes;
            }
            !superfluous
        });
        if needed > room {
            return Err(TooMuch { needed_bytes: needed, free_bytes: room, short_bytes: needed - room });
        }
        evicted = chosen.iter().map(|spare| spare.leaver.model.clone()).collect();
        free = Some(room);
    }
    let rest: u64 = later.iter().filter_map(|leaver| leaver.bytes).sum();
    let free_bytes = free.zip(needed).map(|(free, needed)| free.saturating_add(rest).saturating_sub(needed));
    let takes_s = loads.iter().map(|piece| piece.load_s).sum::<Option<f64>>();
    let mut moves: Vec<Move> = first.iter().chain(&evicted).cloned().map(Move::Unload).collect();
    for piece in &now.wanted {
        if piece.in_memory != InMemory::Yes {
            moves.push(Move::Load(piece.model.clone()));
        }
        moves.push(Move::Prove(piece.model.clone()));
    }
    moves.push(Move::Commit);
    moves.extend(later.iter().map(|leaver| Move::Unload(leaver.model.clone())));
    Ok(ArrangementPlan { moves, evicted, free_bytes, takes_s })
}

fn sum(mut bytes: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    bytes.try_fold(0_u64, |sum, bytes| Some(sum.saturating_add(bytes?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residency::offers;
    use std::collections::{BTreeMap, BTreeSet};

    const GB: u64 = 1_000_000_000;

    fn model(name: &str) -> ModelRef {
        ModelRef::new("ollama", name)
    }

    fn piece(name: &str, bytes: u64, in_memory: InMemory) -> Piece {
        Piece {
            model: model(name),
            with: LoadSettings::default(),
            bytes: Some(bytes),
            held_bytes: None,
            load_s: Some(2.0),
            in_memory,
            roles: vec![name.to_owned()],
        }
    }

    fn leaver(name: &str, bytes: u64) -> Leaver {
        Leaver { model: model(name), instance: name.into(), bytes: Some(bytes) }
    }

    fn words(plan: &ArrangementPlan) -> Vec<String> {
        let word = |one: &Move| match one {
            Move::Unload(model) => format!("-{}", model.model),
            Move::Load(model) => format!("+{}", model.model),
            Move::Prove(model) => format!("?{}", model.model),
            Move::Commit => "commit".into(),
        };
        plan.moves.iter().map(word).collect()
    }

    #[test]
    fn with_room_everything_is_loaded_first_and_what_leaves_goes_last() {
        let now = Circumstances {
            wanted: vec![piece("a", 2 * GB, InMemory::No), piece("b", GB, InMemory::Yes)],
            leaves: vec![leaver("old", 3 * GB)],
            free_bytes: Some(2 * GB),
            ..Circumstances::default()
        };
        let plan = arrange(&now).unwrap();
        assert_eq!(words(&plan), ["+a", "?a", "?b", "commit", "-old"]);
        assert_eq!((plan.free_bytes, plan.takes_s), (Some(3 * GB), Some(2.0)));
    }

    #[test]
    fn without_room_what_leaves_anyway_goes_first_the_largest_before_the_others_and_no_more_than_needed() {
        let now = Circumstances {
            wanted: vec![piece("a", 5 * GB, InMemory::No)],
            leaves: vec![leaver("small", GB), leaver("large", 3 * GB)],
            free_bytes: Some(2 * GB),
            ..Circumstances::default()
        };
        assert_eq!(words(&arrange(&now).unwrap()), ["-large", "+a", "?a", "commit", "-small"]);
    }

    #[test]
    fn what_is_loaded_otherwise_leaves_first_and_its_memory_counts() {
        let now = Circumstances {
            wanted: vec![piece("a", 5 * GB, InMemory::Otherwise)],
            free_bytes: Some(0),
            ..Circumstances::default()
        };
        assert_eq!(words(&arrange(&now).unwrap()), ["-a", "+a", "?a", "commit"]);
        // What it gives back is what it holds, not what it will take.
        for (held, free, short) in [(5, 0, 0), (6, 0, 0), (2, 0, 3), (2, 2, 1), (2, 3, 0)] {
            let wanted = vec![Piece { held_bytes: Some(held * GB), ..now.wanted[0].clone() }];
            let now = Circumstances { wanted, free_bytes: Some(free * GB), ..Circumstances::default() };
            let found = arrange(&now).map_or_else(|refused| refused.short_bytes, |_| 0);
            assert_eq!(found, short * GB, "holds {held}, {free} free");
        }
    }

    #[test]
    fn idle_models_on_request_are_evicted_by_their_value_and_only_as_far_as_needed() {
        let spare = |name: &str, gb: u64, idle_s: f64, load_s: f64| Spare {
            leaver: leaver(name, gb * GB),
            idle_s,
            load_s: Some(load_s),
        };
        let now = Circumstances {
            wanted: vec![piece("a", 5 * GB, InMemory::No)],
            // Dear to bring back; idle for long; large.
            spare: vec![
                spare("dear", 4, 60.0, 60.0),
                spare("idle", 2, 3600.0, 2.0),
                spare("fresh", 4, 10.0, 2.0),
            ],
            free_bytes: Some(3 * GB),
            ..Circumstances::default()
        };
        let plan = arrange(&now).unwrap();
        assert_eq!(words(&plan), ["-idle", "+a", "?a", "commit"]);
        assert_eq!(plan.evicted, [model("idle")]);
        // Two are needed: the small idle one turns out to be superfluous once the next has left.
        let more = Circumstances { free_bytes: Some(GB), ..now.clone() };
        assert_eq!(arrange(&more).unwrap().evicted, [model("fresh")]);
        let all = Circumstances { wanted: vec![piece("a", 13 * GB, InMemory::No)], ..now.clone() };
        assert_eq!(arrange(&all).unwrap().evicted.len(), 3);
        let too_much = Circumstances { wanted: vec![piece("a", 14 * GB, InMemory::No)], ..now };
        let refused = arrange(&too_much).unwrap_err();
        assert_eq!((refused.short_bytes, refused.free_bytes), (GB, 13 * GB));
    }

    #[test]
    fn a_refusal_names_what_would_help_what_is_enough_first() {
        let now = Circumstances {
            wanted: vec![
                piece("a", 6 * GB, InMemory::No),
                piece("b", GB, InMemory::No),
                piece("c", GB, InMemory::Yes),
            ],
            others: vec![leaver("theirs", 3 * GB)],
            free_bytes: Some(5 * GB),
            ..Circumstances::default()
        };
        let refused = arrange(&now).unwrap_err();
        assert_eq!(refused.short_bytes, 2 * GB);
        assert!(refused.error("Hybrid").message.starts_with("Hybrid needs 2.00 GB more than fits"));
        let named: Vec<(String, bool)> = offers(&now, refused.short_bytes)
            .into_iter()
            .map(|offer| {
                (offer.unload.map_or_else(|| offer.roles.join("+"), |model| model.model), offer.enough)
            })
            .collect();
        let expected = [("a", true), ("theirs", true), ("b", false)];
        assert_eq!(named, expected.map(|(name, enough)| (name.to_owned(), enough)));
    }

    #[test]
    fn what_is_not_known_is_tried_beside_what_is_there() {
        let unknown = Piece { bytes: None, load_s: None, ..piece("a", 0, InMemory::No) };
        let now = Circumstances {
            wanted: vec![unknown],
            leaves: vec![leaver("old", GB)],
            free_bytes: Some(0),
            ..Circumstances::default()
        };
        let plan = arrange(&now).unwrap();
        assert_eq!(words(&plan), ["+a", "?a", "commit", "-old"]);
        assert_eq!((plan.free_bytes, plan.takes_s), (None, None));
        let no_ledger = Circumstances { free_bytes: None, ..now };
        assert!(arrange(&no_ledger).is_ok());
    }

    /// Over many seeds: the memory never goes above what is free, nothing is taken out twice, and all that is wanted is there at the
    /// commit.
    #[test]
    fn random_arrangements_never_plan_above_what_is_free() {
        use proptest::prelude::*;
        let sizes = || proptest::collection::vec((0u64..8, 0u8..3, 0u64..8), 0..5);
        let strategy = (
            sizes(),
            proptest::collection::vec(0u64..6, 0..4),
            proptest::collection::vec((0u64..6, 1u32..5000), 0..4),
            0u64..20,
        );
        proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(wanted in strategy)| {
            let (wanted, leaves, spare, free) = wanted;
            let state = |kind: u8| [InMemory::No, InMemory::Yes, InMemory::Otherwise][kind as usize];
            let now = Circumstances {
                wanted: wanted.iter().enumerate().map(|(at, (gb, kind, held))| Piece { held_bytes: (*kind == 2).then_some(held * GB), ..piece(&format!("w{at}"), gb * GB, state(*kind)) }).collect(),
                leaves: leaves.iter().enumerate().map(|(at, gb)| leaver(&format!("l{at}"), gb * GB)).collect(),
                spare: spare.iter().enumerate().map(|(at, (gb, idle))| Spare { leaver: leaver(&format!("s{at}"), gb * GB), idle_s: f64::from(*idle), load_s: None }).collect(),
                free_bytes: Some(free * GB),
                others: vec![],
            };
            let bytes: BTreeMap<ModelRef, u64> = now.wanted.iter().map(|p| (p.model.clone(), p.bytes.unwrap()))
                .chain(now.leaves.iter().chain(now.spare.iter().map(|s| &s.leaver)).map(|l| (l.model.clone(), l.bytes.unwrap()))).collect();
            let mut holds = bytes.clone();
            holds.extend(now.wanted.iter().filter_map(|p| Some((p.model.clone(), p.held_bytes?))));
            if let Ok(plan) = arrange(&now) {
                let mut room = i128::from(free * GB);
                let mut there: BTreeSet<ModelRef> = bytes.keys().filter(|one| !now.wanted.iter().any(|p| p.model == **one && p.in_memory == InMemory::No)).cloned().collect();
                let mut committed = false;
                for one in &plan.moves {
                    match one {
                        Move::Unload(model) => { prop_assert!(there.remove(model), "twice"); room += i128::from(holds[model]); }
                        Move::Load(model) => { prop_assert!(there.insert(model.clone())); room -= i128::from(bytes[model]); }
                        Move::Prove(model) => prop_assert!(there.contains(model)),
                        Move::Commit => {
                            committed = true;
                            prop_assert!(now.wanted.iter().all(|p| there.contains(&p.model)));
                        }
                    }
                    prop_assert!(room >= 0, "{:?}", plan.moves);
                }
                prop_assert!(committed);
                prop_assert!(now.leaves.iter().all(|one| !there.contains(&one.model)), "what leaves has left");
                prop_assert_eq!(Some(room), plan.free_bytes.map(i128::from));
            }
        });
    }
}
