//! What a client may reach of a server: a list of paths, and addresses that are built from that list.
//!
//! A client's own bytes never become part of a path. They are decoded once and compared; what is sent is the entry that
//! they matched, under the server's base. No spelling (`..`, `%2F`, `%252e`, a backslash, a query in the path) leads
//! anywhere else. No I/O and none of the engine's types: the fuzzer compiles this file by itself.

use percent_encoding::percent_decode_str;
use std::fmt::Write;
use url::Url;

/// Whose words a request is in. All of them live below `/v1` of a server that speaks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    /// OpenAI's, but for how it tells errors: Codex reads their codes.
    Responses,
    /// Additions of llama.cpp to the two others.
    LlamaCpp,
    /// Ollama's own, which has a listener to itself.
    Ollama,
}

/// A path that clients may POST to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiPath {
    pub dialect: Dialect,
    segments: &'static [&'static str],
}

const fn path(dialect: Dialect, segments: &'static [&'static str]) -> ApiPath {
    ApiPath { dialect, segments }
}

pub const CHAT: ApiPath = path(Dialect::OpenAi, &["chat", "completions"]);
pub const EMBEDDINGS: ApiPath = path(Dialect::OpenAi, &["embeddings"]);

/// All that is passed on. A server without one of them answers 404 in its own words.
pub const PATHS: &[ApiPath] = &[
    CHAT,
    path(Dialect::OpenAi, &["completions"]),
    EMBEDDINGS,
    path(Dialect::Responses, &["responses"]),
    path(Dialect::OpenAi, &["rerank"]),
    path(Dialect::OpenAi, &["reranking"]),
    path(Dialect::OpenAi, &["audio", "transcriptions"]),
    path(Dialect::OpenAi, &["audio", "translations"]),
    path(Dialect::OpenAi, &["audio", "speech"]),
    path(Dialect::OpenAi, &["images", "generations"]),
    path(Dialect::OpenAi, &["images", "edits"]),
    path(Dialect::OpenAi, &["images", "variations"]),
    path(Dialect::OpenAi, &["moderations"]),
    path(Dialect::Anthropic, &["messages"]),
    path(Dialect::Anthropic, &["messages", "count_tokens"]),
    path(Dialect::LlamaCpp, &["chat", "completions", "input_tokens"]),
    path(Dialect::LlamaCpp, &["responses", "input_tokens"]),
];

impl ApiPath {
    /// The entry that a client's path means; `raw` is what it wrote behind `/v1/`, still encoded.
    pub fn find(raw: &str) -> Option<&'static Self> {
        let segments = segments(raw)?;
        PATHS.iter().find(|path| path.segments == segments)
    }

    /// The address at a server whose API lies at `base` (`http://127.0.0.1:8080/v1`), with the client's query.
    /// `None`: `base` is no address of the web.
    pub fn under(&self, base: &str, query: Option<&str>) -> Option<Url> {
        let mut url = Url::parse(base).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        // No base has these two; were they there, the query of a client could not be told from them.
        url.set_fragment(None);
        url.path_segments_mut().ok()?.pop_if_empty().extend(self.segments);
        // Encodes whatever would end a query; a query cannot become a path.
        url.set_query(query);
        Some(url)
    }

    /// As in the dialect's documentation, for logs.
    pub fn text(&self) -> String {
        self.segments.join("/")
    }
}

/// The segments of a path, decoded once. `None`: it is not plain. What is still encoded after that, climbs, hides a
/// slash or has no letters is no path of any dialect, so nothing is lost by refusing it.
fn segments(raw: &str) -> Option<Vec<String>> {
    raw.split('/')
        .map(|segment| {
            let text = decoded(segment)?;
            let plain = !text.is_empty()
                && text != "."
                && text != ".."
                && !text.chars().any(|c| matches!(c, '/' | '\\' | '%' | '?' | '#') || c.is_control());
            plain.then_some(text)
        })
        .collect()
}

