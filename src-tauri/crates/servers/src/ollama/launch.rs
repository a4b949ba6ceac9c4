use super::{ADDRESS_KEY, is_listener_line};
use crate::{
    Installation, Launch, openmp,
    places::{find_program_of_user, held, port_taken},
};
use pilothouse_domain::{
    endpoint::{Endpoint, parsed},
    error::{ApiError, ErrorCode},
    settings::OllamaSettings,
};
use pilothouse_system::{
    connect::port_named,
    process::{Holder, ProcessSpec},
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

pub(super) async fn find(settings: &OllamaSettings) -> Option<PathBuf> {
    match settings.program.as_str() {
        "" => find_program_of_user(&PLACES.map(PathBuf::from)).await,
        program => find_program_of_user(&[PathBuf::from(program)]).await,
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
        // One that is silent (it looks for GPUs, or hangs) holds it too.
        return Err(match Holder::at(address.port(), |_, words| is_listener_line(words)).await {
            Ok(holder) => held("Ollama", ADDRESS_KEY, address.port(), Some(&holder)),
            Err(_) => port_taken("Ollama", ADDRESS_KEY, address.port()).await,
        });
    }
    // It hands its environment on to the llama-servers that it starts.
    let mut env: Vec<_> = openmp::waiting().into_iter().chain(environment(settings)).collect();
    // Last, so that it agrees with the address that we ask.
    env.push(("OLLAMA_HOST".into(), host.into()));
    Ok(Launch::Own {
        process: ProcessSpec {
            program: program.clone(),
            args: vec!["serve".into()],
            env,
            env_remove: vec!["OLLAMA_*".into(), "LLAMA_*".into()],
            cwd: None,
        },
        endpoint,
        files: vec![],
    })
}

/// The settings as Ollama reads them (Ollama: envconfig/config.go). Free variables come first, so that a setting wins.
///
/// How long an idle model stays is Ollama's own matter where the settings do not say: what we load is told to stay, model by model, and
/// requests leave that as it is. What a program loads past us goes by itself then, and would stay for ever otherwise.
fn environment(settings: &OllamaSettings) -> Vec<(OsString, OsString)> {
    let number = |number: u32| if number == 0 { String::new() } else { number.to_string() };
    let flash = match settings.flash_attention.as_str() {
        "on" => "1",
        "off" => "0",
        _ => "",
    };
    let own = [
        ("OLLAMA_MODELS", settings.models_dir.clone()),
        ("OLLAMA_CONTEXT_LENGTH", number(settings.context)),
        ("OLLAMA_NUM_PARALLEL", number(settings.parallel)),
        ("OLLAMA_MAX_LOADED_MODELS", number(settings.max_models)),
        ("OLLAMA_KEEP_ALIVE", settings.keep_alive.clone()),
        ("OLLAMA_FLASH_ATTENTION", flash.to_owned()),
        ("OLLAMA_KV_CACHE_TYPE", settings.kv_type.clone()),
    ];
    let free = settings.environment.iter().map(|(name, value)| (name.into(), value.into()));
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    free.chain(own.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// The port of an address; Ollama's own where none is named.
pub(super) fn port(base_url: &str) -> u16 {
    port_named(base_url).unwrap_or(11434)
}

/// `http://host` without a port would mean port 80 to Ollama, so the default is spelled out.
fn host_and_port(base_url: &str) -> String {
    let host = parsed(base_url).and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    format!("{host}:{}", port(base_url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_becomes_environment() {
        assert_eq!(environment(&OllamaSettings::default()), []);
        let settings = OllamaSettings {
            parallel: 2,
            flash_attention: "off".into(),
            environment: [("OLLAMA_ORIGINS".to_owned(), "app://*".to_owned())].into(),
            ..OllamaSettings::default()
        };
        let wanted =
            [("OLLAMA_ORIGINS", "app://*"), ("OLLAMA_NUM_PARALLEL", "2"), ("OLLAMA_FLASH_ATTENTION", "0")];
        assert_eq!(environment(&settings), wanted.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn the_default_port_is_spelled_out() {
        assert_eq!(host_and_port("http://127.0.0.1"), "127.0.0.1:11434");
        assert_eq!(host_and_port("http://127.0.0.1:9"), "127.0.0.1:9");
        assert_eq!(host_and_port("http://127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(host_and_port("http://127.0.0.1/"), "127.0.0.1:11434");
        assert_eq!(host_and_port("http://[::1]"), "[::1]:11434");
        assert_eq!(host_and_port("http://[::1]:9/"), "[::1]:9");
    }
}
