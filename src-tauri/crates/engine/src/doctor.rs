//! Looks at everything that may be wrong and says what to do. Works with and without a running engine.

use crate::{
    api::{Check, CheckResult},
    settings,
    setup::Embedded,
};
use pilothouse_domain::{
    Timestamp,
    container::{ContainerProblem, ContainerReading, Containers},
    error::{ApiError, ErrorCode},
    gauge::{Gauges, GpuReading, OrphanedRunner, SilentSource},
    lifecycle::ServerState,
    model::Model,
    server::{KeyPlace, ServerId, ServerKind},
    snapshot::{ServerView, Snapshot},
    units::gigabytes,
};
use pilothouse_servers::discovery::discover;
use pilothouse_system::{
    apart,
    connect::{has_roots, is_here},
    keys::Keys,
    paths::Paths,
    service,
};
use std::{path::Path, time::Duration};

/// Writing a file into each of a few folders.
const FOLDERS_LIMIT: Duration = Duration::from_secs(10);

/// What to do about a settings file that is not understood, while no engine runs.
const UNREAD: &str = "Correct the file before the next start; otherwise the defaults are in force.";

/// All checks of a running engine. Asks open ports of this machine what they are; wakes nothing up.
/// `is_off_card`: whether a server has been seen to compute on the processor although there is a card.
pub async fn examine(
    paths: &Paths,
    snapshot: &Snapshot,
    keys: &Keys,
    is_off_card: impl Fn(&ServerId) -> bool,
) -> Vec<Check> {
    let (own, limit) = (paths.clone(), FOLDERS_LIMIT);
    let mut checks = apart::once("the folders of Pilothouse", limit, move || examine_machine(&own))
        .await
        .unwrap_or_else(|silence| vec![check("folders", CheckResult::Fail, silence.to_string())]);
    checks.extend(was_replaced());
    checks.extend(snapshot.servers.iter().map(server));
    for view in snapshot.servers.iter().filter(|view| view.abilities.key) {
        match keys.kept(&view.id).await {
            Ok(place) => checks.extend(place.map(|place| key(view, place))),
            Err(why) => checks.push(
                check(&format!("key of {}", view.title), CheckResult::Warn, format!("not read: {why}"))
                    .with("It is looked for again by itself."),
            ),
        }
    }
    checks.extend(discover_unused(snapshot).await);
    let orphans = snapshot.gauges.as_ref().map(|gauges| &gauges.orphans[..]).unwrap_or_default();
    checks.extend(orphans.iter().map(orphan));
    checks.push(match &snapshot.active {
        Some(active) => {
            check("active model", CheckResult::Ok, format!("{} on {}", active.model, active.server))
        }
        None => check("active model", CheckResult::Warn, "none").with("Switch to a model."),
    });
    checks.push(match (&snapshot.engine.gateway, &snapshot.engine.gateway_absent) {
        (Some(address), _) => check("gateway", CheckResult::Ok, address.clone()),
        (None, reason) => check("gateway", CheckResult::Warn, reason.clone().unwrap_or_default()).with(
            "End the program that holds its port, or set another gateway.port and start Pilothouse again.",
        ),
    });
    let gauges = snapshot.gauges.as_ref();
    checks.push(freshness(gauges, Timestamp::now()));
    checks.push(match gauges.map(|gauges| (&gauges.gpus[..], &gauges.gpus_absent)) {
        Some(([], reason)) => {
            check("GPU", CheckResult::Skipped, reason.clone().unwrap_or_else(|| "none found".into()))
        }
        Some((gpus, _)) => {
            let named = |gpu: &GpuReading| match &gpu.absent {
                Some(reason) => format!("{} ({reason})", gpu.name),
                None => gpu.name.clone(),
            };
            let names: Vec<String> = gpus.iter().map(named).collect();
            let silent = gauges.is_some_and(|gauges| gauges.silent.iter().any(is_gpu));
            check("GPU", if silent { CheckResult::Warn } else { CheckResult::Ok }, names.join(", "))
        }
        None => check("GPU", CheckResult::Skipped, "no sample was taken yet"),
    });
    checks.extend(snapshot.servers.iter().filter(|view| is_off_card(&view.id)).map(off_card));
    checks.extend(snapshot.models.iter().filter_map(|view| damaged(&view.model)));
    checks.extend(containers(snapshot));
    for trouble in &snapshot.troubles {
        let result = match trouble.code {
            // Whose silence is a fault is judged with the readings.
            ErrorCode::RestartNeeded | ErrorCode::SourceSilent => CheckResult::Warn,
            _ => CheckResult::Fail,
        };
        let mut found = check("Pilothouse", result, trouble.message.clone());
        found.hint.clone_from(&trouble.hint);
        checks.push(found);
    }
    checks
}

