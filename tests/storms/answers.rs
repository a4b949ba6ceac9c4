//! Answers through the gateway as a careful client takes them: whole or streamed, with an eye on everything that can be wrong.

use futures_util::StreamExt;
use pilothouse_tests::sandbox::Sandbox;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

/// How an answer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Whole,
    Streamed,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// It began and did not end as it should.
    Cut(String),
    /// An error in OpenAI's shape before the first byte of an answer.
    Refused { status: u16, code: String },
    /// An error in no shape that a client understands.
    Bare { status: u16, body: String },
    /// No connection, or none that lasted until the answer began.
    NoAnswer(String),
    /// Nothing within the bound.
    Hung,
}

/// One answer, good or not.
#[derive(Debug, Clone)]
pub struct Answered {
    pub sent: Instant,
    pub done: Instant,
    /// `<server>/<name>`, as the gateway says.
    pub by: Option<String>,
    /// The model that the server itself names.
    pub named: Option<String>,
    pub flaw: Option<Flaw>,
}

/// A client with one connection.
pub fn client() -> Client {
    Client::builder().no_proxy().pool_max_idle_per_host(1).build().unwrap()
}

pub fn address(sandbox: &Sandbox) -> String {
    format!("http://127.0.0.1:{}/v1/chat/completions", sandbox.gateway_port)
}

/// Asks the active model, for at most `bound`.
pub async fn ask(http: &Client, address: &str, kind: Kind, tokens: u32, bound: Duration) -> Answered {
    let body = json!({
        "model": "active",
        "messages": [{ "role": "user", "content": "Name three colours." }],
        "max_tokens": tokens,
        "stream": kind == Kind::Streamed,
    });
    let sent = Instant::now();
    let mut answered = Answered { sent, done: sent, by: None, named: None, flaw: None };
    let taken = tokio::time::timeout(bound, take(http, address, kind, &body, &mut answered)).await;
    answered.flaw = match taken {
        Ok(Ok(())) => None,
        Ok(Err(flaw)) => Some(flaw),
        Err(_) => Some(Flaw::Hung),
    };
    answered.done = Instant::now();
    answered
}

async fn take(
    http: &Client,
    address: &str,
    kind: Kind,
    body: &Value,
    answered: &mut Answered,
) -> Result<(), Flaw> {
    let answer = http.post(address).json(body).send().await;
    let answer = answer.map_err(|error| Flaw::NoAnswer(format!("{error:?}")))?;
    answered.by = by(&answer);
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap_or_default();
        return Err(refusal(status, &body));
    }
    match kind {
        Kind::Whole => whole(answer, answered).await,
        Kind::Streamed => streamed(answer, answered).await,
    }
}

async fn whole(answer: Response, answered: &mut Answered) -> Result<(), Flaw> {
    let body = answer.bytes().await.map_err(|error| Flaw::Cut(format!("the body broke off: {error}")))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Flaw::Cut(format!("a body that is no JSON: {error}")))?;
    answered.named = body["model"].as_str().map(str::to_owned);
    let choice = &body["choices"][0];
    if choice["message"]["content"].is_string() && choice["finish_reason"].is_string() {
        return Ok(());
    }
    Err(Flaw::Cut(format!("no answer in it: {body}")))
}

async fn streamed(answer: Response, answered: &mut Answered) -> Result<(), Flaw> {
    let mut events = Events::new(answer);
    let mut finished = false;
    loop {
        match events.next().await {
            Some(Ok(Event::Piece(piece))) => {
                answered.named = piece["model"].as_str().map(str::to_owned).or(answered.named.take());
                answered.by = answered.by.take().or_else(|| events.by.clone());
                finished |= piece["choices"][0]["finish_reason"].is_string();
            }
            Some(Ok(Event::Error(error))) => return Err(Flaw::Cut(format!("an error in it: {error}"))),
            Some(Ok(Event::Done)) if finished => return Ok(()),
            Some(Ok(Event::Done)) => return Err(Flaw::Cut("[DONE] without a reason to finish".into())),
            Some(Err(error)) => return Err(Flaw::Cut(format!("the stream broke off: {error}"))),
            None => return Err(Flaw::Cut("it ended without [DONE]".into())),
        }
    }
}

