//! The contract, held against the LM Studio simulator, and against a real LM Studio where one is pointed at.

use crate::{
    clauses::{Subject, contract, contract_at, gone, request},
    tools::until,
};
use anyhow::{Context, Result, ensure};
use pilothouse_domain::{
    anatomy::KvType,
    endpoint::{Endpoint, Secret},
    error::ErrorCode,
    model::{LoadSettings, ModelPurpose},
    server::ServerId,
    settings::LmStudioSettings,
};
use pilothouse_servers::{Launch, LoadRequest, ServerAdapter, ServerClient, lmstudio::LmStudio};
use pilothouse_system::{keys::Keys, process::run_to_end};
use pilothouse_tests::{
    sandbox::free_port,
    sims::lmstudio::{FailLoad, Faults, LmStudioSim, LmsQuirks, Options, Profile, TOKEN, home, lms},
};
use std::{path::Path, sync::Arc, time::Duration};

/// A model of the simulator's catalogue.
const MODEL: &str = "simulated/alpha-2b";
/// Its embedding model.
const EMBEDDING: &str = "text-embedding-simulated-v1";

fn adapter(sim: &LmStudioSim) -> Result<LmStudio> {
    let address = sim.base_url().context("the public server is off")?;
    Ok(at(address, &sim.home))
}

fn at(address: String, home: &Path) -> LmStudio {
    with_keys(address, home, Keys::in_memory())
}

fn with_keys(address: String, home: &Path, keys: Keys) -> LmStudio {
    let settings =
        LmStudioSettings { address, home: home.display().to_string(), ..LmStudioSettings::default() };
    LmStudio::new(settings, home.to_owned(), keys)
}

fn quick(folder: &Path, profile: Profile) -> Options {
    Options { profile, load_seconds: 0.2, ttft_ms: 5, ..Options::new(folder) }
}

fn install(folder: &Path, arguments: &[&str]) -> Result<()> {
    let (lms, daemon) = (env!("CARGO_BIN_EXE_fake-lms"), env!("CARGO_BIN_EXE_sim-lmstudio"));
    home::install(folder, Path::new(lms), Path::new(daemon), arguments)
}

/// What is promised of LM Studio; sizes and a rate of its own come with `/api/v1` alone.
fn subject<'a>(
    adapter: &'a LmStudio,
    client: &'a dyn ServerClient,
    model: &'a str,
    has_v1: bool,
) -> Subject<'a> {
    Subject {
        adapter,
        client,
        model,
        exact_length: false,
        counts: true,
        tells_rate: false,
        tells_rate_of_messages: has_v1,
        tells_size: has_v1,
    }
}

/// Whether this version has `/api/v1`: it came with 0.4.0. Bionic counts from 1.0.
fn has_v1(version: &str) -> bool {
    !version.starts_with("0.3.")
}

