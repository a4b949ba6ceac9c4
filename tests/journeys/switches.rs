//! Switches that fail, that take their time, and what requests see of them.

use crate::address::{Client, answered};
use futures_util::StreamExt;
use pilothouse_tests::{
    sandbox::{EMBEDDED_MODEL, OLLAMA_MODEL, Sandbox, Tools, signal, until},
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, Options},
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_fails_puts_the_previous_model_back() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    // Larger than the embedded model, or the first start would try it before.
    let mut nonsense = vec![b'x'; 200 << 20];
    nonsense[..4].copy_from_slice(b"GGUF");
    std::fs::write(sandbox.home().join("data/models/broken.gguf"), nonsense).unwrap();
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed("broken").await;
    assert_eq!(sandbox.switch(EMBEDDED_MODEL, "llama-server").code, Some(0));

    let failed = sandbox.switch("broken", "llama-server");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    sandbox.until_active(&mut engine, "llama-server").await;
    let status = sandbox.ask(&["status"]).unwrap();
    assert_eq!(status["active"]["model"], EMBEDDED_MODEL, "{status:#}");
    let notice = &status["notices"][0];
    assert!(notice["title"].as_str().unwrap().contains("Put back"), "{notice}");
    assert!(notice["body"].as_str().unwrap().contains("broken"), "it says why: {notice}");
    let answer = Client::new(&sandbox).chat("active").await;
    assert_eq!((answer.status.as_u16(), answer.model.as_deref()), (200, Some(EMBEDDED_MODEL)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_during_a_switch_waits_and_gets_the_new_model() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    let mut switching = sandbox.begin(&["switch", OLLAMA_MODEL, "--server", "ollama"]);
    sandbox
        .until(&mut engine, "the switch to be under way", |status| {
            (!status["switching"].is_null() || status["active"]["server"] == "ollama").then_some(())
        })
        .await;
    let answer = client.chat("active").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(switching.child().wait().unwrap().success());
    let answer = client.chat("active").await;
    assert_eq!(answer.server.as_deref(), Some("ollama"), "{answer:?}");
}

/// Ollama lists weights that are in memory by one name only. To whoever switches, that is no other than any switch.
#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_one_file_of_weights_are_switched_between() {
    const POET: &str = "poet:latest";
    let Some(tools) = Tools::find() else { return };
    let roles = [
        ("Plain", "critical", OLLAMA_MODEL),
        ("Rhymes", "critical", POET),
        ("Both", "critical", OLLAMA_MODEL),
        ("Both", "background", POET),
    ];
    let roles = roles.map(|(scene, role, model)| {
        format!("[scenes.{scene}.roles.{role}]\nserver = \"ollama\"\nmodel = \"{model}\"\n\n")
    });
    let sandbox =
        Sandbox::new(&tools, &format!("[servers.llama-server]\nenabled = false\n\n{}", roles.concat()));
    let mut engine = sandbox.serve().await;
    sandbox.add_ollama_model(&mut engine).await;
    let poet = json!({ "model": POET, "from": OLLAMA_MODEL, "system": "Rhyme.", "stream": false });
    let address = format!("http://127.0.0.1:{}/api/create", sandbox.ollama_port);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
    assert!(http.post(address).json(&poet).send().await.unwrap().status().is_success());
    sandbox.until_listed(POET).await;
    assert_eq!(sandbox.switch(OLLAMA_MODEL, "ollama").code, Some(0));
    let client = Client::new(&sandbox);
    for (words, wanted) in [
        (&["switch", POET, "--server", "ollama"][..], POET),
        (&["switch", OLLAMA_MODEL, "--server", "ollama"], OLLAMA_MODEL),
        (&["scene", "apply", "Rhymes"], POET),
        (&["scene", "apply", "Plain"], OLLAMA_MODEL),
    ] {
        let changed = sandbox.run(words);
        assert_eq!(changed.json["outcome"], "committed", "{changed:?}");
        let answer = client.chat("active").await;
        assert_eq!((answer.status.as_u16(), answer.model.as_deref()), (200, Some(wanted)), "{answer:?}");
    }
    // Both at once cannot be, and nothing is lost by trying.
    let both = sandbox.run(&["scene", "apply", "Both"]);
    assert_ne!(both.code, Some(0), "{both:?}");
    assert!(format!("{both:?}").contains("never by two"), "{both:?}");
    let in_memory = sandbox.ask(&["status"]).unwrap();
    let answer = client.chat("active").await;
    assert_eq!((answer.status.as_u16(), answer.model.as_deref()), (200, Some(OLLAMA_MODEL)), "{in_memory:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_load_never_ends_the_previous_model_answers() {
    let Some(tools) = Tools::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults { fail_load: Some(FailLoad::Hang), ..Faults::default() };
    let simulated = LmStudioSim::start(Options { faults, ..Options::new(folder.path()) }).await.unwrap();
    let settings = format!(
        "[servers.lmstudio]\naddress = {:?}\nhome = {:?}\n",
        simulated.base_url().unwrap(),
        folder.path().display().to_string()
    );
    let sandbox = Sandbox::new(&tools, &settings);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    sandbox.until_listed("simulated/alpha-2b").await;

    let mut hanging = sandbox.begin(&["switch", "simulated/alpha-2b", "--server", "lmstudio"]);
    sandbox
        .until(&mut engine, "the load to be under way", |status| {
            (status["switching"]["phase"] == "loading").then_some(())
        })
        .await;
    let client = Client::new(&sandbox);
    for _ in 0..3 {
        let answer = client.chat("active").await;
        assert_eq!(
            (answer.status.as_u16(), answer.model.as_deref()),
            (200, Some(EMBEDDED_MODEL)),
            "{answer:?}"
        );
    }

    // Ctrl-C in the terminal takes the switch back.
    signal(hanging.child().id().cast_signed(), libc::SIGINT);
    assert_eq!(hanging.child().wait().unwrap().code(), Some(130));
    sandbox.until_active(&mut engine, "llama-server").await;
    assert_eq!(client.chat("active").await.model.as_deref(), Some(EMBEDDED_MODEL));
    simulated.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_go_where_they_belong_and_unknown_ones_get_a_clear_error() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    let named = client.chat(EMBEDDED_MODEL).await;
    assert_eq!((named.status.as_u16(), named.model.as_deref()), (200, Some(EMBEDDED_MODEL)), "{named:?}");
    let unknown = client.chat("no-such-model").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let error = &unknown.body["error"];
    assert!(error["message"].as_str().unwrap().contains("no-such-model"), "{error}");
    assert!(error["type"].is_string() && error["code"].is_string(), "OpenAI's shape: {error}");
    let list = client.http.get(client.url("/models")).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(ids.contains(&"active") && ids.contains(&EMBEDDED_MODEL), "{ids:?}");
}

/// With one request at a time, the next answer comes only when the server has let go of the long one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_the_answer_at_the_server() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let client = Client::new(&sandbox);
    let long = json!({
        "model": "active", "prompt": "Count: 1 2 3 4 5 6", "max_tokens": 3500, "stream": true, "ignore_eos": true,
    });
    let answer = client.http.post(client.url("/completions")).json(&long).send().await.unwrap();
    let mut pieces = answer.bytes_stream();
    assert!(pieces.next().await.unwrap().unwrap().starts_with(b"data: "), "it streams");
    drop(pieces);
    let short = json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 });
    let next =
        client.http.post(client.url("/completions")).json(&short).timeout(Duration::from_secs(15)).send();
    let next = answered(next.await.expect("still busy with an answer that nobody hears")).await;
    assert_eq!(next.status, 200, "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_active_model_the_address_says_what_to_do() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "[servers.llama-server]\nenabled = false\n");
    let mut engine = sandbox.serve().await;
    sandbox.until_ready(&mut engine, "ollama").await;
    let client = Client::new(&sandbox);
    let answer = until("an answer", Duration::from_secs(60), || async {
        let answer = client.chat("active").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("active"), "{answer:?}");
}
