//! What a request is in chat's words.

use super::*;

fn message(role: &str, content: Value) -> Value {
    json!({ "role": role, "content": content })
}

#[test]
fn items_become_messages() {
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    for (input, wanted) in [
        (json!("hello"), json!([message("user", json!("hello"))])),
        (json!([{ "role": "user", "content": "a" }]), json!([message("user", json!("a"))])),
        (
            json!([{ "type": "message", "role": "developer", "content": "d" }, { "role": "assistant", "content": "a", "phase": "commentary" }, { "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] }]),
            json!([
                message("system", json!("d")),
                message("assistant", json!("a")),
                message("assistant", json!("no"))
            ]),
        ),
        (
            json!([{ "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "from_tomorrow", "x": 1 }, { "type": "input_image", "detail": "low", "image_url": "data:image/png;base64,AA" }] }]),
            json!([message(
                "user",
                json!([{ "type": "text", "text": "a" }, { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA" } }])
            )]),
        ),
        // A turn with thoughts between its calls stays one.
        (
            json!([
                { "role": "user", "content": "a" },
                { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "t" }] },
                { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"b\":1, \"a\":2}" },
                { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "u" }] },
                { "type": "function_call", "call_id": "c2", "name": "g", "arguments": "" },
                { "type": "function_call_output", "call_id": "c1", "output": "1" },
                { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_image", "image_url": "data:x" }] },
            ]),
            json!([
                message("user", json!("a")),
                { "role": "assistant", "content": null, "reasoning_content": "t\nu", "tool_calls": [call("c1", "f", "{\"b\":1, \"a\":2}"), call("c2", "g", "{}")] },
                { "role": "tool", "content": "1", "tool_call_id": "c1" },
                { "role": "tool", "content": "The result is the image below.", "tool_call_id": "c2" },
                message("user", json!([{ "type": "image_url", "image_url": { "url": "data:x" } }])),
            ]),
        ),
        // Thoughts of another service, thoughts without an end, items of a newer API.
        (
            json!([
                { "type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB" },
                { "role": "user", "content": "a" },
                { "type": "reasoning", "summary": [], "content": [{ "type": "reasoning_text", "text": "broken off" }] },
                { "type": "file_search_call", "id": "fs_1", "queries": ["x"] },
                { "type": "brand_new", "anything": [1, 2] },
                { "type": "brand_new", "role": "user", "content": "b" },
                { "type": "shell_call_output", "call_id": "nobody", "output": [] },
                { "id": "msg_unknown" },
            ]),
            json!([message("user", json!("a")), message("user", json!("b"))]),
        ),
        (
            json!([
                { "type": "apply_patch_call", "call_id": "p", "operation": { "type": "delete_file", "path": "x" } },
                { "type": "apply_patch_call_output", "call_id": "p", "status": "completed", "output": "gone" },
                { "type": "custom_tool_call", "call_id": "q", "name": "exec", "input": "ls \"x\"" },
                { "type": "custom_tool_call_output", "call_id": "q", "output": "y" },
            ]),
            json!([
                { "role": "assistant", "content": null, "tool_calls": [call("p", "apply_patch", "{\"path\":\"x\",\"type\":\"delete_file\"}")] },
                { "role": "tool", "content": "gone", "tool_call_id": "p" },
                { "role": "assistant", "content": null, "tool_calls": [call("q", "exec", "{\"input\":\"ls \\\"x\\\"\"}")] },
                { "role": "tool", "content": "y", "tool_call_id": "q" },
            ]),
        ),
    ] {
        assert_eq!(messages(input.clone()), wanted, "{input}");
    }
}

#[test]
fn what_is_passed_over_is_named() {
    let asked = asked(&json!({
        "input": [{ "type": "compaction", "encrypted_content": "x" }, { "role": "user", "content": "a" }],
        "tools": [{ "type": "web_search" }, { "type": "function", "name": "f" }, { "type": "shell" }, { "type": "function" }],
    }))
    .unwrap();
    let wanted = ["input[0] (compaction)", "tool web_search", "tool shell", "tool function without a name"];
    assert_eq!(asked.dropped(), wanted);
}

#[test]
fn fields_are_said_in_the_words_of_chat() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    for (field, value, wanted) in [
        (
            "instructions",
            json!("be kind"),
            json!({ "messages": [message("system", json!("be kind")), message("user", json!("a"))] }),
        ),
        (
            "instructions",
            json!([{ "role": "developer", "content": "x" }, { "role": "user", "content": [{ "type": "input_text", "text": "y" }] }]),
            json!({ "messages": [message("system", json!("x\n\ny")), message("user", json!("a"))] }),
        ),
        ("max_output_tokens", json!(16), json!({ "max_tokens": 16 })),
        ("max_output_tokens", json!(null), json!({ "max_tokens": null })),
        ("temperature", json!(0.5), json!({ "temperature": 0.5 })),
        ("reasoning", json!({ "effort": "low" }), json!({ "reasoning_effort": "low" })),
        ("reasoning", json!({ "effort": null, "summary": "auto" }), json!({ "reasoning_effort": null })),
        (
            "text",
            json!({ "format": { "type": "text" }, "verbosity": "low" }),
            json!({ "response_format": null, "verbosity": null }),
        ),
        (
            "text",
            json!({ "format": { "type": "json_object" } }),
            json!({ "response_format": { "type": "json_object" } }),
        ),
        (
            "text",
            json!({ "format": { "type": "json_schema", "name": "n", "schema": schema, "strict": true, "description": null } }),
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema, "strict": true } } }),
        ),
        ("parallel_tool_calls", json!(false), json!({ "parallel_tool_calls": null })),
        ("service_tier", json!("flex"), json!({ "service_tier": null })),
        ("never_heard_of", json!({ "a": 1 }), json!({ "never_heard_of": null })),
    ] {
        let mut body = json!({ "model": "x", "input": "a" });
        body[field] = value.clone();
        let said = chat(body).unwrap();
        for (name, wanted) in wanted.as_object().unwrap() {
            assert_eq!(said[name], *wanted, "{field}: {value}");
        }
    }
}

#[test]
fn logprobs_are_asked_for_where_they_can_be_had() {
    let tools = json!([{ "type": "function", "name": "f" }]);
    let include = json!(["message.output_text.logprobs"]);
    for (body, kind, wanted) in [
        (json!({ "input": "a", "top_logprobs": 2 }), ServerKind::LlamaServer, Some((json!(true), json!(2)))),
        (
            json!({ "input": "a", "include": include }),
            ServerKind::LlamaServer,
            Some((json!(true), json!(null))),
        ),
        (
            json!({ "input": "a", "top_logprobs": 0 }),
            ServerKind::LlamaServer,
            Some((json!(null), json!(null))),
        ),
        (json!({ "input": "a", "top_logprobs": 2, "tools": tools }), ServerKind::LlamaServer, None),
        (
            json!({ "input": "a", "top_logprobs": 2, "tools": tools }),
            ServerKind::Ollama,
            Some((json!(true), json!(2))),
        ),
    ] {
        let said = chat_of(&asked(&body).unwrap(), kind);
        let told = said.ok().map(|said| (said["logprobs"].clone(), said["top_logprobs"].clone()));
        assert_eq!(told, wanted, "{kind:?} {body}");
    }
}

#[test]
fn lm_studio_is_asked_for_any_object_by_a_schema() {
    let body = json!({ "input": "a", "text": { "format": { "type": "json_object" } } });
    let said = chat_of(&asked(&body).unwrap(), ServerKind::LmStudio).unwrap();
    assert_eq!(said["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let file = |part: Value| json!({ "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "a" }, part] }] });
    for (body, status, param) in [
        (json!([]), 400, None),
        (json!({ "model": "x" }), 400, Some("input")),
        (json!({ "input": [] }), 400, Some("input")),
        (json!({ "input": 7 }), 400, Some("input")),
        (json!({ "input": ["a"] }), 400, Some("input[0]")),
        (json!({ "input": "a", "model": 7 }), 400, Some("model")),
        (json!({ "input": "a", "stream": "yes" }), 400, Some("stream")),
        (json!({ "input": "a", "max_output_tokens": -1 }), 400, Some("max_output_tokens")),
        (json!({ "input": "a", "temperature": "hot" }), 400, Some("temperature")),
        (json!({ "input": "a", "tools": {} }), 400, Some("tools")),
        (json!({ "input": "a", "background": true }), 400, Some("background")),
        (json!({ "input": "a", "conversation": "conv_1" }), 400, Some("conversation")),
        (json!({ "input": "a", "conversation": { "id": "conv_1" } }), 400, Some("conversation")),
        (json!({ "input": "a", "prompt": { "id": "pmpt_1" } }), 400, Some("prompt")),
        (json!({ "input": "a", "previous_response_id": "resp_x" }), 404, Some("previous_response_id")),
        (json!({ "input": "a", "text": { "format": { "type": "grammar" } } }), 400, Some("text.format")),
        (
            json!({ "input": "a", "text": { "format": { "type": "json_schema" } } }),
            400,
            Some("text.format.schema"),
        ),
        (file(json!({ "type": "input_file", "file_id": "file-1" })), 400, Some("input[0].content[1]")),
        (file(json!({ "type": "input_image", "file_id": "file-1" })), 400, Some("input[0].content[1]")),
        (file(json!({ "type": "input_audio", "input_audio": {} })), 400, Some("input[0].content[1]")),
        (
            file(json!({ "type": "input_image", "image_url": "https://x/y.png" })),
            400,
            Some("input[0].content[1]"),
        ),
    ] {
        let refused = chat(body.clone()).expect_err(&body.to_string());
        assert_eq!((refused.status, refused.param.as_deref()), (status, param), "{body}");
    }
    let absent = json!({ "input": "a", "background": false, "conversation": null, "previous_response_id": null, "tools": null });
    assert!(chat(absent).is_ok(), "null is absent");
    let web = asked(&file(json!({ "type": "input_image", "image_url": "https://x/y.png" }))).unwrap();
    assert!(chat_of(&web, ServerKind::OpenAi).is_ok(), "a server that fetches it");
    assert_eq!(read(b"\xff{}", &nothing).unwrap_err().status, 400);
}

#[test]
fn errors_have_the_form_of_the_api() {
    for (refused, code, kind) in [
        (Refused::invalid("x").about("input"), "invalid_request", "invalid_request_error"),
        (Refused::new(404, "model_not_found", "x"), "model_not_found", "invalid_request_error"),
        (
            Refused::new(400, "exceed_context_size_error", "x"),
            "context_length_exceeded",
            "invalid_request_error",
        ),
        (
            Refused::new(
                500,
                "server_error",
                "The number of tokens to keep is greater than the context length",
            ),
            "context_length_exceeded",
            "server_error",
        ),
        (Refused::new(429, "rate_limit_error", "x"), "rate_limit_exceeded", "rate_limit_error"),
        (Refused::new(503, "overloaded_error", "x"), "server_error", "server_error"),
        (Refused::new(401, "invalid_api_key", "x"), "invalid_api_key", "authentication_error"),
    ] {
        let document: Value = serde_json::from_slice(&crate::responses::error_document(&refused)).unwrap();
        let wanted = json!({ "error": { "message": refused.message, "type": kind, "param": refused.param, "code": code } });
        assert_eq!(document, wanted);
    }
}
