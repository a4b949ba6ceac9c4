//! Finding the backend, and the rule that most commands start one when none runs.

use super::{Failed, arguments::Connection, say};
use crate::sims::lmstudio::home;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

/// The real one polls 60 times, a second apart; the stand-in is as patient, and looks more often.
const WAKE_LIMIT: Duration = Duration::from_secs(60);
const WAKE_POLL: Duration = Duration::from_millis(50);
const STATUS_LIMIT: Duration = Duration::from_secs(3);
const GREETING_LIMIT: Duration = Duration::from_millis(500);

/// Where to look.
pub struct Reach {
    pub home: PathBuf,
}

/// A backend that answered.
pub struct Backend {
    client: reqwest::Client,
    port: u16,
}

impl Reach {
    /// A backend that runs, or one that is started now.
    pub async fn or_wake(&self, connection: Option<&Connection>) -> Result<Backend, Failed> {
        if let Some(port) = connection.and_then(|connection| connection.port) {
            return match greets(port).await {
                true => Ok(Backend::at(port)),
                false => Err(format!(
                    "The server does not appear to be running at 127.0.0.1:{port}. Please make sure the server is \
                     running and accessible."
                )),
            };
        }
        if let Some(file) = std::env::var_os("LMS_API_SERVER_INFO_PATH").map(PathBuf::from) {
            let port = home::read(&file).as_ref().and_then(port_of);
            return match port {
                Some(port) if has_status(port).await => Ok(Backend::at(port)),
                _ => Err(format!("Failed to connect using {}.", file.display())),
            };
        }
        match self.running().await {
            Some(backend) => Ok(backend),
            None => self.wake().await,
        }
    }

    /// A backend that runs; never starts one. The real one goes on to five fixed ports, which are left out: a real LM
    /// Studio on the machine must not get calls of a test.
    pub async fn running(&self) -> Option<Backend> {
        let port = home::internal_port(&self.home)?;
        has_status(port).await.then(|| Backend::at(port))
    }

    async fn wake(&self) -> Result<Backend, Failed> {
        say("Waking up LM Studio service...");
        let installed = home::read(&home::llmster_location_file(&self.home));
        let (place, is_app) = match installed {
            Some(place) => (Some(place), false),
            None => (home::read(&home::app_location_file(&self.home)), true),
        };
        let begun = Instant::now();
        if let Some(place) = place {
            spawn(&place, is_app)?;
            while begun.elapsed() < WAKE_LIMIT {
                if let Some(backend) = self.running().await {
                    return Ok(backend);
                }
                tokio::time::sleep(WAKE_POLL).await;
            }
            say("Timed out waiting for LM Studio daemon to start.");
        }
        Err("Failed to start or connect to local LM Studio API server.".into())
    }
}

impl Backend {
    fn at(port: u16) -> Self {
        Self { client: client(None), port }
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let answer = self.client.get(self.url(path)).send().await.map_err(lost)?;
        answer.json().await.map_err(lost)
    }

    /// The answer, whatever its status.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<reqwest::Response, Failed> {
        self.client.post(self.url(path)).json(body).send().await.map_err(lost)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/sim/{path}", self.port)
    }
}

/// The connection broke.
pub fn lost(error: reqwest::Error) -> Failed {
    format!("Lost the connection to LM Studio. {error}")
}

/// Whether an LM Studio says hello at a port.
pub async fn greets(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/lmstudio-greeting");
    let Ok(answer) = client(Some(GREETING_LIMIT)).get(url).send().await else { return false };
    answer.json::<Value>().await.is_ok_and(|body| body["lmstudio"] == Value::Bool(true))
}

async fn has_status(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/lms-status");
    let Ok(answer) = client(Some(STATUS_LIMIT)).get(url).send().await else { return false };
    let Ok(body) = answer.json::<Value>().await else { return false };
    body["package"].is_string() && body["version"].is_string()
}

fn client(limit: Option<Duration>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    let builder = match limit {
        Some(limit) => builder.timeout(limit),
        None => builder,
    };
    // Without TLS and proxies there is nothing that can fail.
    builder.build().unwrap_or_default()
}

fn port_of(file: &Value) -> Option<u16> {
    file["port"].as_u64().and_then(|port| u16::try_from(port).ok())
}

/// Starts what an install location names, detached: it outlives this command and holds none of its pipes.
fn spawn(place: &Value, is_app: bool) -> Result<(), Failed> {
    let path = place["path"].as_str().unwrap_or_default();
    let arguments = place["argv"].as_array().into_iter().flatten().filter_map(Value::as_str);
    #[expect(
        clippy::disallowed_methods,
        reason = "this program is what the engine starts; it starts the simulator"
    )]
    let mut command = std::process::Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if is_app {
        command.arg("--run-as-service");
    }
    if let Some(folder) = place["cwd"].as_str() {
        command.current_dir(folder);
    }
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    match command.spawn() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("spawn {path} {error}")),
    }
}
