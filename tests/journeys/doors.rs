//! Who is let in.

use crate::address::Client;
use pilothouse_tests::sandbox::{Group, Sandbox, Tools, command, free_port};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::Stdio,
};

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_and_callers_without_the_token_stay_outside() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    let url = sandbox
        .until(&mut engine, "the address", |status| Some(status["web_url"].as_str()?.to_owned()))
        .await;
    let (address, token) = url.split_once("/#token=").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = || http.post(format!("{address}/api/call")).json(&serde_json::json!({ "call": "snapshot" }));

    let page = http.get(address).send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    let script = page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let script =
        http.get(format!("{address}/{}", script.trim_start_matches(['.', '/']))).send().await.unwrap();
    assert!(script.status().is_success(), "the page's own script: {}", script.status());

    let well: Value =
        call().bearer_auth(token).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    assert!(well.is_object(), "{well}");
    assert_eq!(call().send().await.unwrap().status(), 401, "no token");
    assert_eq!(call().bearer_auth("wrong").send().await.unwrap().status(), 401, "a wrong token");
    let foreign = call().bearer_auth(token).header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(foreign.status(), 403, "a page of another origin");
    let rebound = call().bearer_auth(token).header("host", "example.org").send().await.unwrap();
    assert_eq!(rebound.status(), 403, "a name that was bent to this machine");

    let client = Client::new(&sandbox);
    let page =
        client.http.get(client.url("/models")).header("origin", "https://example.org").send().await.unwrap();
    assert_eq!(page.status(), 403, "a page of another origin at the gateway");
    assert!(client.http.get(client.url("/models")).send().await.unwrap().status().is_success());
}

/// "Try it" in the panel: the active model of a stopped server is started and loaded for it, and that is said meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn asking_the_active_model_of_a_stopped_server_starts_it_and_says_so() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(sandbox.run(&["servers", "stop", "llama-server"]).code, Some(0));
    let url = sandbox.ask(&["status"]).unwrap()["web_url"].as_str().unwrap().to_owned();
    let (address, token) = url.split_once("/#token=").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |call: Value| -> Value {
        let request = http.post(format!("{address}/api/call")).bearer_auth(token).json(&call);
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let asked = call(json!({ "call": "ask", "prompt": "Hello", "max_tokens": 4 })).await;
    let mut said = BTreeSet::new();
    let mut text = String::new();
    loop {
        let offset = text.chars().count();
        let read = call(json!({ "call": "read_answer", "answer": asked["answer"], "offset": offset })).await;
        let chunk = &read["chunk"];
        said.extend(chunk["waiting"].as_str().map(str::to_owned));
        text += chunk["text"].as_str().unwrap();
        if chunk["done"] == true {
            assert!(chunk["error"].is_null(), "{chunk:#}");
            break;
        }
    }
    assert!(!text.is_empty());
    assert!(said.iter().any(|words| words.starts_with("Starting llama-server and loading")), "{said:?}");
}

/// Another Pilothouse of the same person, or a program that takes its time to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_taken_at_the_start_is_tried_again_until_it_is_had() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let web_port = free_port();
    let settings = format!("[servers.llama-server]\nautostart = false\n\n[web]\nport = {web_port}\n");
    let sandbox = Sandbox::new(&tools, &settings);
    let taken = [sandbox.gateway_port, web_port].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = Group::spawn(&mut command);
    let mut first = String::new();
    BufReader::new(engine.child().stdout.take().unwrap()).read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert!(first["url"].is_null() && first["gateway"].is_null(), "{first}");
    assert_eq!(sandbox.run(&["status"]).code, Some(3), "nobody can be asked yet");

    let [gateway, web] = taken;
    drop(web);
    let trouble = sandbox
        .until(&mut engine, "the web door, and the trouble of the other", |status| {
            let trouble = status["troubles"].as_array()?.first()?.clone();
            (!trouble["message"].as_str()?.contains(&web_port.to_string())).then_some(trouble)
        })
        .await;
    assert_eq!(trouble["code"], "port_taken", "{trouble:#}");
    assert!(trouble["message"].as_str().unwrap().contains(&sandbox.gateway_port.to_string()), "{trouble:#}");
    assert!(trouble["hint"].as_str().unwrap().contains("tried again"), "{trouble:#}");
    drop(gateway);
    let address = sandbox
        .until(&mut engine, "the gateway", |status| {
            status["troubles"].as_array()?.is_empty().then_some(())?;
            Some(status["gateway"].as_str()?.to_owned())
        })
        .await;
    assert_eq!(address, format!("http://127.0.0.1:{}/v1", sandbox.gateway_port));
    let client = Client::new(&sandbox);
    assert!(client.http.get(client.url("/models")).send().await.unwrap().status().is_success());
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// What a browser sends that came with the token once.
struct Browser {
    http: reqwest::Client,
    origin: String,
    cookie: String,
}

