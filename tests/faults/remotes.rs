//! Servers of other owners behind a network: a second real Pilothouse with a front door that can want a key, speak TLS, or
//! fall silent.

use crate::{
    answers::ask,
    scene::{NO_LLAMA, reason, until_state, without_ollama},
};
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, Group, Sandbox, Tools, server},
    sims::front::{Certificate, Front, Rules},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A Pilothouse with an active model, as a remote server for others.
struct Far {
    sandbox: Sandbox,
    engine: Group,
}

impl Far {
    async fn start(tools: &Tools) -> Self {
        let sandbox = Sandbox::new(tools, "");
        let mut engine = sandbox.serve().await;
        sandbox.until_active(&mut engine, "llama-server").await;
        Self { sandbox, engine }
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.sandbox.gateway_port)
    }

    async fn end(mut self) {
        self.engine.terminate();
        self.sandbox.assert_clean_end(&mut self.engine).await;
    }
}

/// The files of a folder and of those in it.
fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

/// Settings of a Pilothouse that has nothing but a remote server.
fn remote(address: &str) -> String {
    format!("{NO_LLAMA}[servers.remote.studio]\naddress = {address:?}\ntitle = \"Studio\"\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_is_used_and_its_network_may_go() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let front = Front::open(0, &far.base(), None).await.unwrap();
    let (port, address) = (front.port, format!("http://127.0.0.1:{}", front.port));
    let sandbox = Sandbox::new(&tools, &remote(&address));
    let mut engine = sandbox.serve().await;
    let studio = until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(
        (&studio["ownership"], &studio["kind"], &studio["pid"]),
        (&"remote".into(), &"openai".into(), &std::process::id().into())
    );
    sandbox.until_listed(EMBEDDED_MODEL).await;
    let switched = sandbox.switch(EMBEDDED_MODEL, "studio");
    assert_eq!(switched.code, Some(0), "{switched:?}");
    let answer = ask(&sandbox).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-pilothouse-server"]),
        (200, &"studio".parse().unwrap())
    );
    assert!(answer.text().await.unwrap().contains("choices"));
    let refused = sandbox.run(&["servers", "stop", "studio"]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.stdout.contains("somebody else"), "{refused:?}");

    front.set(Rules { silent: true, ..Rules::default() });
    let troubled = until_state(&sandbox, &mut engine, "studio", "degraded").await;
    assert!(reason(&troubled).contains("did not answer"), "{troubled:#}");
    front.close().await;
    assert_eq!(ask(&sandbox).await.status(), 502);
    let front = Front::open(port, &far.base(), None).await.unwrap();
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    sandbox.until_active(&mut engine, "studio").await;
    assert_eq!(ask(&sandbox).await.status(), 200);

    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let alive = reqwest::get(format!("{}/models", far.base())).await.unwrap();
    assert_eq!(alive.status(), 200, "a remote server outlives us");
    front.close().await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_that_still_loads_is_starting_and_not_failed() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let front = Front::open(0, &far.base(), None).await.unwrap();
    front.set(Rules { loading: true, ..Rules::default() });
    let sandbox = Sandbox::new(&tools, &remote(&format!("http://127.0.0.1:{}", front.port)));
    let mut engine = sandbox.serve().await;
    let loading = sandbox
        .until(&mut engine, "its own words", |status| {
            server(status, "studio").filter(|studio| reason(studio).contains("Loading model")).cloned()
        })
        .await;
    assert_eq!(loading["state"], "starting", "{loading:#}");
    // Longer than any look: it is not given up meanwhile.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(until_state(&sandbox, &mut engine, "studio", "starting").await["reason"], loading["reason"]);
    front.set(Rules::default());
    let ready = until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(ready["reason"], serde_json::Value::Null, "{ready:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    front.close().await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_that_was_never_there_is_said_and_found_when_it_comes() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let port = pilothouse_tests::sandbox::free_port();
    let sandbox = Sandbox::new(&tools, &remote(&format!("http://127.0.0.1:{port}")));
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("Nothing answers"), "{failed:#}");
    let far = Far::start(&tools).await;
    let front = Front::open(port, &far.base(), None).await.unwrap();
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    front.close().await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_wrong_or_revoked_is_said_and_a_right_one_helps_at_once() {
    const FIRST: &str = "pk-first-7c1f0a9e";
    const SECOND: &str = "pk-second-55d20b";
    const WRONG: &str = "pk-a-wrong-one-e81";
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let front = Front::open(0, &far.base(), None).await.unwrap();
    let with_key = |key: &str| Rules { key: Some(key.into()), ..Rules::default() };
    front.set(with_key(FIRST));
    let sandbox = Sandbox::new(&tools, &remote(&format!("http://127.0.0.1:{}/v1", front.port)));
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("wants a key"), "{failed:#}");

    let kept = sandbox.run_with(&["keys", "set", "studio"], &format!("{FIRST}\n"));
    assert_eq!((kept.code, &kept.json["kept_in"]), (Some(0), &"file".into()), "{kept:?}");
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "studio").code, Some(0));
    assert_eq!(ask(&sandbox).await.status(), 200);

    front.set(with_key(SECOND));
    let revoked = until_state(&sandbox, &mut engine, "studio", "degraded").await;
    assert!(reason(&revoked).contains("refused the key"), "{revoked:#}");
    sandbox.run_with(&["keys", "set", "studio"], &format!("{WRONG}\n"));
    until_state(&sandbox, &mut engine, "studio", "failed").await;
    sandbox.run_with(&["keys", "set", "studio"], SECOND);
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(ask(&sandbox).await.status(), 200);

    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let logs = files_under(&sandbox.home().join("logs"));
    assert!(logs.iter().any(|file| file.ends_with("servers/studio.log")), "its own log is among {logs:?}");
    for file in &logs {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let told = [FIRST, SECOND, WRONG].into_iter().find(|key| text.contains(key));
        assert_eq!(told, None, "a key in {}", file.display());
    }
    front.close().await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_or_of_another_name_is_said() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let certificate = Certificate::for_names(&["localhost"]).unwrap();
    let front = Front::open(0, &far.base(), Some(&certificate)).await.unwrap();
    let sandbox = Sandbox::new(&tools, &remote(&format!("https://localhost:{}", front.port)));
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("certificate") && reason(&failed).contains("not trusted"), "{failed:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    let trusted = sandbox.home().join("issuer.pem");
    std::fs::write(&trusted, &certificate.issuer).unwrap();
    let trust = [("SSL_CERT_FILE", trusted.as_os_str())];
    let mut engine = sandbox.serve_with(&trust).await;
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "studio").code, Some(0));
    assert_eq!(ask(&sandbox).await.status(), 200, "the gateway speaks TLS too");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    let sandbox = Sandbox::new(&tools, &remote(&format!("https://127.0.0.1:{}", front.port)));
    let mut engine = sandbox.serve_with(&trust).await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("not trusted"), "{failed:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    front.close().await;

    let plain = Front::open(0, &far.base(), None).await.unwrap();
    let sandbox = Sandbox::new(&tools, &remote(&format!("https://127.0.0.1:{}", plain.port)));
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("TLS"), "{failed:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_without_certificates_loses_https_and_nothing_else() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let models = r#"{"object":"list","data":[{"id":"small","object":"model"}]}"#;
    let upstream = axum::Router::new().route("/models", axum::routing::get(async move || models));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, upstream).await });
    let certificate = Certificate::for_names(&["localhost"]).unwrap();
    let tls = Front::open(0, &base, Some(&certificate)).await.unwrap();
    let plain = Front::open(0, &base, None).await.unwrap();
    let remotes = [
        ("plain", format!("http://127.0.0.1:{}", plain.port)),
        ("tls", format!("https://localhost:{}", tls.port)),
        ("elsewhere", "http://no-such-machine.invalid:8000/v1".to_owned()),
    ];
    let tables = remotes.map(|(id, address)| format!("[servers.remote.{id}]\naddress = {address:?}\n\n"));
    let mut sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{}", tables.concat()));
    let none = sandbox.folder().join("none");
    std::fs::create_dir(&none).unwrap();
    sandbox.set("SSL_CERT_FILE", "/nonexistent");
    sandbox.set("SSL_CERT_DIR", &none);
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "plain", "ready").await;
    let failed = until_state(&sandbox, &mut engine, "elsewhere", "failed").await;
    assert!(reason(&failed).contains("No machine named"), "{failed:#}");
    let failed = sandbox
        .until(&mut engine, "a way out", |status| {
            let hinted = |tls: &&serde_json::Value| tls["hint"].to_string().contains("ca-certificates");
            server(status, "tls").filter(|tls| tls["state"] == "failed").filter(hinted).cloned()
        })
        .await;
    assert!(reason(&failed).contains("knows no issuer of certificates"), "{failed:#}");
    let gateway = format!("http://127.0.0.1:{}/v1/models", sandbox.gateway_port);
    assert_eq!(reqwest::get(gateway).await.unwrap().status(), 200);
    let doctor = sandbox.run(&["doctor"]).json;
    let checks = doctor["checks"].as_array().unwrap();
    let named = checks.iter().find(|check| check["name"] == "certificates").unwrap();
    assert_eq!(named["result"], "warn", "{doctor:#}");

    // As soon as there are some, they are used: nothing need be started again.
    std::fs::write(none.join("issuer.pem"), &certificate.issuer).unwrap();
    until_state(&sandbox, &mut engine, "tls", "ready").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    std::fs::remove_file(none.join("issuer.pem")).unwrap();
    sandbox.set("PILOTHOUSE_EMBEDDED", sandbox.folder().join("embedded"));
    for (index, words) in [
        (format!("https://localhost:{}/simple", tls.port), "knows no issuer of certificates"),
        (format!("http://127.0.0.1:{}/simple", plain.port), "answered 404"),
    ] {
        sandbox.set("PILOTHOUSE_INDEX_URL", &index);
        let setup = sandbox.run(&["setup", "--yes"]);
        assert!(setup.code == Some(1) && setup.stdout.contains(words), "{index}: {setup:?}");
    }
    plain.close().await;
    tls.close().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_is_said() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, &remote("http://no-such-machine.invalid:8000/v1"));
    let mut engine = sandbox.serve().await;
    let failed = until_state(&sandbox, &mut engine, "studio", "failed").await;
    assert!(reason(&failed).contains("no-such-machine.invalid"), "{failed:#}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sandbox.run(&["switch", "anything", "--server", "studio"]).code, Some(4));
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// The name leads nowhere from here: only the proxy, which stands for the way out of a company's network, knows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_behind_a_proxy_is_probed_and_asked_by_the_same_way() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let proxy = Front::open(0, &far.base(), None).await.unwrap();
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let sandbox = Sandbox::new(&tools, &remote("http://studio.invalid/v1"));
    let variables = [("HTTP_PROXY", address.as_ref()), ("NO_PROXY", "127.0.0.1,localhost".as_ref())];
    let mut engine = sandbox.serve_with(&variables).await;
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    let switched = sandbox.switch(EMBEDDED_MODEL, "studio");
    assert_eq!(switched.code, Some(0), "{switched:?}");
    assert_eq!(ask(&sandbox).await.status(), 200, "the gateway goes where the probe went");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    proxy.close().await;
    far.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_that_has_moved_is_not_followed_and_its_new_address_is_named() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let far = Far::start(&tools).await;
    let front = Front::open(0, &far.base(), None).await.unwrap();
    let sandbox = Sandbox::new(&tools, &remote(&format!("http://127.0.0.1:{}", front.port)));
    let mut engine = sandbox.serve().await;
    until_state(&sandbox, &mut engine, "studio", "ready").await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "studio").code, Some(0));
    front.set(Rules { moved_to: Some("https://new.invalid".into()), ..Rules::default() });
    let answer = ask(&sandbox).await;
    assert_eq!(answer.status(), 502);
    let said = answer.text().await.unwrap();
    assert!(said.contains("put https://new.invalid/v1 into the settings"), "{said}");
    let moved = until_state(&sandbox, &mut engine, "studio", "degraded").await;
    assert!(reason(&moved).contains("redirect"), "{moved:#}");
    assert!(moved["hint"].as_str().unwrap_or_default().contains("https://new.invalid/v1"), "{moved:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    front.close().await;
    far.end().await;
}
