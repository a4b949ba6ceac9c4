//! Whether a machine is quiet enough to measure on, and who disturbs it.

use crate::gauge::{Gauges, MemoryPressure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use ts_rs::TS;

/// Other programs together may take this share of all cores: a quiet machine is idle for nine tenths.
const OTHERS_MAX: f64 = 0.10;
/// A program below this is not named. Percent of one core.
const NAMED_FROM_PERCENT: f64 = 5.0;
/// At most so many programs are named by one look.
const NAMED_MOST: usize = 3;
/// A card that nobody of ours uses may be busy for this share of its time, 0-100.
const GPU_MAX_PERCENT: f64 = 5.0;
/// Memory that went to the disk between two looks and is no noise. Bytes.
const SWAP_GROWTH: u64 = 16 << 20;
/// What a run keeps of its disturbances; those that took most.
const KEPT_MOST: usize = 16;

/// Something that took the machine's strength while a run measured, or before it could.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Disturbance {
    pub what: DisturbedBy,
    /// The program, the card, or the words of the system.
    pub name: String,
    pub pid: Option<u32>,
    /// The highest that was seen: of one core (a program on two cores has 200), of a card's time. `None`: it has no measure.
    pub percent: Option<f64>,
    /// How long it was seen.
    pub seconds: f64,
}

/// The kinds of disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum DisturbedBy {
    /// Another program computes.
    Processor,
    /// Another program keeps a card busy.
    Gpu,
    /// Memory is short.
    Memory,
    /// Memory is written out to the disk.
    Swap,
    /// The clock is held down.
    Heat,
    /// Not on mains power.
    Battery,
    /// Other requests are at the same servers.
    Requests,
}

/// The processor time of all processes at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuTimes {
    /// Seconds since some moment that stays the same.
    pub at_s: f64,
    pub processes: Vec<ProcessTime>,
}

/// The processor time that one process has used since its begin.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessTime {
    pub pid: u32,
    /// When it began, in any unit: its number may be given anew, and its name may change.
    pub started: u64,
    pub name: String,
    pub cpu_s: f64,
}

/// What is known of the machine between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    pub before: &'a CpuTimes,
    pub after: &'a CpuTimes,
    /// Ours and those of the servers that are measured.
    pub own: &'a BTreeSet<u32>,
    pub cores: u32,
    /// The newest sample.
    pub gauges: Option<&'a Gauges>,
    /// Swap in use at the moment of `before`.
    pub swap_before: Option<u64>,
    /// Whether a measured request was under way: then a busy card is no stranger's work.
    pub measuring: bool,
    pub on_battery: Option<bool>,
    /// Answers under way at the measured servers that are none of the run's.
    pub other_requests: usize,
}

impl Look<'_> {
    fn seconds(&self) -> f64 {
        (self.after.at_s - self.before.at_s).max(0.0)
    }

    /// Who disturbs; empty: it is quiet.
    pub fn disturbances(&self) -> Vec<Disturbance> {
        let seconds = self.seconds();
        let one = |what, name: String, percent| Disturbance { what, name, pid: None, percent, seconds };
        let mut found = self.busy_programs();
        if let Some(gauges) = self.gauges {
            if !self.measuring {
                let busy = gauges.gpus.iter().filter_map(|gpu| Some((gpu, gpu.load_percent?)));
                found.extend(
                    busy.filter(|(_, load)| *load > GPU_MAX_PERCENT)
                        .map(|(gpu, load)| one(DisturbedBy::Gpu, gpu.name.clone(), Some(load))),
                );
            }
            let hot = gauges.gpus.iter().flat_map(|gpu| gpu.throttle.iter().flatten());
            found.extend(
                hot.map(|why| one(DisturbedBy::Heat, format!("the clock is held down: {why}"), None)),
            );
            if matches!(gauges.memory_pressure, Some(MemoryPressure::Warning | MemoryPressure::Critical)) {
                found.push(one(DisturbedBy::Memory, "memory is short".into(), None));
            }
            let grown = gauges.swap_used_bytes.zip(self.swap_before);
            if grown.is_some_and(|(now, before)| now > before.saturating_add(SWAP_GROWTH)) {
                found.push(one(DisturbedBy::Swap, "memory goes to the disk".into(), None));
            }
        }
        if self.on_battery == Some(true) {
            found.push(one(DisturbedBy::Battery, "on battery".into(), None));
        }
        if self.other_requests > 0 {
            let name = format!("{} other answers", self.other_requests);
            found.push(one(DisturbedBy::Requests, name, None));
        }
        found
    }

    /// The programs that compute most, where all of them together take more than a quiet machine has to give.
    fn busy_programs(&self) -> Vec<Disturbance> {
        let seconds = self.seconds();
        if seconds <= 0.0 {
            return vec![];
        }
        let before: BTreeMap<u32, &ProcessTime> =
            self.before.processes.iter().map(|one| (one.pid, one)).collect();
        let mut busy: Vec<Disturbance> = self
            .after
            .processes
            .iter()
            .filter(|one| !self.own.contains(&one.pid))
            .map(|one| {
                // A number that was given anew counts from its begin.
                let earlier =
                    before.get(&one.pid).filter(|was| was.started == one.started).map(|was| was.cpu_s);
                let used = (one.cpu_s - earlier.unwrap_or(0.0)).clamp(0.0, f64::from(self.cores) * seconds);
                Disturbance {
                    what: DisturbedBy::Processor,
                    name: one.name.clone(),
                    pid: Some(one.pid),
                    percent: Some(100.0 * used / seconds),
                    seconds,
                }
            })
            .collect();
        let all: f64 = busy.iter().filter_map(|one| one.percent).sum();
        if all <= 100.0 * OTHERS_MAX * f64::from(self.cores.max(1)) {
            return vec![];
        }
        busy.retain(|one| one.percent.is_some_and(|percent| percent >= NAMED_FROM_PERCENT));
        busy.sort_by(|a, b| b.percent.unwrap_or(0.0).total_cmp(&a.percent.unwrap_or(0.0)));
        busy.truncate(NAMED_MOST);
        if busy.is_empty() {
            let name = "many small programs".to_owned();
            busy.push(Disturbance {
                what: DisturbedBy::Processor,
                name,
                pid: None,
                percent: Some(all),
                seconds,
            });
        }
        busy
    }
}

