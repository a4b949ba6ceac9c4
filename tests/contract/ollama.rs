//! The contract, held against the real Ollama, and what only it promises.

use crate::{
    clauses::{Subject, contract, embeds, gone},
    tools::{GGUF, Running, tool},
};
use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use pilothouse_domain::{
    error::ErrorCode,
    model::{Expiry, LoadSettings},
    settings::OllamaSettings,
};
use pilothouse_servers::{GenerateRequest, LoadRequest, ServerAdapter, ollama::Ollama};
use pilothouse_tests::sandbox::free_port;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

pub const MODEL: &str = "smollm2:135m";

fn adapter(program: &Path, folder: &Path) -> Result<Ollama> {
    let free = free_port();
    let settings = OllamaSettings {
        program: program.display().to_string(),
        address: format!("http://127.0.0.1:{free}"),
        models_dir: folder.join("models").display().to_string(),
        environment: [("HOME".to_owned(), folder.display().to_string())].into(),
        ..OllamaSettings::default()
    };
    Ok(Ollama::new(settings, folder.to_owned()))
}

/// Makes a model from a GGUF file.
async fn create(base_url: &str, model: &str, gguf: &Path) -> Result<()> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let bytes = std::fs::read(gguf).with_context(|| format!("reading {}", gguf.display()))?;
    let digest = format!("{:x}", Sha256::digest(&bytes));
    let stored = http.post(format!("{base_url}/api/blobs/sha256:{digest}")).body(bytes).send().await?;
    ensure!(stored.status().is_success(), "{}", stored.text().await?);
    let body =
        json!({ "model": model, "files": { "model.gguf": format!("sha256:{digest}") }, "stream": false });
    let created = http.post(format!("{base_url}/api/create")).json(&body).send().await?;
    let said: Value = created.json().await?;
    ensure!(said["status"] == "success", "{said}");
    Ok(())
}

/// A running one that has the model.
pub async fn with_model(program: &Path, embedded: &Path, folder: &Path) -> Result<(Ollama, Running)> {
    let mut adapter = adapter(program, folder)?;
    let running = match Running::start(&adapter, folder).await {
        // A port that was free is somebody's for a moment, beside many programs that look for free ones.
        Err(error) if error.to_string().contains("is held by") => {
            adapter = self::adapter(program, folder)?;
            Running::start(&adapter, folder).await?
        }
        started => started?,
    };
    running.explain(create(&running.endpoint.base_url, MODEL, &embedded.join(GGUF)).await)?;
    Ok((adapter, running))
}

/// Somebody else's model keeps the time that its owner gave it, whatever is asked of it here, and is not loaded anew.
#[tokio::test(flavor = "multi_thread")]
async fn ollama_models_of_others_keep_their_keep_alive() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else { return Ok(()) };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_adapter, running) = with_model(&program, &embedded, folder.path()).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let as_owner = async |keep_alive: Value| {
        let body = json!({ "model": MODEL, "keep_alive": keep_alive, "stream": false });
        let url = format!("{}/api/generate", running.endpoint.base_url);
        http.post(url).json(&body).send().await?.error_for_status()
    };
    let minutes = async || match running.client.instances().await?.as_slice() {
        [one] => match one.expiry {
            Expiry::At(at) => Ok(Some(at.duration_since(pilothouse_domain::Timestamp::now()).as_mins())),
            _ => Ok(None),
        },
        other => anyhow::bail!("{other:?}"),
    };
    let ask = async |raw: bool| {
        let prompt = "Hello".to_owned();
        let request = GenerateRequest {
            instance: MODEL.into(),
            prompt,
            max_tokens: 1,
            raw,
            reuses_prefix: false,
            ends_by_itself: false,
        };
        let events: Vec<_> = running.client.generate(&request).await?.collect().await;
        events.into_iter().collect::<Result<Vec<_>, _>>().context("an answer")
    };
    let load = LoadRequest::usual(MODEL);
    as_owner(json!("10m")).await?;
    let loads = || running.said().matches("starting llama-server").count();
    let loaded = loads();
    for raw in [true, false] {
        ask(raw).await?;
        assert!(
            matches!(minutes().await?, Some(9 | 10)),
            "ten minutes stay ten minutes: {:?}",
            minutes().await?
        );
    }
    // Making it active is a load of what is there.
    let instance = running.client.load(&load, Arc::new(|_| {})).await?;
    assert!(matches!(instance.expiry, Expiry::At(_)), "{instance:?}");
    assert!(matches!(minutes().await?, Some(9 | 10)));
    // What is pinned stays pinned.
    as_owner(json!(-1)).await?;
    for raw in [true, false] {
        ask(raw).await?;
        assert_eq!(minutes().await?, None);
    }
    assert_eq!(loads(), loaded, "nobody loaded it anew");
    running.client.unload(MODEL).await?;
    // One that we load ourselves stays.
    let instance = running.client.load(&load, Arc::new(|_| {})).await?;
    assert_eq!(instance.expiry, Expiry::Never);
    running.stop().await;
    Ok(())
}

