//! What real clients send, made by hand after their wire.

use super::*;

const CODEX: &str = include_str!("../wire/codex.json");
const CODEX_CHAT: &str = include_str!("../wire/codex.chat.json");
const VSCODE: &str = include_str!("../wire/vscode.json");

#[test]
fn a_turn_of_codex_is_one_chat() {
    let asked = read(CODEX.as_bytes(), &nothing).unwrap();
    let said = String::from_utf8(asked.chat("m", Speaks::of(ServerKind::LlamaServer)).unwrap()).unwrap();
    // Line breaks of the file stand between values only.
    assert_eq!(said, CODEX_CHAT.replace('\n', ""));
    assert_eq!(asked.dropped(), ["input[15] (web_search_call)", "input[17] (compaction)", "tool web_search"]);
    assert!(asked.streams() && !asked.stores() && asked.model() == Some("gpt-5-codex"));
}

#[test]
fn two_turns_of_codex_begin_with_the_same_bytes() {
    let first = read(CODEX.as_bytes(), &nothing).unwrap();
    let more = r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"Go on."}]}"#;
    let longer = CODEX.replacen("\n  ],\n  \"tools\"", &format!(",\n    {more}\n  ],\n  \"tools\""), 1);
    assert_ne!(longer, CODEX);
    let second = read(longer.as_bytes(), &nothing).unwrap();
    let said = |asked: &Asked| {
        String::from_utf8(asked.chat("m", Speaks::of(ServerKind::LlamaServer)).unwrap()).unwrap()
    };
    let (first, second) = (said(&first), said(&second));
    let end = first.find("],\"tools\":").unwrap();
    assert!(second.starts_with(&first[..end]) && second.ends_with(&first[end..]));
}

#[test]
fn a_patch_reaches_codex_as_free_text_while_it_comes() {
    let asked = read(CODEX.as_bytes(), &nothing).unwrap();
    let events = told(
        &asked,
        &[
            thoughts("I patch."),
            call(0, "c1", "apply_patch", "{\"input\": \"*** Begin"),
            call(0, "", "", " Patch\\n+a"),
            call(0, "", "", "\"}"),
            call(1, "c2", "mcp__calendar__create_event", "{\"title\":\"x\"}"),
            finish(Finish::ToolCalls),
            usage(),
        ],
    );
    let deltas: Vec<&str> = events
        .iter()
        .filter(|(name, _)| name == "response.custom_tool_call_input.delta")
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, ["*** Begin", " Patch\n+a"]);
    let output = &events.last().unwrap().1["response"]["output"];
    assert_eq!(output[0]["summary"][0]["text"], "I patch.", "it asks for a summary");
    assert_eq!(output[0]["encrypted_content"], "pilothouse:I patch.", "and sends this back");
    assert_eq!(
        (&output[1]["type"], &output[1]["input"]),
        (&json!("custom_tool_call"), &json!("*** Begin Patch\n+a"))
    );
    assert_eq!(
        (&output[2]["namespace"], &output[2]["name"]),
        (&json!("mcp__calendar"), &json!("create_event"))
    );
}

#[test]
fn vs_code_goes_on_from_what_was_kept() {
    let asked = read(VSCODE.as_bytes(), &nothing).unwrap();
    let said = chat_of(&asked, ServerKind::Ollama).unwrap();
    assert_eq!(said["messages"][0], json!({ "role": "system", "content": "You are a programmer." }));
    assert_eq!((&said["temperature"], &said["max_tokens"]), (&json!(0.1), &json!(4096)));
    let mut answer = asked.answer(telling("a1"));
    let mut bytes = answer.begin();
    bytes.extend(answer.take(&call(0, "c1", "read_file", "{\"path\":\"main.rs\"}")));
    bytes.extend(answer.end());
    order::check(&events(&bytes));
    let kept = Arc::new(answer.kept().unwrap());
    let next = json!({ "model": "qwen3", "previous_response_id": "resp_a1", "store": true, "stream": true,
        "input": [{ "type": "function_call_output", "call_id": "c1", "output": "fn main() {}" }] });
    let next = read(next.to_string().as_bytes(), &|id| (id == "resp_a1").then(|| kept.clone())).unwrap();
    let messages = chat_of(&next, ServerKind::LlamaServer).unwrap()["messages"].clone();
    let roles: Vec<&str> = messages.as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
}
