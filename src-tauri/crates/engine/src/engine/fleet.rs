//! Which servers there are: one supervisor for each that the settings name, and what a change of the settings does to
//! them while the engine runs.

use crate::{
    actors::{
        notifier::NotifierHandle,
        supervisor::{self, SupervisorHandle},
        supervisors::Supervisors,
    },
    hub::{Hub, Report},
    server_log::ServerLog,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    server::{ServerId, ServerKind},
    settings::{
        RemoteSettings, Settings,
        keys::{RestartOf, waiting},
    },
};
use pilothouse_leases::Leases;
use pilothouse_servers::{ServerAdapter, discovery::discover, llama_server, lmstudio, ollama, openai};
use pilothouse_system::{keys::Keys, paths::Paths, process::ThisSystem};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// The time in which known servers are mostly found or started.
const LOOK_AROUND_AFTER: Duration = Duration::from_secs(5);

/// Starts supervisors and ends those of servers that are no longer in the settings.
pub(crate) struct Fleet {
    pub paths: Paths,
    pub hub: Hub,
    pub notifier: NotifierHandle,
    pub leases: Leases,
    pub keys: Keys,
    pub supervisors: Supervisors,
}

impl Fleet {
    /// One supervisor for each server that is enabled.
    pub fn start(&self, settings: &Settings) {
        let own_dir = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Into::into));
        let places = llama_server::Places {
            embedded: self.paths.embedded.clone(),
            models: self.paths.data.join("models"),
            run: self.paths.run.clone(),
            beside_app: own_dir,
        };
        let wanted = &settings.servers;
        if wanted.llama_server.enabled {
            let server = llama_server::LlamaServer::new(wanted.llama_server.clone(), places);
            self.add(Arc::new(server), settings, wanted.llama_server.autostart);
        }
        if wanted.ollama.enabled {
            let server = ollama::Ollama::new(wanted.ollama.clone(), self.paths.user_home.clone());
            self.add(Arc::new(server), settings, wanted.ollama.autostart);
        }
        if wanted.lmstudio.enabled {
            let home = self.paths.user_home.clone();
            let server = lmstudio::LmStudio::new(wanted.lmstudio.clone(), home, self.keys.clone());
            self.add(Arc::new(server), settings, wanted.lmstudio.autostart);
        }
        for (name, remote) in &enabled(settings) {
            self.add_remote(name, remote, settings);
        }
    }

    /// Tells once what else runs on this machine, when those that are known have been found.
    pub fn look_around(&self) {
        let hub = self.hub.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LOOK_AROUND_AFTER).await;
            let found = discover(&hub.now()).await;
            hub.report(Report::Discovered(found));
        });
    }

    /// Connects servers anew whose key can be read at last: the keyring was locked, say.
    pub fn follow_keys(&self) -> JoinHandle<()> {
        let (keys, supervisors) = (self.keys.clone(), self.supervisors.clone());
        tokio::spawn(async move {
            loop {
                let server = keys.newly_read().await;
                if let Ok(supervisor) = supervisors.get(&server) {
                    supervisor.key_changed().await;
                }
            }
        })
    }

    fn add_remote(&self, name: &str, remote: &RemoteSettings, settings: &Settings) {
        let server = openai::OpenAi::new(name, remote.clone(), self.keys.clone());
        self.add(Arc::new(server), settings, true);
    }

    fn add(&self, adapter: Arc<dyn ServerAdapter>, settings: &Settings, autostart: bool) {
        let wiring = supervisor::SupervisorWiring {
            hub: self.hub.clone(),
            notifier: self.notifier.clone(),
            log: Arc::new(ServerLog::new(&self.paths.server_logs(), &adapter.id())),
            run_dir: self.paths.run.clone(),
            policy: settings.restart.policy(),
            leases: self.leases.clone(),
            processes: Arc::new(ThisSystem),
        };
        self.supervisors.add(SupervisorHandle::start(adapter, wiring, autostart));
    }

    /// Puts changed settings in force: servers of other owners at once, the rest is said to need a restart.
    /// `started_with`: the settings by which the servers were started. `in_force`: those before this change.
    pub async fn follow(&self, started_with: &Settings, in_force: &Settings, wanted: &Settings) {
        let (before, after) = (enabled(in_force), enabled(wanted));
        for (name, remote) in &before {
            if after.get(name) != Some(remote)
                && let Some(supervisor) = self.supervisors.remove(&ServerId::new(name.as_str()))
            {
                supervisor.shutdown().await;
                self.hub.report(Report::ServerGone(supervisor.id));
            }
        }
        for (name, remote) in &after {
            if before.get(name) != Some(remote) {
                self.add_remote(name, remote, wanted);
            }
        }
        for supervisor in self.supervisors.all() {
            supervisor.set_policy(wanted.restart.policy()).await;
        }
        self.hub.report(what_waits(started_with, wanted));
    }
}

