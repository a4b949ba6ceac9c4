//! The three rungs of health, when somebody asks: its port, its API, and one real token.

use super::{
    actor::Supervisor,
    connection::Connection,
    outcome::Outcome,
    work::{self, Speech},
};
use crate::api::{Check, CheckResult};
use pilothouse_domain::error::ApiError;
use std::time::Duration;
use tokio::{net::TcpStream, sync::oneshot};

/// A port on this machine or near it answers at once, or not at all.
const PORT_LIMIT: Duration = Duration::from_secs(3);

impl Supervisor {
    pub(super) fn check(&mut self, reply: oneshot::Sender<Vec<Check>>) {
        let Some(connection) = self.contact.connection().cloned() else {
            let detail = "it does not run, so there is nothing to ask".to_owned();
            let check = rung("port", CheckResult::Skipped, detail, self.life.hint().map(str::to_owned));
            drop(reply.send(vec![check]));
            return;
        };
        let speaker = self.speaker(&connection);
        let limit = Duration::from_millis(self.around.policy.token_ms);
        let port = speaker.as_ref().ok().and_then(|lease| self.memory.port_of(&lease.target().instance));
        let generation = self.contact.generation();
        self.later(async move {
            let door = door(&connection).await;
            let api = match connection.client.health().await {
                Ok(_) => rung("API", CheckResult::Ok, "answers".into(), None),
                Err(error) => rung("API", CheckResult::Fail, error.message, error.hint),
            };
            let (token, spoken) = match speaker {
                Ok(lease) => {
                    let spoken = work::speak(&*connection.client, port, &lease, limit).await;
                    (token(&lease.target().instance, &spoken), Some(spoken))
                }
                Err(why) => (rung("token", CheckResult::Skipped, why, None), None),
            };
            Outcome::Checked { generation, checks: vec![door, api, token], spoken, reply }
        });
    }

    pub(super) fn checked(
        &mut self,
        about: u64,
        checks: Vec<Check>,
        spoken: Option<Result<Speech, ApiError>>,
        reply: oneshot::Sender<Vec<Check>>,
    ) {
        if let Some(spoken) = spoken.filter(|_| self.contact.is_current(about)) {
            self.spoken(spoken);
        }
        let _ = reply.send(checks);
    }
}

async fn door(connection: &Connection) -> Check {
    let url = reqwest::Url::parse(&connection.endpoint.base_url).ok();
    let place = url.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let Some((host, port)) = place else {
        let detail = format!("{} is no address", connection.endpoint.base_url);
        return rung("port", CheckResult::Fail, detail, None);
    };
    // Brackets belong to the address of the sixth version in a URL only.
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::time::timeout(PORT_LIMIT, TcpStream::connect((bare, port))).await {
        Ok(Ok(_)) => rung("port", CheckResult::Ok, format!("{host}:{port} takes connections"), None),
        Ok(Err(error)) => rung("port", CheckResult::Fail, format!("{host}:{port}: {error}"), None),
        Err(_) => {
            let detail = format!("{host}:{port} does not answer within {} s", PORT_LIMIT.as_secs());
            rung("port", CheckResult::Fail, detail, None)
        }
    }
}

fn token(instance: &str, spoken: &Result<Speech, ApiError>) -> Check {
    match spoken {
        Ok(Speech::Full) => {
            let why = "not asked for: other answers have all the places, and it would wait behind them";
            rung("token", CheckResult::Skipped, why.into(), None)
        }
        Ok(Speech::Token(took)) => {
            rung("token", CheckResult::Ok, format!("{instance} gave one after {} ms", took.as_millis()), None)
        }
        Err(error) => {
            let hint = error.hint.clone().or_else(|| Some("Look at its log, or restart it.".into()));
            rung("token", CheckResult::Fail, format!("{instance} gave none: {}", error.message), hint)
        }
    }
}

fn rung(name: &str, result: CheckResult, detail: String, hint: Option<String>) -> Check {
    Check { name: name.into(), result, detail, hint }
}
