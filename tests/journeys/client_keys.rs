//! Keys of client programs, from the command line to the one address and over a restart; wrong ones in between.

use crate::address::Client;
use pilothouse_tests::sandbox::{Sandbox, Tools, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Asks for a few tokens with a key, or without one; the status.
async fn ask(client: &Client, key: Option<&str>) -> u16 {
    let body = json!({ "model": "active", "max_tokens": 4, "messages": [{ "role": "user", "content": "Say hello." }] });
    let request = client.http.post(client.url("/chat/completions")).json(&body);
    let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

/// The files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_the_address_over_a_restart_until_it_is_revoked_and_is_written_nowhere() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    assert_eq!(ask(&client, None).await, 200, "programs of this machine need none");
    let none = sandbox.run(&["keys", "client", "list"]).json;
    assert_eq!((&none["keys"], &none["required"], &none["wrong"]), (&json!([]), &json!(false), &json!(0)));

    let made = sandbox.run(&["keys", "client", "add", "laptop", "--model", "act*", "--at-once", "4"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let secret = made.json["key"].as_str().unwrap().to_owned();
    assert_eq!((&secret[..3], secret.len()), ("ph_", 67));
    let elsewhere = sandbox.run(&["keys", "client", "add", "else", "--model", "nothing-*"]).json;
    let elsewhere = elsewhere["key"].as_str().unwrap().to_owned();
    for (arguments, code) in [
        (["keys", "client", "add", "LAPTOP"], 5),
        (["keys", "client", "add", "others"], 2),
        (["keys", "client", "revoke", "nobody"], 4),
    ] {
        let refused = sandbox.run(&arguments);
        assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
        assert!(refused.json["error"]["message"].is_string());
    }

    assert_eq!(sandbox.run(&["settings", "set", "gateway.require_key", "true"]).code, Some(0));
    let closed = || async { (ask(&client, None).await == 401).then_some(()) };
    until("a key to be needed", LIMIT, closed).await;
    let all = async |wanted: [u16; 4]| {
        let wrong = format!("{}0", &secret[..secret.len() - 1]);
        let wrong = if wrong == secret { format!("{}1", &secret[..secret.len() - 1]) } else { wrong };
        for (key, wanted) in [&secret, &elsewhere, &wrong, "pilothouse"].into_iter().zip(wanted) {
            assert_eq!(ask(&client, Some(key)).await, wanted, "{}", key.len());
        }
    };
    all([200, 403, 401, 401]).await;

    // A crowd with wrong keys holds nobody up, and none of it is a record.
    let flood = futures_util::future::join_all((0..100).map(|number| {
        let client = &client;
        async move { ask(client, Some(&format!("ph_wrong-{number}"))).await }
    }));
    let right = async {
        for _ in 0..3 {
            assert_eq!(ask(&client, Some(&secret)).await, 200);
        }
    };
    let (flood, ()) = tokio::join!(flood, right);
    assert!(flood.iter().all(|status| *status == 401));
    let listed = sandbox.run(&["keys", "client", "list"]).json;
    assert_eq!(listed["wrong"], 102, "{listed:#}");
    let traffic = sandbox.run(&["traffic", "--limit", "50"]).json;
    let kept = traffic["requests"].as_array().unwrap();
    let of = |key: &Value| kept.iter().filter(|one| one["key"] == *key).count();
    assert_eq!((of(&json!("laptop")), of(&json!("else"))), (4, 1), "{traffic:#}");
    assert!(kept.iter().all(|one| one["state"] == "done" || one["key"] == "else"), "{traffic:#}");

    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    all([200, 403, 401, 401]).await;
    let listed = sandbox.run(&["keys", "client", "list"]).json;
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| &key["name"]).collect::<Vec<_>>(), ["laptop", "else"]);
    assert_eq!((&keys[0]["at_once"], &keys[0]["models"]), (&json!(4), &json!(["act*"])));
    assert!(keys[0]["last_used_at"].is_string() && keys[0]["tokens_per_minute_absent"].is_string());
    assert_eq!(sandbox.run(&["keys", "client", "revoke", "Laptop"]).code, Some(0));
    all([401, 403, 401, 401]).await;

    // Neither snapshot nor settings say them, and no file holds them: database, logs, records.
    let told =
        [vec!["status"], vec!["settings"], vec!["keys", "client", "list"], vec!["traffic"], vec!["doctor"]];
    for arguments in &told {
        let said = sandbox.run(arguments);
        assert!(
            !said.stdout.contains(&secret[3..]) && !said.stdout.contains(&elsewhere[3..]),
            "{arguments:?}"
        );
    }
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    let mut found = vec![];
    files(sandbox.folder(), &mut found);
    let mut looked_at = 0;
    for file in found.iter().filter(|file| file.metadata().is_ok_and(|about| about.len() < 50 << 20)) {
        let Ok(bytes) = fs::read(file) else { continue };
        looked_at += 1;
        for key in [&secret, &elsewhere] {
            assert!(!String::from_utf8_lossy(&bytes).contains(&key[3..]), "{}", file.display());
        }
    }
    assert!(found.contains(&sandbox.database()) && looked_at > 3, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_connected_with_a_key_of_its_own_and_asks_with_it() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    assert_eq!(sandbox.run(&["settings", "set", "gateway.require_key", "true"]).code, Some(0));
    let closed = || async { (ask(&client, None).await == 401).then_some(()) };
    until("a key to be needed", LIMIT, closed).await;

    let without = sandbox.run(&["connect", "claude-code", "--test"]);
    assert_eq!((without.code, &without.json["test"]["status"]), (Some(1), &json!(401)), "{without:?}");
    assert_eq!((&without.json["key"], &without.json["key_missing"]), (&json!("pilothouse"), &json!(true)));
    assert!(without.json["notes"][0].as_str().unwrap().contains("--new-key"), "{without:?}");

    let made = sandbox.run(&["connect", "claude-code", "--new-key", "--write", "--test"]);
    assert_eq!((made.code, &made.json["test"]["ok"]), (Some(0), &json!(true)), "{made:?}");
    assert_eq!(made.json["key_name"], "Claude Code");
    let secret = made.json["key"].as_str().unwrap().to_owned();
    assert_eq!((&secret[..3], made.stderr.matches(&secret).count()), ("ph_", 1), "{}", made.stderr);
    let file = sandbox.folder().join("home/.claude/settings.json");
    let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["env"]["ANTHROPIC_AUTH_TOKEN"], json!(secret));
    let rights = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(rights & 0o777, 0o600);

    // Looked at without it, the file is still set up, and the app asks with what stands there.
    let again = sandbox.run(&["connect", "Claude Code", "--test"]);
    assert_eq!((again.code, &again.json["state"]), (Some(0), &json!("set_up")), "{again:?}");
    assert_eq!((&again.json["key_kept"], &again.json["key_missing"]), (&json!(true), &json!(false)));
    assert!(!again.json["snippet"].as_str().unwrap().contains(&secret), "{again:?}");

    // One without a file has the key in its lines, and asks with it only where it is named.
    assert_eq!(sandbox.run(&["connect", "curl", "--test"]).code, Some(1));
    let named = sandbox.run(&["connect", "curl", "--test", "--key", &secret]);
    assert_eq!(named.code, Some(0), "{named:?}");
    assert!(named.json["snippet"].as_str().unwrap().contains(&format!("authorization: Bearer {secret}")));
    let refused = sandbox.run(&["connect", "curl", "--key", "a b"]);
    assert_eq!((refused.code, &refused.json["error"]["code"]), (Some(2), &json!("invalid_call")));
    let second = sandbox.run(&["connect", "claude-code", "--new-key"]).json;
    assert_eq!(second["key_name"], "Claude Code 2");
    let second = second["key"].as_str().unwrap().to_owned();
    assert!(!fs::read_to_string(&file).unwrap().contains(&second), "only --write writes");
    assert_eq!(sandbox.run(&["connect", "nobody", "--new-key"]).code, Some(4));
    let listed = sandbox.run(&["keys", "client", "list"]).json;
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed:#}");

    // Who speaks Ollama's own API has no address here, and is told what makes one.
    let assistant = sandbox.run(&["connect", "home-assistant", "--test", "--key", &secret]);
    assert_eq!((assistant.code, &assistant.json["address"]), (Some(1), &Value::Null), "{assistant:?}");
    assert!(assistant.json["address_absent"].is_string() && assistant.json["test"]["url"].is_null());
    assert!(assistant.json["notes"][0].as_str().unwrap().contains("gateway.ollama_port"), "{assistant:?}");

    assert_eq!(sandbox.run(&["keys", "client", "revoke", "claude code"]).code, Some(0));
    let revoked = sandbox.run(&["connect", "claude-code", "--test"]);
    assert_eq!((revoked.code, &revoked.json["test"]["status"]), (Some(1), &json!(401)), "{revoked:?}");
    assert_eq!(sandbox.run(&["connect", "claude-code", "--undo"]).code, Some(0));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
    // With the app's file gone, neither database nor logs nor what is kept for Undo has them.
    let mut found = vec![];
    files(sandbox.folder(), &mut found);
    for file in found.iter().filter(|file| file.metadata().is_ok_and(|about| about.len() < 50 << 20)) {
        let Ok(bytes) = fs::read(file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&secret[3..]) && !text.contains(&second[3..]), "{}", file.display());
    }
}
