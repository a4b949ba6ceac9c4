//! Tools, their names, and which may be called.

use super::*;

fn tools() -> Value {
    json!([
        { "type": "function", "name": "f", "parameters": {} },
        { "type": "namespace", "name": "a", "tools": [{ "type": "function", "name": "f" }, { "type": "custom", "name": "edit" }] },
        { "type": "namespace", "name": "b.c", "tools": [{ "type": "function", "name": "only" }] },
        { "type": "custom", "name": "f" },
        { "type": "function", "name": "a__f" },
        { "type": "namespace", "name": "functions", "tools": [{ "type": "function", "name": "plain" }] },
        { "type": "function", "name": "f", "description": "again" },
        { "type": "tool_search" },
        { "type": "tool_search", "execution": "client", "parameters": { "type": "object" } },
        { "type": "function", "function": { "name": "nested" } },
        { "type": "web_search" },
    ])
}

fn names(body: &Value) -> Vec<String> {
    let said = chat(body.clone()).unwrap();
    let tools = said["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_tool_has_a_name_of_its_own() {
    let wanted = ["f", "a__f", "a__edit", "b_c__only", "f_2", "a__f_2", "plain", "tool_search", "nested"];
    assert_eq!(names(&json!({ "input": "a", "tools": tools() })), wanted);
    let long = "x".repeat(80);
    let many: Vec<Value> = ["n", "n "].iter().map(|space| json!({ "type": "namespace", "name": format!("{space}{long}"), "tools": [{ "type": "function", "name": "f" }, { "type": "function", "name": "g" }] })).collect();
    let names = names(&json!({ "input": "a", "tools": many }));
    let apart: std::collections::HashSet<&String> = names.iter().collect();
    assert!(apart.len() == 4 && names.iter().all(|name| name.len() <= 64), "{names:?}");
}

#[test]
fn a_call_goes_back_by_the_name_that_the_client_gave() {
    let asked = streamed(json!({ "input": "a", "tools": tools(), "store": false }));
    for (function, arguments, wanted) in [
        ("f", "{}", json!({ "type": "function_call", "name": "f", "arguments": "{}" })),
        ("a__f", "{}", json!({ "type": "function_call", "namespace": "a", "name": "f", "arguments": "{}" })),
        (
            "a__edit",
            "{\"input\":\"x\"}",
            json!({ "type": "custom_tool_call", "namespace": "a", "name": "edit", "input": "x" }),
        ),
        (
            "b_c__only",
            "{\"z\":1}",
            json!({ "type": "function_call", "namespace": "b.c", "name": "only", "arguments": "{\"z\":1}" }),
        ),
        ("f_2", "{\"input\":\"a\\nb\"}", json!({ "type": "custom_tool_call", "name": "f", "input": "a\nb" })),
        ("plain", "", json!({ "type": "function_call", "name": "plain", "arguments": "{}" })),
        (
            "tool_search",
            "{\"query\":\"x\"}",
            json!({ "type": "tool_search_call", "execution": "client", "arguments": { "query": "x" } }),
        ),
        ("made_up", "{}", json!({ "type": "function_call", "name": "made_up", "arguments": "{}" })),
    ] {
        let events = told(&asked, &[call(0, "c1", function, arguments), finish(Finish::ToolCalls)]);
        let item = &events.last().unwrap().1["response"]["output"][0];
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(item[field], *value, "{function}: {item}");
        }
        assert_eq!(item["call_id"], "c1");
        assert_eq!(item.get("namespace"), wanted.get("namespace"));
        // And what the client sends back of it is the same call for the server.
        let back = json!({ "input": [item, { "type": "function_call_output", "call_id": "c1", "output": "" }], "tools": tools() });
        let said = chat(back).unwrap();
        assert_eq!(said["messages"][0]["tool_calls"][0]["function"]["name"], function);
    }
}

#[test]
fn a_choice_is_said_or_refused() {
    let named = |name: &str| Ok((json!("required"), vec![name.to_owned()]));
    let all = names(&json!({ "input": "a", "tools": tools() }));
    for (choice, wanted) in [
        (json!("auto"), Ok((json!("auto"), all.clone()))),
        (json!("required"), Ok((json!("required"), all.clone()))),
        (json!("none"), Ok((json!("none"), all.clone()))),
        (json!(null), Ok((json!(null), all.clone()))),
        (json!({ "type": "function", "name": "f" }), named("f")),
        (json!({ "type": "function", "function": { "name": "f" } }), named("f")),
        (json!({ "type": "custom", "name": "f" }), named("f_2")),
        (json!({ "type": "function", "namespace": "a", "name": "f" }), named("a__f")),
        (json!({ "type": "function", "name": "only" }), named("b_c__only")),
        (json!({ "type": "tool_search" }), named("tool_search")),
        (
            json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "f" }, { "type": "web_search" }] }),
            named("f"),
        ),
        (
            json!({ "type": "allowed_tools", "tools": [{ "type": "custom", "name": "edit" }] }),
            Ok((json!("auto"), vec!["a__edit".to_owned()])),
        ),
        (
            json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "mcp" }] }),
            Err("unsupported"),
        ),
        (json!({ "type": "web_search" }), Err("unsupported")),
        (json!({ "type": "mcp", "server_label": "x" }), Err("unsupported")),
        (json!({ "type": "function", "name": "nobody" }), Err("invalid_request")),
        (json!("sometimes"), Err("invalid_request")),
        (json!(7), Err("invalid_request")),
    ] {
        let body = json!({ "input": "a", "tools": tools(), "tool_choice": choice });
        match (chat(body.clone()), wanted) {
            (Ok(said), Ok((word, wanted))) => {
                assert_eq!(said["tool_choice"], word, "{choice}");
                assert_eq!(names(&body), wanted, "{choice}");
            }
            (Err(refused), Err(code)) => {
                assert_eq!(
                    (refused.code.as_str(), refused.param.as_deref()),
                    (code, Some("tool_choice")),
                    "{choice}"
                );
            }
            (said, wanted) => panic!("{choice}: {said:?} is not {wanted:?}"),
        }
    }
    let only_hosted = json!({ "input": "a", "tools": [{ "type": "web_search" }], "tool_choice": "required" });
    assert_eq!(chat(only_hosted).unwrap_err().code, "unsupported");
}

#[test]
fn a_schema_enters_the_prompt_as_it_was_written() {
    let schema = r#"{ "type":"object",  "properties":{"z":{"maximum":1e2},"a":{"enum":["\u00e4", "é"]}} }"#;
    let body = format!(
        r#"{{"input":[{{"type":"additional_tools","tools":[{{"type":"namespace","name":"n","tools":[{{"type":"function","name":"f","parameters":{schema}}}]}}]}},{{"role":"user","content":"a"}}],
        "text":{{"format":{{"type":"json_schema","name":"x","schema":{schema}}}}}}}"#
    );
    let asked = read(body.as_bytes(), &nothing).unwrap();
    let said = String::from_utf8(asked.chat("m", Speaks::of(ServerKind::LlamaServer)).unwrap()).unwrap();
    assert_eq!(said.matches(schema).count(), 2, "{said}");
}
