//! Whether models fit, with the arithmetic; and what would fit if they do not.

use super::mixes::smaller;
use crate::{
    anatomy::{Anatomy, KvType},
    estimate::{Estimate, Part, Place, Wish, estimate},
    forecast::{Forecast, History, forecast},
    learned::{Correction, corrected},
    ledger::{RESERVE, Resident},
    machine::{Ceiling, Machine},
    model::ModelRef,
    units::gigabytes,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Less room than this is tight (reference: telemetry, section 6.3).
const TIGHT: u64 = 3 << 29;
/// Contexts that are offered, largest first.
pub(crate) const CONTEXTS: [u64; 7] = [131_072, 65_536, 32_768, 16_384, 8192, 4096, 2048];

/// Types of the cache that are offered, the least costly first, and what each costs.
pub(crate) const NARROWER: [(KvType, &str); 2] = [
    (KvType::Q8_0, "answers change very little; a little slower"),
    (KvType::Q4_0, "answers get worse with long contexts; a little slower"),
];

/// A model in question.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    pub anatomy: Anatomy,
    /// How it will be loaded.
    pub wish: Wish,
    pub place: Place,
    pub correction: Option<Correction>,
    pub history: History,
}

impl Candidate {
    /// A model that no server here has, as the servers would load it.
    pub fn typical(name: &str, anatomy: Anatomy, wish: Wish, place: Place) -> Self {
        Self { name: name.to_owned(), anatomy, wish, place, correction: None, history: History::default() }
    }

    /// What it will take, part by part.
    pub fn estimate(&self) -> Estimate {
        corrected(estimate(&self.anatomy, &self.wish, self.place), self.correction)
    }
}

/// The room there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    pub machine: Machine,
    /// The most that models may take: the machine's, unless they are kept from where it would place them.
    pub ceiling: Ceiling,
    /// Taken of the ceiling by whatever runs now, the residents included.
    pub used_bytes: u64,
    pub residents: Vec<Resident>,
}

impl Room {
    /// A machine on which nothing runs.
    pub fn empty(machine: Machine) -> Self {
        Self { ceiling: machine.ceiling(), machine, used_bytes: 0, residents: Vec::new() }
    }

    /// What may still be taken now.
    pub fn free_bytes(&self) -> u64 {
        self.most_bytes().saturating_sub(self.used_bytes)
    }

    /// What may be taken when nothing else runs.
    pub fn most_bytes(&self) -> u64 {
        self.ceiling.bytes.saturating_sub(RESERVE)
    }
}

/// In three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum FitVerdict {
    Fits,
    /// It fits, and little is left.
    Tight,
    DoesNotFit,
}

/// What an offer changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[ts(export)]
pub enum OfferChange {
    /// Tokens per request.
    Context { context: u64 },
    /// Requests at a time.
    Parallel { parallel: u32 },
    /// Type of the cache.
    Kv { kv: String },
    /// Another file of a model that was asked for; it has to be fetched.
    Quantization { model: String, quantization: String },
    /// A model leaves memory.
    Unload { model: ModelRef },
}

/// A way to make it fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Offer {
    /// "context 4096", "KV cache in q8_0", "Qwen 7B in Q3_K_M", "unload Qwen 7B".
    pub what: String,
    pub change: OfferChange,
    pub needed_bytes: u64,
    /// What it costs, in words.
    pub cost: String,
}

/// A model that would have to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Evicted {
    #[serde(flatten)]
    pub model: ModelRef,
    pub title: String,
    /// What it holds now.
    pub bytes: u64,
}

/// One part of what is needed, of one of the models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct NeededPart {
    pub model: String,
    #[serde(flatten)]
    pub part: Part,
}

/// The answer with its arithmetic: it fits when used + needed + reserve is at most the ceiling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct FitReport {
    pub fits: bool,
    pub verdict: FitVerdict,
    pub reason: String,
    pub ceiling_bytes: u64,
    pub ceiling_source: String,
    pub reserve_bytes: u64,
    pub used_bytes: u64,
    pub needed_bytes: u64,
    /// Tokens per request, requests at a time, and type of the cache that were reckoned with.
    pub context: u64,
    pub parallel: u32,
    pub kv: String,
    pub parts: Vec<NeededPart>,
    pub offers: Vec<Offer>,
    /// The models that a load as asked would have to push out of memory, the largest first; empty: none, or not even that
    /// would do.
    pub evicts: Vec<Evicted>,
    /// Of the first model alone.
    pub forecast: Option<Forecast>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast_absent: Option<String>,
}