/// The id of a model that `GET /v1/models/{id}` asks for; `raw` is what stands behind `/v1/models/`, still encoded.
/// Slashes belong to it, encoded or not. It is only ever compared with the names in the list, and goes nowhere.
pub fn model_id(raw: &str) -> Option<String> {
    decoded(raw).filter(|id| !id.is_empty() && !id.chars().any(char::is_control))
}

/// Percent-decodes once; a `%` without two digits stays one. `None`: no UTF-8.
fn decoded(raw: &str) -> Option<String> {
    percent_decode_str(raw).decode_utf8().ok().map(Into::into)
}

/// What a client's path says behind the root of the API, still encoded. That root is `/v1`, and nothing for programs whose base
/// address lacks it, as llama-server takes it as well.
pub fn below(path: &str) -> &str {
    path.strip_prefix("/v1/").or_else(|| path.strip_prefix('/')).unwrap_or_default()
}

/// In whose words a refusal is said. `below`: the path behind `/v1/`, also one that is not in the list.
pub fn dialect_of(below: &str) -> Dialect {
    match ApiPath::find(below) {
        Some(path) => path.dialect,
        None if below.split('/').next() == Some("api") => Dialect::Ollama,
        None if below.split('/').next() == Some("messages") => Dialect::Anthropic,
        None if below.split('/').next() == Some("responses") => Dialect::Responses,
        None => Dialect::OpenAi,
    }
}

/// Whether the body of a POST is read, or of no use. `below`: as in [`dialect_of`].
pub fn has_body(below: &str) -> bool {
    ApiPath::find(below).is_some()
        || ["chat", "generate", "embed", "embeddings", "show"]
            .map(|name| format!("api/{name}"))
            .contains(&below.to_owned())
}

