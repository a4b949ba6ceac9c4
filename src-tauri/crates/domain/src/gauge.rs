//! Readings of the machine, each with its unit in the name. What could not be read is `None` with a reason.

use crate::{
    Timestamp,
    error::{ApiError, ErrorCode},
    machine::Sourced,
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How a process's memory was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum MemoryMeasure {
    /// Proportional set size (Linux, `/proc/<pid>/smaps_rollup`): shared pages are split among their users.
    Pss,
    /// Resident set size: shared pages count fully in every process.
    Rss,
    /// Physical footprint (macOS, what Activity Monitor shows).
    Footprint,
}

/// Memory of a GPU that one process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct GpuProcess {
    pub pid: u32,
    /// `None`: the driver lists the process and does not tell its memory.
    pub memory_bytes: Option<u64>,
}

/// One GPU at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[serde(default)]
#[ts(export)]
pub struct GpuReading {
    pub name: String,
    /// "nvidia", "amd", "intel", "apple".
    pub vendor: String,
    /// How busy the GPU was, 0–100: the figure to compare by. NVIDIA, AMD, Intel: share of time in which it had work.
    /// Apple: that share scaled by the clock, so that 100 is full work at the highest clock.
    pub load_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_percent_absent: Option<String>,
    /// Apple: share of time in which the GPU had work whatever its clock, 0–100. A low clock makes it high at little
    /// work, so that it says less than `load_percent`. Other vendors: `None`, it is the same.
    pub active_percent: Option<f64>,
    /// Own memory in use; where `memory_shared`, what the GPU holds of the machine's.
    pub memory_used_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes_absent: Option<String>,
    /// Own memory; where `memory_shared`, as much of the machine's as the GPU can address.
    pub memory_total_bytes: Option<u64>,
    /// Own memory that the driver keeps for itself: neither in use nor free (NVIDIA). `None`: not told.
    #[serde(default)]
    pub memory_reserved_bytes: Option<u64>,
    /// Its memory is the machine's own: what it holds is part of the machine's memory in use.
    pub memory_shared: bool,
    pub power_w: Option<f64>,
    /// The power that it may take at most, as set at the moment.
    pub power_limit_w: Option<f64>,
    pub temperature_c: Option<f64>,
    /// Clock of the cores at the moment.
    pub clock_mhz: Option<u32>,
    /// Clock of the memory at the moment.
    pub memory_clock_mhz: Option<u32>,
    /// What holds the clock down, in words ("power limit", "too hot"). Empty: nothing; `None`: not told.
    pub throttle: Option<Vec<String>>,
    /// The processes that hold memory of it, as far as this user may see them, by pid.
    pub processes: Vec<GpuProcess>,
    /// Why `processes` is not a list of all of them.
    pub processes_absent: Option<String>,
    /// Why most readings are missing ("asleep: not read, which would wake it").
    pub absent: Option<String>,
    /// Where the readings come from ("NVML").
    pub source: String,
}

impl GpuReading {
    /// Its memory in the hands of one process; `None`: none, or not told.
    pub fn held_by(&self, pid: u32) -> Option<u64> {
        self.processes.iter().find(|process| process.pid == pid)?.memory_bytes
    }

    /// Memory that is no part of the machine's. `None`: it has none, or does not tell.
    pub fn own_memory_bytes(&self) -> Option<u64> {
        self.memory_total_bytes.filter(|_| !self.memory_shared)
    }
}

/// What one server's process tree uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ServerUsage {
    pub id: ServerId,
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_absent: Option<String>,
    /// The part of `memory_bytes` that is mapped files: weights read through the page cache, which the system counts as
    /// available. `None`: not told apart.
    pub mapped_bytes: Option<u64>,
    /// 100 = one core fully used.
    pub cpu_percent: Option<f64>,
    pub measure: Option<MemoryMeasure>,
    /// Processes counted.
    pub processes: u32,
    /// Their numbers, the root first.
    pub pids: Vec<u32>,
    /// The part of each process that holds an instance, as far as that is known.
    pub runners: Vec<RunnerUsage>,
}

/// What the process that holds one instance uses; it is part of its server's usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct RunnerUsage {
    /// The instance's id on its server.
    pub instance: String,
    pub pid: u32,
    pub memory_bytes: Option<u64>,
    /// As in `ServerUsage`.
    pub mapped_bytes: Option<u64>,
    /// What it has in memory besides, in bytes, and `memory_bytes` leaves to other processes that map the same pages, such as
    /// another server with the same file of weights. Alone it would take both together. `None`: not told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_bytes: Option<u64>,
    pub measure: Option<MemoryMeasure>,
}

/// A process with a model whose server, an Ollama, has died without it. Nobody uses it, and nobody will end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OrphanedRunner {
    pub pid: u32,
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_absent: Option<String>,
    pub measure: Option<MemoryMeasure>,
}

/// What Pilothouse itself uses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct OwnUsage {
    /// 100 = one core fully used.
    pub cpu_percent: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub measure: Option<MemoryMeasure>,
}

/// How short of memory the system says that it is (macOS, `kern.memorystatus_vm_pressure_level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum MemoryPressure {
    Normal,
    /// Memory is being compressed and freed.
    Warning,
    /// Programs are about to be ended.
    Critical,
}

/// A source of readings that does not answer. It is left behind, and everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct SilentSource {
    /// "host", "processes", "nvidia", "amd", "intel", "apple", "docker".
    pub source: String,
    /// In words: "the NVIDIA driver".
    pub what: String,
    /// When it was asked.
    #[ts(type = "string")]
    pub since: Timestamp,
}