/// Judges all candidates together. `wish`: what was asked for, as it is told back.
pub fn report(candidates: &[Candidate], wish: &Wish, room: &Room) -> FitReport {
    let ceiling = room.ceiling.clone();
    let estimates: Vec<(&str, Estimate)> =
        candidates.iter().map(|one| (one.name.as_str(), one.estimate())).collect();
    let needed_bytes = estimates.iter().map(|(_, estimate)| estimate.total_bytes()).sum::<u64>();
    let free = room.free_bytes();
    let verdict = match free.checked_sub(needed_bytes) {
        None => FitVerdict::DoesNotFit,
        Some(left) if left < TIGHT => FitVerdict::Tight,
        Some(_) => FitVerdict::Fits,
    };
    let sum = format!(
        "{} needed, {} free of {} (less {} in use and {} reserve)",
        gigabytes(needed_bytes),
        gigabytes(free),
        gigabytes(ceiling.bytes),
        gigabytes(room.used_bytes),
        gigabytes(RESERVE)
    );
    let on_gpu = room.machine.ceiling().on_gpu;
    let (forecast, forecast_absent) = match candidates
        .first()
        .map(|one| forecast(&one.anatomy, &room.machine, on_gpu && !one.place.on_gpu(), &one.history))
    {
        Some(Ok(forecast)) => (Some(forecast), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, Some("no model was named".into())),
    };
    FitReport {
        fits: verdict != FitVerdict::DoesNotFit,
        verdict,
        reason: match verdict {
            FitVerdict::Fits => format!("It fits: {sum}."),
            FitVerdict::Tight => format!("It fits, but tightly: {sum}."),
            FitVerdict::DoesNotFit => format!("It does not fit: {sum}."),
        },
        ceiling_bytes: ceiling.bytes,
        ceiling_source: ceiling.source,
        reserve_bytes: RESERVE,
        used_bytes: room.used_bytes,
        needed_bytes,
        context: wish.context,
        parallel: wish.parallel,
        kv: wish.kv.name().into(),
        parts: estimates
            .iter()
            .flat_map(|(model, estimate)| {
                estimate
                    .parts
                    .iter()
                    .map(|part| NeededPart { model: (*model).to_owned(), part: part.clone() })
            })
            .collect(),
        offers: match verdict {
            FitVerdict::DoesNotFit => offers(candidates, wish, room, free, needed_bytes),
            FitVerdict::Fits | FitVerdict::Tight => Vec::new(),
        },
        evicts: evicts(room, free, needed_bytes),
        forecast,
        forecast_absent,
    }
}

/// The fewest models that make room: the largest first, and of those none that the others make needless.
fn evicts(room: &Room, free: u64, needed: u64) -> Vec<Evicted> {
    let mut residents: Vec<&Resident> = room.residents.iter().filter(|resident| resident.bytes > 0).collect();
    residents.sort_by_key(|resident| std::cmp::Reverse(resident.bytes));
    let (mut leaving, mut lacking) = (Vec::new(), needed.saturating_sub(free));
    for resident in residents {
        if lacking == 0 {
            break;
        }
        lacking = lacking.saturating_sub(resident.bytes);
        leaving.push(resident);
    }
    if lacking > 0 {
        return Vec::new();
    }
    let mut spare = leaving.iter().map(|resident| resident.bytes).sum::<u64>() - needed.saturating_sub(free);
    for index in (0..leaving.len()).rev() {
        if leaving[index].bytes <= spare {
            spare -= leaving.remove(index).bytes;
        }
    }
    let evicted = |resident: &Resident| Evicted {
        model: resident.model.clone(),
        title: resident.title.clone(),
        bytes: resident.bytes,
    };
    leaving.into_iter().map(evicted).collect()
}

