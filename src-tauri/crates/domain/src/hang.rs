//! Whether a server that gives no answer works, stands still, or cannot be judged. A process is ended for a hang only on
//! what was seen for that purpose: not knowing is never taken for not working.

use crate::gauge::GpuReading;
use std::collections::BTreeMap;

/// Two readings closer together than this say nothing: clocks of processes advance in steps of 10 ms, and a server that
/// works may pause for a moment.
pub const MIN_APART_MS: u64 = 3_000;
/// Share of one core up to which a process tree counts as doing nothing: what an idle llama-server and an idle Ollama use while
/// they are asked for their health every two seconds stays below it.
const IDLE_SHARE: f64 = 0.02;
/// Load of a GPU in percent up to which nobody computes on it; a desktop that is drawn stays below.
const GPU_IDLE_PERCENT: f64 = 20.0;

/// A place for one answer in the process that holds a model, as that process tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub id: u32,
    /// An answer is being given in it.
    pub busy: bool,
    /// The number of that answer, or of the last one.
    pub task: Option<i64>,
    /// Tokens of the prompt read and of the answer written for it so far.
    pub done: u64,
}

/// Answers under way that nobody here waits for, of the slots of one process at two looks in a row. Only one that was there at
/// both looks counts: in a single one an answer that has just ended, or just begun, looks the same. `awaited`: the most
/// answers that were waited for here meanwhile.
pub fn orphaned(before: &[Slot], now: &[Slot], awaited: usize) -> u32 {
    let goes_on = |slot: &&Slot| {
        let same = |one: &Slot| one.id == slot.id && one.busy && one.task == slot.task;
        slot.busy && before.iter().any(same)
    };
    let busy = now.iter().filter(goes_on).count();
    u32::try_from(busy.saturating_sub(awaited)).unwrap_or(u32::MAX)
}

/// What one process has done since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessTime {
    /// Processor time of all its threads, in seconds.
    pub cpu_s: f64,
    /// Pages that it had to wait for the disk for; 0 where the system does not tell them.
    pub waited_pages: u64,
    /// One of its threads wants the processor, or waits for a disk or a driver, at this moment: it may only be kept from
    /// working. A stopped process does not want anything.
    pub wants: bool,
}

/// What the processes of one server have done since their start, by pid.
pub type ProcessWork = BTreeMap<u32, ProcessTime>;

/// Whether the GPUs compute for a server's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuWork {
    /// No GPU is known, or their load is not told.
    #[default]
    NotTold,
    Idle,
    /// One that only its processes use computes.
    Its,
    /// One computes, and for whom is not told.
    Somebodys,
}

/// What readings of the GPUs say about the processes of one server. A GPU that holds memory for others too may compute for them.
pub fn gpu_work(gpus: &[GpuReading], processes: Option<&ProcessWork>) -> GpuWork {
    let busy: Vec<&GpuReading> = gpus
        .iter()
        .filter(|gpu| gpu.load_percent.is_some_and(|percent| percent > GPU_IDLE_PERCENT))
        .collect();
    let is_its = |pid: u32| processes.is_some_and(|processes| processes.contains_key(&pid));
    let told = |gpu: &GpuReading| gpu.processes_absent.is_none() && !gpu.processes.is_empty();
    let only_its = |gpu: &GpuReading| told(gpu) && gpu.processes.iter().all(|user| is_its(user.pid));
    // Whoever holds no memory there does not compute there.
    let not_its = |gpu: &GpuReading| {
        processes.is_some() && told(gpu) && !gpu.processes.iter().any(|user| is_its(user.pid))
    };
    if gpus.iter().all(|gpu| gpu.load_percent.is_none()) {
        GpuWork::NotTold
    } else if busy.iter().any(|gpu| only_its(gpu)) {
        GpuWork::Its
    } else if busy.iter().all(|gpu| not_its(gpu)) {
        GpuWork::Idle
    } else {
        GpuWork::Somebodys
    }
}

/// What could be seen of a server's work at one moment. Absent is not zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// `None`: the system does not tell it.
    pub processes: Option<ProcessWork>,
    /// The slots of every process that holds a model and told them, by its port. A process that is silent is not in it.
    pub slots: BTreeMap<u16, Vec<Slot>>,
    /// Lines of its output so far that tell of work.
    pub lines: Option<u64>,
    pub gpu: GpuWork,
}

/// Every slot is busy: another request would wait behind them.
pub fn is_full(slots: &[Slot]) -> bool {
    !slots.is_empty() && slots.iter().all(|slot| slot.busy)
}

/// What is taken for a sign of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Its slots have got on.
    Slots,
    /// Its processes have used the processor, were waiting for it, or for a disk.
    Processes,
    Gpu,
    /// It wrote into its log.
    Log,
}

impl Sign {
    /// In words, after "it works: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::Slots => "its answers get on",
            Self::Processes => "its processes are busy",
            Self::Gpu => "a GPU computes for it",
            Self::Log => "it writes into its log",
        }
    }
}

/// What two readings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are too close together.
    TooSoon,
    AtWork(Sign),
    /// Everything that could move was seen, and nothing did.
    Still,
    /// Why that cannot be told.
    Unknown(&'static str),
}

