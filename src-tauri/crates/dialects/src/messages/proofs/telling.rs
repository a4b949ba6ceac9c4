//! Answers.

use super::{folding::folded, *};
use crate::{
    Refused,
    chat::{CallPiece, Chunk, Finish, Reader, Usage},
    sse::Splitter,
};
use proptest::prelude::*;

fn streamed(fields: &str, chunks: &[Chunk]) -> Vec<u8> {
    let asked =
        asked(&request(&format!(r#""stream":true,"messages":[{{"role":"user","content":"hi"}}]{fields}"#)));
    let mut answer = asked.answer(telling());
    let mut out = answer.begin();
    for chunk in chunks {
        out.extend(answer.take(chunk));
        out.extend(answer.beat());
    }
    out.extend(answer.end());
    out
}

fn text(text: &str) -> Chunk {
    Chunk { text: text.into(), ..Chunk::default() }
}

fn thoughts(text: &str) -> Chunk {
    Chunk { thoughts: text.into(), ..Chunk::default() }
}

fn finish(finish: Finish) -> Chunk {
    Chunk { finish: Some(finish), ..Chunk::default() }
}

/// A piece of a call; the first ones (`#`) bring an id and a name.
fn call(index: u32, arguments: &str) -> Chunk {
    let first = arguments.strip_prefix('#');
    let piece = CallPiece {
        index,
        id: first.map(|_| format!("call_{index}")),
        name: first.map(|_| format!("tool_{index}")),
        arguments: first.unwrap_or(arguments).into(),
    };
    Chunk { calls: vec![piece], ..Chunk::default() }
}

/// A block in short.
fn short(block: &Value) -> String {
    match block["type"].as_str().unwrap() {
        "text" => format!("text {}", block["text"].as_str().unwrap()),
        "thinking" => format!("thinking {}", block["thinking"].as_str().unwrap()),
        _ => format!(
            "{} {} {}",
            block["id"].as_str().unwrap(),
            block["name"].as_str().unwrap(),
            block["input"]
        ),
    }
}

#[test]
fn blocks_come_one_after_another_whatever_comes() {
    for (chunks, wanted) in [
        (vec![], vec![]),
        (vec![text("a"), text(""), text("b")], vec!["text ab"]),
        (
            vec![thoughts("h"), text("a"), thoughts("i"), text("b")],
            vec!["thinking h", "text a", "thinking i", "text b"],
        ),
        (vec![thoughts("h"), call(0, "#{}")], vec!["thinking h", "call_0 tool_0 {}"]),
        (
            vec![text("a"), call(0, "#"), call(0, "{\"a\""), call(0, ":1}"), text("b")],
            vec!["text a", "call_0 tool_0 {\"a\":1}", "text b"],
        ),
        // In the middle of a call all else waits.
        (
            vec![
                call(0, "#{\"a\":"),
                text("x"),
                call(1, "#{\"b\""),
                text("y"),
                call(0, "1}"),
                call(1, ":2}"),
                text("z"),
            ],
            vec!["call_0 tool_0 {\"a\":1}", "text x", "call_1 tool_1 {\"b\":2}", "text yz"],
        ),
        // One that never ends lets the others come at the end.
        (
            vec![call(0, "#{\"a\":"), call(1, "#{}"), thoughts("h")],
            vec!["call_0 tool_0 {\"arguments\":\"{\\\"a\\\":\"}", "call_1 tool_1 {}", "thinking h"],
        ),
        // No arguments at all are an empty object; what stands behind an object is not of it.
        (vec![call(0, "#"), call(1, "#{}}"), call(1, "}")], vec!["call_0 tool_0 {}", "call_1 tool_1 {}"]),
        (vec![call(0, "#\"x\"")], vec!["call_0 tool_0 {\"arguments\":\"\\\"x\\\"\"}"]),
        // An id without a call, a name that comes late, no name, the same id twice, the same index for two calls.
        (vec![call(2, "{\"a\""), call(2, "#:1}")], vec!["call_2 tool_2 {\"a\":1}"]),
        (vec![call(0, "{}")], vec!["toolu_7_0 unknown {}"]),
        (
            vec![text("a"), call(0, "{"), text("b"), call(0, "#}")],
            vec!["text a", "call_0 tool_0 {}", "text b"],
        ),
        (
            vec![Chunk {
                calls: vec![
                    CallPiece {
                        index: 0,
                        id: Some("x".into()),
                        name: Some("f".into()),
                        arguments: "{}".into(),
                    },
                    CallPiece {
                        index: 1,
                        id: Some("x".into()),
                        name: Some("g".into()),
                        arguments: "{}".into(),
                    },
                    CallPiece {
                        index: 0,
                        id: Some("y".into()),
                        name: Some("h".into()),
                        arguments: "{}".into(),
                    },
                ],
                ..Chunk::default()
            }],
            vec!["x f {}", "toolu_7_1 g {}", "y h {}"],
        ),
        (vec![Chunk { refusal: "No.".into(), ..Chunk::default() }], vec!["text No."]),
    ] {
        let document = whole(&hello(), &chunks);
        let blocks: Vec<String> = document["content"].as_array().unwrap().iter().map(short).collect();
        assert_eq!(blocks, wanted, "{chunks:?}");
        folded(&streamed("", &chunks));
    }
}

#[test]
fn events_are_told_as_soon_as_they_can_be() {
    let asked = asked(&request(r#""stream":true,"messages":[{"role":"user","content":"hi"}]"#));
    let mut answer = asked.answer(telling());
    let said = |bytes: Vec<u8>| -> String {
        let events = Splitter::default().take(&bytes).unwrap();
        events
            .iter()
            .map(|event| event.name.trim_start_matches("content_block_").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(said(answer.begin()), "message_start ping");
    assert_eq!(said(answer.beat()), "ping");
    for (chunk, wanted) in [
        (thoughts("h"), "start delta"),
        (text("a"), "delta stop start delta"),
        (call(0, "#"), "stop start"),
        (call(0, "{\"a\":1"), "delta"),
        (call(1, "#{"), ""),
        (call(0, "}"), "delta stop start delta"),
        (call(1, "}"), "delta"),
        (finish(Finish::ToolCalls), ""),
    ] {
        assert_eq!(said(answer.take(&chunk)), wanted, "{chunk:?}");
    }
    assert_eq!(said(answer.end()), "stop message_delta message_stop");
}

/// Some clients read the prompt's tokens at the beginning, others at the end.
#[test]
fn the_prompt_is_guessed_at_the_beginning_and_counted_at_the_end() {
    let used = Usage { prompt: Some(54), cached: Some(50), output: Some(2), thoughts: None };
    let told = streamed("", &[text("a"), Chunk { usage: Some(used), ..finish(Finish::Stop) }]);
    let events = Splitter::default().take(&told).unwrap();
    let data = |name: &str| -> Value {
        serde_json::from_str(&events.iter().find(|event| event.name == name).unwrap().data).unwrap()
    };
    let begun = &data("message_start")["message"]["usage"];
    assert!(begun["input_tokens"].as_u64().unwrap() > 0, "{begun}");
    assert_eq!((&begun["output_tokens"], &begun["cache_read_input_tokens"]), (&json!(0), &json!(0)));
    let ended = &data("message_delta")["usage"];
    assert_eq!((&ended["input_tokens"], &ended["cache_read_input_tokens"]), (&json!(4), &json!(50)));
}

#[test]
fn reasons_are_said_in_the_words_of_the_dialect() {
    let used = |output| Chunk {
        usage: Some(Usage { output: Some(output), ..Usage::default() }),
        ..Chunk::default()
    };
    let stopped = |at: &str| Chunk { stopped_at: Some(at.into()), ..finish(Finish::Stop) };
    for (chunks, reason, sequence) in [
        (vec![text("a"), finish(Finish::Stop)], "end_turn", Value::Null),
        (vec![text("a")], "end_turn", Value::Null),
        (vec![text("a"), stopped("END")], "stop_sequence", json!("END")),
        (vec![text("a"), stopped("<eos>")], "end_turn", Value::Null),
        (vec![text("a"), finish(Finish::Length)], "max_tokens", Value::Null),
        (vec![text("a"), finish(Finish::Length), used(100)], "max_tokens", Value::Null),
        (vec![text("a"), finish(Finish::Length), used(99)], "model_context_window_exceeded", Value::Null),
        (vec![call(0, "#{}"), finish(Finish::ToolCalls)], "tool_use", Value::Null),
        (vec![call(0, "#{}"), finish(Finish::Stop)], "tool_use", Value::Null),
        (vec![call(0, "#{}"), finish(Finish::Length)], "tool_use", Value::Null),
        (vec![call(0, "#{\"a"), finish(Finish::Length)], "max_tokens", Value::Null),
        (vec![text("a"), finish(Finish::ContentFilter)], "refusal", Value::Null),
        (
            vec![Chunk { refusal: "No.".into(), ..Chunk::default() }, finish(Finish::Stop)],
            "refusal",
            Value::Null,
        ),
        (vec![finish(Finish::Other("max_tokens".into()))], "max_tokens", Value::Null),
        (vec![finish(Finish::Other("of_2030".into()))], "end_turn", Value::Null),
    ] {
        let document = folded(&streamed(r#","stop_sequences":["","END"]"#, &chunks));
        assert_eq!(
            (&document["stop_reason"], &document["stop_sequence"]),
            (&json!(reason), &sequence),
            "{chunks:?}"
        );
    }
}

#[test]
fn usage_leaves_out_of_the_input_what_was_cached() {
    let used = |prompt, cached, output, thoughts| Usage { prompt, cached, output, thoughts };
    for (told, wanted) in [
        (Some(used(Some(10), Some(7), Some(5), None)), usage(3, 7, 5)),
        (Some(used(Some(10), None, Some(5), None)), usage(10, 0, 5)),
        (Some(used(Some(3), Some(7), Some(0), None)), usage(0, 7, 0)),
        // Guessed: a message of two bytes, two pieces.
        (None, usage(5, 0, 2)),
    ] {
        let last = Chunk { usage: told, ..finish(Finish::Stop) };
        let chunks = [text("a"), text("b"), last];
        let document = folded(&streamed("", &chunks));
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&document["usage"][name], value, "{name} {told:?}");
        }
        assert_eq!(document["usage"], whole(&hello(), &chunks)["usage"]);
    }
    let chunks = [Chunk { usage: Some(used(Some(1), None, Some(9), Some(4))), ..Chunk::default() }];
    assert_eq!(whole(&hello(), &chunks)["usage"]["output_tokens_details"], json!({ "thinking_tokens": 4 }));
}

#[test]
fn what_was_not_wanted_is_not_told() {
    let chunks = [thoughts("h"), text("a"), finish(Finish::Stop)];
    let document = folded(&streamed(r#","thinking":{"type":"disabled"}"#, &chunks));
    assert_eq!(document["content"].as_array().unwrap().iter().map(short).collect::<Vec<_>>(), ["text a"]);
    let warming =
        read(br#"{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"a"}]}"#, true).unwrap();
    assert_eq!(chat_of(&warming, ServerKind::Ollama)["max_tokens"], 1, "nought is no limit to some");
    let document = whole(&warming, &chunks);
    assert_eq!((&document["content"], &document["stop_reason"]), (&json!([]), &json!("max_tokens")));
}

#[test]
fn a_failure_is_one_event_of_its_own() {
    let asked = hello();
    let mut answer = asked.answer(telling());
    answer.begin();
    answer.take(&text("a"));
    let out = answer.fail(&Refused::new(503, "x", "Later."));
    let events = Splitter::default().take(&out).unwrap();
    assert_eq!(events.len(), 1);
    let said: Value = serde_json::from_str(&events[0].data).unwrap();
    let wanted = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Later." }, "request_id": null });
    assert_eq!((events[0].name.as_str(), said), ("error", wanted));
}

/// What a model says: text, thoughts, and calls whose arguments may be no JSON.
#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Thoughts(String),
    Call(String),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        "[a-zé \n\"]{1,8}".prop_map(Part::Text),
        "[a-z\\\\]{1,8}".prop_map(Part::Thoughts),
        r#"(\{("[a-c]": ?("[}{é]{0,3}"|[0-9]|\[\{\}\]))?\}|\{"a":|)"#.prop_map(Part::Call),
    ];
    prop::collection::vec(part, 0..7)
}

/// The parts in pieces; those of calls that follow each other come in turn where `mixed`.
fn pieces(parts: &[Part], size: usize, mixed: bool) -> Vec<Chunk> {
    let cut = |text: &str| -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(size).map(|piece| piece.iter().collect()).collect()
    };
    let mut index = 0;
    let mut rows: Vec<Vec<Chunk>> = vec![];
    for part in parts {
        rows.push(match part {
            Part::Text(said) => cut(said).iter().map(|piece| text(piece)).collect(),
            Part::Thoughts(said) => cut(said).iter().map(|piece| thoughts(piece)).collect(),
            Part::Call(arguments) => {
                let first = std::iter::once(call(index, "#"));
                let rest: Vec<Chunk> = cut(arguments).iter().map(|piece| call(index, piece)).collect();
                index += 1;
                first.chain(rest).collect()
            }
        });
    }
    if !mixed {
        return rows.into_iter().flatten().collect();
    }
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|at| rows.iter().filter_map(move |row| row.get(at).cloned())).collect()
}

/// All text, all thoughts, and the calls in their order.
fn said(document: &Value) -> (String, String, Vec<Value>) {
    let blocks = document["content"].as_array().unwrap();
    let of = |field: &str| blocks.iter().filter_map(|block| block[field].as_str()).collect::<String>();
    let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
    (of("text"), of("thinking"), calls.map(|call| json!([call["id"], call["name"], call["input"]])).collect())
}

proptest! {
    #[test]
    fn pieces_do_not_matter(parts in parts(), size in 1usize..5) {
        let document = whole(&hello(), &pieces(&parts, 100, false));
        prop_assert_eq!(&whole(&hello(), &pieces(&parts, size, false))["content"], &document["content"]);
        let mixed = pieces(&parts, size, true);
        let mut read = said(&whole(&hello(), &mixed));
        read.2.sort_by_key(|call| call[0].to_string());
        let mut wanted = said(&document);
        // In turn, the pieces of texts are others: only the calls are the same.
        wanted.2.sort_by_key(|call| call[0].to_string());
        prop_assert_eq!(read.2, wanted.2);
        prop_assert_eq!((read.0.len(), read.1.len()), (wanted.0.len(), wanted.1.len()));
    }

    #[test]
    fn events_are_in_order_and_say_what_the_document_says(parts in parts(), size in 1usize..5, mixed: bool) {
        let chunks = pieces(&parts, size, mixed);
        let mut document = whole(&hello(), &chunks);
        let mut folded = folded(&streamed("", &chunks));
        // What is no object stays text in the events, and is put into one in the document.
        for message in [&mut document, &mut folded] {
            for block in message["content"].as_array_mut().unwrap() {
                if block["input"].is_string() {
                    block["input"] = json!({ "arguments": block["input"] });
                }
            }
        }
        prop_assert_eq!(document, folded);
    }

    #[test]
    fn a_stream_that_is_cut_anyhow_is_the_same_answer(parts in parts(), size in 1usize..9) {
        let mut sent = String::new();
        for part in &parts {
            let delta = match part {
                Part::Text(text) => json!({ "content": text }),
                Part::Thoughts(text) => json!({ "reasoning": text }),
                Part::Call(arguments) => json!({ "tool_calls": [{ "index": 0, "id": arguments, "function": { "name": "f", "arguments": arguments } }] }),
            };
            sent += &format!("data: {}\r\n\r\n", json!({ "choices": [{ "delta": delta }] }));
        }
        sent += "data: [DONE]\n\n";
        let read = |size: usize| {
            let mut reader = Reader::new(true);
            let mut chunks: Vec<Chunk> =
                sent.as_bytes().chunks(size).flat_map(|piece| reader.take(piece).unwrap()).collect();
            chunks.extend(reader.finish().unwrap());
            streamed("", &chunks)
        };
        prop_assert_eq!(read(size), read(usize::MAX));
    }

    #[test]
    fn what_was_answered_comes_back_as_it_was(parts in parts()) {
        let chunks = pieces(&parts, 3, false);
        let content = whole(&hello(), &chunks)["content"].clone();
        let back = asked(&request(&format!(r#""messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":{content}}}]"#)));
        let messages = chat_of(&back, ServerKind::Ollama)["messages"].clone();
        let text: String = parts.iter().filter_map(|part| match part { Part::Text(text) => Some(text.as_str()), _ => None }).collect();
        prop_assert_eq!(messages[1]["content"].as_str().unwrap_or_default(), text);
        let calls = parts.iter().filter(|part| matches!(part, Part::Call(_))).count();
        prop_assert_eq!(messages[1]["tool_calls"].as_array().map_or(0, Vec::len), calls);
    }
}
