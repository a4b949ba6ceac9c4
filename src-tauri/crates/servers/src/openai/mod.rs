//! Any OpenAI-compatible endpoint of another owner, mostly on another machine: Ollama, LM Studio, vLLM, LiteLLM, another
//! Pilothouse. Watched and used; never started, stopped, or told what to load.

mod answer;
mod asking;
mod client;
mod embedding;
mod wire;

pub(super) use answer::OpenAiAnswer;
pub(super) use asking::Asking;
pub(super) use embedding::embed;
pub(super) use wire::{Message, Timings};

use crate::{Found, Installation, Launch, ServerAdapter, ServerClient};
use async_trait::async_trait;
use client::OpenAiClient;
use pilothouse_domain::{
    endpoint::{Endpoint, parsed},
    error::{ApiError, ErrorCode},
    server::{Abilities, Ownership, ServerId, ServerKind},
    settings::RemoteSettings,
};
use pilothouse_system::{
    connect::{is_here, port_of},
    keys::Keys,
    process::{Exit, ProcessSpec, listener},
};
use std::{sync::Arc, time::Duration};

/// The adapter.
pub struct OpenAi {
    id: ServerId,
    settings: RemoteSettings,
    keys: Keys,
}

impl OpenAi {
    /// `name` is the table's name in the settings and the server's id.
    pub fn new(name: &str, settings: RemoteSettings, keys: Keys) -> Self {
        Self { id: ServerId::new(name), settings, keys }
    }

    /// The base of its API. An address without a path gets the usual one.
    fn base_url(&self) -> String {
        let address = self.settings.address.trim_end_matches('/');
        let bare = parsed(address).is_none_or(|url| url.path() == "/");
        if bare { format!("{address}/v1") } else { address.to_owned() }
    }
}

/// Programs that hold a port for a server elsewhere: their memory is not its memory.
const PASSERS_ON: [&str; 4] = ["ssh", "docker-proxy", "rootlessport", "kubectl"];

#[async_trait]
impl ServerAdapter for OpenAi {
    fn id(&self) -> ServerId {
        self.id.clone()
    }

    fn kind(&self) -> ServerKind {
        ServerKind::OpenAi
    }

    fn title(&self) -> String {
        match self.settings.title.as_str() {
            "" => self.id.to_string(),
            title => title.to_owned(),
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities { key: true, ..Abilities::default() }
    }

    fn found_as(&self) -> Ownership {
        Ownership::Remote
    }

    async fn locate(&self) -> Installation {
        Installation::NotInstalled {
            reason: format!("{} belongs to somebody else.", self.title()),
            hint: "Start it where it runs.".into(),
        }
    }

    /// Always known where it is; whether it answers is the probe's matter.
    async fn find_running(&self) -> Option<Found> {
        let endpoint = Endpoint { base_url: self.base_url(), key: self.keys.get(&self.id).await };
        let holder = match is_here(&endpoint.base_url) {
            true => listener(port_of(&endpoint.base_url)).await,
            false => None,
        };
        let served = holder.filter(|holder| !PASSERS_ON.contains(&holder.name.as_str()));
        let (pid, keeper) = served.map_or((None, None), |holder| (Some(holder.pid), holder.keeper));
        Some(Found {
            endpoint,
            version: None,
            pid,
            keeper: keeper.map(|keeper| keeper.to_string()),
            left_to_owner: true,
            log: None,
        })
    }

    async fn launch(&self, _installation: &Installation) -> Result<Launch, ApiError> {
        let text = format!("{} belongs to somebody else, so Pilothouse does not start it.", self.title());
        Err(ApiError::new(ErrorCode::Unsupported, text).hint("Start it where it runs."))
    }

    async fn stop_commands(&self, _installation: &Installation) -> Option<Vec<ProcessSpec>> {
        None
    }

    fn client(&self, endpoint: &Endpoint) -> Arc<dyn ServerClient> {
        Arc::new(OpenAiClient::new(endpoint, self.id.clone(), &self.title(), self.keys.why_unread(&self.id)))
    }

    fn start_limit(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn explain_exit(&self, exit: &Exit, _last_lines: &[String]) -> ApiError {
        ApiError::new(ErrorCode::ServerCrashed, format!("{} {exit}.", self.title()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_the_usual_one() {
        let base = |address: &str| {
            let settings = RemoteSettings { address: address.into(), ..RemoteSettings::default() };
            OpenAi::new("studio", settings, Keys::in_memory()).base_url()
        };
        assert_eq!(base("http://studio.local:11434"), "http://studio.local:11434/v1");
        assert_eq!(base("https://studio.local/"), "https://studio.local/v1");
        assert_eq!(base("https://studio.local/openai/v1/"), "https://studio.local/openai/v1");
    }
}
