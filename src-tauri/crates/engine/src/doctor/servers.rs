//! Servers: those that are used, those that run here unused, and what one that died has left behind.

use super::check;
use crate::api::{Check, CheckResult};
use pilothouse_domain::{
    gauge::OrphanedRunner,
    lifecycle::ServerState,
    server::{KeyPlace, ServerKind},
    snapshot::{ServerView, Snapshot},
    units::gigabytes,
};
use pilothouse_servers::discovery::discover;
use pilothouse_system::connect::is_here;

/// A server that computes on the processor although there is a card: nobody would wait so long on purpose.
pub(super) fn off_card(view: &ServerView) -> Check {
    let hint = match view.kind {
        ServerKind::LlamaServer => {
            "Its log names the devices that it found. The one that comes with Pilothouse needs the GPU's Vulkan driver."
        }
        _ => "Its log names the devices that it found; a driver may be missing or too old.",
    };
    let detail = "it computes on the processor, although there is a GPU";
    check(&format!("GPU of {}", view.title), CheckResult::Warn, detail).with(hint)
}

pub(super) fn server(view: &ServerView) -> Check {
    let version = view.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let at = view.endpoint.as_deref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
    let reason = view.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let state = format!("{:?}", view.state).to_lowercase();
    let (result, detail) = match view.state {
        ServerState::Ready => (CheckResult::Ok, format!("ready{version}{at}")),
        ServerState::Starting | ServerState::Stopping | ServerState::Stopped => {
            (CheckResult::Ok, format!("{state}{version}{reason}"))
        }
        // Nobody needs all three; the embedded one is checked above.
        ServerState::NotInstalled if view.kind != ServerKind::LlamaServer => {
            (CheckResult::Skipped, format!("not installed{reason}"))
        }
        ServerState::NotInstalled => (CheckResult::Warn, format!("not installed{reason}")),
        // It may answer its checks all the same; its own words say what is wrong.
        ServerState::Degraded => (CheckResult::Warn, format!("ready with trouble{at}{reason}")),
        ServerState::Failed => (CheckResult::Fail, format!("failed{reason}")),
        ServerState::NotOurs => {
            (CheckResult::Warn, format!("its address is held by another program{reason}"))
        }
        ServerState::GaveUp => (CheckResult::Fail, format!("not restarted any more{reason}")),
    };
    let look = || format!("Look at its log: pilothouse logs {}", view.id);
    let hint = view.hint.clone().or_else(|| (view.state == ServerState::Degraded).then(look));
    Check { name: view.title.clone(), result, detail, hint }
}

/// A key goes with every request, so a plain connection over a network shows it to others.
pub(super) fn key(view: &ServerView, place: KeyPlace) -> Check {
    let name = format!("key of {}", view.title);
    let kept = match place {
        KeyPlace::Keyring => "kept in the keyring",
        KeyPlace::File => "kept in a file that only you can read",
    };
    let address = view.endpoint.as_deref().unwrap_or_default();
    if address.starts_with("http://") && !is_here(address) {
        return check(&name, CheckResult::Warn, format!("{kept}, and sent unencrypted to {address}"))
            .with("Use an https address, or a tunnel such as ssh or a VPN.");
    }
    check(&name, CheckResult::Ok, kept)
}

pub(super) async fn discover_unused(snapshot: &Snapshot) -> Vec<Check> {
    let found = discover(snapshot).await;
    let unused = found.into_iter().filter_map(|one| Some((one.add_as?, one.openai, one.address)));
    unused
        .map(|(id, openai, address)| {
            check(&format!("server at {address}"), CheckResult::Skipped, "runs here and is not used")
                .with(&format!("To use it: pilothouse servers add {id} {openai}"))
        })
        .collect()
}

pub(super) fn orphan(orphan: &OrphanedRunner) -> Check {
    let memory = orphan.memory_bytes.map_or_else(|| "memory".into(), gigabytes);
    let detail = format!("process {} of an Ollama that died still holds {memory}", orphan.pid);
    check("left-over process", CheckResult::Warn, detail).with("To end it: pilothouse servers end-orphans")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{
        Timestamp,
        server::{Abilities, Ownership},
    };

    fn degraded(reason: &str, hint: Option<&str>) -> ServerView {
        ServerView {
            id: "ollama".into(),
            kind: ServerKind::Ollama,
            title: "Ollama".into(),
            ownership: Some(Ownership::Adopted),
            state: ServerState::Degraded,
            reason: Some(reason.into()),
            hint: hint.map(str::to_owned),
            endpoint: Some("http://127.0.0.1:1".into()),
            version: None,
            pid: None,
            keeper: None,
            program: None,
            backend: None,
            restarts: 0,
            abilities: Abilities::default(),
            since: Timestamp::UNIX_EPOCH,
            standing: Default::default(),
        }
    }

    #[test]
    fn a_server_in_trouble_is_described_in_its_own_words() {
        let mute = server(&degraded("It answers, but gave no token: timed out", None));
        assert_eq!(mute.result, CheckResult::Warn);
        assert!(
            mute.detail.contains("gave no token") && !mute.detail.contains("does not answer"),
            "{mute:?}"
        );
        assert!(mute.hint.unwrap().contains("pilothouse logs ollama"));
        let keyless = server(&degraded("LM Studio wants a key", Some("Give its key.")));
        assert_eq!(keyless.hint.as_deref(), Some("Give its key."));
    }
}
