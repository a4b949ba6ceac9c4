//! Processor and memory of the whole machine.

use pilothouse_domain::{gauge::MemoryPressure, machine::Sourced};
use sysinfo::{MemoryRefreshKind, System};

/// Memory and swap at one moment; `None`: the system did not tell.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Memory {
    pub used_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    /// What holds the total down, where that is less than the machine has.
    pub limit: Option<Sourced<u64>>,
    pub swap_used_bytes: Option<u64>,
    pub swap_total_bytes: Option<u64>,
}

/// Everything that the host tells at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct HostReading {
    pub cpu_percent: Option<f64>,
    pub memory: Memory,
    pub pressure: Option<MemoryPressure>,
}

/// Remembers what the processor's rate is taken from.
pub(super) struct Host {
    /// `None`: the system library refused; then its readings are absent.
    system: Option<System>,
    cpu: CpuMeter,
}

impl Host {
    pub fn new() -> Self {
        Self { system: System::new().ok(), cpu: CpuMeter::default() }
    }

    pub fn read(&mut self) -> HostReading {
        HostReading { cpu_percent: self.cpu_percent(), memory: self.memory(), pressure: memory_pressure() }
    }

    /// All cores together since the last call, 0–100; `None` at the first call.
    fn cpu_percent(&mut self) -> Option<f64> {
        #[cfg(target_os = "linux")]
        return self.cpu.since_last(parse_cpu_times(&std::fs::read_to_string("/proc/stat").ok()?)?);
        #[cfg(not(target_os = "linux"))]
        return self.cpu.since_last(self.system.as_mut()?);
    }

    fn memory(&mut self) -> Memory {
        let Some(system) = &mut self.system else {
            return Memory::default();
        };
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        // A machine without memory does not exist: 0 means that the reading failed.
        if system.total_memory() == 0 {
            return Memory::default();
        }
        let (used, total) = (system.used_memory(), system.total_memory());
        #[cfg(target_os = "linux")]
        let (used, total, limit) = super::memory_group::MemoryLimit::of_this_process().applied(used, total);
        #[cfg(not(target_os = "linux"))]
        let limit = None;
        Memory {
            used_bytes: Some(used),
            total_bytes: Some(total),
            limit,
            swap_used_bytes: Some(system.used_swap()),
            swap_total_bytes: Some(system.total_swap()),
        }
    }
}

/// How short of memory the system says that it is. Linux tells how long programs waited for memory, which is no such
/// level: none is made of it.
fn memory_pressure() -> Option<MemoryPressure> {
    #[cfg(target_os = "macos")]
    return super::apple::memory_pressure();
    #[cfg(not(target_os = "macos"))]
    None
}

/// Clock ticks of all cores since boot.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// The difference of two readings is exact for any interval; the system library keeps its old figure, at first the
/// average since boot, when asked twice within 200 ms.
#[cfg(target_os = "linux")]
#[derive(Default)]
struct CpuMeter {
    last: Option<CpuTimes>,
}

#[cfg(target_os = "linux")]
impl CpuMeter {
    fn since_last(&mut self, now: CpuTimes) -> Option<f64> {
        let before = self.last.replace(now)?;
        // Counters of a core that went offline fall; then there is no rate.
        let total = now.total.checked_sub(before.total).filter(|ticks| *ticks > 0)?;
        let busy = now.busy.checked_sub(before.busy)?;
        Some((busy as f64 / total as f64 * 100.0).min(100.0))
    }
}

/// The first line of `/proc/stat` (proc_stat(5)). Guest time is part of user time already.
#[cfg(target_os = "linux")]
fn parse_cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, idle, iowait, rest @ ..] = ticks.as_slice() else {
        return None;
    };
    let busy = user + nice + system + rest.iter().sum::<u64>();
    Some(CpuTimes { busy, total: busy + idle + iowait })
}

#[cfg(not(target_os = "linux"))]
#[derive(Default)]
struct CpuMeter {
    /// When the library took the reading that it compares with.
    last: Option<std::time::Instant>,
}

#[cfg(not(target_os = "linux"))]
impl CpuMeter {
    fn since_last(&mut self, system: &mut System) -> Option<f64> {
        if self.last.is_some_and(|at| at.elapsed() < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL) {
            return None;
        }
        system.refresh_cpu_usage();
        self.last.replace(std::time::Instant::now())?;
        Some(f64::from(system.global_cpu_usage())).filter(|percent| percent.is_finite())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_proc_stat_is_read() {
        let stat = "cpu  10 2 30 900 50 1 2 5 4 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(parse_cpu_times(stat), Some(CpuTimes { busy: 50, total: 1000 }));
        // Old kernels tell fewer columns.
        assert_eq!(parse_cpu_times("cpu  10 0 10 70 10"), Some(CpuTimes { busy: 20, total: 100 }));
        for junk in ["", "cpu ", "cpu  1 2 3", "cpu  a b c d e", "cpu0 1 2 3 4 5"] {
            assert_eq!(parse_cpu_times(junk), None, "{junk:?}");
        }
    }

    #[test]
    fn a_rate_needs_two_readings_that_grow() {
        let mut meter = CpuMeter::default();
        let at = |busy, total| CpuTimes { busy, total };
        assert_eq!(meter.since_last(at(100, 1000)), None);
        assert_eq!(meter.since_last(at(125, 1100)), Some(25.0));
        assert_eq!(meter.since_last(at(125, 1100)), None, "no time passed");
        assert_eq!(meter.since_last(at(120, 1000)), None, "a core went offline");
        assert_eq!(meter.since_last(at(120, 1010)), Some(0.0));
    }
}
