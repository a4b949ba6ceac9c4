//! The contract, held against the real llama-server, and what only it promises.

use crate::{
    clauses::{Subject, contract, gone},
    tools::{GGUF, Running, tool},
};
use anyhow::Result;
use pilothouse_domain::{
    error::ErrorCode,
    settings::{LlamaModelSettings, LlamaServerSettings},
};
use pilothouse_servers::{
    Installation, LoadRequest, ServerAdapter,
    llama_server::{LlamaServer, Places},
};
use std::{net::TcpListener, path::Path, sync::Arc};

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
    std::os::unix::fs::symlink(embedded.join(GGUF).canonicalize()?, models.join("other.gguf"))?;

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
