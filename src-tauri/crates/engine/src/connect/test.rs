//! Asks the gateway as an app asks.

use futures_util::StreamExt;
use pilothouse_domain::connect::{App, Heard, NoOllama, TestReport, Wanted, question, said_error};
use pilothouse_system::connect::{causes, client_for};
use reqwest::{Response, header::HeaderMap};
use std::time::{Duration, Instant};

/// A model that has to be loaded first takes its time; more than this is no answer.
const LIMIT: Duration = Duration::from_secs(60);
/// No short answer is longer, in bytes.
const MOST: usize = 1 << 20;

/// What has come so far; what is cut off by the limit is told as well.
struct Progress {
    heard: Heard,
    status: Option<u16>,
    answered_by: Option<String>,
    first_token_ms: Option<u64>,
    /// Why it went no further.
    trouble: Option<String>,
}

/// Sends the app's smallest request to the gateway's own address.
pub async fn ask(app: &App, wanted: &Wanted) -> TestReport {
    ask_within(app, wanted, LIMIT).await
}

pub(super) async fn ask_within(app: &App, wanted: &Wanted, limit: Duration) -> TestReport {
    let begun = Instant::now();
    let asked = question(app.dialect, &wanted.model, wanted.key());
    let root = match wanted.root_for(app.dialect) {
        Ok(root) => root,
        Err(none) => return not_asked(app, none),
    };
    let url = format!("{root}{}", asked.path);
    let mut progress = Progress {
        heard: Heard::new(app.dialect),
        status: None,
        answered_by: None,
        first_token_ms: None,
        trouble: None,
    };
    let mut request = client_for(root).post(&url).json(&asked.body);
    for (name, value) in asked.headers {
        request = request.header(name, value);
    }
    let going = async {
        match request.send().await {
            Ok(answer) => progress.follow(answer, begun).await,
            Err(error) => {
                progress.trouble = Some(format!("nothing answers there ({})", causes(&error).join(": ")))
            }
        }
    };
    if tokio::time::timeout(limit, going).await.is_err() {
        progress.trouble = Some(format!("it was not over after {} s", limit.as_secs()));
    }
    progress.report(app, url, elapsed_ms(begun))
}

/// The one address would only say that it does not speak so.
fn not_asked(app: &App, none: &NoOllama) -> TestReport {
    let next = match none.port {
        Some(port) => format!(" Set gateway.ollama_port to {port}."),
        None => String::new(),
    };
    TestReport {
        ok: false,
        dialect: app.dialect,
        url: None,
        status: None,
        words: None,
        first_token_ms: None,
        took_ms: 0,
        answered_by: None,
        detail: format!(
            "Not asked: {} speaks Ollama's own API, and the port for that is not open ({}).{next}",
            app.title, none.reason
        ),
    }
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Progress {
    async fn follow(&mut self, answer: Response, begun: Instant) {
        self.status = Some(answer.status().as_u16());
        self.answered_by = answered_by(answer.headers());
        let refused = !answer.status().is_success();
        let (mut stream, mut taken, mut rest) = (answer.bytes_stream(), 0, Vec::new());
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    self.trouble = Some(format!("the answer broke off ({})", causes(&error).join(": ")));
                    break;
                }
            };
            taken += piece.len();
            rest.extend_from_slice(&piece);
            if taken > MOST {
                self.trouble = Some("the answer did not end within 1 MiB".into());
                break;
            }
            if refused {
                continue;
            }
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                self.heard.line(&String::from_utf8_lossy(&line));
            }
            if self.heard.begun && self.first_token_ms.is_none() {
                self.first_token_ms = Some(elapsed_ms(begun));
            }
        }
        let rest = String::from_utf8_lossy(&rest);
        if refused {
            let said = serde_json::from_str(&rest).ok().and_then(|document| said_error(&document));
            self.heard.error = Some(said.unwrap_or_else(|| rest.trim().chars().take(200).collect()));
        } else {
            self.heard.line(&rest);
        }
    }

    fn report(self, app: &App, url: String, took_ms: u64) -> TestReport {
        let words = self.heard.words();
        let ok =
            self.trouble.is_none() && self.status.is_some_and(|status| status < 300) && self.heard.is_whole();
        let asked = format!("Asked as {} asks ({})", app.title, app.dialect.title());
        let detail = match (&self.trouble, &self.heard.error, &words) {
            (Some(trouble), ..) => format!("{asked}: {trouble}."),
            (None, Some(error), _) => {
                let status = self.status.unwrap_or_default();
                let error = error.trim_end_matches('.');
                if status < 300 {
                    format!("{asked}: {error}.")
                } else {
                    format!("{asked}: refused with {status}: {error}.")
                }
            }
            (None, None, Some(words)) if ok => format!("{asked}. It answered “{words}” after {took_ms} ms."),
            (None, None, None) if ok => {
                format!("{asked}. It thought all the time and came to no answer, after {took_ms} ms.")
            }
            (None, None, _) if self.heard.ended => format!("{asked}: an answer without a word."),
            (None, None, _) => format!("{asked}: what came was no whole answer."),
        };
        TestReport {
            ok,
            dialect: app.dialect,
            url: Some(url),
            status: self.status,
            words,
            first_token_ms: self.first_token_ms,
            took_ms,
            answered_by: self.answered_by,
            detail,
        }
    }
}

fn answered_by(headers: &HeaderMap) -> Option<String> {
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let server = told("x-pilothouse-server")?;
    Some(told("x-pilothouse-model").map_or_else(|| server.to_owned(), |model| format!("{server}/{model}")))
}
