//! Requests.

use super::{super::*, *};
use crate::Refused;

#[test]
fn a_turn_of_claude_code_is_said_in_chat() {
    let asked = asked(include_str!("wire/claude_code.json"));
    assert_eq!((asked.model(), asked.streams()), (Some("claude-sonnet-4-5"), true));
    assert_eq!(asked.user(), Some("user_1_account__session_2"));
    let dropped = ["context_management", "redacted_thinking", "the tool web_search_20260318"];
    assert_eq!(asked.dropped(), dropped);
    let body = asked.chat("server-model", Speaks::of(ServerKind::LlamaServer)).unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(text.contains(r#""arguments":"{\"file_path\":\"/tmp/z.rs\",\"limit\":1e2}""#), "{text}");
    assert!(text.contains(r#"{\"z\":1,\"command\":\"ls \\u00e9\",\"a\":[ ]}"#), "{text}");
    assert!(text.contains(r#""parameters":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"file_path""#), "{text}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let messages = json!([
        { "role": "system", "content": "You are Claude Code.\n\n# Tone\nBe brief." },
        { "role": "user", "content": "<system-reminder>\nToday is Sunday.\n</system-reminder>\nMend the test." },
        { "role": "assistant", "content": "I look at both.", "reasoning_content": "I look first.", "tool_calls": [
            { "id": "toolu_01", "type": "function", "function": { "name": "Read", "arguments": "{\"file_path\":\"/tmp/z.rs\",\"limit\":1e2}" } },
            { "id": "toolu_02", "type": "function", "function": { "name": "Bash", "arguments": "{\"z\":1,\"command\":\"ls \\u00e9\",\"a\":[ ]}" } },
        ] },
        { "role": "tool", "tool_call_id": "toolu_01", "content": "a picture\n[1 image: see the next message]" },
        { "role": "tool", "tool_call_id": "toolu_02", "content": "Error: No such directory" },
        { "role": "user", "content": [
            { "type": "text", "text": "Of the tool result toolu_01:" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
            { "type": "text", "text": "Go on." },
        ] },
        { "role": "system", "content": "The user opened z.rs." },
    ]);
    assert_eq!(body["messages"], messages);
    assert_eq!(body["tools"].as_array().unwrap().len(), 2);
    for (name, value) in
        [("max_tokens", json!(32000)), ("temperature", json!(1)), ("reasoning_effort", json!("high"))]
    {
        assert_eq!(body[name], value, "{name}");
    }
}

#[test]
fn messages_become_messages_of_chat() {
    let user = |content: &str| format!(r#"{{"role":"user","content":{content}}}"#);
    let assistant = |content: &str| format!(r#"{{"role":"assistant","content":{content}}}"#);
    let call =
        r#"[{"type":"tool_use","id":"a","name":"f"},{"type":"tool_use","id":"b","name":"g","input":null}]"#;
    let called = json!({ "role": "assistant", "content": null, "tool_calls": [
        { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
        { "id": "b", "type": "function", "function": { "name": "g", "arguments": "{}" } },
    ] });
    let tool = |id: &str, content: &str| json!({ "role": "tool", "content": content, "tool_call_id": id });
    let says = |role: &str, content: &str| json!({ "role": role, "content": content });
    for (turns, wanted) in [
        // Results come before what is said beside them, also when they come a turn late.
        (
            vec![assistant(call), user(r#"[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a"}]"#), user(r#"[{"type":"tool_result","tool_use_id":"b","content":"r"},{"type":"text","text":"y"}]"#)],
            vec![called.clone(), tool("a", ""), tool("b", "r"), says("user", "x\ny")],
        ),
        // Turns of one side that follow each other are one.
        (vec![user(r#""a""#), user(r#""b""#), assistant(r#""c""#), assistant(r#"[{"type":"text","text":"d"}]"#)], vec![says("user", "a\nb"), says("assistant", "cd")]),
        // A message of the system stays between.
        (
            vec![user(r#""a""#), r#"{"role":"system","content":[{"type":"text","text":"x-anthropic-billing-header: cch=1;"},{"type":"text","text":"s"}]}"#.into(), user(r#""b""#)],
            vec![says("user", "a"), says("system", "s"), says("user", "b")],
        ),
        // Errors are marked, references said.
        (
            vec![user(r#"[{"type":"tool_result","tool_use_id":"a","is_error":true,"content":[{"type":"text","text":"r"},{"type":"tool_reference","tool_name":"f"},{"type":"of_2030"}]}]"#)],
            vec![tool("a", "Error: r\nTool found: f")],
        ),
        // Documents and results of a search are their text.
        (
            vec![user(r#"[{"type":"document","title":"T","context":"C","source":{"type":"text","media_type":"text/plain","data":"D"}},{"type":"document","source":{"type":"content","content":"E"}},{"type":"search_result","title":"S","source":"https://a","content":[{"type":"text","text":"F"}]}]"#)],
            vec![says("user", "Document: T\nC\n\nD\nE\nSearch result: S (https://a)\n\nF")],
        ),
        // Nothing that can be said is nothing; a text that is empty stays one.
        (vec![user(r#"[{"type":"of_2030","text":7}]"#), assistant("[]"), user(r#""""#)], vec![says("user", "")]),
        // Thoughts come with the turn that they were thought in.
        (
            vec![assistant(r#"[{"type":"thinking","thinking":"h","signature":""},{"type":"thinking","signature":"x"},{"type":"text","text":"a"}]"#), user(r#"{"type":"text","text":"b"}"#)],
            vec![json!({ "role": "assistant", "content": "a", "reasoning_content": "h" }), says("user", "b")],
        ),
    ] {
        let asked = asked(&request(&format!(r#""messages":[{}]"#, turns.join(","))));
        assert_eq!(chat_of(&asked, ServerKind::LmStudio)["messages"], json!(wanted), "{turns:?}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let block = |block: &str| {
        format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"a"}},{block}]}}]"#)
    };
    let with = |field: &str| format!(r#""messages":[{{"role":"user","content":"a"}}],{field}"#);
    for (fields, param, word) in [
        (
            block(r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#),
            "messages.0.content.1.source",
            "file",
        ),
        (
            block(r#"{"type":"image","source":{"type":"url","url":"file:///etc/passwd"}}"#),
            "messages.0.content.1.source",
            "base64",
        ),
        (
            block(r#"{"type":"image","source":{"type":"url","url":"https://a/b.png"}}"#),
            "messages.0.content.1.source",
            "Ollama",
        ),
        (
            block(
                r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"A"}}"#,
            ),
            "messages.0.content.1.source",
            "PDF",
        ),
        (
            block(r#"{"type":"document","source":{"type":"url","url":"https://a"}}"#),
            "messages.0.content.1.source",
            "\"url\"",
        ),
        (
            block(
                r#"{"type":"tool_result","tool_use_id":"a","content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}"#,
            ),
            "messages.0.content.1.content.0.source",
            "\"file\"",
        ),
        (block(r#"{"type":"container_upload","file_id":"f"}"#), "messages.0.content.1", "container_upload"),
        (block(r#"{"type":"tool_result"}"#), "messages.0.content.1.tool_use_id", "required"),
        (block(r#""text""#), "messages.0.content.1", "read"),
        (
            with(
                r#""tools":[{"type":"bash_20250124","name":"bash"}],"tool_choice":{"type":"tool","name":"bash"}"#,
            ),
            "tool_choice.name",
            "bash",
        ),
        (with(r#""tool_choice":{"type":"tool","name":"f"}"#), "tool_choice.name", "\"f\""),
        (with(r#""tools":[{"input_schema":{}}]"#), "tools.0.name", "required"),
        (with(r#""output_config":{"format":{"type":"xml"}}"#), "output_config.format.type", "xml"),
        (with(r#""temperature":"hot""#), "temperature", "read"),
        (with(r#""stop_sequences":"END""#), "stop_sequences", "read"),
        (r#""messages":[]"#.into(), "messages", "message"),
        (String::new(), "messages", "message"),
        (r#""messages":[{"role":"robot","content":"a"}]"#.into(), "messages.0.role", "assistant"),
        (r#""messages":[{"role":"user","content":7}]"#.into(), "messages.0.content", "string"),
    ] {
        let text = request(&fields);
        let refused = read(text.as_bytes(), true)
            .and_then(|asked| asked.chat("m", Speaks::of(ServerKind::Ollama)))
            .unwrap_err();
        assert_eq!((refused.status, refused.param.as_deref()), (400, Some(param)), "{text}");
        assert!(refused.message.contains(word), "{refused:?}: {text}");
    }
    for body in [&b"\xff"[..], b"", b"[]", b"{", b"null", b"7 7"] {
        assert_eq!(read(body, true).unwrap_err().status, 400, "{body:?}");
    }
    let without_limit = br#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#;
    assert_eq!(read(without_limit, true).unwrap_err().param.as_deref(), Some("max_tokens"));
    let web = asked(&request(&block(r#"{"type":"image","source":{"type":"url","url":"https://a/b.png"}}"#)));
    assert!(web.chat("m", Speaks::of(ServerKind::OpenAi)).is_ok());
}

#[test]
fn tools_and_choices_are_said_as_each_server_takes_them() {
    let tools = r#""tools":[{"name":"f","input_schema":{"type":"object"}},{"type":"custom","name":"g","description":"d"}]"#;
    for (choice, kind, wanted_choice, tools_left, parallel) in [
        (r#"{"type":"auto"}"#, ServerKind::LlamaServer, json!("auto"), 2, Value::Null),
        (
            r#"{"type":"any","disable_parallel_tool_use":true}"#,
            ServerKind::LlamaServer,
            json!("required"),
            2,
            json!(false),
        ),
        (r#"{"type":"tool","name":"g"}"#, ServerKind::LlamaServer, json!("required"), 1, Value::Null),
        (
            r#"{"type":"tool","name":"g"}"#,
            ServerKind::OpenAi,
            json!({ "type": "function", "function": { "name": "g" } }),
            2,
            Value::Null,
        ),
        (r#"{"type":"none"}"#, ServerKind::LmStudio, json!("none"), 2, Value::Null),
        (r#"{"type":"none"}"#, ServerKind::Ollama, Value::Null, 0, Value::Null),
        (r#"{"type":"of_2030"}"#, ServerKind::Ollama, Value::Null, 2, Value::Null),
        ("null", ServerKind::Ollama, Value::Null, 2, Value::Null),
    ] {
        let fields =
            format!(r#""messages":[{{"role":"user","content":"a"}}],{tools},"tool_choice":{choice}"#);
        let body = chat_of(&asked(&request(&fields)), kind);
        let left = body["tools"].as_array().map_or(0, Vec::len);
        assert_eq!(
            (&body["tool_choice"], left, &body["parallel_tool_calls"]),
            (&wanted_choice, tools_left, &parallel),
            "{choice} {kind:?}"
        );
    }
}

#[test]
fn thinking_and_formats_are_said_where_they_are_known() {
    let llama = ServerKind::LlamaServer;
    for (fields, kind, effort, budget) in [
        (r#""thinking":{"type":"adaptive"}"#, llama, Value::Null, Value::Null),
        (
            r#""thinking":{"type":"between_tools"},"output_config":{"effort":"low"}"#,
            llama,
            json!("low"),
            Value::Null,
        ),
        (
            r#""thinking":{"type":"enabled","budget_tokens":2048,"display":"summarized"}"#,
            llama,
            Value::Null,
            json!(2048),
        ),
        (
            r#""thinking":{"type":"enabled","budget_tokens":2048}"#,
            ServerKind::Ollama,
            Value::Null,
            Value::Null,
        ),
        (
            r#""thinking":{"type":"disabled"},"output_config":{"effort":"max"}"#,
            ServerKind::Ollama,
            json!("none"),
            Value::Null,
        ),
        (r#""thinking":{"type":"of_2030"},"output_config":{}"#, llama, Value::Null, Value::Null),
    ] {
        let body = chat_of(
            &asked(&request(&format!(r#""messages":[{{"role":"user","content":"a"}}],{fields}"#))),
            kind,
        );
        assert_eq!(
            (&body["reasoning_effort"], &body["thinking_budget_tokens"]),
            (&effort, &budget),
            "{fields}"
        );
    }
    for field in [
        r#""output_config":{"format":{"type":"json_schema","schema":{"z":1.0,"a":2}}}"#,
        r#""output_format":{"type":"json_schema","schema":{"z":1.0,"a":2}}"#,
    ] {
        let asked = asked(&request(&format!(r#""messages":[{{"role":"user","content":"a"}}],{field}"#)));
        let body = asked.chat("m", Speaks::of(llama)).unwrap();
        let wanted = r#""response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"z":1.0,"a":2}}}"#;
        assert!(std::str::from_utf8(&body).unwrap().contains(wanted));
    }
}

#[test]
fn samplings_are_said_as_they_were_written_where_they_are_known() {
    let fields = r#""messages":[{"role":"user","content":"a"}],"temperature":0.70,"top_p":null,"top_k":40,"stop_sequences":["\u0041","",null]"#;
    assert!(read(request(fields).as_bytes(), true).is_err(), "a text to stop at is a text");
    let asked = asked(&request(&fields.replace(",null]", "]")));
    for (kind, top_k) in [
        (ServerKind::LlamaServer, true),
        (ServerKind::Ollama, true),
        (ServerKind::LmStudio, true),
        (ServerKind::OpenAi, false),
    ] {
        let body = String::from_utf8(asked.chat("m", Speaks::of(kind)).unwrap()).unwrap();
        assert!(body.contains(r#""temperature":0.70"#) && body.contains(r#""stop":["A"]"#), "{body}");
        assert_eq!((body.contains("top_p"), body.contains(r#""top_k":40"#)), (false, top_k), "{kind:?}");
    }
}

#[test]
fn a_late_word_of_the_system_is_the_users_where_the_template_wants_it() {
    let asked = asked(include_str!("wire/claude_code.json"));
    let speaks = Speaks { late_system: false, ..Speaks::of(ServerKind::LlamaServer) };
    let body: Value = serde_json::from_slice(&asked.chat("m", speaks).unwrap()).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().filter_map(|message| message["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user", "user"]);
    assert_eq!(messages[6]["content"], "The user opened z.rs.");
}

#[test]
fn a_prompt_is_counted_without_what_is_for_an_answer() {
    let text = include_str!("wire/claude_code.json");
    let count = count(text.as_bytes(), true).unwrap();
    let body = count.chat("server-model", Speaks::of(ServerKind::LlamaServer)).unwrap();
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    let mut asked = chat_of(&asked(text), ServerKind::LlamaServer);
    for name in ["max_tokens", "stream", "stream_options", "temperature"] {
        assert!(body[name].is_null(), "{name}");
        asked.as_object_mut().unwrap().remove(name);
    }
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    assert_eq!(body, asked);
    assert_eq!(counted(7), br#"{"input_tokens":7}"#);
}

#[test]
fn an_estimate_grows_with_each_part_of_the_prompt() {
    let of = |fields: &str| {
        let text = format!(r#"{{"messages":[{{"role":"user","content":"a"}}{fields}}}"#);
        super::super::count(text.as_bytes(), true).unwrap().estimate()
    };
    assert_eq!(of("]"), 5);
    for (fields, least, most) in [
        (r#",{"role":"user","content":"eight by"}]"#.to_owned(), 7, 8),
        (r#"],"system":"eight by""#.to_owned(), 11, 11),
        (r#"],"tools":[{"name":"four","input_schema":{"a":1}}]"#.to_owned(), 12, 13),
        (format!(r#",{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{}"}}}}]}}]"#, "A".repeat(100_000)), 1_600, 1_610),
        (r#",{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"a":12345}}]}]"#.to_owned(), 12, 14),
    ] {
        let estimate = of(&fields);
        assert!((least..=most).contains(&estimate), "{estimate}: {}", &fields[..fields.len().min(80)]);
    }
}

#[test]
fn errors_are_told_in_the_form_of_the_dialect() {
    for (status_before, status_after, kind) in [
        (400, 400, "invalid_request_error"),
        (401, 401, "authentication_error"),
        (402, 402, "billing_error"),
        (403, 403, "permission_error"),
        (404, 404, "not_found_error"),
        (405, 405, "invalid_request_error"),
        (409, 400, "invalid_request_error"),
        (413, 413, "request_too_large"),
        (422, 422, "invalid_request_error"),
        (429, 429, "rate_limit_error"),
        (500, 500, "api_error"),
        (502, 502, "api_error"),
        (503, 529, "overloaded_error"),
        (504, 504, "timeout_error"),
        (529, 529, "overloaded_error"),
    ] {
        let refused = Refused::new(status_before, "x", "No.");
        let document: Value = serde_json::from_slice(&error_document(&refused, "req_1")).unwrap();
        let wanted =
            json!({ "type": "error", "error": { "type": kind, "message": "No." }, "request_id": "req_1" });
        assert_eq!((status(&refused), document), (status_after, wanted));
    }
    for (refused, wanted) in [
        (too_long(24_071, 8_192), "prompt is too long: 24071 tokens > 8192 maximum"),
        (
            Refused::new(400, "exceed_context_size_error", "request (9 tokens) exceeds 8"),
            "prompt is too long: request (9 tokens) exceeds 8",
        ),
        (Refused::invalid("Field required").about("max_tokens"), "max_tokens: Field required"),
    ] {
        let document: Value = serde_json::from_slice(&error_document(&refused, "r")).unwrap();
        let said = document["error"]["message"].as_str().unwrap();
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn models_are_listed() {
    let one = Model {
        id: "a/b".into(),
        display_name: "B".into(),
        created_s: Some(1_700_000_000),
        context: Some(8_192),
    };
    let other = Model { id: "c".into(), ..Model::default() };
    let list: Value = serde_json::from_slice(&models_document(&[one.clone(), other])).unwrap();
    assert_eq!(
        (&list["first_id"], &list["last_id"], &list["has_more"]),
        (&json!("a/b"), &json!("c"), &json!(false))
    );
    assert_eq!(list["data"][0]["created_at"], "2023-11-14T22:13:20Z");
    assert_eq!(list["data"][0]["max_input_tokens"], 8_192);
    assert_eq!(
        (&list["data"][1]["display_name"], &list["data"][1]["created_at"]),
        (&json!("c"), &json!("1970-01-01T00:00:00Z"))
    );
    assert_eq!(serde_json::from_slice::<Value>(&model_document(&one)).unwrap(), list["data"][0]);
    let none: Value = serde_json::from_slice(&models_document(&[])).unwrap();
    assert_eq!(none, json!({ "data": [], "has_more": false, "first_id": null, "last_id": null }));
}
