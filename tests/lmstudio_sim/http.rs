//! The public server.

use anyhow::{Context, Result};
use pilothouse_tests::sims::lmstudio::{FailLoad, Faults, LmStudioSim, Options, Profile, TOKEN};
use serde_json::{Value, json};
use std::path::Path;

const MODEL: &str = "simulated/alpha-2b";

struct Asked {
    sim: LmStudioSim,
    address: String,
    http: reqwest::Client,
}

impl Asked {
    async fn start(folder: &Path, profile: Profile) -> Result<Self> {
        let options = Options { profile, load_seconds: 0.05, ttft_ms: 1, ..Options::new(folder) };
        let sim = LmStudioSim::start(options).await?;
        let address = sim.base_url().context("the server is on")?;
        Ok(Self { sim, address, http: reqwest::Client::builder().no_proxy().build()? })
    }

    async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.address)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn post(&self, path: &str, body: Value) -> Result<(u16, Value)> {
        let answer = self.http.post(format!("{}{path}", self.address)).json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn events(&self, path: &str, body: Value) -> Result<String> {
        Ok(self.http.post(format!("{}{path}", self.address)).json(&body).send().await?.text().await?)
    }
}

#[tokio::test]
async fn the_greeting_is_its_17_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V0425).await?;
    let answer = asked.http.get(format!("{}/lmstudio-greeting", asked.address)).send().await?;
    assert_eq!(answer.text().await?, r#"{"lmstudio":true}"#);
    Ok(())
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_200_and_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V03).await?;
    let (status, body) = asked.get("/api/v1/models").await?;
    assert_eq!(status, 200);
    assert!(body["error"].as_str().is_some_and(|text| text.contains("/api/v1/models")), "{body}");
    Ok(())
}

#[tokio::test]
async fn a_second_load_makes_a_twin_and_jit_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V0425).await?;
    let load = json!({ "model": MODEL });
    let (_, first) = asked.post("/api/v1/models/load", load.clone()).await?;
    let (_, second) = asked.post("/api/v1/models/load", load).await?;
    assert_eq!(
        (&first["instance_id"], &second["instance_id"]),
        (&json!(MODEL), &json!(format!("{MODEL}:2")))
    );
    let (_, list) = asked.get("/api/v1/models").await?;
    let model = list["models"].as_array().and_then(|all| all.iter().find(|one| one["key"] == MODEL));
    assert_eq!(model.map(|model| model["loaded_instances"].as_array().map(Vec::len)), Some(Some(2)));
    let (_, v0) = asked.get("/api/v0/models").await?;
    let rows = v0["data"].as_array().context("rows")?;
    assert_eq!(
        rows.iter().filter(|row| row["state"] == "loaded").count(),
        2,
        "a twin is a row of its own in v0"
    );

    let chat = json!({ "model": "beta-7b-simulated", "messages": [{ "role": "user", "content": "Hi" }],
        "max_tokens": 3 });
    for _ in 0..2 {
        let (status, answer) = asked.post("/v1/chat/completions", chat.clone()).await?;
        assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(3)), "{answer}");
    }
    let beta =
        asked.sim.look(|state| state.instances.iter().filter(|one| one.key == "beta-7b-simulated").count());
    assert_eq!(beta, 1);
    Ok(())
}

#[tokio::test]
async fn only_recent_versions_let_a_load_name_its_parallel_requests() -> Result<()> {
    for profile in Profile::ALL.into_iter().filter(|profile| profile.has_v1() && *profile != Profile::Auth) {
        let folder = tempfile::tempdir()?;
        let asked = Asked::start(folder.path(), profile).await?;
        let load = json!({ "model": MODEL, "parallel": 2, "echo_load_config": true });
        let (status, body) = asked.post("/api/v1/models/load", load).await?;
        match profile.is_recent() {
            true => assert_eq!(
                (status, &body["load_config"]["parallel"]),
                (200, &json!(2)),
                "{profile:?}: {body}"
            ),
            false => {
                assert_eq!((status, &body["error"]["code"]), (400, &json!("unrecognized_keys")), "{body}")
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_native_stream_ends_with_its_figures() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V0425).await?;
    let body = json!({ "model": MODEL, "input": "Say something.", "stream": true, "max_output_tokens": 5 });
    let text = asked.events("/api/v1/chat", body).await?;
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"chat.start"), Some(&"chat.end")), "{kinds:?}");
    assert!(kinds.contains(&"model_load.end"), "it was loaded by the request: {kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "message.delta").count(), 5);
    let stats = &events.last().context("events")?["result"]["stats"];
    assert_eq!(stats["total_output_tokens"], 5, "{stats}");
    assert!(stats["tokens_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{stats}");
    Ok(())
}

#[tokio::test]
async fn a_guardrail_can_come_with_500_or_with_200() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V0425).await?;
    for (fault, expected) in [(FailLoad::Guardrail, 500), (FailLoad::Guardrail200, 200)] {
        asked.sim.set_faults(Faults { fail_load: Some(fault), ..Faults::default() });
        let (status, body) = asked.post("/api/v1/models/load", json!({ "model": MODEL })).await?;
        assert_eq!(status, expected, "{body}");
        assert!(body["error"].to_string().contains("insufficient system resources"), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_at_the_greeting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::Auth).await?;
    for path in ["/api/v1/models", "/api/v0/models", "/v1/models"] {
        let (status, body) = asked.get(path).await?;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")), "{path}: {body}");
        let well = asked.http.get(format!("{}{path}", asked.address)).bearer_auth(TOKEN).send().await?;
        assert_eq!(well.status(), 200, "{path}");
    }
    assert_eq!(asked.get("/lmstudio-greeting").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn an_unload_that_does_nothing_says_200() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let asked = Asked::start(folder.path(), Profile::V0425).await?;
    asked.post("/api/v1/models/load", json!({ "model": MODEL })).await?;
    asked.sim.set_faults(Faults { unload_noop: true, ..Faults::default() });
    let (status, _) = asked.post("/api/v1/models/unload", json!({ "instance_id": MODEL })).await?;
    assert_eq!((status, asked.sim.look(|state| state.instances.len())), (200, 1));
    Ok(())
}
