//! Clients that leave before their answer has come.

use crate::scene::{LIMIT, NO_LLAMA, QUICK, reason};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, Sandbox, Tools, pid, server, until};
use serde_json::{Value, json};
use std::time::Duration;

/// Gauges that are read once a minute know no processor time: that is not to be taken for idleness.
const BLIND: &str = "[gauges]\ninterval_ms = 60000\n\n";

/// A long answer without a stream whose client has left holds the only slot; whoever asks next waits behind it and gives up.
/// The server works: nobody asks it for a token in between, and nobody ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_works_for_a_client_that_has_left_is_not_ended() {
    let Some(tools) = Tools::find().map(crate::scene::without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, &format!("{QUICK}{BLIND}"));
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await.unwrap();
    let status = sandbox.ask(&["status"]).unwrap();
    let router = server(&status, "llama-server").unwrap()["endpoint"].as_str().unwrap().to_owned();
    let key = std::fs::read_to_string(sandbox.home().join("run/llama-server.key")).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let child = async |path: &str| -> Value {
        let listed: Value = http
            .get(format!("{router}/models"))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let rows = listed["data"].as_array().unwrap();
        let row = rows.iter().find(|row| row["id"] == EMBEDDED_MODEL).unwrap();
        let words = row["status"]["args"].as_array().unwrap();
        let at = words.iter().position(|word| word == "--port").unwrap();
        let port = words[at + 1].as_str().unwrap();
        let url = format!("http://127.0.0.1:{port}{path}");
        http.get(url).bearer_auth(&key).send().await.unwrap().json().await.unwrap()
    };
    // Through the router it goes on after its client has left. Long enough for every bound of QUICK several times over.
    let body = json!({ "model": EMBEDDED_MODEL, "prompt": "Once", "n_predict": 1500, "ignore_eos": true });
    let request = http.post(format!("{router}/completion")).bearer_auth(&key).json(&body);
    assert!(request.timeout(Duration::from_secs(1)).send().await.is_err(), "it was quicker than a second");
    assert_eq!(child("/slots").await[0]["is_processing"], true, "this answer ended with its client");
    let asked = json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 });
    let address = format!("http://127.0.0.1:{}/v1/completions", sandbox.gateway_port);
    let waiting = http.post(address).json(&asked).timeout(Duration::from_secs(6)).send().await;
    assert!(waiting.is_err_and(|error| error.is_timeout()), "it did not wait behind the answer");
    let gone = until("the answer to end", LIMIT * 5, || async {
        let status = sandbox.ask(&["status"])?;
        let server = server(&status, "llama-server")?;
        if pid(server) != Some(before) || reason(server).contains("no token") {
            return Some(format!("{status:#}"));
        }
        (child("/slots").await[0]["is_processing"] == false).then(String::new)
    })
    .await;
    assert_eq!(gone, "", "it was ended in the middle of an answer, or taken for mute");
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(server(&status, "llama-server").unwrap()["restarts"], 0, "{status:#}");
    let hung = |notice: &Value| notice["title"].as_str().is_some_and(|title| title.contains("hung"));
    assert!(!status["notices"].as_array().unwrap().iter().any(hung), "{status:#}");
    assert_eq!(crate::answers::ask(&sandbox).await.status(), 200);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// What is loaded by its owner for a while is asked for a token and leaves in its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_pins_nobodys_model() {
    use pilothouse_tests::sandbox::OLLAMA_MODEL;
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &format!("{NO_LLAMA}{QUICK}"));
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ollama = format!("http://127.0.0.1:{}", sandbox.ollama_port);
    let body = json!({ "model": OLLAMA_MODEL, "keep_alive": "10m", "stream": false });
    http.post(format!("{ollama}/api/generate")).json(&body).send().await.unwrap().error_for_status().unwrap();
    until("a token of the model", LIMIT, || async {
        let checked = sandbox.run(&["servers", "check", "ollama"]);
        (checked.json["checks"][2]["result"] == "ok").then_some(())
    })
    .await;
    let listed: Value = http.get(format!("{ollama}/api/ps")).send().await.unwrap().json().await.unwrap();
    let until: pilothouse_domain::Timestamp =
        listed["models"][0]["expires_at"].as_str().unwrap().parse().unwrap();
    let minutes = until.duration_since(pilothouse_domain::Timestamp::now()).as_mins();
    assert!((8..=10).contains(&minutes), "it leaves in {minutes} minutes: {listed:#}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