/// Judges what was done between two readings that lie `apart_ms` apart.
pub fn judge(before: &Reading, after: &Reading, apart_ms: u64) -> Verdict {
    if apart_ms < MIN_APART_MS {
        return Verdict::TooSoon;
    }
    if slots_moved(before, after) {
        return Verdict::AtWork(Sign::Slots);
    }
    if matches!((before.lines, after.lines), (Some(before), Some(after)) if after != before) {
        return Verdict::AtWork(Sign::Log);
    }
    if after.gpu == GpuWork::Its {
        return Verdict::AtWork(Sign::Gpu);
    }
    let (Some(earlier), Some(later)) = (&before.processes, &after.processes) else {
        return Verdict::Unknown("the processor time of its processes is not told");
    };
    if later.is_empty() {
        return Verdict::Unknown("its processes are not seen");
    }
    if processes_moved(earlier, later, apart_ms) {
        return Verdict::AtWork(Sign::Processes);
    }
    match after.gpu {
        GpuWork::Somebodys => Verdict::Unknown("a GPU computes, and for whom is not told"),
        _ => Verdict::Still,
    }
}

/// Only what both readings tell is compared: a process that has fallen silent is no proof, and one that speaks again is.
fn slots_moved(before: &Reading, after: &Reading) -> bool {
    after.slots.iter().any(|(port, later)| match before.slots.get(port) {
        Some(earlier) => earlier != later,
        None => true,
    })
}

fn processes_moved(before: &ProcessWork, after: &ProcessWork, apart_ms: u64) -> bool {
    // A process that came or went did something, and so did whoever started or ended it.
    if !before.keys().eq(after.keys()) {
        return true;
    }
    let pairs = || before.values().zip(after.values());
    let cpu_s: f64 = pairs().map(|(before, after)| (after.cpu_s - before.cpu_s).max(0.0)).sum();
    cpu_s > IDLE_SHARE * apart_ms as f64 / 1000.0
        || pairs().any(|(before, after)| after.waited_pages != before.waited_pages)
        // Seen wanting twice in a row it is starved, not stuck: a hung process waits for something that does not come.
        || pairs().any(|(before, after)| before.wants && after.wants)
}

/// Follows the readings of one server for as long as there is a reason to.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    last: Option<(u64, Reading)>,
    /// The slots of each process as it told them last, however long ago: one whose loop stands still tells nothing any more.
    told: BTreeMap<u16, Vec<Slot>>,
    /// Since when nothing has moved, without a gap.
    still_since_ms: Option<u64>,
    verdict: Option<Verdict>,
}

impl Evidence {
    /// Takes a reading of the instant `now_ms` of a monotonic clock, and says what it shows together with the one before.
    pub fn see(&mut self, now_ms: u64, reading: Reading) -> Verdict {
        self.told.extend(reading.slots.iter().map(|(port, slots)| (*port, slots.clone())));
        let Some((at, before)) = &self.last else {
            self.last = Some((now_ms, reading));
            return Verdict::TooSoon;
        };
        let verdict = judge(before, &reading, now_ms.saturating_sub(*at));
        match verdict {
            Verdict::TooSoon => return self.verdict.unwrap_or(verdict),
            Verdict::Still => drop(self.still_since_ms.get_or_insert(*at)),
            Verdict::AtWork(_) | Verdict::Unknown(_) => self.still_since_ms = None,
        }
        self.verdict = Some(verdict);
        self.last = Some((now_ms, reading));
        verdict
    }

    /// For how long nothing has moved, up to the last reading. 0: something did, or that cannot be told.
    pub fn still_ms(&self) -> u64 {
        match (self.still_since_ms, &self.last) {
            (Some(since), Some((at, _))) => at.saturating_sub(since),
            _ => 0,
        }
    }

    /// Whether an answer was being given in a slot when its process told of it last.
    pub fn has_busy_slot(&self) -> bool {
        self.told.values().flatten().any(|slot| slot.busy)
    }

    /// Whether answers have got on between the last two readings.
    pub fn answers_get_on(&self) -> bool {
        self.verdict == Some(Verdict::AtWork(Sign::Slots)) && self.has_busy_slot()
    }
}

/// What makes somebody ask whether a server hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Complaint {
    /// For how long it has given no answer to a health check; 0: it answers.
    pub silent_ms: u64,
    /// For how long it has given no token although it was asked for one; 0: it spoke, or was not asked.
    pub mute_ms: u64,
}

/// What follows from complaint and evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finding {
    #[default]
    /// There is nothing to complain of, or not for long enough.
    Fine,
    /// It works: whoever waits for it waits behind that work.
    Works(Sign),
    /// It is shown, and left alone.
    CannotTell(&'static str),
    /// It has done nothing for `still_ms`.
    Hangs { still_ms: u64 },
}

/// Judges a server. `limit_ms`: for how long nothing may move; 0: nobody is taken for hanging.
///
/// A slot that is busy and does not move is a complaint of its own: whoever holds it waits in vain, and no token can be
/// asked for behind it.
pub fn find(complaint: Complaint, evidence: &Evidence, limit_ms: u64) -> Finding {
    let still_ms = evidence.still_ms();
    let stuck = evidence.has_busy_slot() && still_ms >= limit_ms;
    let long = complaint.silent_ms.max(complaint.mute_ms) >= limit_ms;
    if limit_ms == 0 || !(long || stuck) {
        return Finding::Fine;
    }
    match evidence.verdict {
        Some(Verdict::Still) if still_ms >= limit_ms => Finding::Hangs { still_ms },
        Some(Verdict::Still | Verdict::TooSoon) | None => Finding::Fine,
        Some(Verdict::AtWork(sign)) => Finding::Works(sign),
        Some(Verdict::Unknown(why)) => Finding::CannotTell(why),
    }
}

#[cfg(test)]
mod tests;
