//! Scenes, loads on request, pins, unloading and undo, on the real llama-server and the real Ollama.

use crate::address::{Answered, Client, answered};
use pilothouse_tests::{
    gguf,
    sandbox::{EMBEDDED_MODEL, GGUF, Group, OLLAMA_MODEL, Sandbox, Tools, named, server, until},
};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

/// A scene over both servers, as a person writes it.
fn hybrid() -> String {
    format!(
        "[gateway.aliases]\n\"gpt-4o-mini\" = \"background\"\n\
         [scenes.Hybrid] # for the evening\n\
         [scenes.Hybrid.roles.critical]\nserver = \"llama-server\"\nmodel = \"{EMBEDDED_MODEL}\"\npriority = \"critical\"\n\
         [scenes.Hybrid.roles.background]\nserver = \"ollama\"\nmodel = \"{OLLAMA_MODEL}\"\npriority = \"background\"\n"
    )
}

async fn with_both(settings: &str) -> Option<(Sandbox, Group)> {
    let tools = Tools::find()?;
    let sandbox = Sandbox::new(&tools, settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    Some((sandbox, engine))
}

/// The models in memory as the servers list them, by `<server>/<model>`.
fn in_memory(sandbox: &Sandbox) -> Vec<String> {
    let models = sandbox.ask(&["models"]).unwrap();
    let models = models["models"].as_array().unwrap();
    let loaded = models.iter().filter(|model| model["loaded"] == true);
    let mut names: Vec<String> = loaded.map(|model| model["id"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn both() -> Vec<String> {
    vec![format!("llama-server/{EMBEDDED_MODEL}"), format!("ollama/{OLLAMA_MODEL}")]
}

fn by(answer: &Answered) -> (u16, Option<&str>) {
    (answer.status.as_u16(), answer.server.as_deref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_is_applied_shown_answered_by_role_and_alias_and_taken_back() {
    let Some((sandbox, mut engine)) = with_both(&hybrid()).await else { return };
    let client = Client::new(&sandbox);
    let listed = sandbox.run(&["scenes"]).json;
    assert_eq!(
        (&listed["scenes"][0]["name"], &listed["scenes"][0]["in_force"]),
        (&json!("Hybrid"), &json!(false))
    );
    let dry = sandbox.run(&["scene", "apply", "hybrid", "--dry-run"]);
    assert_eq!((dry.code, &dry.json["dry_run"]), (Some(0), &json!(true)), "{dry:?}");
    assert_eq!(in_memory(&sandbox), both()[..1], "a dry run loads nothing");

    let applied = sandbox.run(&["scene", "apply", "Hybrid"]);
    assert_eq!((applied.code, &applied.json["outcome"]), (Some(0), &json!("committed")), "{applied:?}");
    assert_eq!(in_memory(&sandbox), both());
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["scene"], "Hybrid", "{status:#}");
    assert_eq!(status["roles"].as_array().unwrap().len(), 2);
    for (name, server) in [
        ("active", "llama-server"),
        ("critical", "llama-server"),
        ("background", "ollama"),
        ("gpt-4o-mini", "ollama"),
    ] {
        let answer = client.chat(name).await;
        assert_eq!(by(&answer), (200, Some(server)), "{name}: {answer:?}");
    }
    let shown = sandbox.run(&["scene", "show", "Hybrid"]).json;
    assert_eq!(shown["roles"].as_array().unwrap().len(), 2, "{shown:#}");
    assert_eq!(shown["changed"], false, "{shown:#}");

    let undone = sandbox.run(&["undo"]);
    assert_eq!((undone.code, &undone.json["outcome"]), (Some(0), &json!("committed")), "{undone:?}");
    assert_eq!(in_memory(&sandbox), both()[..1]);
    let nothing = sandbox.run(&["undo"]);
    assert_eq!((nothing.code, &nothing.json["error"]["code"]), (Some(4), &json!("not_found")), "{nothing:?}");

    // Save what is there, delete it again: comments of the person stay.
    let text = || std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let before = text();
    let dry = sandbox.run(&["scene", "save", "Only one", "--dry-run"]);
    assert_eq!((dry.code, &dry.json["replaces"]), (Some(0), &json!(false)), "{dry:?}");
    assert_eq!(dry.json["roles"][0]["model"], EMBEDDED_MODEL, "{dry:?}");
    assert_eq!(text(), before, "a dry run writes nothing");
    assert_eq!(sandbox.run(&["scene", "save", "Only one"]).code, Some(0));
    let saved = sandbox.run(&["scene", "show", "Only one"]).json;
    assert_eq!(saved["roles"][0]["model"], EMBEDDED_MODEL, "{saved:#}");
    let before = text();
    let dry = sandbox.run(&["scene", "delete", "Only one", "--dry-run"]);
    assert_eq!((dry.code, dry.json["scenes"].as_array().map(Vec::len)), (Some(0), Some(1)), "{dry:?}");
    assert_eq!(text(), before, "a dry run takes nothing out");
    assert_eq!(sandbox.run(&["scene", "delete", "Only one"]).code, Some(0));
    let after = text();
    assert!(after.contains("[scenes.Hybrid] # for the evening"), "{after}");
    for unknown in ["apply", "show", "delete"] {
        assert_eq!(sandbox.run(&["scene", unknown, "gone"]).code, Some(4), "{unknown}");
    }
    assert_eq!(sandbox.run(&["scene", "delete", "gone", "--dry-run"]).code, Some(4));
    assert_eq!(sandbox.run(&["scene", "save", "Restore", "--dry-run"]).code, Some(2));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_asks_for_is_loaded_beside_and_leaves_when_nobody_asks() {
    let settings = "[memory]\nidle_s = 2\n";
    let Some((sandbox, mut engine)) = with_both(settings).await else { return };
    let client = Client::new(&sandbox);
    let asked = [client.chat(OLLAMA_MODEL), client.chat(OLLAMA_MODEL)];
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(by(&answer), (200, Some("ollama")), "{answer:?}");
    }
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["server"], "llama-server", "what is active stays: {status:#}");
    sandbox
        .until(&mut engine, "the idle model to leave", |status| {
            status["on_request"].as_array().is_some_and(Vec::is_empty).then_some(())
        })
        .await;
    until("Ollama to hold nothing", Duration::from_secs(30), || async {
        (in_memory(&sandbox) == both()[..1]).then_some(())
    })
    .await;
    // And it comes back for the next one.
    assert_eq!(by(&client.chat(OLLAMA_MODEL).await), (200, Some("ollama")));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_nothing_is_loaded_on_request() {
    let Some((sandbox, mut engine)) = with_both("[memory]\nload_on_request = \"never\"\n").await else {
        return;
    };
    let answer = Client::new(&sandbox).chat(OLLAMA_MODEL).await;
    assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
    assert!(
        answer.body["error"]["message"].as_str().unwrap().contains("memory.load_on_request"),
        "{answer:?}"
    );
    assert_eq!(in_memory(&sandbox), both()[..1]);
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_hold_unloading_takes_out_and_deactivating_is_taken_back() {
    let Some((sandbox, mut engine)) = with_both("").await else { return };
    let client = Client::new(&sandbox);
    assert_eq!(sandbox.run(&["pin", EMBEDDED_MODEL, "--server", "llama-server"]).code, Some(0));
    let refused = sandbox.run(&["unload", EMBEDDED_MODEL, "--server", "llama-server"]);
    assert_eq!((refused.code, &refused.json["error"]["code"]), (Some(5), &json!("pinned")), "{refused:?}");
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    assert_eq!(in_memory(&sandbox), both(), "a pinned model leaves for no other");
    assert_eq!(sandbox.run(&["unpin", EMBEDDED_MODEL, "--server", "llama-server"]).code, Some(0));
    let unloaded = sandbox.run(&["unload", EMBEDDED_MODEL, "--server", "llama-server"]);
    assert_eq!(unloaded.json["unloaded"][0]["model"], EMBEDDED_MODEL, "{unloaded:?}");
    assert_eq!(in_memory(&sandbox), both()[1..]);

    let gone = sandbox.run(&["deactivate"]);
    assert_eq!(
        (gone.code, &gone.json["to"], &gone.json["from"]["model"]),
        (Some(0), &Value::Null, &json!(OLLAMA_MODEL)),
        "{gone:?}"
    );
    assert!(in_memory(&sandbox).is_empty());
    assert_eq!(client.chat("active").await.status, 503);
    let back = sandbox.run(&["undo"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!(by(&client.chat("active").await), (200, Some("ollama")));
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_model_is_a_role_of_its_own_and_stays_beside_every_chat_model() {
    let Some(tools) = Tools::find() else { return };
    let Ok(file) = named("PILOTHOUSE_TEST_EMBEDDING") else { return };
    let settings = "[scenes.Search.roles.critical]\nserver = \"llama-server\"\nmodel = \"EMBEDDED\"\n\
         [scenes.Search.roles.embed]\nserver = \"llama-server\"\nmodel = \"all-minilm-l6-v2\"\n";
    let sandbox = Sandbox::new(&tools, &settings.replace("EMBEDDED", EMBEDDED_MODEL));
    let place: PathBuf = sandbox.home().join("data/models/all-minilm-l6-v2.gguf");
    std::fs::copy(file, place).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed("all-minilm-l6-v2").await;
    sandbox.add_ollama_model(&mut engine).await;
    let applied = sandbox.run(&["scene", "apply", "Search"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    let client = Client::new(&sandbox);
    let numbers = async || {
        let body = json!({ "model": "embed", "input": "harbour" });
        let answer = client.http.post(client.url("/embeddings")).json(&body).send().await.unwrap();
        let answer = answered(answer).await;
        (answer.status.as_u16(), answer.body["data"][0]["embedding"].as_array().map_or(0, Vec::len))
    };
    let (chat, embedding) = tokio::join!(client.chat("critical"), numbers());
    assert_eq!((by(&chat), embedding), ((200, Some("llama-server")), (200, 384)));
    // The switch of the chat model leaves it where it is.
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    assert_eq!(numbers().await, (200, 384));
    assert_eq!(
        by(&client.chat("critical").await),
        (200, Some("ollama")),
        "the role that leads follows the switch"
    );
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_that_fails_on_one_server_puts_back_what_both_had() {
    let broken = "[scenes.Broken.roles.critical]\nserver = \"ollama\"\nmodel = \"OLLAMA\"\n\
         [scenes.Broken.roles.small]\nserver = \"llama-server\"\nmodel = \"broken\"\n";
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, &broken.replace("OLLAMA", OLLAMA_MODEL));
    // Whole by its head, of an architecture that nobody knows.
    let file = sandbox.home().join("data/models/broken.gguf");
    std::fs::copy(sandbox.embedded.join(GGUF), &file).unwrap();
    gguf::spoil(&file);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.add_ollama_model(&mut engine).await;
    sandbox.until_listed("broken").await;
    let before = in_memory(&sandbox);
    let failed = sandbox.run(&["scene", "apply", "Broken"]);
    assert!(failed.code != Some(0), "{failed:?}");
    until("memory as before", Duration::from_secs(60), || async {
        (in_memory(&sandbox) == before).then_some(())
    })
    .await;
    assert_eq!(by(&Client::new(&sandbox).chat("active").await), (200, Some("llama-server")));
    let status = sandbox.ask(&["status"]).unwrap();
    assert!(status["roles"].as_array().unwrap().is_empty(), "{status:#}");
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scene_outlives_pilothouse_whether_it_quits_or_is_killed() {
    let Some((sandbox, mut engine)) = with_both(&hybrid()).await else { return };
    assert_eq!(sandbox.run(&["scene", "apply", "Hybrid"]).code, Some(0));
    for killed in [true, false] {
        if killed {
            engine.kill_leader();
        } else {
            engine.terminate();
            assert!(sandbox.assert_clean_end(&mut engine).await.success());
        }
        engine = sandbox.serve().await;
        sandbox.until_active(&mut engine, "llama-server").await;
        until("both roles to answer", Duration::from_secs(120), || async {
            let status = sandbox.ask(&["status"])?;
            let roles = status["roles"].as_array()?;
            (roles.len() == 2
                && roles.iter().all(|role| !role["instance"].is_null())
                && in_memory(&sandbox) == both())
            .then_some(())
        })
        .await;
        let answer = Client::new(&sandbox).chat("background").await;
        assert_eq!(by(&answer), (200, Some("ollama")), "killed: {killed}: {answer:?}");
    }
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}

/// Streams of a role until their end; sends one word for each first piece and each end.
fn stream(
    client: &Client,
    role: &'static str,
    tokens: u32,
) -> tokio::task::JoinHandle<(Option<String>, bool)> {
    let (http, url) = (client.http.clone(), client.url("/chat/completions"));
    tokio::spawn(async move {
        let body = json!({
            "model": role, "stream": true, "max_tokens": tokens, "ignore_eos": true,
            "messages": [{ "role": "user", "content": "Count from one to a hundred." }],
        });
        let answer = http.post(url).json(&body).send().await.unwrap();
        let waited = answer.headers().get("x-pilothouse-waited-ms").map(|ms| ms.to_str().unwrap().to_owned());
        (waited, answer.text().await.is_ok_and(|text| text.contains("[DONE]")))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_request_is_admitted_at_once_beside_eight_background_ones() {
    let Some((sandbox, mut engine)) = with_both(&hybrid()).await else { return };
    assert_eq!(sandbox.run(&["scene", "apply", "Hybrid"]).code, Some(0));
    let client = Client::new(&sandbox);
    let background: Vec<_> = (0..8).map(|_| stream(&client, "background", 120)).collect();
    // Ollama answers few at a time here: the others wait for their turn.
    sandbox
        .until(&mut engine, "background streams to run", |status| {
            server(status, "ollama")?["pid"]
                .as_i64()
                .filter(|_| !background.iter().any(|one| one.is_finished()))
        })
        .await;
    let (waited, whole) = stream(&client, "critical", 8).await.unwrap();
    let done = background.iter().filter(|one| one.is_finished()).count();
    println!(
        "critical: waited {} ms, {done} of 8 background streams were over",
        waited.as_deref().unwrap_or("?")
    );
    assert!(whole, "the critical stream ended as it should");
    assert!(done < 8, "it waited for all of the background");
    // Its headers came with its first word, so it was not begun early: it had no wait worth the name.
    assert!(waited.is_some_and(|ms| ms.parse::<u64>().is_ok_and(|ms| ms < 2000)));
    for one in background {
        assert!(one.await.unwrap().1, "a background stream did not end as it should");
    }
    engine.terminate();
    assert!(sandbox.assert_clean_end(&mut engine).await.success());
}