/// Takes a look's disturbances into those of the run: the same program is one, with its time added up.
pub fn fold(kept: &mut Vec<Disturbance>, seen: Vec<Disturbance>) {
    for new in seen {
        match kept.iter_mut().find(|one| one.what == new.what && one.name == new.name) {
            Some(one) => {
                one.seconds += new.seconds;
                if new.percent > one.percent {
                    (one.percent, one.pid) = (new.percent, new.pid);
                }
            }
            None => kept.push(new),
        }
    }
    let weight = |one: &Disturbance| one.seconds * one.percent.unwrap_or(100.0);
    kept.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    kept.truncate(KEPT_MOST);
}

/// What disturbs, in words: "cc1plus (pid 4711) uses 96 % of a core".
pub fn in_words(disturbance: &Disturbance) -> String {
    let Disturbance { what, name, pid, percent, .. } = disturbance;
    let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    match (what, percent) {
        (DisturbedBy::Processor, Some(percent)) => format!("{name}{pid} uses {percent:.0} % of a core"),
        (DisturbedBy::Gpu, Some(percent)) => format!("{name} is {percent:.0} % busy with something else"),
        (DisturbedBy::Heat, _) => name.clone(),
        _ => format!("{name}{pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauge::GpuReading;

    fn times(at_s: f64, of: &[(u32, &str, f64)]) -> CpuTimes {
        let process = |(pid, name, cpu_s): &(u32, &str, f64)| ProcessTime {
            pid: *pid,
            started: if *name == "old" { 1 } else { 2 },
            name: (*name).into(),
            cpu_s: *cpu_s,
        };
        CpuTimes { at_s, processes: of.iter().map(process).collect() }
    }

    /// Who is named after two seconds on four cores; 7 is ours.
    fn named(before: &[(u32, &str, f64)], after: &[(u32, &str, f64)]) -> Vec<(String, f64)> {
        let (before, after) = (times(10.0, before), times(12.0, after));
        let look = Look {
            before: &before,
            after: &after,
            own: &BTreeSet::from([7]),
            cores: 4,
            gauges: None,
            swap_before: None,
            measuring: false,
            on_battery: None,
            other_requests: 0,
        };
        let percent = |one: Disturbance| (one.name, one.percent.unwrap_or(f64::NAN).round());
        look.disturbances().into_iter().map(percent).collect()
    }

    #[test]
    fn whoever_computes_beside_a_run_is_named() {
        let named_as = |name: &str, percent: f64| vec![(name.to_owned(), percent)];
        for (what, before, after, wanted) in [
            ("nothing", vec![], vec![], vec![]),
            ("a little", vec![(1, "sshd", 5.0)], vec![(1, "sshd", 5.1)], vec![]),
            ("one core", vec![(1, "make", 5.0)], vec![(1, "make", 7.0)], named_as("make", 100.0)),
            ("ours", vec![(7, "llama-server", 5.0)], vec![(7, "llama-server", 13.0)], vec![]),
            ("a new one", vec![], vec![(9, "cc1plus", 1.5)], named_as("cc1plus", 75.0)),
            (
                "its number was another's",
                vec![(9, "old", 900.0)],
                vec![(9, "cc1", 1.5)],
                named_as("cc1", 75.0),
            ),
            (
                "it calls itself otherwise",
                vec![(9, "kworker/a", 900.0)],
                vec![(9, "kworker/b", 900.1)],
                vec![],
            ),
            ("one that has ended", vec![(9, "old", 900.0)], vec![], vec![]),
            ("a clock that jumped", vec![], vec![(9, "a", 1e9)], named_as("a", 400.0)),
        ] {
            assert_eq!(named(&before, &after), wanted, "{what}");
        }
        let small: Vec<(u32, String, f64)> = (100..140).map(|pid| (pid, format!("p{pid}"), 0.06)).collect();
        let small: Vec<(u32, &str, f64)> = small.iter().map(|(pid, name, s)| (*pid, &**name, *s)).collect();
        assert_eq!(named(&[], &small), named_as("many small programs", 120.0));
    }

    fn calm() -> Gauges {
        Gauges {
            at: crate::Timestamp::UNIX_EPOCH,
            interval_ms: None,
            cpu_percent: None,
            cpu_cores: 4,
            memory_used_bytes: None,
            memory_total_bytes: None,
            memory_limit: None,
            memory_pressure: None,
            swap_used_bytes: Some(64 << 20),
            swap_total_bytes: None,
            gpus: vec![],
            gpus_absent: None,
            servers: vec![],
            orphans: vec![],
            own: Default::default(),
            silent: vec![],
        }
    }

    #[test]
    fn cards_memory_heat_and_other_requests_disturb_too() {
        let nothing = CpuTimes::default();
        let own = BTreeSet::new();
        let gpu = GpuReading { name: "RTX".into(), load_percent: Some(40.0), ..GpuReading::default() };
        let calm = calm();
        let look = |gauges, measuring| Look {
            before: &nothing,
            after: &nothing,
            own: &own,
            cores: 4,
            gauges: Some(gauges),
            swap_before: Some(60 << 20),
            measuring,
            on_battery: Some(false),
            other_requests: 0,
        };
        assert!(look(&calm, false).disturbances().is_empty());
        let kinds = |look: Look<'_>| look.disturbances().iter().map(|one| one.what).collect::<Vec<_>>();
        let busy = Gauges { gpus: vec![gpu.clone()], ..calm.clone() };
        assert_eq!(kinds(look(&busy, false)), [DisturbedBy::Gpu]);
        assert_eq!(kinds(look(&busy, true)), [], "that is our own request");
        let swapping = Gauges { swap_used_bytes: Some(100 << 20), ..calm.clone() };
        assert_eq!(kinds(look(&swapping, true)), [DisturbedBy::Swap]);
        let short = Gauges { memory_pressure: Some(MemoryPressure::Critical), ..calm.clone() };
        assert_eq!(kinds(look(&short, true)), [DisturbedBy::Memory]);
        let hot = GpuReading { throttle: Some(vec!["too hot".into()]), ..gpu };
        let hot = Gauges { gpus: vec![hot], ..calm.clone() };
        assert_eq!(kinds(look(&hot, true)), [DisturbedBy::Heat]);
        let beside = Look { other_requests: 2, on_battery: Some(true), ..look(&calm, true) };
        assert_eq!(kinds(beside), [DisturbedBy::Battery, DisturbedBy::Requests]);
    }

    #[test]
    fn a_program_that_is_seen_again_stays_one() {
        let seen = |name: &str, percent: f64, pid: u32| Disturbance {
            what: DisturbedBy::Processor,
            name: name.into(),
            pid: Some(pid),
            percent: Some(percent),
            seconds: 2.0,
        };
        let mut kept = vec![];
        fold(&mut kept, vec![seen("make", 50.0, 1)]);
        fold(&mut kept, vec![seen("make", 90.0, 2), seen("rsync", 20.0, 3)]);
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[0].percent, kept[0].pid, kept[0].seconds), (Some(90.0), Some(2), 4.0));
        assert_eq!(in_words(&kept[0]), "make (pid 2) uses 90 % of a core");
        (0..100).for_each(|n| fold(&mut kept, vec![seen(&n.to_string(), 1.0, n)]));
        assert_eq!((kept.len(), kept[0].name.as_str()), (KEPT_MOST, "make"));
    }
}