impl SilentSource {
    /// Why its readings are missing: "the NVIDIA driver has not answered for 12 s".
    pub fn reason(&self, now: Timestamp) -> String {
        let seconds = now.duration_since(self.since).as_secs().max(0);
        format!("{} has not answered for {seconds} s", self.what)
    }
}

/// What is said of all sources that are silent; `None`: there is none. The words stay the same while they stay silent.
pub fn silence(sources: &[SilentSource]) -> Option<ApiError> {
    let names: Vec<&str> = sources.iter().map(|one| one.what.as_str()).collect();
    let (last, before) = names.split_last()?;
    let (who, verb) = match before {
        [] => ((*last).to_owned(), "does"),
        _ => (format!("{} and {last}", before.join(", ")), "do"),
    };
    let mut who = who;
    if let Some(first) = who.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let message = format!("{who} {verb} not answer, so those readings are missing. Everything else goes on.");
    Some(
        ApiError::new(ErrorCode::SourceSilent, message)
            .hint("Readings come back by themselves. A graphics driver that hangs often needs a restart of the machine."),
    )
}

/// One sample of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Gauges {
    #[ts(type = "string")]
    pub at: Timestamp,
    /// Milliseconds until the next sample, as planned with this one; `None`: a single reading. A sample that is older than
    /// two of them is stale.
    pub interval_ms: Option<u64>,
    /// All cores together, 0–100.
    pub cpu_percent: Option<f64>,
    /// Logical cores.
    pub cpu_cores: u32,
    pub memory_used_bytes: Option<u64>,
    /// Of the machine, or what `memory_limit` leaves of it; what is in use is all of that which cannot be had.
    pub memory_total_bytes: Option<u64>,
    /// What holds the total down (the limit of a memory group). `None`: it is what the machine has.
    #[serde(default)]
    pub memory_limit: Option<Sourced<u64>>,
    /// `None`: the system tells no level (all but macOS).
    #[serde(default)]
    pub memory_pressure: Option<MemoryPressure>,
    pub swap_used_bytes: Option<u64>,
    pub swap_total_bytes: Option<u64>,
    pub gpus: Vec<GpuReading>,
    /// Why `gpus` is empty.
    pub gpus_absent: Option<String>,
    pub servers: Vec<ServerUsage>,
    pub orphans: Vec<OrphanedRunner>,
    #[serde(rename = "self")]
    pub own: OwnUsage,
    /// Sources that have not answered for a while.
    #[serde(default)]
    pub silent: Vec<SilentSource>,
}

impl Gauges {
    /// How old the sample is, in seconds, where that is more than two of its intervals. `None`: it is fresh, or a single
    /// reading. `now`: by the clock; the moment of a snapshot stands still where nothing is reported any more.
    pub fn stale_s(&self, now: Timestamp) -> Option<u64> {
        let interval_ms = self.interval_ms?.max(1000);
        let age_ms = u64::try_from(now.duration_since(self.at).as_millis()).ok()?;
        (age_ms > 2 * interval_ms).then_some(age_ms / 1000)
    }
}

/// Past values as columns of equal length, oldest first; a hole is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct GaugeColumns {
    pub cpu_percent: Vec<Option<f64>>,
    pub memory_used_bytes: Vec<Option<u64>>,
    pub swap_used_bytes: Vec<Option<u64>>,
    /// The busiest GPU.
    pub gpu_load_percent: Vec<Option<f64>>,
    /// All GPUs together.
    pub gpu_memory_used_bytes: Vec<Option<u64>>,
    /// All GPUs together, of those whose power is known.
    pub gpu_power_w: Vec<Option<f64>>,
    /// All servers' process trees together.
    pub servers_memory_bytes: Vec<Option<u64>>,
}

/// The past of the gauges. A row without any value stands where nothing was sampled for a while.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct GaugeHistory {
    /// Unix milliseconds; of means, the begin of their time.
    pub at_ms: Vec<i64>,
    /// The usual distance of two points.
    pub step_ms: u64,
    /// The samples, or means over `step_ms`.
    #[serde(flatten)]
    pub columns: GaugeColumns,
    /// Where the columns are means: the least samples among them.
    pub low: Option<GaugeColumns>,
    /// Where the columns are means: the greatest samples among them.
    pub high: Option<GaugeColumns>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_silent_sources_name_each() {
        let of = |names: &[&str]| {
            let one = |what: &&str| SilentSource {
                source: "x".into(),
                what: (*what).to_owned(),
                since: Timestamp::UNIX_EPOCH,
            };
            silence(&names.iter().map(one).collect::<Vec<_>>()).map(|error| error.message)
        };
        assert_eq!(of(&[]), None);
        assert!(of(&["the NVIDIA driver"]).unwrap().starts_with("The NVIDIA driver does not answer"));
        let three = of(&["Docker", "the NVIDIA driver", "the list of processes"]).unwrap();
        assert!(
            three.starts_with("Docker, the NVIDIA driver and the list of processes do not answer"),
            "{three}"
        );
    }

    #[test]
    fn a_reason_counts_by_the_clock() {
        let silent = SilentSource {
            source: "nvidia".into(),
            what: "the NVIDIA driver".into(),
            since: Timestamp::from_second(100).unwrap(),
        };
        let at = |second| silent.reason(Timestamp::from_second(second).unwrap());
        assert_eq!(at(165), "the NVIDIA driver has not answered for 65 s");
        assert_eq!(at(90), "the NVIDIA driver has not answered for 0 s", "a clock that was set back");
    }
}
