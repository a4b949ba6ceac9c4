//! Containers of this machine as the Docker engine's API tells of them, and which of them need a person.
//!
//! On Linux the processes of containers are ordinary processes of this machine, so their memory is a part of its memory. On
//! macOS they run in a virtual machine, which takes more than they do together.

mod watch;
mod words;

pub use watch::Watch;
pub use words::{Port, draft, ports, seen_status};

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Where a container stands in its life, in the words of the engine's API (`State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    /// It ended and the engine waits before it starts it again.
    Restarting,
    Stopping,
    Removing,
    Exited,
    /// It could not be removed in full.
    Dead,
    /// A word that this version does not know; `status` has the engine's own.
    Unknown,
}

impl ContainerState {
    /// Whether it has processes.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Stopping)
    }
}

/// What the container's own health check says (API: `Health.Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ContainerHealth {
    /// Its image has no health check.
    None,
    /// It was started a short while ago; failures do not count yet.
    Starting,
    Healthy,
    Unhealthy,
}

/// What is wrong with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ContainerProblem {
    Unhealthy,
    KeepsRestarting,
    /// It ended by itself with an error, and nobody starts it again.
    Failed,
}

/// What the engine does when a container ends (API: `HostConfig.RestartPolicy.Name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum RestartPolicy {
    No,
    OnFailure,
    /// `always` and `unless-stopped`: whatever ends is started again, so one that stays ended was stopped by somebody.
    Always,
}

/// One container at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ContainerReading {
    /// The engine's long id.
    pub id: String,
    /// Without the slash that the API puts before it.
    pub name: String,
    pub image: String,
    pub state: ContainerState,
    pub health: ContainerHealth,
    /// The engine's own line ("Up 3 hours (unhealthy)"), as `docker ps` shows it.
    pub status: String,
    pub problem: Option<ContainerProblem>,
    /// Of the last end; `None`: it has not ended, or the engine did not tell.
    pub exit_code: Option<i32>,
    /// The kernel ended it for want of memory. `None`: not told.
    pub oom_killed: Option<bool>,
    /// In words, one per port: "8080 → 80/tcp".
    pub ports: Vec<String>,
    /// What `docker stats` shows: the usage of its control group without the inactive file cache. `None`: not up, or not told.
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_absent: Option<String>,
    /// How `memory_bytes` was reckoned ("usage without inactive_file").
    pub memory_source: Option<String>,
    /// Its own limit; without one, the memory of the machine (or virtual machine) that it runs in.
    pub memory_limit_bytes: Option<u64>,
    /// 100 = one core fully used. From two readings, as `docker stats` reckons it.
    pub cpu_percent: Option<f64>,
    /// Starts by the engine itself since a person started it. `None`: not told.
    pub restart_count: Option<u32>,
    pub restart_policy: Option<RestartPolicy>,
    /// When it was started, or, once it has ended, when it ended.
    #[ts(type = "string | null")]
    pub since: Option<Timestamp>,
}

impl ContainerReading {
    /// Whether it ended with an error by itself: 0 is a good end, 130 and 143 are the end by Ctrl-C and by SIGTERM, which is
    /// how people and `docker stop` end containers.
    fn ended_badly(&self) -> bool {
        self.state == ContainerState::Exited
            && self.restart_policy != Some(RestartPolicy::Always)
            && (self.oom_killed == Some(true)
                || self.exit_code.is_some_and(|code| ![0, 130, 143].contains(&code)))
    }
}

/// All containers of one engine at one moment: those with a problem first, then by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Containers {
    #[ts(type = "string")]
    pub at: Timestamp,
    /// The version of the engine ("28.3.2"); Podman tells its own.
    pub engine_version: Option<String>,
    /// The path of the socket that was asked.
    pub socket: String,
    pub list: Vec<ContainerReading>,
    /// Why the list is not all of it.
    pub incomplete: Option<String>,
}

impl Containers {
    /// Memory of all containers that are up and whose memory is known. `None`: of none it is known. On Linux these are pages
    /// of this machine that its process trees count as well; on macOS they lie within the virtual machine's memory.
    pub fn memory_bytes(&self) -> Option<u64> {
        let known = self.list.iter().filter(|one| one.state.is_up()).filter_map(|one| one.memory_bytes);
        known.fold(None, |sum: Option<u64>, bytes| Some(sum.unwrap_or(0).saturating_add(bytes)))
    }

    pub fn with_problem(&self) -> impl Iterator<Item = (&ContainerReading, ContainerProblem)> {
        self.list.iter().filter_map(|one| Some((one, one.problem?)))
    }
}

