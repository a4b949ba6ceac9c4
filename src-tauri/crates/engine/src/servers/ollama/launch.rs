use crate::{
    ports::{Endpoint, Installation, Launch, ProcessSpec},
    servers::places::find_program,
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
pub(super) fn launch(
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
        return Err(port_taken(&settings.address));
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

pub(super) fn port_taken(address: &str) -> ApiError {
    ApiError::new(ErrorCode::PortTaken, format!("Another program that is not Ollama holds {address}."))
        .hint("End that program, or set another servers.ollama.address in the settings file.")
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

/// The process that listens at this address, as far as the system lets us see it.
#[cfg(target_os = "linux")]
pub(super) fn listener(base_url: &str) -> Option<u32> {
    let address: SocketAddr = host_and_port(base_url).parse().ok()?;
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&std::fs::read_to_string(table).ok()?, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    let pids = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let mut pids = pids;
    pids.find(|pid| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        files.is_ok_and(|files| {
            files
                .flatten()
                .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy() == wanted))
        })
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn listener(_base_url: &str) -> Option<u32> {
    None
}

/// The inode of the socket that listens on a port, from `/proc/net/tcp` (proc_pid_net(5); state 0A is LISTEN).
#[cfg(target_os = "linux")]
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A";
        if listens { fields.get(9)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_is_spelled_out() {
        assert_eq!(host_and_port("http://127.0.0.1"), "127.0.0.1:11434");
        assert_eq!(host_and_port("http://127.0.0.1:9"), "127.0.0.1:9");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_listener_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        assert_eq!(listener(&url), Some(std::process::id()));
    }
}
