//! Whatever a client sends is a chat or a refusal, and its answer is told in order.

use super::*;
use proptest::prelude::*;

const KINDS: [ServerKind; 4] =
    [ServerKind::LlamaServer, ServerKind::Ollama, ServerKind::LmStudio, ServerKind::OpenAi];

/// Words of the dialect, as names of fields and as texts.
const WORDS: [&str; 44] = [
    "type",
    "role",
    "content",
    "text",
    "id",
    "call_id",
    "name",
    "namespace",
    "arguments",
    "input",
    "output",
    "tools",
    "function",
    "custom",
    "parameters",
    "message",
    "user",
    "assistant",
    "developer",
    "reasoning",
    "summary",
    "encrypted_content",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "item_reference",
    "input_text",
    "input_image",
    "image_url",
    "data:x",
    "https://x",
    "format",
    "grammar",
    "definition",
    "tool_search",
    "execution",
    "client",
    "shell_call",
    "shell_call_output",
    "",
];

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => prop::sample::select(WORDS.to_vec()).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(WORDS.to_vec()), inner), 0..6).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// An item that is nearly right.
fn item() -> impl Strategy<Value = Value> {
    let typed = |of: &'static [&'static str]| prop::sample::select(of.to_vec());
    let kinds = typed(&[
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "tool_search_call",
        "tool_search_output",
        "additional_tools",
        "item_reference",
        "shell_call",
        "shell_call_output",
        "compaction",
        "brand_new",
    ]);
    (kinds, typed(&["user", "assistant", "developer", "system"]), typed(&["c1", "c2"]), anything(), anything()).prop_map(
        |(kind, role, call_id, one, other)| {
            json!({ "type": kind, "role": role, "call_id": call_id, "name": "f", "content": one, "output": other, "tools": other,
                "arguments": one, "input": other, "summary": one })
        },
    )
}

fn tool() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(vec!["function", "custom", "namespace", "tool_search", "web_search"]);
    (kinds, prop::sample::select(vec!["f", "g", "a__f", ""]), anything(), prop::option::of(anything()))
        .prop_map(|(kind, name, one, other)| {
            json!({ "type": kind, "name": name, "parameters": one, "format": other, "execution": "client",
                "tools": [{ "type": "function", "name": name }, one, other] })
        })
}

proptest! {
    #[test]
    fn bytes_are_a_chat_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = read(&bytes, &nothing);
    }

    #[test]
    fn any_request_is_a_chat_or_a_refusal(
        items in prop::collection::vec(prop_oneof![4 => item(), 1 => anything()], 0..6),
        tools in prop::collection::vec(tool(), 0..4),
        (choice, format, reasoning) in (prop::option::of(anything()), prop::option::of(anything()), anything()),
        (called, arguments) in (prop::sample::select(vec!["f", "g", "a__f", "nobody"]), "[{}\"a:\\\\1]{0,8}"),
    ) {
        let body = json!({ "input": items, "tools": tools, "tool_choice": choice, "text": format, "reasoning": reasoning, "stream": true });
        let Ok(asked) = read(body.to_string().as_bytes(), &nothing) else { return Ok(()) };
        for kind in KINDS {
            if let Ok(written) = asked.chat("m", Speaks::of(kind)) {
                let said: Value = serde_json::from_slice(&written).unwrap();
                let messages = said["messages"].as_array().unwrap();
                for message in messages.iter().filter(|message| message["role"] == "assistant") {
                    prop_assert!(!message["content"].is_null() || message["tool_calls"].is_array(), "{message}");
                }
                let names: Vec<&Value> = said["tools"].as_array().into_iter().flatten().map(|tool| &tool["function"]["name"]).collect();
                let apart: std::collections::HashSet<&Value> = names.iter().copied().collect();
                prop_assert_eq!(apart.len(), names.len(), "each name once");
            }
        }
        // What is told of an answer is in order, and is kept with an id for each item.
        let mut answer = asked.answer(telling("a1"));
        let mut bytes = answer.begin();
        for chunk in [thoughts("t"), call(0, "c", called, &arguments), text("x"), call(1, "c", "f", "{}")] {
            bytes.extend(answer.take(&chunk));
        }
        bytes.extend(answer.end());
        order::check(&events(&bytes));
        let kept = answer.kept().unwrap();
        for item in kept.items() {
            let item: Value = serde_json::from_str(item).unwrap();
            prop_assert!(item["id"].is_string(), "{item}");
        }
        let listed: Value = serde_json::from_str(&kept.input_items(&crate::responses::Page::of([])).unwrap()).unwrap();
        let document: Value = serde_json::from_str(kept.document()).unwrap();
        let sent = kept.items().len() - document["output"].as_array().unwrap().len();
        prop_assert_eq!(listed["data"].as_array().unwrap().len(), sent.min(20));
    }
}
