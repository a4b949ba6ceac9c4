//! The wire shapes of real clients, made by hand, and what becomes of them.

use super::*;
use crate::{
    Question, Telling,
    chat::{Chunk, Reader, Speaks},
};
use pilothouse_domain::server::ServerKind;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const KINDS: [ServerKind; 4] =
    [ServerKind::LlamaServer, ServerKind::Ollama, ServerKind::LmStudio, ServerKind::OpenAi];

fn telling() -> Telling {
    Telling { id: "x".into(), created_s: 1_780_000_000 }
}

fn said(asked: &Asked, kind: ServerKind) -> String {
    String::from_utf8(asked.chat("served", Speaks::of(kind)).unwrap()).unwrap()
}

fn text(document: Vec<u8>) -> String {
    String::from_utf8(document).unwrap()
}

#[test]
fn what_real_clients_send_is_said_in_chats_words() {
    let kept = |seconds| Governed::KeepAlive(KeepAlive::For(Duration::from_secs(seconds)));
    let forever = Governed::KeepAlive(KeepAlive::Forever);
    for (wire, chat, streams, governed, verbatim) in [
        (
            include_str!("wire/home_assistant.json"),
            include_str!("wire/home_assistant.chat.json"),
            true,
            vec![Governed::Context(8192), forever.clone()],
            r#"{"type": "object", "required": [], "properties": {"name": {"type""#,
        ),
        (
            include_str!("wire/continue.json"),
            include_str!("wire/continue.chat.json"),
            true,
            vec![Governed::Context(32768), kept(1800)],
            "\"temperature\":0.5",
        ),
        (
            include_str!("wire/open_webui.json"),
            include_str!("wire/open_webui.chat.json"),
            false,
            vec![Governed::Load("num_gpu"), Governed::Load("use_mmap"), kept(300)],
            r#"{"rivers":{"type":"array","items":{"type":"string"}},"continent""#,
        ),
        (
            include_str!("wire/python_tools.json"),
            include_str!("wire/python_tools.chat.json"),
            false,
            vec![],
            "{\\\"b\\\":5,\\\"a\\\":7}",
        ),
        (
            include_str!("wire/zed.json"),
            include_str!("wire/zed.chat.json"),
            true,
            vec![Governed::Context(4096), forever],
            "\"temperature\":1.0",
        ),
    ] {
        let asked = read_chat(wire.as_bytes()).unwrap();
        let body = said(&asked, ServerKind::LlamaServer);
        let (was, wanted): (Value, Value) =
            (serde_json::from_str(&body).unwrap(), serde_json::from_str(chat).unwrap());
        assert_eq!(was, wanted);
        assert!(body.contains(verbatim), "as it was written: {body}");
        assert_eq!((asked.streams(), asked.governed()), (streams, governed.as_slice()));
        assert_eq!((asked.path(), asked.content_type()), ("chat/completions", "application/x-ndjson"));
        assert_eq!(asked.model(), serde_json::from_str::<Value>(wire).unwrap()["model"].as_str());
        for kind in KINDS {
            let body = said(&asked, kind);
            for word in ["num_ctx", "keep_alive", "num_gpu", "metadata"] {
                assert!(!body.contains(word), "{word} goes nowhere: {body}");
            }
        }
    }
}

#[test]
fn a_prompt_is_a_message_of_the_user() {
    for (body, wanted) in [
        (r#"{"model":"m","prompt":"Hi"}"#, json!([{ "role": "user", "content": "Hi" }])),
        (
            r#"{"model":"m","prompt":"Hi","system":"Be brief.","raw":false,"suffix":"","template":"","context":[],"images":[]}"#,
            json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }]),
        ),
        (
            r#"{"prompt":"Hi","images":["R0lGODlh"]}"#,
            json!([{ "role": "user", "content": [{ "type": "text", "text": "Hi" },
                { "type": "image_url", "image_url": { "url": "data:image/gif;base64,R0lGODlh" } }] }]),
        ),
    ] {
        let asked = read_generate(body.as_bytes()).unwrap();
        let body: Value = serde_json::from_str(&said(&asked, ServerKind::LlamaServer)).unwrap();
        assert_eq!((&body["messages"], asked.streams(), asked.path()), (&wanted, true, "chat/completions"));
    }
}

