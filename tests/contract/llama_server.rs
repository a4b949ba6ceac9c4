//! The contract, held against the real llama-server, and what only it promises.

use crate::{
    clauses::{Subject, contract, embeds, gone, request},
    tools::{GGUF, Running, tool},
};
use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use pilothouse_domain::{
    anatomy::KvType,
    endpoint::Endpoint,
    error::ErrorCode,
    model::{LoadSettings, ModelPurpose},
    settings::{LlamaModelSettings, LlamaServerSettings},
};
use pilothouse_servers::{
    Installation, LoadRequest, ServerAdapter,
    llama_server::{LlamaServer, Places},
};
use serde_json::Value;
use std::{net::TcpListener, os::unix::fs::symlink, path::Path, sync::Arc};

pub const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

pub fn adapter(settings: LlamaServerSettings, embedded: &Path, folder: &Path) -> LlamaServer {
    let places = Places {
        embedded: embedded.to_owned(),
        models: folder.join("models"),
        run: folder.join("run"),
        beside_app: None,
    };
    LlamaServer::new(settings, places)
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_server_keeps_the_contract() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let adapter = adapter(LlamaServerSettings::default(), &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    let model = running.client.models().await?.into_iter().find(|model| model.name == MODEL);
    let model = model.expect("the embedded model is listed");
    assert_eq!((model.quantization.as_deref(), model.context_max), (Some("Q4_1"), Some(8192)));
    assert_eq!(model.parameters.as_deref(), Some("135M"));
    let subject = Subject {
        adapter: &adapter,
        client: running.client.as_ref(),
        model: MODEL,
        exact_length: true,
        counts: true,
        tells_rate: true,
        tells_rate_of_messages: true,
        tells_size: true,
    };
    running.explain(contract(&subject).await)?;
    running.stop().await;
    gone(running.client.as_ref()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_server_takes_files_that_come_later_and_survives_a_broken_one() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let mut settings = LlamaServerSettings { context: 512, parallel: 2, ..LlamaServerSettings::default() };
    let own = LlamaModelSettings { context: Some(1024), parallel: Some(1), ..LlamaModelSettings::default() };
    settings.models.insert("other".into(), own);
    let adapter = adapter(settings, &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    let models = folder.path().join("models");
    std::fs::create_dir(&models)?;
    std::fs::write(models.join("broken.gguf"), b"GGUF, or so it says")?;
    std::fs::hard_link(embedded.join(GGUF).canonicalize()?, models.join("copy.gguf"))
        .or_else(|_| std::fs::copy(embedded.join(GGUF), models.join("copy.gguf")).map(drop))?;
    symlink(embedded.join(GGUF).canonicalize()?, models.join("other.gguf"))?;

    let mut names: Vec<String> = running.client.models().await?.into_iter().map(|model| model.name).collect();
    names.sort();
    assert_eq!(names, [MODEL, "broken", "copy", "other"]);
    let load = async |model: &str| {
        let request = LoadRequest::usual(model);
        running.client.load(&request, Arc::new(|_| {})).await
    };
    let error = load("broken").await.expect_err("a broken file was loaded");
    assert_eq!(error.code, ErrorCode::LoadFailed, "{error:?}");
    assert!(error.message.contains("broken"), "{error}");
    let copy = running.explain(load("copy").await.map_err(Into::into))?;
    assert_eq!(copy.context, Some(512), "each of two requests at a time has the whole context");
    let other = running.explain(load("other").await.map_err(Into::into))?;
    assert_eq!(other.context, Some(1024), "this model has settings of its own");
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_server_is_of_no_use_without_its_key() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let adapter = adapter(LlamaServerSettings::default(), &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    #[cfg(unix)]
    {
        let key = folder.path().join("run/llama-server.key").metadata()?;
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    }
    let mut endpoint = running.endpoint.clone();
    endpoint.key = None;
    let error = adapter.client(&endpoint).health().await.expect_err("answered without the key");
    assert_eq!(error.code, ErrorCode::Unauthorized, "{error:?}");
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn llama_server_is_not_started_on_a_port_that_somebody_holds() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let settings =
        LlamaServerSettings { port: holder.local_addr()?.port(), ..LlamaServerSettings::default() };
    let adapter = adapter(settings, &embedded, folder.path());
    let error = adapter.launch(&adapter.locate().await).await.expect_err("the port is held");
    assert_eq!(error.code, ErrorCode::PortTaken);
    Ok(())
}

#[tokio::test]
async fn a_program_without_router_mode_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = LlamaServerSettings { program: "/bin/echo".into(), ..LlamaServerSettings::default() };
    let adapter = adapter(settings, folder.path(), folder.path());
    let installation = Installation::Installed { program: "/bin/echo".into(), version: None };
    let error = adapter.launch(&installation).await.expect_err("echo is no llama-server");
    assert_eq!(error.code, ErrorCode::Unsupported);
    assert!(error.hint.is_some());
    Ok(())
}

/// The command line of the child that holds a model, as the router tells it.
async fn command_line(endpoint: &Endpoint, model: &str) -> Result<Vec<String>> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let key = endpoint.key.as_ref().context("it has a key")?;
    let url = format!("{}/models", endpoint.base_url);
    let list: Value = http.get(url).bearer_auth(key.expose()).send().await?.json().await?;
    let entries = list["data"].as_array().context("a list")?;
    let entry = entries.iter().find(|entry| entry["id"] == model).context("the model is listed")?;
    let args = entry["status"]["args"].as_array().context("its command line")?;
    Ok(args.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
}

fn flag<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at + 1).map(String::as_str)
}

/// Each model is loaded with what is wanted of it; whatever else is in memory, an answer under way included, notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn llama_server_loads_each_model_with_what_is_wanted_of_it() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    std::fs::create_dir(&models)?;
    symlink(embedded.join(GGUF).canonicalize()?, models.join("other.gguf"))?;
    let adapter = adapter(LlamaServerSettings::default(), &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    let client = running.client.as_ref();
    client.models().await?;
    let preset = || std::fs::read_to_string(folder.path().join("run/llama-server.ini"));
    let usual = preset()?;
    let load = async |model: &str, with: LoadSettings| {
        let request = LoadRequest::new(model, with);
        running.explain(client.load(&request, Arc::new(|_| {})).await.map_err(Into::into))
    };

    let wanted = LoadSettings { context: Some(512), parallel: Some(3), kv_type: Some(KvType::Q8_0) };
    let first = load(MODEL, wanted).await?;
    assert_eq!((first.context, first.slots), (Some(512), Some(3)));
    let words = command_line(&running.endpoint, MODEL).await?;
    assert_eq!(flag(&words, "--cache-type-k").zip(flag(&words, "--cache-type-v")), Some(("q8_0", "q8_0")));
    assert!(client.keeps_its_context());

    // An answer runs while another model is loaded with settings of its own: the router reads its file again.
    let mut answer = client.generate(&request(MODEL, "Count: 1 2 3 4 5", 400, true)).await?;
    answer.next().await.context("no first event")??;
    let other =
        load("other", LoadSettings { kv_type: Some(KvType::Q5_1), ..LoadSettings::context(Some(1024)) })
            .await?;
    assert_eq!((other.context, other.slots), (Some(1024), Some(1)));
    let mut end = None;
    while let Some(event) = answer.next().await {
        end = event.context("the answer was cut")?.end.or(end);
    }
    assert_eq!(end.and_then(|end| end.output_tokens), Some(400));
    let still = client.instances().await?.into_iter().find(|one| one.id == MODEL).context("it is gone")?;
    assert_eq!((still.port, still.context), (first.port, Some(512)), "the child is another");

    // What is in memory stays with what it was loaded with, and says so.
    let again = load(MODEL, LoadSettings::default()).await?;
    assert_eq!((again.port, again.context), (first.port, Some(512)));

    for model in [MODEL, "other"] {
        client.unload(model).await?;
        let plain = load(model, LoadSettings::default()).await?;
        assert_eq!((plain.context, plain.slots), (Some(4096), Some(1)), "{model}");
    }
    assert_eq!(preset()?, usual, "nothing is left of what was wanted once");

    // What the settings leave open is as it was reckoned, and less than what somebody wants.
    let open = |with| LoadRequest { usual_context: Some(2048), ..LoadRequest::new(MODEL, with) };
    for (with, wanted) in [(LoadSettings::default(), 2048), (LoadSettings::context(Some(512)), 512)] {
        client.unload(MODEL).await?;
        let loaded = client.load(&open(with), Arc::new(|_| {})).await?;
        assert_eq!((loaded.context, loaded.slots), (Some(wanted), Some(1)));
    }
    running.stop().await;
    Ok(())
}

/// What stands at an address where none of ours was started has a file of settings of its own.
#[tokio::test]
async fn a_llama_server_of_somebody_else_takes_nothing_with_a_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let adapter = adapter(LlamaServerSettings::default(), folder.path(), folder.path());
    let client = adapter.client(&Endpoint { base_url: "http://127.0.0.1:9".into(), key: None });
    assert_eq!(client.cannot_load_with(&LoadSettings::default()), None);
    assert!(!client.keeps_its_context());
    let with = LoadSettings::context(Some(512));
    let error = client.cannot_load_with(&with).context("it has no file of ours")?;
    assert_eq!(error.code, ErrorCode::Unsupported);
    let refused = client.load(&LoadRequest::new(MODEL, with), Arc::new(|_| {})).await;
    assert_eq!(refused.expect_err("before anything is asked"), error);
    Ok(())
}