/// A copy, and the same model with a prompt of its own, share the file of its weights.
#[tokio::test(flavor = "multi_thread")]
async fn ollama_holds_weights_by_one_name_and_the_refusal_names_it() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else { return Ok(()) };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_adapter, running) = with_model(&program, &embedded, folder.path()).await?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
    for (path, body) in [
        ("/api/copy", json!({ "source": MODEL, "destination": "copy:latest" })),
        ("/api/create", json!({ "model": "poet", "from": MODEL, "system": "Rhyme.", "stream": false })),
    ] {
        let url = format!("{}{path}", running.endpoint.base_url);
        http.post(url).json(&body).send().await?.error_for_status()?;
    }
    let load = async |model: &str| running.client.load(&LoadRequest::usual(model), Arc::new(|_| {})).await;
    load(MODEL).await?;
    for other in ["copy:latest", "poet:latest"] {
        let refused = load(other).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::DoesNotFit, "{refused:?}");
        assert!(refused.message.contains(other) && refused.message.contains(MODEL), "{refused:?}");
        assert!(refused.hint.clone().unwrap_or_default().contains(&format!("unload {MODEL}")), "{refused:?}");
        running.client.unload(other).await?;
        let names: Vec<String> =
            running.client.instances().await?.into_iter().map(|instance| instance.model).collect();
        assert_eq!(names, [MODEL], "it goes with its own name only");
    }
    running.client.unload(MODEL).await?;
    assert_eq!(load("poet:latest").await?.model, "poet:latest");
    running.stop().await;
    Ok(())
}

