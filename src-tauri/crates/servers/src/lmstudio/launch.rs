use super::home::Home;
use pilothouse_system::{connect::port_named, process::ProcessSpec};
use std::{ffi::OsString, path::Path};

/// A call of `lms`. Its stdin is closed by `engine::process`, or it might wait at a prompt.
pub(super) fn lms(program: &Path, args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: program.to_owned(),
        args: args.iter().map(OsString::from).collect(),
        env: vec![],
        env_remove: vec![],
        cwd: None,
    }
}

/// Starts the HTTP server, and the service behind it. `lms server start` forgets bind address and CORS that were set
/// in the app, so both are passed again.
pub(super) fn start(program: &Path, home: &Home, base_url: &str) -> ProcessSpec {
    let config = home.config();
    let port = port_named(base_url).unwrap_or(1234).to_string();
    let mut args = vec!["server".to_owned(), "start".into(), "--port".into(), port];
    if let Some(bind) = config.network_interface.filter(|bind| !bind.is_empty() && bind != "127.0.0.1") {
        args.extend(["--bind".into(), bind]);
    }
    if config.cors {
        args.push("--cors".into());
    }
    lms(program, &args.iter().map(String::as_str).collect::<Vec<_>>())
}