#[test]
fn raw_texts_and_gaps_are_completed_where_a_server_can() {
    let raw = read_generate(
        br#"{"prompt":"<s>a","raw":true,"suffix":"b","options":{"num_predict":9,"stop":["x"],"seed":1,"top_k":2,"num_ctx":8}}"#,
    )
    .unwrap();
    assert_eq!(raw.path(), "completions");
    assert_eq!(
        said(&raw, ServerKind::LlamaServer),
        r#"{"model":"served","prompt":"<s>a","max_tokens":9,"stop":["x"],"seed":1,"top_k":2,"stream":true,"stream_options":{"include_usage":true}}"#
    );
    let gap = read_generate(br#"{"prompt":"a","suffix":"b"}"#).unwrap();
    assert_eq!(gap.path(), "completions");
    assert!(said(&gap, ServerKind::Ollama).contains(r#""prompt":"a","suffix":"b""#));
    for (asked, kind, can) in [
        (&raw, ServerKind::LlamaServer, true),
        (&raw, ServerKind::LmStudio, true),
        (&raw, ServerKind::OpenAi, true),
        (&raw, ServerKind::Ollama, false),
        (&gap, ServerKind::LlamaServer, false),
        (&gap, ServerKind::LmStudio, false),
        (&gap, ServerKind::OpenAi, true),
        (&gap, ServerKind::Ollama, true),
    ] {
        let chat = asked.chat("served", Speaks::of(kind));
        assert_eq!(chat.is_ok(), can, "{kind:?}");
        if let Err(refused) = chat {
            let name = refused.param.unwrap();
            assert!(refused.code == "unsupported" && refused.message.contains(&format!("“{name}”")));
        }
    }
    let mut reader = Reader::new(true);
    let stream = b"data: {\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"ab\",\"finish_reason\":null}]}\n\ndata: [DONE]\n\n";
    let mut answer = raw.answer(telling());
    let lines: Vec<u8> = reader.take(stream).unwrap().iter().flat_map(|chunk| answer.take(chunk)).collect();
    assert!(text(lines).contains("\"response\":\"ab\""));
}

#[test]
fn requests_that_say_nothing_are_about_the_model() {
    let chat = |reason: &str| {
        format!(
            r#"{{"model":"m","created_at":"2026-05-28T20:26:40Z","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"{reason}"}}"#
        )
    };
    let generate = |reason: &str| {
        format!(
            r#"{{"model":"m","created_at":"2026-05-28T20:26:40Z","response":"","done":true,"done_reason":"{reason}"}}"#
        )
    };
    for (is_chat, body, reason) in [
        (true, r#"{"model":"m"}"#, "load"),
        (true, r#"{"model":"m","messages":[],"keep_alive":-1}"#, "load"),
        (true, r#"{"model":"m","messages":null,"keep_alive":"0s"}"#, "unload"),
        (true, r#"{"model":"m","messages":[],"keep_alive":0}"#, "unload"),
        (false, r#"{"model":"m"}"#, "load"),
        (false, r#"{"model":"m","prompt":"","keep_alive":"10m","options":{"num_ctx":9}}"#, "load"),
        (false, r#"{"model":"m","keep_alive":0,"stream":false}"#, "unload"),
        (false, r#"{"model":"m","prompt":null,"raw":true,"keep_alive":0.0}"#, "unload"),
    ] {
        let read = if is_chat { read_chat(body.as_bytes()) } else { read_generate(body.as_bytes()) };
        let asked = read.unwrap();
        assert_eq!((asked.is_load(), asked.is_unload()), (reason == "load", reason == "unload"), "{body}");
        let wanted = if is_chat { chat(reason) } else { generate(reason) };
        assert_eq!(text(asked.nothing_document(&telling())), wanted);
        assert_eq!(asked.chat("served", Speaks::of(ServerKind::Ollama)).unwrap_err().status, 400);
    }
    let asked = read_generate(br#"{"model":"m","prompt":"a","keep_alive":0}"#).unwrap();
    assert!(!asked.is_load() && !asked.is_unload(), "a prompt is answered first");
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    for (body, param, code) in [
        (r#"{"prompt":"a","template":"{{ .Prompt }}"}"#, "template", "unsupported"),
        (r#"{"prompt":"a","context":[1,2]}"#, "context", "unsupported"),
        (r#"{"prompt":"a","raw":true,"system":"b"}"#, "system", "invalid_request"),
        (r#"{"prompt":"a","raw":true,"template":"b"}"#, "template", "invalid_request"),
        (r#"{"prompt":"a","raw":true,"images":["iVBORw0KGgo="]}"#, "images", "unsupported"),
        (r#"{"prompt":"a","suffix":"b","format":"json"}"#, "format", "unsupported"),
        (r#"{"prompt":"a","suffix":"b","logprobs":true}"#, "logprobs", "unsupported"),
        (r#"{"prompt":"a","top_logprobs":21}"#, "top_logprobs", "invalid_request"),
        (r#"{"prompt":"a","_debug_render_only":true}"#, "_debug_render_only", "unsupported"),
        (r#"{"prompt":"a","think":"loud"}"#, "think", "invalid_request"),
        (r#"{"prompt":"a","keep_alive":"soon"}"#, "keep_alive", "invalid_request"),
        (r#"{"prompt":"a","images":["nothing!"]}"#, "images", "invalid_request"),
    ] {
        let refused = read_generate(body.as_bytes()).unwrap_err();
        assert_eq!(
            (refused.param.as_deref(), refused.code.as_str(), refused.status),
            (Some(param), code, 400),
            "{body}"
        );
    }
    for (image, kind, can) in [
        ("http://a/b.png", ServerKind::OpenAi, true),
        ("http://a/b.png", ServerKind::LlamaServer, false),
        ("https://a/b.png", ServerKind::Ollama, false),
        ("R0lGODlh", ServerKind::Ollama, false),
        ("R0lGODlh", ServerKind::LmStudio, true),
        ("iVBORw0KGgo=", ServerKind::Ollama, true),
    ] {
        let body = json!({ "prompt": "a", "images": [image] }).to_string();
        let chat = read_generate(body.as_bytes()).unwrap().chat("served", Speaks::of(kind));
        assert_eq!(chat.is_ok(), can, "{image} {kind:?}");
        assert!(chat.err().is_none_or(|refused| refused.message.contains("“images”")));
    }
    for body in ["", " \n", "[", "7", r#"{"messages":7}"#, r#"{"stream":"yes"}"#, r#"{"model":["a"]}"#] {
        assert_eq!(read_chat(body.as_bytes()).unwrap_err().status, 400, "{body}");
    }
}

#[test]
fn paths_that_are_not_done_here_say_so() {
    for path in [
        "/api/pull",
        "/api/push",
        "/api/create",
        "/api/copy",
        "/api/delete",
        "/api/blobs/sha256:ab",
        "/api/pull?x=1",
    ] {
        let refused = beyond(path).unwrap();
        let document: Value = serde_json::from_slice(&error_document(&refused)).unwrap();
        assert_eq!((refused.status, document), (501, json!({ "error": refused.message })));
    }
    for path in ["/api/chat", "/api/tags", "/", "/api/pulled", "/v1/pull", "/api/", "pull"] {
        assert_eq!(beyond(path), None, "{path}");
    }
    assert_eq!(read_show(br#"{"name":"a"}"#).unwrap().model, "a");
    assert_eq!(read_show(br#"{"model":"b","name":"a","verbose":true}"#).unwrap().model, "b");
    assert_eq!(read_show(b"{}").unwrap_err().status, 400);
}

/// Messages of a conversation, as clients keep it.
fn conversation() -> impl Strategy<Value = Vec<Value>> {
    let message = prop_oneof![
        "[a-c ]{0,5}".prop_map(|text| json!({ "role": "user", "content": text })),
        "[a-c ]{0,5}".prop_map(|text| json!({ "role": "system", "content": text })),
        ("[a-c ]{0,5}", prop::collection::vec("[fg]", 0..3)).prop_map(|(text, names)| {
            let calls: Vec<Value> = names
                .iter()
                .map(|name| json!({ "function": { "name": name, "arguments": { "a": 1 } } }))
                .collect();
            json!({ "role": "assistant", "content": text, "thinking": text, "tool_calls": calls })
        }),
        "[fg]".prop_map(|name| json!({ "role": "tool", "content": "x", "tool_name": name })),
        Just(json!({ "role": "tool", "content": "x" })),
    ];
    prop::collection::vec(message, 1..12)
}

fn messages_of(messages: &[Value]) -> String {
    let asked = read_chat(json!({ "messages": messages }).to_string().as_bytes()).unwrap();
    let body = said(&asked, ServerKind::LlamaServer);
    let begin = body.find('[').unwrap();
    let end = body.find("],\"stream\"").unwrap();
    body[begin..end].to_owned()
}

proptest! {
    /// A longer conversation begins with the very bytes of the shorter one, so that a server spares the work on them.
    #[test]
    fn a_conversation_that_goes_on_keeps_its_beginning(messages in conversation(), at in 1usize..12) {
        let at = at.min(messages.len());
        let (shorter, longer) = (messages_of(&messages[..at]), messages_of(&messages));
        prop_assert!(longer.starts_with(&shorter), "{longer} {shorter}");
    }

    /// What was told comes back from a client that keeps it, and is the same again.
    #[test]
    fn an_answer_that_comes_back_is_the_same(text in "[a-c]{0,4}", thoughts in "[a-c]{0,4}", z in -9i32..9, id in prop::option::of("[a-z]{1,9}")) {
        let arguments = format!("{{\"z\":{z},\"a\":[1.50,\"\\n\"]}}");
        let call = json!({ "index": 0, "id": id, "function": { "name": "f", "arguments": arguments } });
        let document = json!({ "choices": [{ "message":
            { "content": text, "reasoning": thoughts, "tool_calls": [call] }, "finish_reason": "tool_calls" }] });
        let asked = read_chat(br#"{"messages":[{"role":"user","content":"x"}],"stream":false}"#).unwrap();
        let mut answer = asked.answer(telling());
        answer.take(&Chunk::read(&document).unwrap());
        let whole = text_of_message(&answer.whole());
        let again = read_chat(format!("{{\"messages\":[{whole}]}}").as_bytes()).unwrap();
        let body: Value = serde_json::from_str(&said(&again, ServerKind::Ollama)).unwrap();
        let message = &body["messages"][0];
        prop_assert_eq!(message["content"].as_str().unwrap_or_default(), text);
        prop_assert_eq!(message["reasoning"].as_str().unwrap_or_default(), thoughts);
        prop_assert_eq!(message["tool_calls"][0]["function"]["arguments"].as_str().unwrap(), arguments);
        prop_assert_eq!(message["tool_calls"][0]["id"].as_str(), Some(id.as_deref().unwrap_or("call00001")));
    }

    #[test]
    fn no_body_breaks_a_reader(body in "[{}\\[\\]\":, a0-]{0,40}") {
        let _ = (read_chat(body.as_bytes()), read_generate(body.as_bytes()), read_embed(body.as_bytes()));
    }
}

/// The bytes of `message` of a document.
fn text_of_message(document: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        message: &'a serde_json::value::RawValue,
    }
    let whole: Whole<'_> = serde_json::from_slice(document).unwrap();
    whole.message.get().to_owned()
}
