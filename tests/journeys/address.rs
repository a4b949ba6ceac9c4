//! The one address as a client program uses it.

use pilothouse_tests::sandbox::Sandbox;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

pub struct Client {
    pub http: reqwest::Client,
    base_url: String,
}

/// An answer with what the gateway says about it.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub server: Option<String>,
    pub model: Option<String>,
    pub body: Value,
}

impl Client {
    pub fn new(sandbox: &Sandbox) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, base_url: format!("http://127.0.0.1:{}/v1", sandbox.gateway_port) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// Two requests at a time that each fill most of a context of 1024 tokens with other words; the worse status.
    pub async fn read_a_lot(&self) -> u16 {
        let ask = async |word: &str| {
            let content = format!("{word} and ").repeat(300);
            let body = json!({
                "model": "active",
                "messages": [{ "role": "user", "content": content }],
                "max_tokens": 4,
            });
            self.http.post(self.url("/chat/completions")).json(&body).send().await.unwrap().status().as_u16()
        };
        let (first, second) = tokio::join!(ask("harbour"), ask("winter"));
        first.max(second)
    }

    /// A short answer of a model, by its name or `active`.
    pub async fn chat(&self, model: &str) -> Answered {
        let body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": "Name a colour." }],
            "max_tokens": 8,
        });
        let answer = self.http.post(self.url("/chat/completions")).json(&body).send().await.unwrap();
        answered(answer).await
    }
}

pub async fn answered(answer: Response) -> Answered {
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    Answered {
        status: answer.status(),
        server: header("x-pilothouse-server"),
        model: header("x-pilothouse-model"),
        body: answer.json().await.unwrap(),
    }
}

impl Answered {
    /// The text of the answer.
    pub fn text(&self) -> &str {
        self.body["choices"][0]["message"]["content"].as_str().unwrap_or_default()
    }
}
