//! A real secret service, gnome-keyring, on a session bus of its own: locked and unlocked, lost in the middle, and one
//! that never answers.

use crate::scene::{LIMIT, NO_LLAMA, reason, until_state, without_ollama};
use pilothouse_tests::{
    sandbox::{Group, Sandbox, Tools, command, found, or_skip, server, until},
    sims::front::{Front, Rules},
};
use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};
use zbus::{
    Connection, Message,
    zvariant::{DynamicType, ObjectPath, OwnedObjectPath, OwnedValue, Value},
};

const KEY: &str = "pk-first-7c1f0a9e";
const NEW_KEY: &str = "pk-second-55d20b";
const PASSWORD: &str = "a password of the login";
const SECRETS: &str = "org.freedesktop.secrets";
const LOGIN: &str = "/org/freedesktop/secrets/collection/login";

/// A session of a person: a home, a bus, and a server that wants a key.
struct Scene {
    sandbox: Sandbox,
    front: Front,
    bus: Connection,
    _bus: Group,
    upstream: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Scene {
    async fn new() -> Option<Self> {
        let tools = Tools::find().map(without_ollama)?;
        let daemon = or_skip(found("dbus-daemon"))?;
        or_skip(found("gnome-keyring-daemon"))?;
        let models = r#"{"object":"list","data":[{"id":"small","object":"model"}]}"#;
        let router = axum::Router::new().route("/models", axum::routing::get(async move || models));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let upstream = tokio::spawn(async move { axum::serve(listener, router).await });
        let front = Front::open(0, &base, None).await.unwrap();
        front.set(Rules { key: Some(KEY.into()), ..Rules::default() });
        let address = format!("http://127.0.0.1:{}", front.port);
        let remote =
            format!("{NO_LLAMA}[servers.remote.studio]\naddress = {address:?}\ntitle = \"Studio\"\n\n");
        let mut sandbox = Sandbox::new(&tools, &remote);
        sandbox.move_home();
        let socket = sandbox.folder().join("bus");
        let address = format!("unix:path={}", socket.display());
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", &address);
        let bus_process = start_bus(&sandbox, &daemon, &address);
        until("the bus", LIMIT, || async { socket.exists().then_some(()) }).await;
        let bus = zbus::connection::Builder::address(address.as_str()).unwrap().build().await.unwrap();
        Some(Self { sandbox, front, bus, _bus: bus_process, upstream })
    }

    /// Starts the keyring; the first one with a password makes the collection.
    async fn keyring(&self, password: Option<&str>) -> Group {
        let mut command = command("gnome-keyring-daemon");
        self.sandbox.surround(&mut command);
        let control = self.sandbox.folder().join("keyring-control");
        command
            .args(["--foreground", "--components=secrets", "--control-directory"])
            .arg(control)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if password.is_some() {
            command.arg("--unlock");
        }
        let mut daemon = Group::spawn(&mut command);
        let mut stdin = daemon.child().stdin.take().unwrap();
        stdin.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(stdin);
        until("the keyring on the bus", LIMIT, || async { self.is_locked().await }).await;
        daemon
    }

    /// `None`: no keyring answers, or it has no place for entries.
    async fn is_locked(&self) -> Option<bool> {
        let wanted = ("org.freedesktop.Secret.Collection", "Locked");
        let properties = Some("org.freedesktop.DBus.Properties");
        let asked = self.bus.call_method(Some(SECRETS), LOGIN, properties, "Get", &wanted).await;
        let answer: OwnedValue = asked.ok()?.body().deserialize().ok()?;
        bool::try_from(answer).ok()
    }

    async fn lock(&self) {
        let what = vec![ObjectPath::try_from(LOGIN).unwrap()];
        self.service("Lock", &(what,)).await;
        assert_eq!(self.is_locked().await, Some(true));
    }

    /// As the login of a person does it.
    async fn unlock(&self) {
        let opened = self.service("OpenSession", &("plain", Value::from(""))).await;
        let (_, session): (OwnedValue, OwnedObjectPath) = opened.body().deserialize().unwrap();
        let secret = (session, Vec::<u8>::new(), PASSWORD.as_bytes().to_vec(), "text/plain");
        let interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
        let login = ObjectPath::try_from(LOGIN).unwrap();
        self.asked(interface, "UnlockWithMasterPassword", &(login, secret)).await;
        assert_eq!(self.is_locked().await, Some(false));
    }

    /// How many entries the keyring has for our server, whoever asks.
    async fn entries(&self) -> usize {
        let wanted = HashMap::from([("service", "pilothouse"), ("username", "studio")]);
        let found = self.service("SearchItems", &(wanted,)).await;
        let (open, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) =
            found.body().deserialize().unwrap();
        open.len() + locked.len()
    }

    async fn service(&self, method: &str, body: &(impl serde::Serialize + DynamicType)) -> Message {
        self.asked("org.freedesktop.Secret.Service", method, body).await
    }

    async fn asked(
        &self,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> Message {
        self.bus
            .call_method(Some(SECRETS), "/org/freedesktop/secrets", Some(interface), method, body)
            .await
            .unwrap()
    }

    fn set_key(&self, key: &str) -> serde_json::Value {
        let kept = self.sandbox.run_with(&["keys", "set", "studio"], &format!("{key}\n"));
        assert_eq!(kept.code, Some(0), "{kept:?}");
        kept.json["kept_in"].clone()
    }

    /// Waits until the server has failed and these words say what to do.
    async fn until_hint(&self, engine: &mut Group, words: &str) -> serde_json::Value {
        let has =
            |server: &&serde_json::Value| server["hint"].as_str().is_some_and(|hint| hint.contains(words));
        let found = |status: &serde_json::Value| {
            server(status, "studio").filter(|server| server["state"] == "failed").filter(has).cloned()
        };
        self.sandbox.until(engine, words, found).await
    }

    fn key_file(&self) -> PathBuf {
        self.sandbox.home().join("data/keys.json")
    }

    async fn end(mut self, mut engine: Group, keyring: Option<Group>) {
        engine.terminate();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while engine.ended().is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the engine does not end");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        drop((keyring, self.bus));
        self._bus.stop();
        self.sandbox.assert_clean_end(&mut engine).await;
        self.front.close().await;
        self.upstream.abort();
    }
}

/// A bus that starts nothing by itself: what is not started by a test is not there.
fn start_bus(sandbox: &Sandbox, daemon: &Path, address: &str) -> Group {
    let config = sandbox.folder().join("bus.conf");
    let text = format!(
        "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = command(daemon);
    sandbox.surround(&mut command);
    command.arg("--nofork").arg("--config-file").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Group::spawn(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_is_locked_at_login_gives_its_key_once_it_is_unlocked() {
    let Some(scene) = Scene::new().await else { return };
    let first = scene.keyring(Some(PASSWORD)).await;
    let sandbox = &scene.sandbox;
    let mut engine = sandbox.serve().await;
    until_state(sandbox, &mut engine, "studio", "failed").await;
    assert_eq!(scene.set_key(KEY), "keyring");
    until_state(sandbox, &mut engine, "studio", "ready").await;
    assert_eq!((scene.entries().await, scene.key_file().exists()), (1, false));
    engine.stop();
    drop(first);

    let keyring = scene.keyring(None).await;
    assert_eq!(scene.is_locked().await, Some(true));
    let mut engine = sandbox.serve().await;
    let failed = scene.until_hint(&mut engine, "the keyring is locked").await;
    assert!(reason(&failed).contains("wants a key"), "{failed:#}");
    let doctor = sandbox.run(&["doctor"]).json;
    assert!(doctor.to_string().contains("not read: the keyring is locked"), "{doctor:#}");
    scene.unlock().await;
    until_state(sandbox, &mut engine, "studio", "ready").await;

    assert_eq!(sandbox.run(&["keys", "remove", "studio"]).code, Some(0));
    assert_eq!(scene.entries().await, 0);
    scene.end(engine, Some(keyring)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_comes_late_is_found() {
    let Some(scene) = Scene::new().await else { return };
    let first = scene.keyring(Some(PASSWORD)).await;
    let sandbox = &scene.sandbox;
    let mut engine = sandbox.serve().await;
    assert_eq!(scene.set_key(KEY), "keyring");
    engine.stop();
    drop(first);
    let mut engine = sandbox.serve().await;
    scene.until_hint(&mut engine, "keys set studio").await;
    let keyring = scene.keyring(Some(PASSWORD)).await;
    until_state(sandbox, &mut engine, "studio", "ready").await;
    scene.end(engine, Some(keyring)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_said_to_be_forgotten_by_a_keyring_that_is_lost() {
    for ends in [false, true] {
        let Some(scene) = Scene::new().await else { return };
        let mut keyring = scene.keyring(Some(PASSWORD)).await;
        let sandbox = &scene.sandbox;
        let mut engine = sandbox.serve().await;
        assert_eq!(scene.set_key(KEY), "keyring");
        until_state(sandbox, &mut engine, "studio", "ready").await;
        let words = match ends {
            false => {
                scene.lock().await;
                "the keyring is locked"
            }
            true => {
                keyring.stop();
                "no keyring runs"
            }
        };
        let refused = sandbox.run(&["keys", "remove", "studio"]);
        assert_eq!(
            (refused.code, &refused.json["error"]["code"]),
            (Some(1), &"system".into()),
            "{refused:?}"
        );
        assert!(refused.stdout.contains(words), "{refused:?}");
        let studio = sandbox.ask(&["status"]).and_then(|status| server(&status, "studio").cloned()).unwrap();
        assert_eq!(studio["state"], "ready", "{studio:#}");

        assert_eq!(scene.set_key(NEW_KEY), "file");
        scene.front.set(Rules { key: Some(NEW_KEY.into()), ..Rules::default() });
        until_state(sandbox, &mut engine, "studio", "ready").await;
        match ends {
            false => scene.unlock().await,
            true => keyring = scene.keyring(Some(PASSWORD)).await,
        }
        // The keyring still has the old key; the new one counts, also in the next life.
        assert_eq!(scene.entries().await, 1);
        engine.stop();
        let mut engine = sandbox.serve().await;
        until_state(sandbox, &mut engine, "studio", "ready").await;
        let removed = sandbox.run(&["keys", "remove", "studio"]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
        assert_eq!(scene.entries().await, 0);
        assert!(!std::fs::read_to_string(scene.key_file()).unwrap().contains("pk-"));
        until_state(sandbox, &mut engine, "studio", "failed").await;
        scene.end(engine, Some(keyring)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_never_answers_holds_nothing_up() {
    let Some(scene) = Scene::new().await else { return };
    let sandbox = &scene.sandbox;
    // Holds the name and reads nothing of what it is asked.
    let silent = scene.bus.clone();
    silent.request_name(SECRETS).await.unwrap();
    let mut engine = sandbox.serve().await;
    scene.until_hint(&mut engine, "the keyring does not answer").await;
    let refused = sandbox.run(&["keys", "remove", "studio"]);
    assert!(refused.code == Some(1) && refused.stdout.contains("does not answer"), "{refused:?}");
    assert_eq!(scene.set_key(KEY), "file");
    until_state(sandbox, &mut engine, "studio", "ready").await;
    scene.end(engine, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_that_cannot_be_read_is_never_overwritten() {
    let Some(scene) = Scene::new().await else { return };
    let sandbox = &scene.sandbox;
    let damaged = format!("{{\"studio\": \"{KEY}");
    std::fs::write(scene.key_file(), &damaged).unwrap();
    let mut engine = sandbox.serve().await;
    until_state(sandbox, &mut engine, "studio", "failed").await;
    for act in ["set", "remove"] {
        let refused = sandbox.run_with(&["keys", act, "studio"], NEW_KEY);
        assert_eq!(
            (refused.code, &refused.json["error"]["code"]),
            (Some(1), &"system".into()),
            "{refused:?}"
        );
        assert!(refused.stdout.contains("keys.json") && !refused.stdout.contains(KEY), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(scene.key_file()).unwrap(), damaged);
    std::fs::remove_file(scene.key_file()).unwrap();
    assert_eq!(scene.set_key(KEY), "file");
    until_state(sandbox, &mut engine, "studio", "ready").await;
    scene.end(engine, None).await;
}