/// Only what really would fit is offered. What was measured at another wish says nothing here.
fn offers(candidates: &[Candidate], wish: &Wish, room: &Room, free: u64, needed: u64) -> Vec<Offer> {
    let total = |wish: &Wish| -> u64 {
        let of = |one: &Candidate| {
            estimate(&one.anatomy, &wish.within(one.anatomy.context_max), one.place).total_bytes()
        };
        candidates.iter().map(of).sum()
    };
    let mut offers = Vec::new();
    let mut offer = |what: String, change, needed_bytes, cost: String| {
        offers.push(Offer { what, change, needed_bytes, cost });
    };
    let shorter = CONTEXTS.iter().copied().filter(|context| *context < wish.context).find_map(|context| {
        let wish = Wish { context, ..*wish };
        Some((context, total(&wish))).filter(|(_, bytes)| *bytes <= free)
    });
    if let Some((context, bytes)) = shorter {
        let cost = format!("requests of more than {context} tokens are cut or refused");
        offer(format!("context {context}"), OfferChange::Context { context }, bytes, cost);
    }
    if wish.parallel > 1 {
        let bytes = total(&Wish { parallel: 1, ..*wish });
        if bytes <= free {
            let change = OfferChange::Parallel { parallel: 1 };
            offer("one request at a time".into(), change, bytes, "further requests wait".into());
        }
    }
    for (kv, cost) in NARROWER {
        let bytes = total(&Wish { kv, ..*wish });
        if bytes <= free && bytes < needed {
            let change = OfferChange::Kv { kv: kv.name().into() };
            offer(format!("KV cache in {}", kv.name()), change, bytes, cost.into());
            break;
        }
    }
    // Of several the heaviest: that is where most is to be gained.
    if let Some(heaviest) = candidates.iter().max_by_key(|one| one.anatomy.weights_bytes) {
        let of = |anatomy: &Anatomy| {
            estimate(anatomy, &wish.within(anatomy.context_max), heaviest.place).total_bytes()
        };
        let others = total(wish).saturating_sub(of(&heaviest.anatomy));
        let fitting = smaller(&heaviest.anatomy)
            .map(|(mix, anatomy)| (mix, others.saturating_add(of(&anatomy))))
            .find(|(_, bytes)| *bytes <= free);
        if let Some((mix, bytes)) = fitting {
            let name = heaviest.name.clone();
            let what = format!("{name} in {}", mix.name);
            let change = OfferChange::Quantization { model: name, quantization: mix.name.into() };
            offer(what, change, bytes, format!("another file to fetch; {}", mix.loss()));
        }
    }
    let freed = |resident: &&Resident| needed <= free.saturating_add(resident.bytes);
    if let Some(resident) = room.residents.iter().filter(freed).min_by_key(|resident| resident.bytes) {
        let change = OfferChange::Unload { model: resident.model.clone() };
        let cost = format!("{} must be loaded again when it is wanted", resident.title);
        offer(format!("unload {}", resident.title), change, needed, cost);
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::typical,
        machine::{Cores, Gpu, MemoryKind, Sourced},
        model::ModelRef,
    };

    fn m4_max() -> Machine {
        Machine {
            model: Some("Mac Studio".into()),
            chip: "Apple M4 Max".into(),
            cores: Cores { performance: Some(10), efficiency: Some(4) },
            cpu_features: None,
            memory_bytes: 36 << 30,
            memory_limit: None,
            memory_kind: MemoryKind::Unified,
            bandwidth_gb_s: Some(Sourced { value: 410.0, source: "table".into() }),
            bandwidth_gb_s_absent: None,
            gpus: vec![Gpu {
                name: "Apple M4 Max".into(),
                vendor: "apple".into(),
                cores: Some(32),
                memory_bytes: None,
                bandwidth_gb_s: None,
                compute_capability: None,
                driver: None,
                ..Gpu::default()
            }],
            neural_engine: None,
            metal: None,
            os: None,
            driver: None,
            gpu_limit_override_bytes: None,
        }
    }

    fn ask(names: &[&str], context: u64, used_bytes: u64) -> FitReport {
        let wish = Wish { context, parallel: 1, kv: KvType::F16 };
        let candidate = |name: &&str| Candidate::typical(name, typical(name).unwrap(), wish, Place::Metal);
        let candidates: Vec<Candidate> = names.iter().map(candidate).collect();
        let model = ModelRef::new("ollama", "qwen");
        let residents = vec![Resident { model, title: "Qwen 7B".into(), bytes: used_bytes / 2 }];
        report(&candidates, &wish, &Room { used_bytes, residents, ..Room::empty(m4_max()) })
    }

    #[test]
    fn on_the_36_gb_mac_everything_fits_but_70b() {
        for name in ["0.5b", "1.5b", "3b", "7b", "13b", "30b"] {
            assert!(ask(&[name], 4096, 0).fits, "{name}");
        }
        let refused = ask(&["70b:q2_k"], 4096, 0);
        assert_eq!(refused.verdict, FitVerdict::DoesNotFit, "{refused:#?}");
        assert!(refused.reason.contains("does not fit"), "{}", refused.reason);
        assert_eq!(refused.ceiling_bytes, 30_150_670_000);
    }

    #[test]
    fn parts_add_up_to_what_is_needed() {
        let report = ask(&["7b", "0.5b"], 8192, 0);
        assert_eq!(report.parts.iter().map(|part| part.part.bytes).sum::<u64>(), report.needed_bytes);
    }

    #[test]
    fn every_offer_would_fit() {
        let full = ask(&["30b"], 65_536, 0);
        assert_eq!(full.verdict, FitVerdict::DoesNotFit);
        assert!(full.offers.len() >= 2, "{:#?}", full.offers);
        let free = full.ceiling_bytes - full.reserve_bytes - full.used_bytes;
        assert!(full.offers.iter().all(|offer| offer.needed_bytes <= free), "{:#?}", full.offers);
        let beside = ask(&["30b"], 4096, 12_000_000_000);
        assert!(beside.offers.iter().any(|offer| offer.what == "unload Qwen 7B"), "{:#?}", beside.offers);
        assert!(ask(&["7b"], 4096, 0).offers.is_empty(), "what fits needs no offer");
        let whole = ask(&["70b"], 4096, 0);
        assert!(whole.offers.is_empty(), "70B is too large even in Q2_K: {:#?}", whole.offers);
    }

    #[test]
    fn a_load_that_does_not_fit_beside_names_what_it_would_push_out() {
        const GB: u64 = 1_000_000_000;
        let resident = |name: &str, gigabytes: u64| Resident {
            model: ModelRef::new("ollama", name),
            title: name.into(),
            bytes: gigabytes * GB,
        };
        let residents = vec![resident("small", 1), resident("large", 9), resident("middle", 4)];
        let room = |used_bytes| Room { used_bytes, residents: residents.clone(), ..Room::empty(m4_max()) };
        let free = 10 * GB;
        let names = |needed: u64| -> Vec<String> {
            evicts(&room(19 * GB), free, needed * GB).into_iter().map(|one| one.title).collect()
        };
        assert_eq!(names(10), Vec::<String>::new(), "it fits beside them");
        assert_eq!(names(12), ["large"]);
        assert_eq!(names(21), ["large", "middle"]);
        assert_eq!(names(24), ["large", "middle", "small"]);
        assert_eq!(names(25), Vec::<String>::new(), "not even all of them make room");
    }

    #[test]
    fn the_largest_quantisation_that_fits_is_offered_for_the_heaviest_model() {
        let report = ask(&["0.5b", "30b:q8_0"], 4096, 0);
        let offer = report
            .offers
            .iter()
            .find(|offer| matches!(offer.change, OfferChange::Quantization { .. }))
            .unwrap_or_else(|| panic!("{:#?}", report.offers));
        assert_eq!(offer.what, "30b:q8_0 in Q5_K_M");
        // As much as that file would take by itself.
        let by_name = ask(&["0.5b", "30b:q5_k_m"], 4096, 0).needed_bytes;
        let ratio = offer.needed_bytes as f64 / by_name as f64;
        assert!((0.999..1.001).contains(&ratio), "{ratio}");
    }
}
