//! How answers are told.

use super::*;

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.strip_prefix("response.").unwrap_or(name)).collect()
}

fn last(events: &[(String, Value)]) -> &Value {
    &events.last().unwrap().1["response"]
}

#[test]
fn a_text_is_told_event_by_event() {
    let asked = streamed(json!({ "model": "x", "input": "a" }));
    let events = told(&asked, &[text("He"), text("llo"), finish(Finish::Stop), usage()]);
    assert_eq!(
        names(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    let response = last(&events);
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(response["output"][0]["id"], "msg_a1_0");
    assert_eq!(
        response["usage"],
        json!({ "input_tokens": 7, "input_tokens_details": { "cached_tokens": 5, "cache_write_tokens": 0 },
            "output_tokens": 3, "output_tokens_details": { "reasoning_tokens": 0 }, "total_tokens": 10 })
    );
    assert_eq!((&response["id"], &response["created_at"]), (&json!("resp_a1"), &json!(1_790_000_000)));
    assert!(response["usage"]["input_tokens"] == 7 && events[0].1["response"]["usage"].is_null());
}

#[test]
fn thoughts_then_text_then_calls() {
    let chunks = [
        thoughts("hm"),
        text("I look."),
        call(0, "c1", "f", "{\"a\""),
        call(0, "", "", ":1}"),
        call(1, "c2", "f", ""),
        call(2, "c1", "f", "{}"),
        finish(Finish::ToolCalls),
    ];
    let function = json!([{ "type": "function", "name": "f" }]);
    for (more, thinking) in [
        (
            json!({}),
            vec!["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"],
        ),
        (
            json!({ "summary": "auto" }),
            vec![
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ],
        ),
    ] {
        let body = json!({ "input": "a", "tools": function, "reasoning": more, "include": ["reasoning.encrypted_content"] });
        let events = told(&streamed(body), &chunks);
        let mut wanted = vec!["created", "in_progress", "output_item.added"];
        wanted.extend(thinking);
        wanted.extend(["output_item.done", "output_item.added", "content_part.added", "output_text.delta"]);
        wanted.extend(["output_text.done", "content_part.done", "output_item.done"]);
        wanted.extend([
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
        ]);
        wanted.extend(["function_call_arguments.done", "output_item.done"]);
        // The second has no arguments yet when the third begins, so it stays open.
        wanted.extend(["output_item.added", "output_item.added", "function_call_arguments.delta"]);
        wanted.extend(["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]);
        wanted.extend(["function_call_arguments.done", "output_item.done", "completed"]);
        assert_eq!(names(&events), wanted);
        let output = last(&events)["output"].as_array().unwrap();
        assert_eq!(output[0]["encrypted_content"], "pilothouse:hm");
        let calls: Vec<(&str, &str)> = output[2..]
            .iter()
            .map(|call| (call["call_id"].as_str().unwrap(), call["arguments"].as_str().unwrap()))
            .collect();
        assert_eq!(calls, [("c1", "{\"a\":1}"), ("c2", "{}"), ("call_a1_4", "{}")], "ids are not told twice");
    }
}

#[test]
fn the_end_says_how_it_ended() {
    let asked = streamed(
        json!({ "input": "a", "tools": [{ "type": "function", "name": "f" }, { "type": "custom", "name": "e" }] }),
    );
    for (chunks, event, reason, items) in [
        (vec![text("a"), finish(Finish::Stop)], "completed", json!(null), vec![("message", "completed")]),
        (vec![], "completed", json!(null), vec![("message", "completed")]),
        (
            vec![text("a"), finish(Finish::Other("eos".into()))],
            "completed",
            json!(null),
            vec![("message", "completed")],
        ),
        (
            vec![text("a"), finish(Finish::Length)],
            "incomplete",
            json!("max_output_tokens"),
            vec![("message", "incomplete")],
        ),
        (
            vec![finish(Finish::ContentFilter)],
            "incomplete",
            json!("content_filter"),
            vec![("message", "incomplete")],
        ),
        (
            vec![call(0, "c", "f", "{\"a"), finish(Finish::Length)],
            "incomplete",
            json!("max_output_tokens"),
            vec![("function_call", "incomplete")],
        ),
        (
            vec![call(0, "c", "f", "{}"), call(1, "d", "e", "{\"input\":\"cu"), finish(Finish::Length)],
            "incomplete",
            json!("max_output_tokens"),
            vec![("function_call", "completed"), ("custom_tool_call", "incomplete")],
        ),
        (
            vec![Chunk { refusal: "no".into(), ..Chunk::default() }],
            "completed",
            json!(null),
            vec![("message", "completed")],
        ),
    ] {
        let events = told(&asked, &chunks);
        let response = last(&events);
        assert_eq!(response["status"], event);
        assert_eq!(response["incomplete_details"].get("reason").unwrap_or(&Value::Null), &reason);
        let output = response["output"].as_array().unwrap();
        let told: Vec<(&str, &str)> = output
            .iter()
            .map(|item| (item["type"].as_str().unwrap(), item["status"].as_str().unwrap()))
            .collect();
        assert_eq!(told, items, "{chunks:?}");
    }
}

#[test]
fn servers_that_number_calls_in_their_own_way_lose_none() {
    let asked = streamed(json!({ "input": "a", "tools": [{ "type": "function", "name": "f" }] }));
    for (chunks, wanted) in [
        (
            vec![call(0, "a", "f", "{\"x\":1}"), call(0, "b", "f", "{\"x\":2}")],
            vec!["{\"x\":1}", "{\"x\":2}"],
        ),
        (
            vec![
                call(0, "a", "f", "{\"x\":"),
                call(1, "b", "f", "{\"x\":"),
                call(0, "", "", "1}"),
                call(1, "", "", "2}"),
            ],
            vec!["{\"x\":1}", "{\"x\":2}"],
        ),
        (vec![call(0, "a", "", "{\"x\""), call(0, "", "f", ":1}")], vec!["{\"x\":1}"]),
        (vec![call(0, "a", "f", "{"), call(0, "a", "f", "}")], vec!["{}"]),
        (vec![call(0, "", "f", "{}"), call(0, "", "f", "{}")], vec!["{}", "{}"]),
        (vec![call(3, "a", "f", "{}"), text("x"), call(7, "b", "f", "{}")], vec!["{}", "", "{}"]),
        (vec![call(0, "a", "f", "no json"), text("x"), call(1, "b", "f", "")], vec!["no json", "", "{}"]),
    ] {
        let events = told(&asked, &chunks);
        let output = last(&events)["output"].as_array().unwrap();
        let arguments: Vec<&str> =
            output.iter().map(|item| item["arguments"].as_str().unwrap_or_default()).collect();
        assert_eq!(arguments, wanted, "{chunks:?}");
    }
}

#[test]
fn logprobs_come_with_their_text() {
    let one = |token: &str| json!({ "token": token, "logprob": -0.5, "bytes": [97], "top_logprobs": [] });
    let piece = |said: &str, token: &str| Chunk { logprobs: vec![one(token)], ..text(said) };
    let asked = streamed(json!({ "input": "a", "include": ["message.output_text.logprobs"] }));
    let said = [
        Chunk { logprobs: vec![one("t")], ..thoughts("t") },
        piece("a", "a"),
        piece("", "half"),
        piece("b", "b"),
        Chunk { refusal: "no".into(), ..Chunk::default() },
        piece("c", "c"),
    ];
    let events = told(&asked, &said);
    let deltas: Vec<&Value> = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta")
        .map(|(_, data)| &data["logprobs"])
        .collect();
    assert_eq!(json!(deltas), json!([[one("a")], [one("half"), one("b")], [one("c")]]));
    let parts = &last(&events)["output"][1]["content"];
    assert_eq!(parts[0]["logprobs"], json!([one("a"), one("half"), one("b")]));
    assert_eq!(parts[2]["logprobs"], json!([one("c")]));
}

#[test]
fn an_answer_was_completed_when_its_driver_says_so() {
    for (total_ns, ending, wanted) in [
        (Some(2_500_000_000), Finish::Stop, json!(1_790_000_002)),
        (Some(2_500_000_000), Finish::Length, json!(null)),
        (None, Finish::Stop, json!(null)),
    ] {
        let mut answer = asked(&json!({ "input": "a" })).unwrap().answer(telling("a1"));
        answer.take(&finish(ending));
        if let Some(total_ns) = total_ns {
            answer.took(crate::Took { total_ns, ..crate::Took::default() });
        }
        let document: Value = serde_json::from_slice(&answer.whole()).unwrap();
        assert_eq!(document["completed_at"], wanted);
    }
}

#[test]
fn what_goes_wrong_is_told_and_ends_it() {
    let asked = streamed(json!({ "input": "a", "tools": [{ "type": "function", "name": "f" }] }));
    let why = Refused::new(502, "exceed_context_size_error", "too long");
    for chunks in [vec![], vec![text("a")], vec![thoughts("t"), text("a"), call(0, "c", "f", "{\"a")]] {
        for begins in [true, false] {
            let mut answer = asked.answer(telling("a1"));
            let mut bytes = if begins { answer.begin() } else { vec![] };
            chunks.iter().for_each(|chunk| bytes.extend(answer.take(chunk)));
            bytes.extend(answer.fail(&why));
            assert!(
                answer.end().is_empty() && answer.beat().is_empty() && answer.take(&text("b")).is_empty()
            );
            assert!(answer.kept().is_none());
            let events = events(&bytes);
            order::check(&events);
            assert_eq!(names(&events)[events.len() - 2..], ["error", "failed"]);
            let (failed, error) = (last(&events), &events[events.len() - 2].1);
            let wanted = json!({ "code": "context_length_exceeded", "message": "too long" });
            assert_eq!((&failed["status"], &failed["error"]), (&json!("failed"), &wanted));
            assert!(error["code"] == wanted["code"] && error["error"]["code"] == wanted["code"]);
        }
    }
    let events = {
        let mut answer = asked.answer(telling("a1"));
        let mut bytes = answer.begin();
        bytes.extend(answer.take(&call(0, "c", "", "{}")));
        bytes.extend(answer.end());
        events(&bytes)
    };
    order::check(&events);
    assert_eq!(last(&events)["status"], "failed", "a call without a name cannot be told");
}

#[test]
fn a_sign_of_life_is_a_response_in_progress() {
    let asked = streamed(json!({ "input": "a" }));
    let mut answer = asked.answer(telling("a1"));
    let mut bytes = answer.beat();
    bytes.extend(answer.begin());
    bytes.extend(answer.beat());
    bytes.extend(answer.take(&text("a")));
    bytes.extend(answer.beat());
    bytes.extend(answer.end());
    let events = events(&bytes);
    order::check(&events);
    assert_eq!(names(&events).iter().filter(|name| **name == "in_progress").count(), 3);
}

#[test]
fn the_response_repeats_its_request() {
    let tools = r#"[ {"type":"function","strict":true,"parameters":{"z":1,"a":2.50},"name":"f","description":""}, {"type":"custom","name":"e","x":[1 ]} ]"#;
    let body = format!(
        r#"{{"model":"x","stream":true,"input":"a","tools":{tools},"metadata":{{"b":"1","a":"2"}},"temperature":0.70,"reasoning":{{"effort":"low"}},"text":{{"verbosity":"low"}},"truncation":"auto","max_tool_calls":3,"safety_identifier":"s","prompt_cache_key":"k","top_logprobs":2}}"#
    );
    let mut answer = read(body.as_bytes(), &nothing).unwrap().answer(telling("a1"));
    let began = String::from_utf8(answer.begin()).unwrap();
    assert_eq!(began.matches(tools).count(), 2, "byte for byte: {began}");
    for wanted in [
        r#""metadata":{"b":"1","a":"2"}"#,
        r#""temperature":0.70"#,
        r#""reasoning":{"effort":"low","summary":null}"#,
        r#""text":{"verbosity":"low","format":{"type":"text"}}"#,
        r#""truncation":"auto""#,
        r#""max_tool_calls":3"#,
        r#""safety_identifier":"s""#,
        r#""prompt_cache_key":"k""#,
        r#""top_logprobs":2"#,
        r#""model":"x""#,
    ] {
        assert!(began.contains(wanted), "{wanted} in {began}");
    }
    let response =
        whole(&asked(&json!({ "input": "a", "tools": [{ "type": "function", "name": "f" }] })).unwrap(), &[]);
    let wanted =
        json!([{ "type": "function", "name": "f", "description": null, "parameters": null, "strict": null }]);
    assert_eq!(response["tools"], wanted, "keys that the form requires are there");
}

/// Every key that the Open Responses specification requires of a response, in any state.
const KEYS: [&str; 31] = [
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];

#[test]
fn a_response_has_every_key_in_every_state() {
    let asked = streamed(json!({ "input": "a" }));
    let mut responses: Vec<Value> = vec![];
    for ending in [Finish::Stop, Finish::Length] {
        let events = told(&asked, &[text("a"), finish(ending)]);
        responses.extend(events.iter().filter_map(|(_, data)| data.get("response").cloned()));
    }
    responses.extend(
        events(&asked.answer(telling("a")).fail(&Refused::invalid("x")))
            .into_iter()
            .filter_map(|(_, data)| data.get("response").cloned()),
    );
    assert!(responses.len() >= 8);
    for response in responses {
        for key in KEYS {
            assert!(response.get(key).is_some(), "{key} in {response}");
        }
    }
}