/// Memory as `docker stats` reckons it: the usage without the inactive part of the file cache, which the kernel can take back
/// at once. Control groups of version 1 call that part `total_inactive_file`, those of version 2 `inactive_file`. Gives the
/// words for its source beside it.
pub fn used_memory(usage: u64, part: impl Fn(&str) -> Option<u64>) -> (u64, &'static str) {
    if let Some(cache) = part("total_inactive_file").filter(|cache| *cache < usage) {
        return (usage - cache, "usage without total_inactive_file (control groups version 1)");
    }
    if let Some(cache) = part("inactive_file").filter(|cache| *cache < usage) {
        return (usage - cache, "usage without inactive_file (control groups version 2)");
    }
    (usage, "usage, file cache included")
}

/// A container's processor time at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTime {
    /// Of the container, in nanoseconds (`cpu_usage.total_usage`).
    pub used_ns: u64,
    /// Of all cores of its machine together, idle time included, in nanoseconds (`system_cpu_usage`).
    pub system_ns: u64,
    pub cores: u32,
}

/// Share of one core between two moments, 100 = one core. `None`: no time has passed, or it was started anew in between.
pub fn cpu_percent(before: CpuTime, now: CpuTime) -> Option<f64> {
    let used = now.used_ns.checked_sub(before.used_ns)?;
    let system = now.system_ns.checked_sub(before.system_ns).filter(|system| *system > 0)?;
    Some(used as f64 / system as f64 * f64::from(now.cores) * 100.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A running container without trouble.
    pub fn container(name: &str) -> ContainerReading {
        ContainerReading {
            id: format!("id-{name}"),
            name: name.into(),
            image: "image".into(),
            state: ContainerState::Running,
            health: ContainerHealth::Healthy,
            status: "Up 3 hours (healthy)".into(),
            problem: None,
            exit_code: None,
            oom_killed: Some(false),
            ports: vec![],
            memory_bytes: Some(100),
            memory_bytes_absent: None,
            memory_source: None,
            memory_limit_bytes: None,
            cpu_percent: None,
            restart_count: Some(0),
            restart_policy: Some(RestartPolicy::No),
            since: None,
        }
    }

    pub fn containers(list: Vec<ContainerReading>) -> Containers {
        Containers {
            at: Timestamp::UNIX_EPOCH,
            engine_version: None,
            socket: "/var/run/docker.sock".into(),
            list,
            incomplete: None,
        }
    }

    #[test]
    fn the_sum_is_of_those_that_are_up_and_known() {
        let up = container("a");
        let unknown = ContainerReading { memory_bytes: None, ..container("b") };
        let ended = ContainerReading { state: ContainerState::Exited, ..container("c") };
        assert_eq!(containers(vec![up, unknown.clone(), ended.clone()]).memory_bytes(), Some(100));
        assert_eq!(containers(vec![unknown, ended]).memory_bytes(), None, "absent is not zero");
    }

    #[test]
    fn memory_is_reckoned_as_docker_stats_does() {
        for (usage, parts, wanted) in [
            (1000, &[("inactive_file", 300)][..], 700),
            (1000, &[("total_inactive_file", 400), ("inactive_file", 300)], 600),
            (1000, &[("inactive_file", 1000)], 1000),
            (1000, &[], 1000),
        ] {
            let part = |name: &str| parts.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            assert_eq!(used_memory(usage, part).0, wanted, "{parts:?}");
        }
    }

    #[test]
    fn processor_time_is_a_share_of_one_core() {
        let at = |used_ns, system_ns| CpuTime { used_ns, system_ns, cores: 4 };
        // Ten seconds of four cores, of which the container used one core for five seconds.
        assert_eq!(cpu_percent(at(0, 0), at(5_000_000_000, 40_000_000_000)), Some(50.0));
        assert_eq!(cpu_percent(at(9, 0), at(1, 40)), None, "started anew");
        assert_eq!(cpu_percent(at(1, 40), at(2, 40)), None, "no time has passed");
    }

    #[test]
    fn an_end_by_a_person_is_no_failure() {
        let ended = |exit_code, oom_killed, restart_policy| {
            let state = ContainerState::Exited;
            ContainerReading { state, exit_code, oom_killed, restart_policy, ..container("a") }.ended_badly()
        };
        let (no, always) = (Some(RestartPolicy::No), Some(RestartPolicy::Always));
        for code in [0, 130, 143] {
            assert!(!ended(Some(code), None, no), "{code}");
        }
        assert!(ended(Some(1), None, no) && ended(Some(137), None, None));
        assert!(ended(Some(0), Some(true), no), "the kernel ended a part of it");
        assert!(!ended(Some(137), None, always), "the engine would have started it again");
        assert!(!ended(None, None, no), "not told");
    }
}
