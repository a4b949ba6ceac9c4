//! That what a client wrote enters the prompt as it wrote it, and that a prompt begins as the one before it did.

use super::*;
use proptest::prelude::*;

/// Any JSON document, as people and programs write it: with spaces, in any order, with numbers and escapes in any form.
fn written_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        r"(null|true|false|0|-0|1e2|1\.50|0\.1E-7|123456789012345678901234567890)",
        r#""([a-z{}\[\]:, é]|\\n|\\"|\\\\|\\u00e9|\\ud83d\\ude00|\\/){0,6}""#,
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let space = "[ \t\n]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), space)
                .prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!("{space},")))),
            object_of(inner),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (prop::collection::vec(("[a-z]{1,3}", inner), 0..4), "[ \t\n]{0,2}").prop_map(|(fields, space)| {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{value}")).collect();
        format!("{{{}{space}}}", fields.join(","))
    })
}

fn contains(body: &[u8], part: &str) -> bool {
    memchr::memmem::find(body, part.as_bytes()).is_some()
}

proptest! {
    #[test]
    fn schemas_and_inputs_keep_each_byte(object in object_of(written_json())) {
        let asked = asked(&request(&format!(
            r#""messages":[{{"role":"assistant","content":[{{"type":"tool_use","id":"a","name":"f","input":{object}}}]}}],
            "tools":[{{"name":"f","input_schema":{object}}}],"output_config":{{"format":{{"type":"json_schema","schema":{object}}}}}"#
        )));
        let body = asked.chat("m", Speaks::of(ServerKind::LlamaServer)).unwrap();
        let is_empty = object == "{}";
        let parameters = format!("\"parameters\":{object}}}");
        prop_assert!(is_empty || contains(&body, &parameters));
        let format = format!("\"schema\":{object}}}");
        prop_assert!(contains(&body, &format));
        let said: Value = serde_json::from_slice(&body).unwrap();
        prop_assert_eq!(said["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap(), object);
    }

    #[test]
    fn nothing_unknown_is_refused(junk in written_json(), name in "new_[a-z]{1,6}") {
        let field = format!("\"{name}\":{junk}");
        let text = request(&format!(
            r#"{field},"messages":[
                {{"role":"user","content":[{{"type":"{name}",{field},"content":{junk},"source":{junk},"id":{junk}}},{{"type":"text","text":"a",{field}}}],{field}}},
                {{"role":"assistant","content":[{{"type":"tool_use","id":"a","name":"f","input":{{}},{field}}},{{"type":"{name}","text":{junk}}}]}},
                {{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":[{{"type":"{name}","text":{junk}}}],{field}}}]}}
            ],"tools":[{{"type":"{name}","name":"n",{field}}},{{"name":"f","input_schema":{{}},{field}}}],
            "tool_choice":{{"type":"{name}",{field}}},"thinking":{{"type":"{name}",{field}}},"output_config":{{{field}}},"metadata":{{{field}}}"#
        ));
        let asked = asked(&text);
        prop_assert!(asked.dropped().contains(&name));
        let roles = chat_of(&asked, ServerKind::LlamaServer)["messages"].clone();
        let roles: Vec<&str> = roles.as_array().unwrap().iter().filter_map(|message| message["role"].as_str()).collect();
        prop_assert_eq!(roles, ["user", "assistant", "tool"]);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..2_000, cut in 0usize..2_000) {
        let _ = read(&bytes, true);
        let mut text = include_bytes!("wire/claude_code.json").to_vec();
        let at = at.min(text.len() - 1);
        text.splice(at..at, bytes);
        let _ = read(&text, true);
        text.truncate(cut);
        prop_assert!(read(&text, true).is_err());
    }
}

#[test]
fn a_prompt_begins_as_the_one_before_it() {
    let first = include_str!("wire/claude_code.json");
    let end = "\"The user opened z.rs.\"}\n]";
    let more = r#""The user opened z.rs."},
        {"role":"assistant","content":[{"type":"tool_use","id":"toolu_03","name":"Read","input":{"file_path":"b"}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_03","content":"c"}]}]"#;
    let second = first.replace(end, more).replace("cch=0a1b2", "cch=99999");
    assert_ne!(first, second);
    let said = |text: &str, mask_billing| {
        let body = read(text.as_bytes(), mask_billing).unwrap();
        String::from_utf8(body.chat("m", Speaks::of(ServerKind::Ollama)).unwrap()).unwrap()
    };
    let messages = |body: &str| body.split("],\"tools\":").next().unwrap().to_owned();
    let tools = |body: &str| body.split("],\"tools\":").nth(1).unwrap().to_owned();
    let (before, after) = (said(first, true), said(&second, true));
    assert!(messages(&after).starts_with(&messages(&before)), "{before}\n{after}");
    assert_eq!(tools(&before), tools(&after));
    assert!(!before.contains("cch="));
    assert!(said(first, false).contains("cch=0a1b2"));
    assert!(!messages(&said(&second, false)).starts_with(&messages(&said(first, false))));
}