/// Whether anything in the settings file waits for a restart, and of what.
pub(super) fn what_waits(in_force: &Settings, wanted: &Settings) -> Report {
    let late = waiting(in_force, wanted);
    if late.is_empty() {
        return Report::TroubleOver(ErrorCode::RestartNeeded);
    }
    let keys: Vec<&str> = late.iter().map(|waiting| waiting.key.as_str()).collect();
    let text = format!("Changed in the settings file and not yet in force: {}.", keys.join(", "));
    let mut servers: Vec<String> = late
        .iter()
        .filter_map(|waiting| match &waiting.restart {
            RestartOf::Server { server } => Some(title_of(server)),
            RestartOf::Pilothouse => None,
        })
        .collect();
    servers.dedup();
    let hint = match late.iter().any(|waiting| waiting.restart == RestartOf::Pilothouse) {
        true => "Quit Pilothouse and start it again.".into(),
        false => format!("In force after the next start of {}.", servers.join(" and ")),
    };
    Report::Trouble(ApiError::new(ErrorCode::RestartNeeded, text).hint(hint))
}

fn title_of(server: &ServerId) -> String {
    let kinds = [ServerKind::LlamaServer, ServerKind::Ollama, ServerKind::LmStudio];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == server.as_str());
    kind.map_or_else(|| server.to_string(), |kind| kind.title().to_owned())
}

fn enabled(settings: &Settings) -> BTreeMap<String, RemoteSettings> {
    let remotes = settings.servers.remote.iter().filter(|(_, remote)| remote.enabled);
    remotes.map(|(name, remote)| (name.clone(), remote.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_at_a_start_needs_another_one_and_it_is_said_of_what() {
        let start = Settings::default();
        let said = |wanted: &Settings| match what_waits(&start, wanted) {
            Report::Trouble(error) => Some((error.message, error.hint.unwrap())),
            _ => None,
        };
        let mut wanted = start.clone();
        wanted.gauges.interval_ms = 500;
        wanted.gateway.wait_s = 5;
        wanted.servers.remote.insert("studio".into(), RemoteSettings::default());
        assert_eq!(said(&wanted), None);
        wanted.servers.ollama.context = 8192;
        wanted.servers.ollama.parallel = 2;
        let (text, hint) = said(&wanted).unwrap();
        assert!(text.ends_with(": servers.ollama.context, servers.ollama.parallel."), "{text}");
        assert_eq!(hint, "In force after the next start of Ollama.");
        wanted.servers.llama_server.parallel = 2;
        assert_eq!(said(&wanted).unwrap().1, "In force after the next start of Ollama and llama-server.");
        wanted.gateway.hosts.push("host.docker.internal".into());
        let (text, hint) = said(&wanted).unwrap();
        assert!(text.contains("gateway.hosts, servers.ollama.context"), "{text}");
        assert!(hint.starts_with("Quit Pilothouse"), "{hint}");
    }
}