/// Whether samples come, by the clock.
fn freshness(gauges: Option<&Gauges>, now: Timestamp) -> Check {
    let Some(gauges) = gauges else {
        return check("gauges", CheckResult::Skipped, "no sample was taken yet");
    };
    // Docker has a line of its own.
    let drivers = gauges.silent.iter().filter(|source| source.source != "docker");
    let silent: Vec<String> = drivers.map(|source| source.reason(now)).collect();
    match gauges.stale_s(now) {
        Some(seconds) => check("gauges", CheckResult::Fail, format!("no sample has come for {seconds} s"))
            .with("Look at Pilothouse's log; start it again."),
        None if silent.is_empty() => check("gauges", CheckResult::Ok, "read a moment ago"),
        None => check("gauges", CheckResult::Fail, silent.join("; ")).with(
            "Its readings are missing, everything else goes on. A driver that hangs often needs a restart of the machine.",
        ),
    }
}

fn is_gpu(source: &SilentSource) -> bool {
    matches!(source.source.as_str(), "nvidia" | "amd" | "intel" | "apple")
}

/// The program's file is another one since this engine was started: an upgrade.
fn was_replaced() -> Option<Check> {
    let program = std::fs::read_link("/proc/self/exe").ok()?;
    program.to_str()?.ends_with(" (deleted)").then(|| {
        let detail = "its program was replaced since it was started; the old one still runs";
        check("Pilothouse", CheckResult::Warn, detail)
            .with("Start it again. As a service: systemctl --user restart pilothouse")
    })
}

/// What can be looked at without an engine.
pub fn examine_machine(paths: &Paths) -> Vec<Check> {
    let embedded = Embedded::new(paths.embedded.clone());
    let mut checks = vec![
        writable("settings folder", &paths.config),
        writable("data folder", &paths.data),
        writable("log folder", &paths.logs),
        match embedded.server_program() {
            Some(program) => check("embedded llama-server", CheckResult::Ok, program.display().to_string()),
            None => check("embedded llama-server", CheckResult::Warn, "not fetched yet")
                .with("Run: pilothouse setup"),
        },
        match embedded.has_model() {
            true => check("embedded model", CheckResult::Ok, embedded.models_dir().display().to_string()),
            false => {
                check("embedded model", CheckResult::Warn, "not fetched yet").with("Run: pilothouse setup")
            }
        },
    ];
    if !has_roots() {
        let detail = "this system knows no issuer of certificates, so nothing can be asked by https";
        checks.push(
            check("certificates", CheckResult::Warn, detail)
                .with("Install the package ca-certificates. Servers of this machine need none."),
        );
    }
    checks.push(service(paths));
    if cfg!(target_os = "linux") {
        checks.push(match std::env::var_os("DBUS_SESSION_BUS_ADDRESS") {
            Some(_) => check("desktop notifications", CheckResult::Ok, "a session bus is there"),
            None => {
                check("desktop notifications", CheckResult::Skipped, "no session bus (no desktop session)")
            }
        });
    }
    checks
}