/// What is in memory is made to stay, as it is: nothing is loaded for it, and nothing anew.
#[tokio::test(flavor = "multi_thread")]
async fn ollama_keeps_what_it_is_told_to_and_gives_embeddings_beside_chat() -> Result<()> {
    const EMBEDDING: &str = "minilm:22m";
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else { return Ok(()) };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let Some(embedding) = tool("PILOTHOUSE_TEST_EMBEDDING") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (_adapter, running) = with_model(&program, &embedded, folder.path()).await?;
    running.explain(create(&running.endpoint.base_url, EMBEDDING, &embedding).await)?;
    let client = running.client.as_ref();
    let http = reqwest::Client::builder().no_proxy().build()?;
    let as_owner = async |path: &str, body: Value| {
        let url = format!("{}{path}", running.endpoint.base_url);
        http.post(url).json(&body).send().await?.error_for_status()
    };
    let held = async |model: &str| {
        let instances = client.instances().await?;
        let one = instances.into_iter().find(|one| one.model == model);
        one.map(|one| (one.context, one.expiry)).context("it is in memory")
    };
    let loads = || running.said().matches("starting llama-server").count();
    for model in [MODEL, EMBEDDING] {
        ensure!(!client.keep(model).await?, "{model} is not in memory");
    }
    ensure!(client.instances().await?.is_empty(), "nothing was loaded to be kept");

    // Somebody loaded both for a while, the one with a context of its own.
    let owned =
        json!({ "model": MODEL, "keep_alive": "10m", "stream": false, "options": { "num_ctx": 1024 } });
    as_owner("/api/generate", owned).await?;
    as_owner("/api/embed", json!({ "model": EMBEDDING, "keep_alive": "10m", "input": [] })).await?;
    let before = loads();
    for (model, context) in [(MODEL, 1024), (EMBEDDING, 512)] {
        ensure!(matches!(held(model).await?, (_, Expiry::At(_))), "{model}");
        for _ in 0..2 {
            ensure!(client.keep(model).await?, "{model}");
            // Ollama notes how long it stays once it has noticed that the request is over, which is after its answer.
            let begun = Instant::now();
            while held(model).await?.1 != Expiry::Never && begun.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(held(model).await?, (Some(context), Expiry::Never), "{model}");
        }
    }
    running.explain(embeds(client, EMBEDDING).await)?;
    assert_eq!(held(EMBEDDING).await?.1, Expiry::Never, "an answer took that from it");
    assert_eq!(loads(), before, "something was loaded anew");

    // Why a context of its own is refused to a plan: it ends with the first request in OpenAI's form.
    let chat =
        json!({ "model": MODEL, "max_tokens": 1, "messages": [{ "role": "user", "content": "Hello" }] });
    as_owner("/v1/chat/completions", chat).await?;
    let (context, expiry) = held(MODEL).await?;
    ensure!(context != Some(1024) && matches!(expiry, Expiry::At(_)), "{context:?} {expiry:?}");

    // We load an embedding model as any other.
    client.unload(EMBEDDING).await?;
    let loaded = client.load(&LoadRequest::usual(EMBEDDING), Arc::new(|_| {})).await?;
    assert_eq!((loaded.context, loaded.expiry), (Some(512), Expiry::Never));
    client.unload(EMBEDDING).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_keeps_the_contract() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else {
        return Ok(());
    };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let adapter = adapter(&program, folder.path())?;
    assert!(adapter.find_running().await.is_none(), "nothing runs there yet");
    let running = Running::start(&adapter, folder.path()).await?;
    assert_eq!(running.client.models().await?, [], "a fresh folder has no models");
    running.explain(create(&running.endpoint.base_url, MODEL, &embedded.join(GGUF)).await)?;

    let found = adapter.find_running().await.context("it is found at its address")?;
    assert_eq!(found.endpoint, running.endpoint);
    assert!(found.version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    let subject = Subject {
        adapter: &adapter,
        client: running.client.as_ref(),
        model: MODEL,
        // It cannot be told to ignore the end token.
        exact_length: false,
        counts: true,
        tells_rate: true,
        tells_rate_of_messages: true,
        tells_size: true,
    };
    running.explain(contract(&subject).await)?;

    let request = LoadRequest::new(MODEL, LoadSettings::context(Some(1024)));
    let instance = running.client.load(&request, Arc::new(|_| {})).await?;
    assert_eq!((instance.context, instance.expiry), (Some(1024), Expiry::Never));
    running.stop().await;
    gone(running.client.as_ref()).await;
    Ok(())
}

#[tokio::test]
async fn ollama_is_not_started_on_a_port_that_a_stranger_holds() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let settings = OllamaSettings {
        program: program.display().to_string(),
        address: format!("http://{}", holder.local_addr()?),
        models_dir: folder.path().display().to_string(),
        ..OllamaSettings::default()
    };
    let adapter = Ollama::new(settings, "/nonexistent".into());
    let error = adapter.launch(&adapter.locate().await).await.expect_err("the port is held");
    assert_eq!(error.code, ErrorCode::PortTaken);
    Ok(())
}

/// A silent listener is what Ollama is while it looks for GPUs: not dead, but not well either.
#[tokio::test]
async fn a_connection_without_an_answer_is_no_health() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let settings =
        OllamaSettings { address: format!("http://{}", silent.local_addr()?), ..OllamaSettings::default() };
    let adapter = Ollama::new(settings.clone(), "/nonexistent".into());
    let endpoint = pilothouse_domain::endpoint::Endpoint { base_url: settings.address, key: None };
    let error = adapter.client(&endpoint).health().await.expect_err("nobody answered");
    assert_eq!(error.code, ErrorCode::TimedOut, "{error}");
    Ok(())
}
