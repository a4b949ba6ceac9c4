//! From the models of the engine's API to readings. Everything in them may be missing.

use bollard::models::{
    ContainerCpuStats, ContainerInspectResponse, ContainerStatsResponse, ContainerSummary,
    ContainerSummaryStateEnum as State, HealthStatusEnum, PortSummary, RestartPolicyNameEnum,
};
use pilothouse_domain::{
    Timestamp,
    container::{
        ContainerHealth, ContainerReading, ContainerState, CpuTime, Port, RestartPolicy, ports, seen_status,
        used_memory,
    },
};

/// Names and pictures of an engine that answers nonsense must not fill our memory.
const MAX_TEXT: usize = 200;

/// What was asked about one container beside the list.
#[derive(Default)]
pub(super) struct Detail {
    pub inspected: Option<ContainerInspectResponse>,
    /// Or why there are none.
    pub stats: Option<Result<ContainerStatsResponse, String>>,
}

/// The id of a container, if it is one: it becomes a part of the path of further questions.
pub(super) fn id(summary: &ContainerSummary) -> Option<String> {
    let id = summary.id.as_deref().filter(|id| (1..=128).contains(&id.len()))?;
    id.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| id.to_owned())
}

pub(super) fn state(summary: &ContainerSummary) -> ContainerState {
    match summary.state {
        Some(State::CREATED) => ContainerState::Created,
        Some(State::RUNNING) => ContainerState::Running,
        Some(State::PAUSED) => ContainerState::Paused,
        Some(State::RESTARTING) => ContainerState::Restarting,
        Some(State::STOPPING) => ContainerState::Stopping,
        Some(State::REMOVING) => ContainerState::Removing,
        Some(State::EXITED) => ContainerState::Exited,
        Some(State::DEAD) => ContainerState::Dead,
        Some(State::EMPTY) | None => ContainerState::Unknown,
    }
}

/// A reading without processor share: that takes two.
pub(super) fn reading(id: String, summary: ContainerSummary, detail: &Detail) -> ContainerReading {
    let state = state(&summary);
    let status = clipped(summary.status.as_deref().unwrap_or_default());
    let (seen_health, seen_code) = seen_status(&status);
    let inspected = detail.inspected.as_ref();
    let told = inspected.and_then(|inspected| inspected.state.as_ref());
    // Asked about in full, a container without a health check has no health at all.
    let health = match told {
        Some(told) => health(told.health.as_ref().and_then(|health| health.status)),
        None => seen_health,
    };
    let has_ended =
        matches!(state, ContainerState::Exited | ContainerState::Restarting | ContainerState::Dead);
    let told_code = told.and_then(|told| told.exit_code).and_then(|code| i32::try_from(code).ok());
    let since = told.and_then(|told| match has_ended {
        true => told.finished_at.as_deref(),
        false => told.started_at.as_deref(),
    });
    let (memory, memory_bytes_absent) = match memory(state, detail.stats.as_ref()) {
        Ok(memory) => (Some(memory), None),
        Err(reason) => (None, Some(reason)),
    };
    ContainerReading {
        name: name(&summary).unwrap_or_else(|| id.chars().take(12).collect()),
        id,
        image: clipped(summary.image.as_deref().unwrap_or_default()),
        state,
        health,
        status,
        problem: None,
        // The list first, as the state is the list's: one that keeps restarting may run again when it is asked about, and
        // then its code is 0.
        exit_code: seen_code.or(told_code).filter(|_| has_ended),
        oom_killed: told.and_then(|told| told.oom_killed),
        ports: ports(summary.ports.unwrap_or_default().into_iter().take(MAX_TEXT).map(port).collect()),
        memory_bytes: memory.as_ref().map(|(bytes, ..)| *bytes),
        memory_bytes_absent,
        memory_source: memory.as_ref().map(|(_, source, _)| (*source).to_owned()),
        memory_limit_bytes: memory.and_then(|(.., limit)| limit),
        cpu_percent: None,
        restart_count: inspected
            .and_then(|inspected| inspected.restart_count)
            .and_then(|count| u32::try_from(count).ok()),
        restart_policy: inspected.and_then(restart_policy),
        since: since.and_then(instant),
    }
}