async fn keeps_the_contract(profile: Profile) -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path(), &[])?;
    let options = quick(folder.path(), profile);
    ensure!(has_v1(options.told_version()) == profile.has_v1(), "{}", options.told_version());
    let sim = LmStudioSim::start(options).await?;
    let keys = Keys::in_memory();
    if profile == Profile::Auth {
        keys.set(&ServerId::new("lmstudio"), Secret::new(TOKEN)).await?;
    }
    let address = sim.base_url().context("the public server is off")?;
    let adapter = with_keys(address, &sim.home, keys);
    let found = adapter.find_running().await.context("it is found at its address")?;
    ensure!(found.version.is_some(), "the backend tells its version");
    let client = adapter.client(&found.endpoint);
    contract(&subject(&adapter, client.as_ref(), MODEL, profile.has_v1())).await?;
    sim.stop().await;
    gone(client.as_ref()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_0_4_25_simulated_keeps_the_contract() -> Result<()> {
    keeps_the_contract(Profile::V0425).await
}

/// The first with `/api/v1`; it does not tell its internal port.
#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_0_4_0_simulated_keeps_the_contract() -> Result<()> {
    keeps_the_contract(Profile::V040).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_0_4_16_simulated_keeps_the_contract() -> Result<()> {
    keeps_the_contract(Profile::V0416).await
}

/// The second product on the same port and home folder, with a format that nobody else has.
#[tokio::test(flavor = "multi_thread")]
async fn bionic_simulated_keeps_the_contract_and_is_called_by_its_name() -> Result<()> {
    keeps_the_contract(Profile::Bionic).await?;
    let folder = tempfile::tempdir()?;
    let sim = LmStudioSim::start(quick(folder.path(), Profile::Bionic)).await?;
    let adapter = adapter(&sim)?;
    let backend = adapter.backend().await.context("it runs")?;
    assert_eq!((backend.title.as_str(), backend.version.as_deref()), ("Bionic", Some("1.1.6")));
    let client = adapter.client(&adapter.find_running().await.context("it answers")?.endpoint);
    let models = client.models().await?;
    let own = models.iter().find(|model| model.name == "simulated/gamma-1b").context("its own model")?;
    assert_eq!(own.format.as_deref(), Some("splash"), "{own:?}");
    let ask = LoadRequest::usual(own.name.clone());
    assert_eq!(client.load(&ask, Arc::new(|_| {})).await?.model, own.name);
    Ok(())
}

/// No `/api/v1`: lists and answers by v0, loads by the stand-in `lms`.
#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_0_3_simulated_keeps_the_contract() -> Result<()> {
    keeps_the_contract(Profile::V03).await
}

/// "Require Authentication" is on, and the token is kept.
#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_with_a_token_simulated_keeps_the_contract() -> Result<()> {
    keeps_the_contract(Profile::Auth).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_simulated_tells_why_a_load_failed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sim = LmStudioSim::start(quick(folder.path(), Profile::V0425)).await?;
    let adapter = adapter(&sim)?;
    let client = adapter.client(&adapter.find_running().await.context("it runs")?.endpoint);
    let ask = LoadRequest::usual(MODEL);
    let cases = [
        (FailLoad::Guardrail, ErrorCode::DoesNotFit),
        // The same refusal under a status that means success.
        (FailLoad::Guardrail200, ErrorCode::DoesNotFit),
        (FailLoad::Sigabrt, ErrorCode::LoadFailed),
    ];
    for (fault, code) in cases {
        sim.set_faults(Faults { fail_load: Some(fault), ..Faults::default() });
        let error = client.load(&ask, Arc::new(|_| {})).await.expect_err("the load was made to fail");
        assert_eq!(error.code, code, "{fault:?}: {error:?}");
        assert!(error.hint.is_some(), "{error:?}");
        assert_eq!(client.instances().await?.len(), 0, "{fault:?} left something in memory");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_simulated_that_refuses_a_token_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sim = LmStudioSim::start(quick(folder.path(), Profile::Auth)).await?;
    let adapter = adapter(&sim)?;
    let client = adapter.client(&adapter.find_running().await.context("it runs")?.endpoint);
    let error = client.models().await.expect_err("without a token");
    assert_eq!(error.code, ErrorCode::Unauthorized, "{error:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_simulated_is_started_and_stopped_by_lms() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path(), &["--server-off", "--load-seconds", "0.1"])?;
    let free = free_port();
    let adapter = at(format!("http://127.0.0.1:{free}"), folder.path());
    assert!(adapter.find_running().await.is_none(), "looking for it does not wake it");
    assert!(!home::internal_server_file(folder.path()).exists(), "looking for it does not wake it");

    let installation = adapter.locate().await;
    let Launch::Ask { commands } = adapter.launch(&installation).await? else {
        anyhow::bail!("LM Studio is never a process of ours");
    };
    for command in &commands {
        let finished = run_to_end(command, Duration::from_secs(30)).await?;
        ensure!(finished.exit.code == Some(0), "{finished:?}");
    }
    let found = adapter.find_running().await.context("it was started")?;
    let client = adapter.client(&found.endpoint);
    let instance =
        client.load(&LoadRequest::new(MODEL, LoadSettings::context(Some(2048))), Arc::new(|_| {})).await?;
    assert_eq!(instance.context, Some(2048));
    drop(client.generate(&request(&instance.id, "Hello", 4, false)).await?);

    for command in adapter.stop_commands(&installation).await.context("it can be stopped")? {
        run_to_end(&command, Duration::from_secs(30)).await?;
    }
    gone(client.as_ref()).await;
    assert!(adapter.find_running().await.is_none());
    // The service behind the server goes on; only the test ends it.
    let program = folder.path().join("bin/lms").display().to_string();
    assert_eq!(lms::run([program, "daemon".into(), "down".into()]).await, 0);
    until("the end of the simulator", Duration::from_secs(10), || async {
        (!home::internal_server_file(folder.path()).exists()).then_some(())
    })
    .await;
    Ok(())
}

/// 0.3 loads by `lms` alone: what it says against a load is told, and that it never ends holds nobody up.
#[tokio::test(flavor = "multi_thread")]
async fn lms_of_0_3_simulated_is_heard_and_not_waited_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path(), &[])?;
    let sim = LmStudioSim::start(quick(folder.path(), Profile::V03)).await?;
    let adapter = adapter(&sim)?;
    let client = adapter.client(&adapter.find_running().await.context("it runs")?.endpoint);
    let ask = LoadRequest::usual(MODEL);
    sim.set_faults(Faults { fail_load: Some(FailLoad::Guardrail), ..Faults::default() });
    let error = client.load(&ask, Arc::new(|_| {})).await.expect_err("the load was made to fail");
    assert_eq!(error.code, ErrorCode::DoesNotFit, "{error:?}");
    sim.set_faults(Faults::default());
    home::write_lms_quirks(folder.path(), LmsQuirks { lingers: true, banner: true, ..LmsQuirks::default() })?;
    let limit = Duration::from_secs(60);
    let loaded = tokio::time::timeout(limit, client.load(&ask, Arc::new(|_| {}))).await??;
    tokio::time::timeout(limit, client.unload(&loaded.id)).await??;
    ensure!(client.instances().await?.is_empty(), "it is unloaded");
    Ok(())
}