fn by(answer: &Response) -> Option<String> {
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    Some(format!("{}/{}", header("x-pilothouse-server")?, header("x-pilothouse-model")?))
}

/// An error as OpenAI's clients read it has message, type and code; anything else is bare.
fn refusal(status: u16, body: &[u8]) -> Flaw {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &parsed["error"];
    match (error["message"].as_str(), error["type"].as_str(), error["code"].as_str()) {
        (Some(_), Some(_), Some(code)) => Flaw::Refused { status, code: code.to_owned() },
        _ => Flaw::Bare { status, body: String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned() },
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Piece(Value),
    /// An error inside a stream whose status was good.
    Error(Value),
    Done,
}

/// The events of a stream (SSE with one `data:` line each).
pub struct Events {
    chunks: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    rest: Vec<u8>,
    /// Who answers, where the headers were out before that was known: it comes in comments then.
    pub by: Option<String>,
}

impl Events {
    pub fn new(answer: Response) -> Self {
        Self { chunks: answer.bytes_stream().boxed(), rest: Vec::new(), by: None }
    }

    /// `None`: it ended.
    pub async fn next(&mut self) -> Option<Result<Event, String>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).into_owned();
                if let Some(server) = line.strip_prefix(": x-pilothouse-server: ") {
                    self.by = Some(server.trim().to_owned());
                } else if let (Some(model), Some(by)) =
                    (line.strip_prefix(": x-pilothouse-model: "), &mut self.by)
                {
                    *by = format!("{by}/{}", model.trim());
                }
                match event(&line) {
                    Some(event) => return Some(Ok(event)),
                    None => continue,
                }
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => self.rest.extend_from_slice(&chunk),
                Some(Err(error)) => return Some(Err(format!("{error:?}"))),
                None => return None,
            }
        }
    }
}

fn event(line: &str) -> Option<Event> {
    let data = line.trim().strip_prefix("data:")?.trim();
    if data == "[DONE]" {
        return Some(Event::Done);
    }
    let piece: Value = serde_json::from_str(data).unwrap_or_default();
    Some(if piece["error"].is_null() { Event::Piece(piece) } else { Event::Error(piece["error"].clone()) })
}

/// An answer that goes on and on, read in the background.
pub struct Endless {
    task: JoinHandle<EndOfStream>,
    end: oneshot::Sender<()>,
    pieces: mpsc::UnboundedReceiver<()>,
}

/// How it ended.
#[derive(Debug)]
pub struct EndOfStream {
    pub pieces: usize,
    pub at: Instant,
    /// The last event, or how the connection broke off; `None`: it ended without another word.
    pub last: Option<Result<Event, String>>,
}

impl Endless {
    /// Asks the active model for an answer of so many tokens and waits for its first ones.
    pub async fn begin(sandbox: &Sandbox, tokens: u32) -> Self {
        let body = json!({
            "model": "active",
            "messages": [{ "role": "user", "content": "Count from one to ten thousand, in words." }],
            "max_tokens": tokens,
            "stream": true,
            // Understood by llama-server, passed over by others.
            "ignore_eos": true,
        });
        let answer = client().post(address(sandbox)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "the long answer was refused");
        let (told, mut pieces) = mpsc::unbounded_channel();
        let (end, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut events = Events::new(answer);
            let mut count = 0;
            loop {
                let next = tokio::select! {
                    next = events.next() => next,
                    _ = &mut ended => None,
                };
                let Some(Ok(Event::Piece(_))) = next else {
                    return EndOfStream { pieces: count, at: Instant::now(), last: next };
                };
                count += 1;
                let _ = told.send(());
            }
        });
        for _ in 0..3 {
            pieces.recv().await.unwrap();
        }
        Self { task, end, pieces }
    }

    /// Waits until it has ended.
    pub async fn end(self, bound: Duration) -> Option<EndOfStream> {
        let Self { task, end, pieces } = self;
        let ended = tokio::time::timeout(bound, task).await.ok().map(Result::unwrap);
        drop((end, pieces));
        ended
    }

    /// Leaves it.
    pub async fn leave(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}