/// Bytes, how they were reckoned, and the limit.
fn memory(
    state: ContainerState,
    stats: Option<&Result<ContainerStatsResponse, String>>,
) -> Result<(u64, &'static str, Option<u64>), String> {
    let stats = match stats {
        Some(Ok(stats)) => stats.memory_stats.as_ref(),
        Some(Err(reason)) => return Err(reason.clone()),
        None if state.is_up() => return Err("not asked: there are too many containers".into()),
        None => return Err("not running".into()),
    };
    // An engine without memory control groups tells an empty object.
    let stats = stats.and_then(|stats| Some((stats.usage.filter(|usage| *usage > 0)?, stats)));
    let (usage, stats) = stats.ok_or("the engine does not tell it")?;
    let part = |name: &str| stats.stats.as_ref().and_then(|parts| parts.get(name)).copied();
    let (bytes, source) = used_memory(usage, part);
    Ok((bytes, source, stats.limit.filter(|limit| *limit > 0)))
}

/// `None`: the engine does not tell enough.
pub(super) fn cpu_time(detail: &Detail) -> Option<CpuTime> {
    let Some(Ok(stats)) = &detail.stats else { return None };
    let ContainerCpuStats { cpu_usage, system_cpu_usage, online_cpus, .. } = stats.cpu_stats.as_ref()?;
    Some(CpuTime {
        used_ns: cpu_usage.as_ref()?.total_usage?,
        system_ns: (*system_cpu_usage)?,
        cores: online_cpus.filter(|cores| *cores > 0)?,
    })
}

fn health(told: Option<HealthStatusEnum>) -> ContainerHealth {
    match told {
        Some(HealthStatusEnum::STARTING) => ContainerHealth::Starting,
        Some(HealthStatusEnum::HEALTHY) => ContainerHealth::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => ContainerHealth::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => ContainerHealth::None,
    }
}

fn restart_policy(inspected: &ContainerInspectResponse) -> Option<RestartPolicy> {
    let policy = inspected.host_config.as_ref()?.restart_policy.as_ref()?;
    Some(match policy.name? {
        RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED => RestartPolicy::Always,
        RestartPolicyNameEnum::ON_FAILURE => RestartPolicy::OnFailure,
        RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY => RestartPolicy::No,
    })
}

/// Links give a container further names ("/web/db"); its own has one slash only.
fn name(summary: &ContainerSummary) -> Option<String> {
    let mut names = summary.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    names.find(|name| !name.is_empty() && !name.contains('/')).map(clipped)
}

fn port(port: PortSummary) -> Port {
    Port {
        public: port.public_port.map(|number| (clipped(port.ip.as_deref().unwrap_or_default()), number)),
        private: port.private_port,
        protocol: port.typ.map_or_else(|| "tcp".into(), |protocol| protocol.to_string()),
    }
}

/// The engine writes the year 1 for "never".
fn instant(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|at| at.as_second() > 0)
}

fn clipped(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerState as Told;

    #[test]
    fn the_exit_code_is_of_the_same_moment_as_the_state() {
        for (state, status, told, code) in [
            (State::RESTARTING, "Restarting (1) 26 seconds ago", Some(0), Some(1)),
            (State::RESTARTING, "Restarting (1) 26 seconds ago", None, Some(1)),
            (State::EXITED, "Exited (137) 2 hours ago", Some(137), Some(137)),
            (State::EXITED, "Exited (0) 2 hours ago", Some(3), Some(0)),
            (State::DEAD, "Dead", Some(2), Some(2)),
            (State::RUNNING, "Up 2 hours", Some(0), None),
            (State::EXITED, "", None, None),
        ] {
            let summary =
                ContainerSummary { state: Some(state), status: Some(status.into()), ..Default::default() };
            let inspected = told.map(|exit_code| ContainerInspectResponse {
                state: Some(Told { exit_code: Some(exit_code), ..Default::default() }),
                ..Default::default()
            });
            let read = reading("a".into(), summary, &Detail { inspected, stats: None });
            assert_eq!(read.exit_code, code, "{status}, told {told:?}");
        }
    }
}
