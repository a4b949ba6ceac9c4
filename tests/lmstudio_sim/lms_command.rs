//! The stand-in for `lms` as a real process, with the simulator as the daemon that it wakes.

use anyhow::Result;
use pilothouse_system::process::{Finished, ProcessSpec, run_to_end};
use pilothouse_tests::{sandbox::free_port, sims::lmstudio::home};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// An installation in a folder; its daemon is ended with it.
struct Installed(tempfile::TempDir);

impl Installed {
    fn new(arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (lms, daemon) = (env!("CARGO_BIN_EXE_fake-lms"), env!("CARGO_BIN_EXE_sim-lmstudio"));
        home::install(folder.path(), Path::new(lms), Path::new(daemon), arguments)?;
        Ok(Self(folder))
    }

    async fn lms(&self, arguments: &[&str]) -> Result<Finished> {
        let spec = ProcessSpec {
            program: self.0.path().join("bin/lms"),
            args: arguments.iter().map(std::ffi::OsString::from).collect(),
            env: vec![("HOME".into(), self.0.path().into())],
            env_remove: vec![],
            cwd: None,
        };
        Ok(run_to_end(&spec, Duration::from_secs(30)).await?)
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.lms(arguments).await?.stdout)?)
    }
}

#[tokio::test]
async fn status_wakes_nothing_and_always_exits_with_0() -> Result<()> {
    let installed = Installed::new(&["--server-off"])?;
    let finished = installed.lms(&["server", "status", "--json"]).await?;
    assert_eq!(finished.exit.code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&finished.stdout)?["running"], false);
    let finished = installed.lms(&["daemon", "status", "--json"]).await?;
    assert_eq!((finished.exit.code, finished.stdout.trim()), (Some(0), r#"{"status":"not-running"}"#));
    assert!(!home::internal_server_file(installed.0.path()).exists(), "no daemon was started");
    Ok(())
}

#[tokio::test]
async fn start_wakes_the_daemon_and_loads_are_listed() -> Result<()> {
    let installed = Installed::new(&["--server-off", "--load-seconds", "0.05"])?;
    let port = free_port().to_string();
    let started = installed.lms(&["server", "start", "--port", &port]).await?;
    assert_eq!(started.exit.code, Some(0), "{started:?}");
    assert!(started.stderr.contains(&port), "what it says goes to stderr: {started:?}");
    assert_eq!(installed.json(&["server", "status", "--json"]).await?["running"], true);
    let up = installed.json(&["daemon", "up", "--json"]).await?;
    assert_eq!((&up["status"], &up["isDaemon"]), (&"running".into(), &true.into()), "{up}");

    for _ in 0..2 {
        let loaded = installed.lms(&["load", "simulated/alpha-2b", "--yes"]).await?;
        assert_eq!(loaded.exit.code, Some(0), "{loaded:?}");
    }
    let listed = installed.json(&["ps", "--json"]).await?;
    let ids: Vec<&str> =
        listed.as_array().into_iter().flatten().filter_map(|row| row["identifier"].as_str()).collect();
    assert_eq!(ids, ["simulated/alpha-2b", "simulated/alpha-2b:2"], "a load is never idempotent");
    installed.lms(&["unload", "--all"]).await?;
    assert_eq!(installed.json(&["ps", "--json"]).await?, Value::Array(vec![]));

    installed.lms(&["server", "stop"]).await?;
    assert_eq!(installed.json(&["server", "status", "--json"]).await?["running"], false);
    assert_eq!(installed.lms(&["daemon", "down"]).await?.exit.code, Some(0));
    let file = home::internal_server_file(installed.0.path());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while file.exists() {
        assert!(tokio::time::Instant::now() < deadline, "the daemon did not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
