//! Tests of `messages.rs`.

use super::*;

fn messages(text: &str) -> Result<Vec<Message>, Refused> {
    read(serde_json::from_str(text).unwrap())
}

/// Role, ids of calls, id of a result: "assistant(a,b) tool=a".
fn ids(text: &str) -> String {
    let said = |message: &Message| {
        let calls: Vec<&str> = message.calls.iter().map(|call| call.id.as_str()).collect();
        match &message.call_id {
            Some(id) => format!("{}={id}", message.role),
            None if calls.is_empty() => message.role.to_owned(),
            None => format!("{}({})", message.role, calls.join(",")),
        }
    };
    messages(text).unwrap().iter().map(said).collect::<Vec<_>>().join(" ")
}

fn calls(names: &[(&str, &str)]) -> String {
    let call = |(id, name): &(&str, &str)| {
        format!(r#"{{"id":"{id}","function":{{"name":"{name}","arguments":{{}}}}}}"#)
    };
    let calls: Vec<String> = names.iter().map(call).collect();
    format!(r#"{{"role":"assistant","content":"","tool_calls":[{}]}}"#, calls.join(","))
}

fn result(name: &str, id: &str) -> String {
    format!(r#"{{"role":"tool","content":"x","tool_name":"{name}","tool_call_id":"{id}"}}"#)
}

#[test]
fn results_find_the_calls_that_they_belong_to() {
    for (story, wanted) in [
        (vec![calls(&[("", "f")]), result("f", "")], "assistant(call00001) tool=call00001"),
        (
            vec![calls(&[("", "f"), ("", "g")]), result("g", ""), result("f", "")],
            "assistant(call00001,call00002) tool=call00002 tool=call00001",
        ),
        (
            vec![calls(&[("", "f"), ("", "f")]), result("f", ""), result("f", "")],
            "assistant(call00001,call00002) tool=call00001 tool=call00002",
        ),
        (
            vec![calls(&[("x", "f"), ("y", "g")]), result("", "y"), result("", "")],
            "assistant(x,y) tool=y tool=x",
        ),
        (vec![calls(&[("x", "f")]), result("other", "")], "assistant(x) tool=x"),
        (
            vec![calls(&[("", "f")]), calls(&[("", "g")]), result("f", ""), result("g", "")],
            "assistant(call00001) assistant(call00002) tool=call00001 tool=call00002",
        ),
        (
            vec![calls(&[("", "f"), ("", "g")]), result("f", ""), calls(&[("", "f")]), result("", "")],
            "assistant(call00001,call00002) tool=call00001 assistant(call00003) tool=call00003",
        ),
        (
            vec![calls(&[("call00001", "f"), ("", "g")]), result("g", "")],
            "assistant(call00001,call00002) tool=call00002",
        ),
        (vec![result("f", "")], "tool=call00001"),
        (vec![result("f", "z")], "tool=z"),
    ] {
        assert_eq!(ids(&format!("[{}]", story.join(","))), wanted);
    }
}

#[test]
fn arguments_are_the_text_that_the_client_wrote() {
    for (arguments, wanted) in [
        (r#"{ "z": 1.0, "a":"ü" }"#, r#"{ "z": 1.0, "a":"ü" }"#),
        (r#""{\"z\":1}""#, r#"{"z":1}"#),
        ("{}", "{}"),
        ("null", "{}"),
        (r#""""#, "{}"),
        ("[1]", "[1]"),
    ] {
        let text = format!(
            r#"[{{"role":"assistant","tool_calls":[{{"function":{{"name":"f","arguments":{arguments}}}}}]}}]"#
        );
        let said = messages(&text).unwrap();
        assert_eq!(said[0].calls[0].arguments, wanted);
        assert_eq!(said[0].content, Content::Nothing);
    }
}

#[test]
fn images_of_results_follow_all_results() {
    const PNG: &str = "iVBORw0KGgo=";
    let result = format!(r#"{{"role":"tool","content":"x","images":["{PNG}"]}}"#);
    let text = format!(
        r#"[{},{result},{result},{{"role":"user","content":"y","images":["{PNG}",null]}}]"#,
        calls(&[("a", "f"), ("b", "f")])
    );
    let said = messages(&text).unwrap();
    let roles: Vec<&str> = said.iter().map(|message| message.role).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user", "user"]);
    let image = || Part::image(format!("data:image/png;base64,{PNG}"));
    assert_eq!(said[3].content, Content::Parts(vec![image(), image()]));
    assert_eq!(said[4].content, Content::Parts(vec![Part::text("y"), image()]));
    let last = format!("[{result}]");
    assert_eq!(messages(&last).unwrap().len(), 2);
}

#[test]
fn what_chat_cannot_say_is_refused_by_name() {
    for (text, word) in [
        (
            r#"[{"role":"user","content":"a"},{"role":"control","content":"thinking"}]"#,
            "Message 2 has the role \"control\"",
        ),
        (r#"[{"content":"a"}]"#, "Message 1 has no role"),
        (r#"[{"role":"assistant","tool_calls":[{"function":{}}]}]"#, "message 1 has no name"),
        (r#"[{"role":"assistant","tool_calls":[{}]}]"#, "message 1 has no name"),
        (r#"[{"role":"user","images":["iVBORw0KGgo=","Qk0AAA=="]}]"#, "“images[1]” of message 1"),
    ] {
        let refused = messages(text).unwrap_err();
        assert!(refused.status == 400 && refused.message.contains(word), "{refused}");
    }
}

#[test]
fn tools_are_functions_whatever_else_is_offered() {
    let text = r#"[{"type":"function","function":{"name":"f","description":"","parameters":{ "z":1,"a":2 },"strict":true}},
        {"function":{"name":"g","description":"d"}},{"type":"web_search"},{"type":"function"},null,7,
        {"type":"function","function":{"name":""}}]"#;
    let tools = tools(serde_json::from_str(text).unwrap());
    let said: Vec<_> = tools
        .iter()
        .map(|tool| {
            let parameters = tool.function.parameters.as_ref().map(|raw| raw.get());
            (tool.function.name.as_str(), tool.function.description.as_deref(), parameters)
        })
        .collect();
    assert_eq!(said, [("f", None, Some("{ \"z\":1,\"a\":2 }")), ("g", Some("d"), None)]);
}
