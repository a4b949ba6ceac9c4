//! The contract for any OpenAI-compatible server, held against a real llama-server and a real Ollama.

use crate::{
    clauses::{Subject, embeds, remote_contract},
    tools::{GGUF, Running, tool, until},
};
use anyhow::Result;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::ErrorCode,
    model::LoadSettings,
    server::ServerId,
    settings::{LlamaServerSettings, OllamaSettings, RemoteSettings},
};
use pilothouse_servers::{
    GenerateRequest, LoadRequest, ServerAdapter, ServerClient,
    llama_server::{LlamaServer, Places},
    ollama::Ollama,
    openai::OpenAi,
};
use pilothouse_system::keys::Keys;
use pilothouse_tests::sandbox::{OLLAMA_MODEL, create_in_ollama, free_port};
use std::{sync::Arc, time::Duration};

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1";

async fn seen_as_remote(openai: &Endpoint) -> Result<OpenAi> {
    let keys = Keys::in_memory();
    if let Some(key) = &openai.key {
        keys.set(&ServerId::new("studio"), key.clone()).await?;
    }
    let settings = RemoteSettings { address: openai.base_url.clone(), ..RemoteSettings::default() };
    Ok(OpenAi::new("studio", settings, keys))
}

fn subject<'a>(adapter: &'a OpenAi, client: &'a dyn ServerClient, model: &'a str) -> Subject<'a> {
    Subject {
        adapter,
        client,
        model,
        exact_length: false,
        counts: true,
        tells_rate: false,
        tells_rate_of_messages: false,
        tells_size: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_server_keeps_the_contract_of_a_remote_server() -> Result<()> {
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let places = Places {
        embedded,
        models: folder.path().join("models"),
        run: folder.path().join("run"),
        beside_app: None,
    };
    std::fs::create_dir_all(&places.run)?;
    let embedding = tool("PILOTHOUSE_TEST_EMBEDDING");
    if let Some(file) = &embedding {
        std::fs::create_dir_all(&places.models)?;
        std::os::unix::fs::symlink(file, places.models.join("embed-minilm.gguf"))?;
    }
    let running =
        Running::start(&LlamaServer::new(LlamaServerSettings::default(), places), folder.path()).await?;
    running.client.load(&LoadRequest::usual(MODEL), Arc::new(|_| {})).await?;
    let adapter = seen_as_remote(&running.client.openai()).await?;
    let found = adapter.find_running().await.expect("a remote server is always known");
    assert!(found.pid.is_some(), "it listens on this machine");
    let client = adapter.client(&found.endpoint);
    running.explain(remote_contract(&subject(&adapter, client.as_ref(), MODEL)).await)?;
    if embedding.is_some() {
        running.client.load(&LoadRequest::usual("embed-minilm"), Arc::new(|_| {})).await?;
        running.explain(embeds(client.as_ref(), "embed-minilm").await)?;
    }
    let with = LoadSettings::context(Some(512));
    let refused = client.load(&LoadRequest::new(MODEL, with), Arc::new(|_| {})).await;
    assert_eq!(refused.expect_err("it decides itself").code, ErrorCode::Unsupported);
    let keyless = Endpoint { key: None, ..found.endpoint.clone() };
    let request = GenerateRequest {
        instance: MODEL.into(),
        prompt: "Hello".into(),
        max_tokens: 1,
        raw: false,
        reuses_prefix: false,
        ends_by_itself: false,
    };
    let refused = adapter.client(&keyless).generate(&request).await.err().expect("answered without its key");
    assert_eq!(refused.code, ErrorCode::Unauthorized, "{refused:?}");
    running.stop().await;
    let error = client.health().await.expect_err("a stopped server answered");
    assert_eq!(error.code, ErrorCode::Unreachable);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_keeps_the_contract_of_a_remote_server() -> Result<()> {
    let Some(program) = tool("PILOTHOUSE_TEST_OLLAMA") else { return Ok(()) };
    let Some(embedded) = tool("PILOTHOUSE_EMBEDDED") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let port = free_port();
    let settings = OllamaSettings {
        program: program.display().to_string(),
        address: format!("http://127.0.0.1:{port}"),
        models_dir: folder.path().join("models").display().to_string(),
        ..OllamaSettings::default()
    };
    let running = Running::start(&Ollama::new(settings, folder.path().into()), folder.path()).await?;
    create_in_ollama(port, &embedded.join(GGUF));
    let adapter = seen_as_remote(&running.client.openai()).await?;
    let endpoint = adapter.find_running().await.expect("a remote server is always known").endpoint;
    let client = adapter.client(&endpoint);
    until("it is listed", Duration::from_secs(10), || async {
        client.models().await.ok()?.iter().any(|model| model.name == OLLAMA_MODEL).then_some(())
    })
    .await;
    running.explain(remote_contract(&subject(&adapter, client.as_ref(), OLLAMA_MODEL)).await)?;
    running.stop().await;
    assert_eq!(client.health().await.expect_err("a stopped server answered").code, ErrorCode::Unreachable);
    Ok(())
}