impl Browser {
    /// The first visit. Gives what the browser was told to keep.
    async fn visit(url: &str) -> (Self, String) {
        let (origin, token) = url.split_once("/#token=").unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let visit = http.post(format!("{origin}/api/session")).bearer_auth(token).header("origin", origin);
        let answer = visit.send().await.unwrap().error_for_status().unwrap();
        let told = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        let cookie = told.split(';').next().unwrap().to_owned();
        (Self { http, origin: origin.to_owned(), cookie }, told)
    }

    /// The status of a call as a page of another tab makes it, with some headers in other words.
    async fn call(&self, changed: &[(&str, Option<&str>)]) -> u16 {
        let mut headers = vec![
            ("cookie", Some(self.cookie.as_str())),
            ("origin", Some(self.origin.as_str())),
            ("sec-fetch-site", Some("same-origin")),
        ];
        for (name, value) in changed {
            headers.retain(|(known, _)| known != name);
            headers.push((name, *value));
        }
        let call = self.http.post(format!("{}/api/call", self.origin)).json(&json!({ "call": "snapshot" }));
        let call = headers.iter().fold(call, |call, (name, value)| match value {
            Some(value) => call.header(*name, *value),
            None => call,
        });
        call.send().await.unwrap().status().as_u16()
    }
}

/// All text below a folder.
fn texts_in(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => texts_in(&entry.path()),
            false => String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned(),
        })
        .collect()
}

async fn web_url(sandbox: &Sandbox, engine: &mut Group) -> String {
    sandbox.until(engine, "the address", |status| Some(status["web_url"].as_str()?.to_owned())).await
}

/// A second tab, a bookmark and a restart need no token, and nobody else gets in by the cookie.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_known_again_in_every_tab_and_after_a_restart() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let sandbox = Sandbox::new(&tools, "[servers.llama-server]\nautostart = false\n\n");
    let mut engine = sandbox.serve().await;
    let first = web_url(&sandbox, &mut engine).await;
    let (browser, told) = Browser::visit(&first).await;
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (name, secret) = browser.cookie.split_once('=').unwrap();
    let port = browser.origin.rsplit(':').next().unwrap();
    let other_port = format!("http://127.0.0.1:{}", free_port());
    let nobody = format!("{name}={}", "0".repeat(64));
    let elsewhere = format!("pilothouse-other={secret}");
    for (what, changed, wanted) in [
        ("a second tab", vec![], 200),
        ("the token of an earlier start", vec![("authorization", Some("Bearer old"))], 200),
        ("a wrong cookie", vec![("cookie", Some(nobody.as_str()))], 401),
        ("the cookie of another Pilothouse", vec![("cookie", Some(elsewhere.as_str()))], 401),
        ("no cookie", vec![("cookie", None)], 401),
        ("a page that does not say where it is from", vec![("origin", None)], 401),
        ("a page of another program here", vec![("origin", Some(other_port.as_str()))], 403),
        ("a page of elsewhere", vec![("origin", Some("https://example.org"))], 403),
        ("a page of the same site only", vec![("sec-fetch-site", Some("same-site"))], 401),
    ] {
        assert_eq!(browser.call(&changed).await, wanted, "{what}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let file = sandbox.home().join("data/web-session.json");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    let mut engine = sandbox.serve().await;
    let second = web_url(&sandbox, &mut engine).await;
    assert!(second.starts_with(&browser.origin), "the same port, {port}: a bookmark goes on");
    assert_ne!(first, second, "another token");
    assert_eq!(browser.call(&[]).await, 200, "the page goes on by itself");
    let old = format!("Bearer {}", first.split("token=").nth(1).unwrap());
    let by_old = [("authorization", Some(old.as_str())), ("cookie", None)];
    assert_eq!(browser.call(&by_old).await, 401, "the token of before is worth nothing");
    let logs = texts_in(&sandbox.home().join("logs"));
    assert!(!logs.is_empty());
    for (what, text) in [("token", &first), ("token", &second), ("cookie", &browser.cookie)] {
        let secret = text.rsplit('=').next().unwrap();
        assert!(!logs.contains(secret), "a {what} stands in a log");
    }
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;

    // Somebody else sits there: browsers have shown the cookie to that program.
    let taken = TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    let mut engine = sandbox.serve().await;
    let third = web_url(&sandbox, &mut engine).await;
    assert!(!third.starts_with(&browser.origin), "{third}");
    let moved = Browser { origin: third.split("/#").next().unwrap().to_owned(), ..browser };
    assert_eq!(moved.call(&[]).await, 401, "what that program may have seen opens nothing");
    assert_eq!(Browser::visit(&third).await.0.call(&[]).await, 200);
    drop(taken);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