/// What a load takes differs between its generations; what it does not take is refused by name, before anything is asked.
#[tokio::test(flavor = "multi_thread")]
async fn lmstudio_simulated_takes_with_a_load_what_its_generation_can() -> Result<()> {
    let with = |context, parallel, kv_type| LoadSettings { context, parallel, kv_type };
    for profile in [Profile::V03, Profile::V040, Profile::V0416, Profile::V0425] {
        let folder = tempfile::tempdir()?;
        let sim = LmStudioSim::start(quick(folder.path(), profile)).await?;
        let adapter = adapter(&sim)?;
        let client = adapter.client(&adapter.find_running().await.context("it runs")?.endpoint);
        client.models().await?;
        let said = |with: &LoadSettings| client.cannot_load_with(with).map(|error| error.message);
        let slots = "This LM Studio takes no number of requests at a time with a load.";
        // Without its command there is no way.
        assert_eq!(said(&with(None, Some(2), None)).as_deref(), Some(slots), "{profile:?}");
        install(folder.path(), &[])?;
        let kv = "LM Studio takes no KV type with a load.";
        assert_eq!(said(&with(None, None, Some(KvType::Q8_0))).as_deref(), Some(kv));
        assert_eq!(said(&with(Some(2048), None, None)), None);
        let wanted = match profile.has_v1() {
            true => with(Some(2048), Some(2), None),
            false => {
                assert_eq!(said(&with(None, Some(2), None)).as_deref(), Some(slots));
                // One that has not asked it anything yet finds out before it loads.
                let fresh = adapter.client(&adapter.find_running().await.context("it runs")?.endpoint);
                let load = LoadRequest::new(MODEL, with(None, Some(2), None));
                let error = fresh.load(&load, Arc::new(|_| {})).await.expect_err("0.3 has no such flag");
                assert_eq!(error.message, slots);
                with(Some(2048), None, None)
            }
        };
        assert_eq!(said(&wanted), None, "{profile:?}");
        let load = LoadRequest::new(MODEL, wanted);
        let instance = client.load(&load, Arc::new(|_| {})).await?;
        assert_eq!(instance.context, Some(2048), "{profile:?}");
        assert!(wanted.parallel.is_none() || instance.slots == wanted.parallel, "{profile:?} {instance:?}");
        let unknown = LoadRequest::new("simulated/alph", wanted);
        let error = client.load(&unknown, Arc::new(|_| {})).await.expect_err("a name that is only near");
        assert!(matches!(error.code, ErrorCode::NotFound | ErrorCode::LoadFailed), "{profile:?} {error:?}");
        assert_eq!(client.instances().await?.len(), 1, "{profile:?}");
        let vectors = client.load(&LoadRequest::usual(EMBEDDING), Arc::new(|_| {})).await?;
        assert!(client.embed(&vectors.id, "Hello").await?.len() > 1, "{profile:?}");
        assert!(!client.keep(&vectors.id).await?);
    }
    Ok(())
}