/// The settings file, where no engine has read it: whether it can be, and whether the folders that it names are there. Blocking.
pub fn examine_settings(paths: &Paths) -> Vec<Check> {
    let file = paths.settings_file();
    let shown = file.display().to_string();
    if !file.exists() && !file.is_symlink() {
        return vec![check("settings file", CheckResult::Ok, format!("{shown} (made at the first start)"))];
    }
    let failed = |name: &str, error: ApiError| Check {
        name: name.into(),
        result: CheckResult::Fail,
        detail: error.message,
        hint: error.hint,
    };
    match settings::read(&file) {
        Ok(mut settings) => {
            paths.expand_settings(&mut settings);
            let mut checks = vec![check("settings file", CheckResult::Ok, shown)];
            checks.extend(settings::missing_folders(&settings).map(|error| failed("folders", error)));
            checks
        }
        Err(error) => vec![failed("settings file", ApiError { hint: Some(UNREAD.into()), ..error })],
    }
}

fn damaged(model: &Model) -> Option<Check> {
    let damage = model.damage()?;
    let check = check("model files", CheckResult::Warn, damage.message);
    Some(match damage.hint {
        Some(hint) => check.with(&hint),
        None => check,
    })
}

/// A server that computes on the processor although there is a card: nobody would wait so long on purpose.
fn off_card(view: &ServerView) -> Check {
    let hint = match view.kind {
        ServerKind::LlamaServer => {
            "Its log names the devices that it found. The one that comes with Pilothouse needs the GPU's Vulkan driver."
        }
        _ => "Its log names the devices that it found; a driver may be missing or too old.",
    };
    let detail = "it computes on the processor, although there is a GPU";
    check(&format!("GPU of {}", view.title), CheckResult::Warn, detail).with(hint)
}

