//! Which event may follow which.

use serde_json::Value;
use std::collections::BTreeMap;

/// An item that has begun.
struct Open<'a> {
    item: &'a Value,
    /// Texts of its parts, those that are done.
    parts: Vec<&'a Value>,
    /// The part under way: its kind, and what its deltas say.
    part: Option<(String, String)>,
    /// The text of the last part is told in full.
    has_text: bool,
    /// What the deltas of a call say.
    said: String,
    is_said: bool,
}

/// Goes through the events of one answer and stops at the first that must not be where it is.
pub fn check(events: &[(String, Value)]) {
    let mut open: BTreeMap<u64, Open<'_>> = BTreeMap::new();
    let mut done: BTreeMap<u64, &Value> = BTreeMap::new();
    let mut begun = 0;
    let mut failed = false;
    for (at, (name, data)) in events.iter().enumerate() {
        let is_last = at + 1 == events.len();
        assert_eq!(data["type"], **name);
        assert_eq!(data["sequence_number"], at as u64, "numbers rise by one");
        assert_eq!(at == 0, name == "response.created", "{at}: {name}");
        assert!(at != 1 || name == "response.in_progress", "{name}");
        match name.as_str() {
            "response.created" | "response.in_progress" => {
                assert_eq!(data["response"]["status"], "in_progress");
                assert!(!failed && !is_last);
            }
            "error" => {
                assert!(!failed);
                failed = true;
                assert!(data["message"].is_string() && data["error"]["message"] == data["message"]);
            }
            "response.failed" => {
                assert!(failed && is_last && data["response"]["error"]["message"].is_string())
            }
            "response.completed" | "response.incomplete" => {
                assert!(is_last && !failed && open.is_empty(), "nothing is open at the end");
                let output: Vec<&Value> = done.values().copied().collect();
                let told: Vec<&Value> = data["response"]["output"].as_array().unwrap().iter().collect();
                assert_eq!(told, output, "what was told item by item is the output");
                assert_eq!(done.len() as u64, begun);
                assert_eq!(format!("response.{}", data["response"]["status"].as_str().unwrap()), *name);
            }
            "response.output_item.added" => {
                assert_eq!(data["output_index"], begun, "items come in their order");
                begun += 1;
                let all_calls =
                    open.values().all(|open| open.item["type"].as_str().unwrap().ends_with("_call"));
                assert!(all_calls, "only calls stay open while others begin");
                assert!(is_empty(&data["item"]), "{}", data["item"]);
                let item = &data["item"];
                let new = Open {
                    item,
                    parts: vec![],
                    part: None,
                    has_text: false,
                    said: String::new(),
                    is_said: false,
                };
                open.insert(data["output_index"].as_u64().unwrap(), new);
            }
            "response.output_item.done" => {
                let index = data["output_index"].as_u64().unwrap();
                check_done(&open.remove(&index).expect("it is open"), &data["item"]);
                done.insert(index, &data["item"]);
            }
            _ => {
                let index = data["output_index"].as_u64().expect(name);
                let item = open.get_mut(&index).expect("it is open");
                assert_eq!(data["item_id"], item.item["id"]);
                within(item, name, data);
            }
        }
    }
    assert!(events.len() > 2);
}

fn is_empty(item: &Value) -> bool {
    match item["type"].as_str().unwrap() {
        "message" => item["content"] == serde_json::json!([]) && item["status"] == "in_progress",
        "reasoning" => item["summary"] == serde_json::json!([]),
        "function_call" => item["arguments"] == "" && item["status"] == "in_progress",
        "custom_tool_call" => item["input"] == "",
        kind => kind == "tool_search_call",
    }
}

/// An event inside an open item.
fn within<'a>(open: &mut Open<'a>, name: &str, data: &'a Value) {
    let kind = open.item["type"].as_str().unwrap();
    let index = if name.contains("summary") { &data["summary_index"] } else { &data["content_index"] };
    if matches!(kind, "message" | "reasoning") {
        assert_eq!(*index, open.parts.len() as u64, "{name}");
    }
    let text =
        |names: &[&str]| names.iter().find_map(|name| data[*name].as_str()).unwrap_or_default().to_owned();
    match name {
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            assert!(open.part.is_none());
            open.part = Some((data["part"]["type"].as_str().unwrap().into(), String::new()));
            open.has_text = false;
        }
        "response.content_part.done" | "response.reasoning_summary_part.done" => {
            let (kind, said) = open.part.take().expect("a part is open");
            assert!(open.has_text && data["part"]["type"] == kind);
            let told = data["part"]["text"].as_str().or(data["part"]["refusal"].as_str());
            assert_eq!(told, Some(said.as_str()));
            open.parts.push(&data["part"]);
        }
        "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
            assert!(kind != "message" && !open.is_said && data["delta"] != "");
            open.said.push_str(data["delta"].as_str().unwrap());
        }
        "response.function_call_arguments.done" | "response.custom_tool_call_input.done" => {
            assert!(!open.is_said);
            open.is_said = true;
            assert_eq!(text(&["arguments", "input"]), open.said);
            assert_eq!(name.contains("custom"), kind == "custom_tool_call");
        }
        _ => {
            let (part, said) = open.part.as_mut().expect("a part is open");
            let of = match part.as_str() {
                "output_text" => "response.output_text",
                "refusal" => "response.refusal",
                "reasoning_text" => "response.reasoning_text",
                "summary_text" => "response.reasoning_summary_text",
                other => panic!("{other}"),
            };
            match name.strip_prefix(of) {
                Some(".delta") => {
                    assert!(!open.has_text && data["delta"] != "");
                    said.push_str(data["delta"].as_str().unwrap());
                }
                Some(".done") => {
                    assert!(!std::mem::replace(&mut open.has_text, true));
                    assert_eq!(text(&["text", "refusal"]), *said);
                }
                _ => panic!("{name} within {part}"),
            }
        }
    }
}

fn check_done(open: &Open<'_>, item: &Value) {
    assert_eq!(item["id"], open.item["id"]);
    assert_eq!(item["call_id"], open.item["call_id"]);
    assert_eq!(item["type"], open.item["type"]);
    assert!(open.part.is_none(), "its parts are done");
    match item["type"].as_str().unwrap() {
        "message" => assert_eq!(item["content"].as_array().unwrap().iter().collect::<Vec<_>>(), open.parts),
        "reasoning" => {
            let parts = [&item["summary"], &item["content"]];
            let parts: Vec<&Value> = parts.iter().filter_map(|list| list.as_array()).flatten().collect();
            assert_eq!(parts, open.parts);
        }
        "function_call" => assert!(open.is_said && item["arguments"] == open.said),
        "custom_tool_call" => assert!(open.is_said && item["input"] == open.said),
        "tool_search_call" => assert!(item["execution"] == "client"),
        other => panic!("{other}"),
    }
}

#[test]
#[should_panic(expected = "it is open")]
fn an_event_within_an_item_that_has_not_begun_is_found() {
    let event = |name: &str, at: u64, mut data: Value| {
        data["type"] = name.into();
        data["sequence_number"] = at.into();
        (name.to_owned(), data)
    };
    let response = serde_json::json!({ "response": { "status": "in_progress" } });
    check(&[
        event("response.created", 0, response.clone()),
        event("response.in_progress", 1, response),
        event("response.output_text.delta", 2, serde_json::json!({ "output_index": 0, "delta": "a" })),
    ]);
}