/// A client's path as a message may repeat it: short, and on one line.
pub fn shown(raw: &str) -> String {
    const LIMIT: usize = 120;
    let mut text = String::new();
    for c in raw.chars().take(LIMIT) {
        if c.is_control() {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    if raw.chars().nth(LIMIT).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::Strategy;

    const BASE: &str = "http://127.0.0.1:8080/v1";

    fn url(raw: &str) -> Option<String> {
        Some(ApiPath::find(raw)?.under(BASE, None)?.to_string())
    }

    #[test]
    fn what_the_dialects_name_is_passed_on() {
        for raw in [
            "chat/completions",
            "completions",
            "embeddings",
            "responses",
            "rerank",
            "reranking",
            "audio/transcriptions",
            "audio/translations",
            "audio/speech",
            "images/generations",
            "images/edits",
            "images/variations",
            "moderations",
            "messages",
            "messages/count_tokens",
            "chat/completions/input_tokens",
            "responses/input_tokens",
        ] {
            assert_eq!(url(raw), Some(format!("{BASE}/{raw}")));
        }
        assert_eq!(ApiPath::find("messages").unwrap().dialect, Dialect::Anthropic);
        assert_eq!(url("ch%61t/c%6fmpletions").as_deref(), Some("http://127.0.0.1:8080/v1/chat/completions"));
    }

    #[test]
    fn whatever_else_is_asked_for_is_refused() {
        for raw in [
            "",
            "/",
            "..%2Fmodels%2Funload",
            "%2e%2e/models/unload",
            "../models/unload",
            "..%5Cmodels%5Cunload",
            "..\\models\\unload",
            "%252e%252e%252fmodels%252funload",
            "..%252Fmodels",
            "..%2Fkey%2Fgenerate",
            "chat/completions/../../../models/unload",
            "chat/./completions",
            "chat//completions",
            "chat/completions/",
            "/chat/completions",
            "chat%2Fcompletions",
            "chat/completions%3Fa=b",
            "chat/completions%23",
            "chat/completions%00",
            "chat/completions%0d%0aHost:%20x",
            "chat/completions%20",
            "chat/completions;a=b",
            "chat;a=b/completions",
            "chat/..;/models/unload",
            "chat/completions%3Badmin",
            "..%255Cmodels%255Cunload",
            "Chat/Completions",
            "completions%ff",
            "completions%",
            "completions%6",
            "completions%zz",
            "models",
            "models/load",
            "models/unload",
            "api/v1/chat/completions",
            "\u{ff0e}\u{ff0e}/models/unload",
            "http://evil.example/completions",
            "//evil.example/completions",
            "@evil.example/completions",
        ] {
            assert_eq!(url(raw), None, "{raw}");
        }
    }

    #[test]
    fn the_base_keeps_its_own_path_and_the_query_stays_a_query() {
        let chat = ApiPath::find("chat/completions").unwrap();
        let under = |base: &str, query: Option<&str>| chat.under(base, query).map(String::from);
        assert_eq!(
            under("https://studio.local/openai/v1/", Some("beta=true&a=%2e%2e%2f")).as_deref(),
            Some("https://studio.local/openai/v1/chat/completions?beta=true&a=%2e%2e%2f")
        );
        assert_eq!(
            under(BASE, Some("a#b c\"/../")).as_deref(),
            Some("http://127.0.0.1:8080/v1/chat/completions?a%23b%20c%22/../")
        );
        assert_eq!(under(BASE, Some("")).as_deref(), Some("http://127.0.0.1:8080/v1/chat/completions?"));
        for base in ["", "studio", "file:///etc", "data:text/plain,x"] {
            assert_eq!(under(base, None), None, "{base}");
        }
    }

    #[test]
    fn the_root_of_the_api_is_v1_or_nothing() {
        for (path, wanted) in [
            ("/v1/messages", "messages"),
            ("/messages", "messages"),
            ("/v1/v1/messages", "v1/messages"),
            ("/v1", "v1"),
            ("/", ""),
            ("", ""),
            ("//messages", "/messages"),
            ("/V1/messages", "V1/messages"),
        ] {
            assert_eq!(below(path), wanted, "{path}");
        }
    }

    #[test]
    fn ids_of_models_may_have_slashes_encoded_or_not() {
        assert_eq!(model_id("hf.co/a/b:Q4").as_deref(), Some("hf.co/a/b:Q4"));
        assert_eq!(model_id("hf.co%2Fa%2Fb%3AQ4").as_deref(), Some("hf.co/a/b:Q4"));
        assert_eq!(model_id("a%00"), None);
        assert_eq!(model_id("%ff"), None);
        assert_eq!(model_id(""), None);
    }

    #[test]
    fn what_is_repeated_is_short_and_on_one_line() {
        assert_eq!(shown("a\r\nb"), "a\\u{d}\\u{a}b");
        assert_eq!(shown(&"ü".repeat(500)).chars().count(), 121);
    }

    proptest::proptest! {
        /// Whatever a client writes, the address is one of the list under the base, or there is none.
        #[test]
        fn nothing_leads_out_of_the_list(
            raw in proptest::prop_oneof![
                "\\PC{0,40}",
                "((chat|completions|\\.\\.|\\.|models|unload|%2[eEfF]|%5c|%25|/|\\\\|%00|;|%3f){0,8})",
                proptest::sample::select(PATHS).prop_map(|path| path.text()),
            ],
            query in proptest::option::of("[ -~\\n\\t#?/.ü]{0,30}"),
        ) {
            let Some(path) = ApiPath::find(&raw) else { return Ok(()) };
            let url = path.under(BASE, query.as_deref()).unwrap();
            let below = url.path().strip_prefix("/v1/").unwrap();
            proptest::prop_assert!(PATHS.iter().any(|path| path.text() == below), "{}", url);
            proptest::prop_assert_eq!((url.host_str(), url.port(), url.fragment()), (Some("127.0.0.1"), Some(8080), None));
        }
    }
}
