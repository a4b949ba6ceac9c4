//! Words about containers, and what the engine's own words mean.

use super::{ContainerHealth, ContainerProblem, ContainerReading, ContainerState, Containers};
use crate::notice::{Draft, NoticeAct, NoticeKind, NoticeLevel};

/// A port of a container as the API lists it (`Ports`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Where it is reached from outside: the address that it listens at ("0.0.0.0", "::", "127.0.0.1") and its number.
    pub public: Option<(String, u16)>,
    /// Within the container.
    pub private: u16,
    /// "tcp", "udp", "sctp".
    pub protocol: String,
}

/// One line per port. The two lines for all addresses of IPv4 and of IPv6 are one; those that only other containers reach
/// are said as such.
pub fn ports(mut list: Vec<Port>) -> Vec<String> {
    list.sort_by(|a, b| {
        let public = |port: &Port| port.public.as_ref().map(|(_, number)| *number);
        (public(a).is_none(), public(a), a.private).cmp(&(public(b).is_none(), public(b), b.private))
    });
    let mut lines: Vec<String> = Vec::new();
    for port in &list {
        let inside = format!("{}/{}", port.private, port.protocol);
        let line = match &port.public {
            None => format!("{inside}, inside only"),
            Some((ip, number)) if ["", "0.0.0.0", "::"].contains(&ip.as_str()) => {
                format!("{number} → {inside}")
            }
            Some((ip, number)) if ip.contains(':') => format!("[{ip}]:{number} → {inside}"),
            Some((ip, number)) => format!("{ip}:{number} → {inside}"),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Health and exit code as the engine's own line tells them: before API 1.52 its list has no other place for them. Known from
/// the engine's source: "Up 3 hours (unhealthy)", "Up 2 seconds (health: starting)", "Exited (137) 2 days ago", "Restarting (1)
/// 5 seconds ago".
pub fn seen_status(status: &str) -> (ContainerHealth, Option<i32>) {
    let within = status.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(within, _)| within);
    let health = match within {
        Some("healthy") => ContainerHealth::Healthy,
        Some("unhealthy") => ContainerHealth::Unhealthy,
        Some("health: starting") => ContainerHealth::Starting,
        _ => ContainerHealth::None,
    };
    (health, within.and_then(|within| within.parse().ok()))
}

impl ContainerReading {
    /// State, and health where there is one: "running, unhealthy", "exited with code 137 (killed)".
    pub fn words(&self) -> String {
        let state = match self.state {
            ContainerState::Created => "created, never started",
            ContainerState::Running => "running",
            ContainerState::Paused => "paused",
            ContainerState::Restarting => "restarting",
            ContainerState::Stopping => "stopping",
            ContainerState::Removing => "being removed",
            ContainerState::Dead => "dead",
            ContainerState::Exited => return format!("exited{}", self.exit_words()),
            ContainerState::Unknown => return self.status.clone(),
        };
        match self.health {
            ContainerHealth::Unhealthy if self.state.is_up() => format!("{state}, unhealthy"),
            ContainerHealth::Healthy if self.state.is_up() => format!("{state}, healthy"),
            ContainerHealth::Starting if self.state.is_up() => format!("{state}, health not known yet"),
            _ => state.to_owned(),
        }
    }

    /// " with code 137 (killed)"; empty when it is not known.
    fn exit_words(&self) -> String {
        match (self.exit_code, self.oom_killed) {
            (Some(code), Some(true)) => format!(" with code {code} (out of memory)"),
            (Some(137), _) => " with code 137 (killed)".into(),
            (Some(code), _) => format!(" with code {code}"),
            (None, _) => String::new(),
        }
    }

    /// Why it has its problem and what that means, for a person who does not know it.
    pub fn explain(&self, problem: ContainerProblem) -> String {
        match problem {
            ContainerProblem::Unhealthy => {
                "Its health check fails. Programs that use it may get no answer.".into()
            }
            ContainerProblem::KeepsRestarting => {
                let code = self.exit_code.filter(|code| *code != 0);
                let code = code.map(|code| format!(" with code {code}")).unwrap_or_default();
                format!(
                    "It ends{code} again and again, and Docker starts it again each time. Programs that use it get no steady answer."
                )
            }
            ContainerProblem::Failed => {
                format!("It has exited{}. Nothing answers in its place.", self.exit_words())
            }
        }
    }
}

impl Containers {
    /// "4 containers, 3 running".
    pub fn summary(&self) -> String {
        let up = self.list.iter().filter(|one| one.state.is_up()).count();
        match self.list.len() {
            0 => "no containers".into(),
            1 => format!("1 container, {up} running"),
            n => format!("{n} containers, {up} running"),
        }
    }
}

/// The notice about containers that have come into the same trouble together.
pub fn draft(problem: ContainerProblem, containers: &[ContainerReading]) -> Draft {
    let names: Vec<&str> = containers.iter().map(|one| one.name.as_str()).collect();
    let (title, body, hint) = match containers {
        [one] => {
            let title = match problem {
                ContainerProblem::Unhealthy => format!("Container {} is unhealthy", one.name),
                ContainerProblem::KeepsRestarting => format!("Container {} keeps restarting", one.name),
                ContainerProblem::Failed => format!("Container {} has failed", one.name),
            };
            (title, one.explain(problem), format!("Look at its log: docker logs {}", one.name))
        }
        several => {
            let n = several.len();
            let title = match problem {
                ContainerProblem::Unhealthy => format!("{n} containers are unhealthy"),
                ContainerProblem::KeepsRestarting => format!("{n} containers keep restarting"),
                ContainerProblem::Failed => format!("{n} containers have failed"),
            };
            let why = match problem {
                ContainerProblem::Unhealthy => "Their health checks fail",
                ContainerProblem::KeepsRestarting => {
                    "They end again and again, and Docker starts them again each time"
                }
                ContainerProblem::Failed => "They have exited with an error",
            };
            let body = format!("{}. {why}. Programs that use them may get no answer.", some(&names));
            (title, body, "Look at the log of each: docker logs NAME".into())
        }
    };
    let incident = format!("containers:{problem:?}:{}", names.join(","));
    Draft::new(NoticeLevel::Attention, NoticeKind::Container, title, body, incident)
        .hint(Some(hint))
        .acts([NoticeAct::ShowContainers])
}

/// The first names of a list that may be long.
fn some(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => {
            format!("{} and {} more", first.join(", "), names.len() - SHOWN)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::container, *};

    #[test]
    fn ports_are_said_once_and_those_for_the_outside_first() {
        let port = |public: Option<(&str, u16)>, private| Port {
            public: public.map(|(ip, number)| (ip.to_owned(), number)),
            private,
            protocol: "tcp".into(),
        };
        let list = vec![
            port(None, 9300),
            port(Some(("0.0.0.0", 8080)), 80),
            port(Some(("::", 8080)), 80),
            port(Some(("127.0.0.1", 5432)), 5432),
            port(Some(("::1", 6333)), 6333),
        ];
        assert_eq!(
            ports(list),
            ["127.0.0.1:5432 → 5432/tcp", "[::1]:6333 → 6333/tcp", "8080 → 80/tcp", "9300/tcp, inside only"]
        );
    }

    #[test]
    fn the_engines_line_tells_health_and_exit_code() {
        for (status, health, code) in [
            ("Up 3 hours (unhealthy)", ContainerHealth::Unhealthy, None),
            ("Up 3 hours (healthy)", ContainerHealth::Healthy, None),
            ("Up Less than a second (health: starting)", ContainerHealth::Starting, None),
            ("Up 2 minutes", ContainerHealth::None, None),
            ("Up 2 minutes (Paused)", ContainerHealth::None, None),
            ("Exited (137) 2 days ago", ContainerHealth::None, Some(137)),
            ("Restarting (1) 5 seconds ago", ContainerHealth::None, Some(1)),
            ("Created", ContainerHealth::None, None),
            ("((", ContainerHealth::None, None),
        ] {
            assert_eq!(seen_status(status), (health, code), "{status}");
        }
    }

    #[test]
    fn one_and_several_are_told_with_cause_and_consequence() {
        let one = draft(ContainerProblem::Unhealthy, &[container("search")]);
        assert_eq!(one.title, "Container search is unhealthy");
        assert_eq!(one.body, "Its health check fails. Programs that use it may get no answer.");
        assert_eq!(one.hint.as_deref(), Some("Look at its log: docker logs search"));
        let two = draft(ContainerProblem::Unhealthy, &[container("admin"), container("search")]);
        assert_eq!(two.title, "2 containers are unhealthy");
        assert!(two.body.starts_with("admin, search. Their health checks fail."), "{}", two.body);
        let names: Vec<ContainerReading> = (0..30).map(|n| container(&n.to_string())).collect();
        assert!(draft(ContainerProblem::Failed, &names).body.contains("6, 7 and 22 more."));
    }

    #[test]
    fn an_end_is_said_with_its_code_and_what_that_means() {
        let ended = |exit_code, oom_killed| {
            let state = ContainerState::Exited;
            ContainerReading { state, exit_code, oom_killed, ..container("a") }
        };
        assert_eq!(ended(Some(137), Some(false)).words(), "exited with code 137 (killed)");
        assert_eq!(ended(Some(137), Some(true)).words(), "exited with code 137 (out of memory)");
        assert_eq!(ended(Some(0), None).words(), "exited with code 0");
        assert_eq!(ended(None, None).words(), "exited");
        assert_eq!(container("a").words(), "running, healthy");
    }
}
