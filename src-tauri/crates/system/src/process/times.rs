use pilothouse_domain::bench::quiet::{CpuTimes, ProcessTime};
use std::{sync::LazyLock, time::Instant};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The processor time of every process that this user may see. Reads hundreds of small files: a few milliseconds. `None`: the
/// system tells nothing.
pub fn cpu_times() -> Option<CpuTimes> {
    let epoch = *EPOCH;
    let mut system = System::new().ok()?;
    let kind = ProcessRefreshKind::nothing().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let of = |(pid, process): (&sysinfo::Pid, &sysinfo::Process)| ProcessTime {
        pid: pid.as_u32(),
        started: process.start_time(),
        name: process.name().to_string_lossy().into_owned(),
        cpu_s: process.accumulated_cpu_time() as f64 / 1000.0,
    };
    let processes = system.processes().iter().map(of).collect();
    Some(CpuTimes { at_s: epoch.elapsed().as_secs_f64(), processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_work_is_seen() {
        let us = |times: &CpuTimes| {
            let us = times.processes.iter().find(|process| process.pid == std::process::id());
            us.map(|process| process.cpu_s).unwrap()
        };
        let before = cpu_times().unwrap();
        let mut after = cpu_times().unwrap();
        // Sooner or later it shows; the clock of the kernel ticks a hundred times a second.
        while us(&after) - us(&before) < 0.02 {
            after = cpu_times().unwrap();
        }
        assert!(after.at_s > before.at_s);
        assert!(us(&after) - us(&before) < 8.0 * (after.at_s - before.at_s) + 0.1);
    }
}
