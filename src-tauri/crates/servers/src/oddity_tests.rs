//! What servers may answer that is a little odd, held against each adapter's client by a small server.

use crate::{
    GenerateRequest, ServerAdapter, ServerClient,
    llama_server::{LlamaServer, Places},
    lmstudio::LmStudio,
    ollama::Ollama,
    openai::OpenAi,
};
use axum::{
    Router,
    body::Bytes,
    http::{Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    settings::{LlamaServerSettings, LmStudioSettings, OllamaSettings, RemoteSettings},
};
use pilothouse_system::keys::Keys;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Answers a path, or says that there is none. The second argument is the body.
type Answer = Box<dyn Fn(&str, &str) -> Option<(u16, String)> + Send + Sync>;

/// A server that answers as it is told, and what it was asked.
pub(crate) struct Odd {
    address: String,
    pub(crate) asked: Arc<Mutex<Vec<(String, String)>>>,
    serving: JoinHandle<()>,
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Odd {
    pub(crate) async fn start(
        answer: impl Fn(&str, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Box::new(answer) as Answer), Arc::<Mutex<Vec<_>>>::default());
        let log = asked.clone();
        let handler = move |_: Method, uri: Uri, body: Bytes| {
            let body = String::from_utf8_lossy(&body).into_owned();
            let answered = answer(uri.path(), &body);
            log.lock().unwrap().push((uri.path().to_owned(), body));
            async move { respond(answered) }
        };
        let serving = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        Self { address, asked, serving }
    }

    /// One that answers every list with this body.
    async fn listing(body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_, _| Some((200, body.clone()))).await
    }

    /// One that answers every prompt with this body, and says to LM Studio's client that it is of 0.4 or not.
    async fn saying(body: &str, of_v1: bool) -> Self {
        let body = body.to_owned();
        Self::start(move |path, _| match path {
            "/api/v1/models" if of_v1 => Some((200, r#"{"models":[]}"#.into())),
            "/api/v1/models" => None,
            "/api/v0/models" => Some((200, r#"{"data":[]}"#.into())),
            _ => Some((200, body.clone())),
        })
        .await
    }

    pub(crate) fn client(&self, kind: Kind) -> Arc<dyn ServerClient> {
        let nowhere = || PathBuf::from("/nonexistent");
        let endpoint = |below: &str| Endpoint { base_url: format!("{}{below}", self.address), key: None };
        let remote = || RemoteSettings { address: self.address.clone(), ..RemoteSettings::default() };
        match kind {
            Kind::OpenAi => OpenAi::new("studio", remote(), Keys::in_memory()).client(&endpoint("/v1")),
            Kind::Ollama => Ollama::new(OllamaSettings::default(), nowhere()).client(&endpoint("")),
            Kind::LmStudio | Kind::LmStudioV0 => {
                LmStudio::new(LmStudioSettings::default(), nowhere(), Keys::in_memory()).client(&endpoint(""))
            }
            Kind::LlamaServer => {
                let places =
                    Places { embedded: nowhere(), models: nowhere(), run: nowhere(), beside_app: None };
                LlamaServer::new(LlamaServerSettings::default(), places).client(&endpoint(""))
            }
        }
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

fn respond(answered: Option<(u16, String)>) -> Response {
    let Some((status, body)) = answered else {
        return (StatusCode::NOT_FOUND, r#"{"error":"no such path"}"#).into_response();
    };
    let kind = if body.starts_with("data:") { "text/event-stream" } else { "application/json" };
    (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, kind)], body).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenAi,
    Ollama,
    LmStudio,
    LmStudioV0,
    LlamaServer,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::OpenAi, Kind::Ollama, Kind::LmStudio, Kind::LmStudioV0, Kind::LlamaServer];

impl Kind {
    /// A list of this kind with these rows, each a JSON document.
    fn list(self, rows: &str) -> String {
        match self {
            Self::Ollama | Self::LmStudio => format!(r#"{{"models":{rows}}}"#),
            Self::OpenAi | Self::LmStudioV0 | Self::LlamaServer => {
                format!(r#"{{"object":"list","data":{rows}}}"#)
            }
        }
    }

    /// A row that is as it should be, of a model that is in memory, with one more field.
    fn row(self, name: &str, more: &str) -> String {
        match self {
            Self::OpenAi => format!(r#"{{"id":"{name}"{more}}}"#),
            Self::Ollama => format!(r#"{{"name":"{name}"{more}}}"#),
            Self::LmStudio => {
                format!(r#"{{"type":"llm","key":"{name}","loaded_instances":[{{"id":"{name}"}}]{more}}}"#)
            }
            Self::LmStudioV0 => format!(r#"{{"type":"llm","id":"{name}","state":"loaded"{more}}}"#),
            Self::LlamaServer => format!(r#"{{"id":"{name}","status":{{"value":"loaded"}}{more}}}"#),
        }
    }

    /// The names of the models that its client lists, and of those in memory.
    async fn names(self, server: &Odd) -> Result<(Vec<String>, Vec<String>, Vec<String>), ApiError> {
        let client = server.client(self);
        let memory: Vec<String> = client.instances().await?.into_iter().map(|one| one.id).collect();
        let models: Vec<String> = client.models().await?.into_iter().map(|one| one.name).collect();
        // The one tells what is in memory only by its name, the other lists only what lies on disk.
        Ok(match self {
            Self::OpenAi => (models.clone(), models, client.oddities()),
            Self::LlamaServer => (memory.clone(), memory, client.oddities()),
            _ => (models, memory, client.oddities()),
        })
    }
}

#[tokio::test]
async fn lists_are_read_row_by_row_whatever_stands_between() {
    for kind in KINDS {
        let row = |name: &str| kind.row(name, "");
        let odd = [
            ",\"size\":\"large\"",
            ",\"details\":null,\"meta\":null",
            ",\"max_context_length\":[],\"size_bytes\":-1",
        ];
        let cases: Vec<(&str, String, &[&str], bool)> = vec![
            ("null is empty", "null".into(), &[], false),
            ("nothing", "[]".into(), &[], false),
            ("doubles are one", format!("[{},{},{}]", row("a"), row("b"), row("a")), &["a", "b"], true),
            ("null for a row", format!("[null,{},null]", row("a")), &["a"], true),
            ("other types", format!("[3,\"x\",[],{},{{}}]", row("a")), &["a"], true),
            ("no name", format!("[{},{}]", row(""), row("a")), &["a"], true),
            (
                "a name that is none",
                format!("[{},{}]", row("x").replace("\"x\"", "7"), row("a")),
                &["a"],
                true,
            ),
            (
                "odd fields",
                format!("[{},{},{}]", kind.row("a", odd[0]), kind.row("b", odd[1]), kind.row("c", odd[2])),
                &["a", "b", "c"],
                false,
            ),
        ];
        for (what, rows, wanted, told) in cases {
            let server = Odd::listing(&kind.list(&rows)).await;
            let (models, memory, said) =
                kind.names(&server).await.unwrap_or_else(|error| panic!("{kind:?}, {what}: {error}"));
            assert_eq!(
                (models.as_slice(), memory.as_slice()),
                (
                    &wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..],
                    &wanted.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{kind:?}, {what}"
            );
            assert_eq!(!said.is_empty(), told, "{kind:?}, {what}: {said:?}");
        }
        let other = Odd::listing(r#"{"message":"welcome"}"#).await;
        assert_eq!(
            kind.names(&other).await.unwrap_err().code,
            ErrorCode::BadAnswer,
            "{kind:?}: another program"
        );
    }
    let bare = Odd::listing(r#"[{"id":"a"},{"id":"b"}]"#).await;
    assert_eq!(Kind::OpenAi.names(&bare).await.unwrap().0, ["a", "b"], "a list without a frame");
}

/// The text of an answer, how many pieces of it had text, and its end.
struct Read {
    text: String,
    pieces: usize,
    finish: Option<String>,
    tokens: Option<u32>,
}

async fn read(client: &dyn ServerClient, raw: bool) -> Result<Option<Read>, ApiError> {
    let request = GenerateRequest {
        instance: "a".into(),
        prompt: "Hello".into(),
        max_tokens: 8,
        raw,
        reuses_prefix: false,
        ends_by_itself: false,
    };
    let mut answer = client.generate(&request).await?;
    let (mut text, mut pieces, mut ends) = (String::new(), 0, Vec::new());
    while let Some(event) = answer.next().await {
        let event = event?;
        pieces += usize::from(!event.text.is_empty());
        text.push_str(&event.text);
        ends.extend(event.end);
    }
    assert!(ends.len() <= 1, "it ended {} times", ends.len());
    Ok(ends.pop().map(|end| Read { text, pieces, finish: end.finish, tokens: end.output_tokens }))
}

/// An answer of a server, what its client makes of it (text and tokens; `None`: it was cut off), and how it is asked.
type Said = (&'static str, Kind, bool, &'static str, Option<(&'static str, Option<u32>)>);

const STREAM: &str = r#"data: {"choices":[{"delta":{"role":"assistant","content":null}}]}

data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":null}]}

data: {"choices":[{"delta":{"content":" you"}}]}

"#;

#[tokio::test]
async fn answers_are_understood_in_every_shape_they_come_in() {
    let no_mark = format!(
        "{STREAM}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"completion_tokens\":2.0}}}}\n\n"
    );
    let no_mark: &'static str = Box::leak(no_mark.into_boxed_str());
    let mut cases: Vec<Said> = Vec::new();
    for kind in [Kind::OpenAi, Kind::LmStudioV0, Kind::LlamaServer] {
        cases.extend([
            ("no closing mark", kind, false, no_mark, Some(("Hi you", Some(2)))),
            ("cut off", kind, false, STREAM, None),
            (
                "thoughts beside an empty text",
                kind,
                false,
                "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"reasoning_content\":\"Hm\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\",\"reasoning\":\"m\"},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
                Some(("Hmm", None)),
            ),
            (
                "one document",
                kind,
                false,
                r#"{"id":"1","choices":[{"message":{"role":"assistant","content":"Hi you"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#,
                Some(("Hi you", Some(2))),
            ),
            (
                "one document on several lines",
                kind,
                false,
                "{\n  \"choices\": [\n    {\"message\": {\"content\": \"\", \"reasoning_content\": \"Hm\"}, \"finish_reason\": null}\n  ]\n}\n",
                Some(("Hm", None)),
            ),
            (
                "parts instead of text, odd counts, events of other kinds",
                kind,
                false,
                "data: {\"type\":\"ping\"}\n\ndata: null\n\ndata: {\"choices\":null}\n\ndata: {\"choices\":[{\"delta\":{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"text\":\"Hm\"}]},{\"text\":\"Hi\"}]}}],\"usage\":\"none\"}\n\ndata: {\"choices\":[{\"delta\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"completion_tokens\":-1}}\n\ndata:[DONE]\n\n",
                Some(("HmHi", None)),
            ),
        ]);
    }
    cases.extend([
        ("plain, without its mark", Kind::OpenAi, true, "data: {\"choices\":[{\"text\":\"Hi\"}]}\n\ndata: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n", Some(("Hi", None))),
        ("plain, one document", Kind::OpenAi, true, "{\"choices\":[{\"text\":\"Hi\",\"finish_reason\":\"length\"}]}", Some(("Hi", None))),
        ("plain, one document", Kind::LlamaServer, true, r#"{"content":"Hi you","stop":true,"stop_type":"limit","timings":{"predicted_n":2}}"#, Some(("Hi you", Some(2)))),
        ("odd fields", Kind::LlamaServer, true, "data: {\"content\":\"Hi\",\"stop\":null}\n\ndata: {\"content\":null,\"stop\":true,\"timings\":\"none\"}\n\n", Some(("Hi", None))),
        ("cut off", Kind::LlamaServer, true, "data: {\"content\":\"Hi\",\"stop\":false}\n\n", None),
        ("one document", Kind::Ollama, false, r#"{"message":{"content":"Hi you"},"done":true,"eval_count":2}"#, Some(("Hi you", Some(2)))),
        ("one document on several lines", Kind::Ollama, true, "{\n \"response\": \"Hi\",\n \"done\": true\n}", Some(("Hi", None))),
        ("thoughts beside an empty text", Kind::Ollama, false, "{\"message\":{\"content\":\"\",\"thinking\":\"Hm\"},\"done\":false}\n{\"message\":null,\"done\":true}\n", Some(("Hm", None))),
        ("odd fields", Kind::Ollama, true, "{\"response\":null,\"thinking\":\"Hm\",\"done\":null}\n{\"response\":\"\",\"done\":true,\"eval_count\":\"2\",\"done_reason\":7}\n", Some(("Hm", None))),
        ("cut off", Kind::Ollama, true, "{\"response\":\"Hi\",\"done\":false}\n", None),
        ("one document", Kind::LmStudio, false, r#"{"output":[{"type":"reasoning","content":"Hm"},{"type":"message","content":"Hi"}],"stats":{"total_output_tokens":2}}"#, Some(("HmHi", Some(2)))),
        ("odd fields", Kind::LmStudio, false, "data: {\"type\":\"message.delta\",\"content\":null}\n\ndata: {\"type\":\"message.delta\",\"content\":\"Hi\"}\n\ndata: {\"type\":\"chat.end\",\"result\":null}\n\n", Some(("Hi", None))),
        ("cut off", Kind::LmStudio, false, "data: {\"type\":\"message.delta\",\"content\":\"Hi\"}\n\n", None),
    ]);
    for (what, kind, raw, body, wanted) in cases {
        let server = Odd::saying(body, kind == Kind::LmStudio).await;
        let got = read(&*server.client(kind), raw)
            .await
            .unwrap_or_else(|error| panic!("{kind:?}, {what}: {error}"));
        let got = got.map(|read| (read.text, read.tokens));
        assert_eq!(got, wanted.map(|(text, tokens)| (text.to_owned(), tokens)), "{kind:?}, {what}");
    }
    let server = Odd::saying(no_mark, false).await;
    let got = read(&*server.client(Kind::OpenAi), false).await.unwrap().unwrap();
    assert_eq!((got.pieces, got.finish.as_deref()), (2, Some("stop")));
}

#[tokio::test]
async fn what_is_no_answer_stays_an_error() {
    for kind in KINDS {
        for (body, code) in [
            ("data: {half\n\n", ErrorCode::BadAnswer),
            ("{\"half\":\n", ErrorCode::BadAnswer),
            (r#"{"welcome":true}"#, ErrorCode::BadAnswer),
            (r#"{"error":{"message":"out of slots"}}"#, ErrorCode::ServerError),
        ] {
            let server = Odd::saying(body, kind == Kind::LmStudio).await;
            match read(&*server.client(kind), false).await {
                Err(error) => assert_eq!(error.code, code, "{kind:?} {body}"),
                // Without an end it counts as cut off, wherever it is asked for.
                Ok(read) => assert!(read.is_none() && code == ErrorCode::BadAnswer, "{kind:?} {body}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_an_option_is_asked_without_it_and_remembered() {
    const WHOLE: &str = "data: {\"choices\":[{\"text\":\"Hi\",\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for (status, refusal) in [
        (400, r#"{"error":{"message":"Unrecognized request argument supplied: stream_options"}}"#),
        (422, r#"{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]}"#),
        (400, "bad request"),
        (500, r#"{"error":"unknown field"}"#),
        (501, ""),
    ] {
        for kind in [Kind::OpenAi, Kind::LmStudioV0] {
            let server = Odd::start(move |path, body| match path {
                "/api/v0/models" => Some((200, r#"{"data":[]}"#.into())),
                _ if path.starts_with("/api") => None,
                _ if body.contains("stream_options") => Some((status, refusal.into())),
                _ => Some((200, WHOLE.into())),
            })
            .await;
            let client = server.client(kind);
            for raw in [true, true, false] {
                let text = read(&*client, raw).await.unwrap().unwrap().text;
                assert_eq!(text, "Hi", "{kind:?} {status}");
            }
            let paths = server.paths().into_iter().filter(|path| path.starts_with("/v1"));
            let wanted = ["/v1/completions", "/v1/completions", "/v1/completions", "/v1/chat/completions"];
            assert_eq!(paths.collect::<Vec<_>>(), wanted, "{kind:?} {status}: refused once");
        }
    }
    // One that refuses everything is asked four times at most, and its own words are told.
    let server = Odd::start(|_, _| Some((400, r#"{"error":"no"}"#.into()))).await;
    let refused = read(&*server.client(Kind::OpenAi), true).await.err().unwrap();
    assert_eq!((refused.message.as_str(), server.paths().len()), ("studio: no", 4));
    // A server that is loading or wants a key is no server that refuses an option.
    for status in [503, 401] {
        let server = Odd::start(move |_, _| Some((status, r#"{"error":"no"}"#.into()))).await;
        let _ = read(&*server.client(Kind::OpenAi), false).await.err().unwrap();
        assert_eq!(server.paths().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn an_unload_that_nobody_heard_is_asked_for_again() {
    let unheard = Mutex::new(2);
    let loaded = Mutex::new(true);
    let server = Odd::start(move |path, _| {
        if path != "/models/unload" {
            let value = if *loaded.lock().unwrap() { "loaded" } else { "unloaded" };
            return Some((200, format!(r#"{{"data":[{{"id":"m","status":{{"value":"{value}"}}}}]}}"#)));
        }
        let mut unheard = unheard.lock().unwrap();
        if *unheard > 0 {
            *unheard -= 1;
            drop(unheard);
            // The connection goes without an answer.
            panic!("not heard");
        }
        *loaded.lock().unwrap() = false;
        Some((200, r#"{"success":true}"#.into()))
    })
    .await;
    server.client(Kind::LlamaServer).unload("m").await.unwrap();
    let asked = server.paths().iter().filter(|path| *path == "/models/unload").count();
    assert_eq!(asked, 1, "the two that were not heard are not in the list");
}
