use super::ADDRESS_KEY;
use crate::{
    ports::{Endpoint, Installation, Launch, ProcessSpec},
    servers::places::{find_program, port_taken},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::OllamaSettings,
};
use std::{
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

const PLACES: [&str; 5] = [
    "ollama",
    "/usr/local/bin/ollama",
    "/usr/bin/ollama",
    "/opt/homebrew/bin/ollama",
    "/Applications/Ollama.app/Contents/Resources/ollama",
];

pub(super) fn find(settings: &OllamaSettings) -> Option<PathBuf> {
    match settings.program.as_str() {
        "" => find_program(&PLACES.map(PathBuf::from)),
        program => find_program(&[PathBuf::from(program)]),
    }
}

/// Our own `ollama serve` at the address of the settings.
pub(super) async fn launch(
    installation: &Installation,
    settings: &OllamaSettings,
    endpoint: Endpoint,
) -> Result<Launch, ApiError> {
    let Installation::Installed { program, .. } = installation else {
        return Err(ApiError::new(ErrorCode::NotInstalled, "Ollama is not on this machine."));
    };
    let host = host_and_port(&endpoint.base_url);
    if let Ok(address) = host.parse::<SocketAddr>()
        && let Err(error) = TcpListener::bind(address)
    {
        tracing::info!(%address, %error, "Ollama's port cannot be bound");
        return Err(port_taken("Ollama", ADDRESS_KEY, address.port()).await);
    }
    let mut env: Vec<(OsString, OsString)> =
        settings.environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    if !settings.models_dir.is_empty() {
        env.push(("OLLAMA_MODELS".into(), settings.models_dir.clone().into()));
    }
    // Last, so that it agrees with the address that we ask.
    env.push(("OLLAMA_HOST".into(), host.into()));
    Ok(Launch::Own {
        process: ProcessSpec {
            program: program.clone(),
            args: vec!["serve".into()],
            env,
            // It hands its whole environment on to llama-servers of its own.
            env_remove: vec!["OLLAMA_*".into(), "LLAMA_*".into()],
            cwd: None,
        },
        endpoint,
        files: vec![],
    })
}

/// The port of an address.
pub(super) fn port(base_url: &str) -> u16 {
    host_and_port(base_url).rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(11434)
}

/// `http://host` without a port would mean port 80 to Ollama, so the default is spelled out.
fn host_and_port(base_url: &str) -> String {
    let host = base_url.trim_start_matches("http://");
    if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:11434")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_is_spelled_out() {
        assert_eq!(host_and_port("http://127.0.0.1"), "127.0.0.1:11434");
        assert_eq!(host_and_port("http://127.0.0.1:9"), "127.0.0.1:9");
    }
}