/// Some other program answers at the address: that is not LM Studio.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_at_its_address_is_not_lmstudio() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = axum::Router::new().fallback(|| async { "{}" });
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let adapter = at(format!("http://{address}"), folder.path());
    assert!(adapter.find_running().await.is_none());
    let client = adapter.client(&Endpoint { base_url: format!("http://{address}"), key: None });
    assert_eq!(client.health().await.expect_err("a stranger").code, ErrorCode::BadAnswer);
    serving.abort();
    Ok(())
}

/// A variable that is set to something.
fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// The smallest LLM that is not in memory, where a person may need it; without sizes, the first.
async fn smallest(client: &dyn ServerClient) -> Result<String> {
    let loaded: Vec<String> = client.instances().await?.into_iter().map(|one| one.model).collect();
    let models = client.models().await?.into_iter();
    let free = models.filter(|one| one.purpose == ModelPurpose::Llm && !loaded.contains(&one.name));
    let smallest = free.min_by_key(|one| one.size_bytes.unwrap_or(u64::MAX));
    Ok(smallest.context("it has no LLM that is not in memory")?.name)
}

/// At the address of `PILOTHOUSE_REAL_LMSTUDIO`, with the model of `PILOTHOUSE_REAL_LMSTUDIO_MODEL` or the smallest one, and
/// with the token of `PILOTHOUSE_REAL_LMSTUDIO_TOKEN` where it wants one. Other models may be loaded.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_lmstudio_keeps_the_contract() -> Result<()> {
    // It cannot be installed by a test run, so its absence is a skip even in strict runs.
    let Some(address) = named("PILOTHOUSE_REAL_LMSTUDIO") else {
        println!("skipped: PILOTHOUSE_REAL_LMSTUDIO names no LM Studio");
        return Ok(());
    };
    let home = std::env::home_dir().context("the home folder")?;
    let keys = Keys::in_memory();
    if let Some(token) = named("PILOTHOUSE_REAL_LMSTUDIO_TOKEN") {
        keys.set(&ServerId::new("lmstudio"), Secret::new(token)).await?;
    }
    let adapter = LmStudio::new(LmStudioSettings { address, ..LmStudioSettings::default() }, home, keys);
    let found = adapter.find_running().await.context("LM Studio does not answer")?;
    let client = adapter.client(&found.endpoint);
    let model = match named("PILOTHOUSE_REAL_LMSTUDIO_MODEL") {
        Some(model) => model,
        None => smallest(client.as_ref()).await?,
    };
    println!("LM Studio {:?} at {} with {model}", found.version, found.endpoint.base_url);
    let loaded = client.instances().await?.into_iter().any(|one| one.model == model);
    ensure!(!loaded, "{model} is in memory: unload it, the contract begins without it");
    let has_v1 = match &found.version {
        Some(version) => has_v1(version),
        // It runs on another machine; only `/api/v1` lists sizes.
        None => client.models().await?.iter().any(|one| one.size_bytes.is_some()),
    };
    let kept =
        contract_at(&subject(&adapter, client.as_ref(), &model, has_v1), &found.endpoint.base_url).await;
    // A load that was dropped goes on in the server and may have left a copy. What failed before is what is told.
    for left in client.instances().await.unwrap_or_default() {
        if left.model == model {
            drop(client.unload(&left.id).await);
        }
    }
    kept
}