fn server(view: &ServerView) -> Check {
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
fn key(view: &ServerView, place: KeyPlace) -> Check {
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

async fn discover_unused(snapshot: &Snapshot) -> Vec<Check> {
    let found = discover(snapshot).await;
    let unused = found.into_iter().filter_map(|one| Some((one.add_as?, one.openai, one.address)));
    unused
        .map(|(id, openai, address)| {
            check(&format!("server at {address}"), CheckResult::Skipped, "runs here and is not used")
                .with(&format!("To use it: pilothouse servers add {id} {openai}"))
        })
        .collect()
}

fn orphan(orphan: &OrphanedRunner) -> Check {
    let memory = orphan.memory_bytes.map_or_else(|| "memory".into(), gigabytes);
    let detail = format!("process {} of an Ollama that died still holds {memory}", orphan.pid);
    check("left-over process", CheckResult::Warn, detail).with("To end it: pilothouse servers end-orphans")
}

/// One check for each container with a problem, and one for all of them when none has.
fn containers(snapshot: &Snapshot) -> Vec<Check> {
    let Some(containers) = &snapshot.containers else {
        let reason = snapshot.containers_absent.as_deref().unwrap_or("not looked at yet");
        return vec![check("Docker", CheckResult::Skipped, reason)];
    };
    let mut checks = troubled(containers);
    if checks.is_empty() {
        checks.push(check("Docker", CheckResult::Ok, containers.summary()));
    }
    checks
}

fn troubled(containers: &Containers) -> Vec<Check> {
    let warn = |(one, problem): (&ContainerReading, ContainerProblem)| {
        let detail = format!("{}. {}", one.words(), one.explain(problem));
        let hint = format!("Look at its log: docker logs {}", one.name);
        check(&format!("container {}", one.name), CheckResult::Warn, detail).with(&hint)
    };
    containers.with_problem().map(warn).collect()
}

fn service(paths: &Paths) -> Check {
    let file = service::file(paths);
    match std::fs::read_to_string(&file).ok().map(|text| service::program(&text)) {
        None => check("service", CheckResult::Skipped, "not installed")
            .with("`pilothouse service install` starts Pilothouse at login, also without a desktop."),
        Some(Some(program)) if program.is_file() => {
            check("service", CheckResult::Ok, format!("installed, starts {}", program.display()))
        }
        Some(program) => {
            let what = program.map_or_else(|| "no program".into(), |program| program.display().to_string());
            check(
                "service",
                CheckResult::Fail,
                format!("{} starts {what}, which is not there", file.display()),
            )
            .with("Run: pilothouse service install")
        }
    }
}

fn writable(name: &str, folder: &Path) -> Check {
    let probe = folder.join(format!(".write-check-{}", std::process::id()));
    let shown = folder.display().to_string();
    if !folder.exists() {
        return check(name, CheckResult::Ok, format!("{shown} (made at the first start)"));
    }
    // A full disk still takes an empty file.
    let written = std::fs::write(&probe, [b'.'; 4096]);
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => check(name, CheckResult::Ok, shown),
        Err(error) => check(name, CheckResult::Fail, format!("{shown} cannot be written: {error}"))
            .with("Check its permissions and the free disk space."),
    }
}

fn check(name: &str, result: CheckResult, detail: impl Into<String>) -> Check {
    Check { name: name.into(), result, detail: detail.into(), hint: None }
}

impl Check {
    fn with(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{
        gauge::OwnUsage,
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

    fn gauges(silent: Vec<SilentSource>) -> Gauges {
        Gauges {
            at: Timestamp::from_second(1000).unwrap(),
            interval_ms: Some(5000),
            cpu_percent: None,
            cpu_cores: 2,
            memory_used_bytes: None,
            memory_total_bytes: None,
            memory_limit: None,
            memory_pressure: None,
            swap_used_bytes: None,
            swap_total_bytes: None,
            gpus: vec![],
            gpus_absent: None,
            servers: vec![],
            orphans: vec![],
            own: OwnUsage::default(),
            silent,
        }
    }

    #[test]
    fn gauges_are_old_by_the_clock_and_who_is_silent_is_named() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let nvidia =
            SilentSource { source: "nvidia".into(), what: "the NVIDIA driver".into(), since: at(900) };
        let told = |silent: Vec<SilentSource>, second| {
            let found = freshness(Some(&gauges(silent)), at(second));
            (found.result, found.detail)
        };
        assert_eq!(told(vec![], 1003), (CheckResult::Ok, "read a moment ago".into()));
        assert_eq!(told(vec![], 1065), (CheckResult::Fail, "no sample has come for 65 s".into()));
        let silent = (CheckResult::Fail, "the NVIDIA driver has not answered for 101 s".into());
        assert_eq!(told(vec![nvidia], 1001), silent);
        assert_eq!(freshness(None, at(1)).result, CheckResult::Skipped);
    }

    #[test]
    fn a_folder_is_tried_out_and_nothing_stays_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let fine = writable("data folder", folder.path());
        assert_eq!(fine.result, CheckResult::Ok, "{fine:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let failed = writable("data folder", &file);
        assert!(failed.result == CheckResult::Fail && failed.hint.is_some(), "{failed:?}");
    }

    #[test]
    fn the_settings_file_is_checked_without_an_engine() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().as_os_str().to_owned();
        let paths = Paths::resolve(&|name| (name == "PILOTHOUSE_HOME").then(|| home.clone())).unwrap();
        let told = || {
            let checks = examine_settings(&paths);
            checks.into_iter().map(|one| (one.name, one.result, one.detail)).collect::<Vec<_>>()
        };
        assert_eq!((told()[0].1, told().len()), (CheckResult::Ok, 1), "there is none yet");
        std::fs::create_dir_all(&paths.config).unwrap();
        for (text, name, result, words) in [
            ("", "settings file", CheckResult::Ok, "settings.toml"),
            ("[gateway]\nprot = 3\n", "settings file", CheckResult::Fail, "did you mean port?"),
            ("[gateway\n", "settings file", CheckResult::Fail, "line 1"),
            ("[gauges]\ninterval_ms = 1\n", "settings file", CheckResult::Fail, "200 to 60000"),
            ("[servers.llama-server]\nmodels_dir = \"/no/such\"\n", "folders", CheckResult::Fail, "/no/such"),
            ("[servers.llama-server]\nmodels_dir = \"~\"\n", "settings file", CheckResult::Ok, ""),
        ] {
            std::fs::write(paths.settings_file(), text).unwrap();
            let (named, found, detail) = told().pop().unwrap();
            assert_eq!((named.as_str(), found), (name, result), "{text}: {detail}");
            assert!(detail.contains(words), "{text}: {detail}");
        }
        std::fs::remove_file(paths.settings_file()).unwrap();
        std::fs::create_dir(paths.settings_file()).unwrap();
        assert_eq!(told()[0].1, CheckResult::Fail, "a folder in its place");
    }
}