/// An embedding model and a reranker get their flags by what their files say, and answer while a chat model does.
#[tokio::test(flavor = "multi_thread")]
async fn llama_server_gives_chat_and_embeddings_at_the_same_time() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let Some(embedding) = tool("PILOTHOUSE_TEST_EMBEDDING") else { return Ok(()) };
    let Some(reranker) = tool("PILOTHOUSE_TEST_RERANKER") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    std::fs::create_dir(&models)?;
    symlink(&embedding, models.join("minilm.gguf"))?;
    let adapter = adapter(LlamaServerSettings::default(), &embedded, folder.path());
    let running = Running::start(&adapter, folder.path()).await?;
    let client = running.client.as_ref();
    // One that comes while the server runs gets its flags as well.
    symlink(&reranker, models.join("reranker.gguf"))?;
    let listed = client.models().await?;
    for name in ["minilm", "reranker"] {
        let model = listed.iter().find(|model| model.name == name).context("it is listed")?;
        assert_eq!((model.purpose, model.context_max), (ModelPurpose::Embedding, Some(512)), "{name}");
    }
    let load = async |model: &str| {
        let loaded = client.load(&LoadRequest::usual(model), Arc::new(|_| {})).await;
        running.explain(loaded.map_err(Into::into))
    };
    let chat = load(MODEL).await?;
    let vectors = load("minilm").await?;
    assert_eq!(vectors.context, Some(512), "as much as it was trained for");
    let scores = load("reranker").await?;

    let mut answer = client.generate(&request(&chat.id, "Count: 1 2 3 4 5", 3000, true)).await?;
    answer.next().await.context("no first event")??;
    running.explain(embeds(client, &vectors.id).await)?;
    // As long a text as it can read goes in one piece.
    let long = "word ".repeat(500);
    assert_eq!(client.embed(&vectors.id, &long).await?.len(), 384);
    let places = client.slots(chat.port.context("its child answers")?).await.context("its slots")?;
    ensure!(places.iter().any(|place| place.busy), "the chat model was not at its answer any more");
    drop(answer);

    let http = reqwest::Client::builder().no_proxy().build()?;
    let openai = client.openai();
    let key = openai.key.as_ref().context("it has a key")?;
    let body = serde_json::json!({ "model": scores.id, "query": "cat", "documents": ["a cat", "a dog"] });
    let asked = http.post(format!("{}/rerank", openai.base_url)).bearer_auth(key.expose()).json(&body);
    let scored: Value = asked.send().await?.error_for_status()?.json().await?;
    ensure!(scored["results"].as_array().is_some_and(|all| all.len() == 2), "{scored}");
    // Each is what it is.
    let error = client.embed(&chat.id, "Hello").await.expect_err("a chat model gave a vector");
    assert_eq!(error.code, ErrorCode::ServerError, "{error}");
    assert_eq!(client.instances().await?.len(), 3);
    running.stop().await;
    Ok(())
}
