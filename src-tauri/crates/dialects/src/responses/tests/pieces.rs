//! How an answer is cut into pieces changes nothing but the number of events.

use super::*;
use proptest::prelude::*;

/// What a model says, one thing after the other.
#[derive(Debug, Clone)]
enum Saying {
    Text(String),
    Thoughts(String),
    Refusal(String),
    /// Name and arguments.
    Call(&'static str, String),
}

fn saying() -> impl Strategy<Value = Saying> {
    let words = "[a-z \"\\\\\n😀]{1,12}";
    let document = prop_oneof![
        words.prop_map(|text| json!({ "input": text, "n": [1, 2] }).to_string()),
        words.prop_map(|text| json!({ "input": text }).to_string()),
        Just("{}".to_owned()),
        Just(String::new()),
    ];
    prop_oneof![
        words.prop_map(Saying::Text),
        words.prop_map(Saying::Thoughts),
        words.prop_map(Saying::Refusal),
        (prop::sample::select(vec!["f", "e", "n__f", "tool_search", "unknown"]), document)
            .prop_map(|(name, arguments)| Saying::Call(name, arguments)),
    ]
}

/// A text in pieces; `cuts` says where.
fn cut<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let mut at: Vec<usize> =
        cuts.iter().map(|cut| cut % (text.len() + 1)).filter(|at| text.is_char_boundary(*at)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

fn chunks(sayings: &[Saying], cuts: &[usize]) -> Vec<Chunk> {
    let mut chunks = vec![];
    for (index, saying) in sayings.iter().enumerate() {
        match saying {
            Saying::Text(said) => chunks.extend(cut(said, cuts).into_iter().map(text)),
            Saying::Thoughts(said) => chunks.extend(cut(said, cuts).into_iter().map(thoughts)),
            Saying::Refusal(said) => chunks.extend(
                cut(said, cuts)
                    .into_iter()
                    .map(|refusal| Chunk { refusal: refusal.into(), ..Chunk::default() }),
            ),
            Saying::Call(name, arguments) => {
                let index = u32::try_from(index).unwrap();
                for (at, piece) in cut(arguments, cuts).into_iter().enumerate() {
                    let id = format!("c{index}");
                    let (id, name) = if at == 0 { (id.as_str(), *name) } else { ("", "") };
                    chunks.push(call(index, id, name, piece));
                }
            }
        }
    }
    chunks
}

fn body() -> Value {
    json!({ "model": "x", "input": "a", "store": true, "include": ["reasoning.encrypted_content"], "tools": [
        { "type": "function", "name": "f" },
        { "type": "custom", "name": "e" },
        { "type": "namespace", "name": "n", "tools": [{ "type": "function", "name": "f" }] },
        { "type": "tool_search", "execution": "client" },
    ] })
}

proptest! {
    #[test]
    fn the_document_is_the_same_however_it_came(
        sayings in prop::collection::vec(saying(), 0..6),
        cuts in prop::collection::vec(0usize..40, 0..6),
        ending in prop::sample::select(vec![Finish::Stop, Finish::Length, Finish::ToolCalls]),
    ) {
        let asked_whole = asked(&body()).unwrap();
        let end = [finish(ending), usage()];
        let in_one: Vec<Chunk> = chunks(&sayings, &[]).into_iter().chain(end.clone()).collect();
        let in_many: Vec<Chunk> = chunks(&sayings, &cuts).into_iter().chain(end).collect();
        let document = whole(&asked_whole, &in_one);
        prop_assert_eq!(&whole(&asked_whole, &in_many), &document);
        // `told` finds the events in order.
        let events = told(&streamed(body()), &in_many);
        prop_assert_eq!(&events.last().unwrap().1["response"], &document);
    }

    #[test]
    fn the_bytes_of_a_server_may_come_anyhow(at in prop::collection::vec(0usize..2000, 0..8)) {
        let stream: String = [
            json!({ "choices": [{ "delta": { "reasoning_content": "hä" } }] }),
            json!({ "choices": [{ "delta": { "content": "Hello 😀" } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": "c", "function": { "name": "e", "arguments": "{\"input\":\"\\ud83d" } }] } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "function": { "arguments": "\\ude00\"}" } }] } }] }),
            json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] }),
        ].iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n";
        let mut cuts: Vec<usize> = at.iter().map(|at| at % stream.len()).chain([0, stream.len()]).collect();
        cuts.sort_unstable();
        let mut reader = Reader::new(true);
        let pieces = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]);
        let chunks: Vec<Chunk> = pieces.flat_map(|piece| reader.take(piece).unwrap()).collect();
        prop_assert!(reader.is_finished());
        let events = told(&streamed(body()), &chunks);
        let response = &events.last().unwrap().1["response"];
        prop_assert_eq!(&response["output"][0]["content"][0]["text"], "hä");
        prop_assert_eq!(&response["output"][1]["content"][0]["text"], "Hello 😀");
        prop_assert_eq!(&response["output"][2]["input"], "😀");
    }

    /// A client that sends back what it was told makes the same turn of it.
    #[test]
    fn an_answer_comes_back_as_what_it_was(
        thought in "[a-z\n\"]{0,12}",
        said in "[a-z\n\"]{1,12}",
        inputs in prop::collection::vec("[a-z\n\"\\\\😀]{1,12}", 0..4),
        kept in any::<bool>(),
    ) {
        let arguments: Vec<String> = inputs.iter().map(|input| json!({ "input": input }).to_string()).collect();
        let mut told_chunks = vec![thoughts(&thought), text(&said)];
        let names = ["f", "e", "n__f"];
        for (at, arguments) in (0u32..).zip(&arguments) {
            told_chunks.push(call(at, &format!("c{at}"), names[at as usize % 3], arguments));
        }
        let mut answer = asked(&body()).unwrap().answer(telling("a1"));
        told_chunks.iter().for_each(|chunk| { answer.take(chunk); });
        let response: Value = serde_json::from_slice(&answer.whole()).unwrap();
        let stored = answer.kept().map(Arc::new);
        let mut next = body();
        if kept {
            next["previous_response_id"] = response["id"].clone();
            next["input"] = json!("go on");
        } else {
            let mut input = vec![json!({ "role": "user", "content": "a" })];
            for item in response["output"].as_array().unwrap() {
                let mut item = item.clone();
                if item["type"] == "reasoning" {
                    // Codex sends thoughts back in `encrypted_content` only.
                    item["content"] = Value::Null;
                }
                input.push(item);
            }
            input.push(json!({ "role": "user", "content": "go on" }));
            next["input"] = Value::Array(input);
        }
        let find = |id: &str| stored.clone().filter(|stored| stored.id() == id);
        let next = read(next.to_string().as_bytes(), &find).unwrap();
        let messages = chat_of(&next, ServerKind::LlamaServer).unwrap()["messages"].clone();
        let turn = &messages[1];
        prop_assert_eq!(messages.as_array().unwrap().len(), 3);
        prop_assert_eq!(&turn["content"], &json!(said));
        prop_assert_eq!(turn["reasoning_content"].as_str().unwrap_or_default(), thought.as_str());
        let calls = turn["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(calls.len(), arguments.len());
        for (at, call) in calls.iter().enumerate() {
            prop_assert_eq!(&call["function"]["arguments"], &json!(arguments[at]));
            prop_assert_eq!(&call["function"]["name"], &json!(names[at % 3]));
            prop_assert_eq!(&call["id"], &json!(format!("c{at}")));
        }
    }
}
