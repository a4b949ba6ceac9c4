//! Tests of `answer.rs`: a stream is legal line by line, and says the same as the whole, however it was cut.

use super::*;
use crate::chat::{CallPiece, Usage};
use proptest::prelude::*;

const TELLING: fn() -> Telling = || Telling { id: "x".into(), created_s: 1_780_000_000 };

fn teller(way: Way, streams: bool) -> Teller {
    Teller::new(way, "m:latest".into(), &TELLING(), streams)
}

/// What a stream said, with each of its lines held against those before.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    thoughts: String,
    calls: Vec<Value>,
    logprobs: Vec<Value>,
    last: Option<Value>,
    error: Option<String>,
}

impl Heard {
    fn of(stream: &[u8], way: Way) -> Self {
        let text = std::str::from_utf8(stream).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "every line has an end");
        let mut heard = Self::default();
        text.split_terminator('\n').for_each(|line| heard.line(line, way));
        heard
    }

    fn line(&mut self, line: &str, way: Way) {
        assert!(self.last.is_none() && self.error.is_none(), "nothing follows the last line: {line}");
        let line: Value = serde_json::from_str(line).expect("each line is a document");
        if let Some(error) = line.get("error") {
            assert_eq!(line.as_object().unwrap().len(), 1);
            self.error = Some(error.as_str().unwrap().into());
            return;
        }
        assert_eq!(
            (&line["model"], &line["created_at"]),
            (&"m:latest".into(), &"2026-05-28T20:26:40Z".into())
        );
        let (said, content) = match way {
            Way::Chat => (&line["message"], "content"),
            Way::Generate => (&line, "response"),
        };
        assert!(way == Way::Generate || said["role"] == "assistant");
        self.text.push_str(said[content].as_str().expect("content is always a text"));
        self.thoughts.push_str(said.get("thinking").map_or("", |thoughts| thoughts.as_str().unwrap()));
        if let Some(calls) = said.get("tool_calls") {
            assert!(self.calls.is_empty(), "calls come in one line");
            self.calls.clone_from(calls.as_array().unwrap());
            assert!(self.calls.iter().all(|call| call["function"]["arguments"].is_object()));
        }
        self.logprobs.extend(line.get("logprobs").and_then(Value::as_array).into_iter().flatten().cloned());
        if line["done"].as_bool().unwrap() {
            assert!(said[content] == "" && line["done_reason"].is_string());
            self.last = Some(line);
        } else {
            assert!(line.get("done_reason").is_none() && line.get("total_duration").is_none());
        }
    }

    /// The same of one document.
    fn of_whole(document: &[u8], way: Way) -> Self {
        let mut last: Value = serde_json::from_slice(document).unwrap();
        let said = match way {
            Way::Chat => &mut last["message"],
            Way::Generate => &mut last,
        };
        let content = if way == Way::Chat { "content" } else { "response" };
        let text = said[content].as_str().unwrap().to_owned();
        said[content] = "".into();
        let said = said.as_object_mut().unwrap();
        let thoughts = said.remove("thinking").map_or(String::new(), |text| text.as_str().unwrap().into());
        let calls = said.remove("tool_calls").map_or(vec![], |calls| calls.as_array().unwrap().clone());
        let logprobs = last.as_object_mut().unwrap().remove("logprobs");
        let logprobs = logprobs.map_or(vec![], |all| all.as_array().unwrap().clone());
        Self { text, thoughts, calls, logprobs, last: Some(last), error: None }
    }
}

fn told(way: Way, chunks: &[Chunk], took: Option<Took>) -> Vec<u8> {
    let mut teller = teller(way, true);
    let mut stream = teller.begin();
    for chunk in chunks {
        stream.extend(teller.beat());
        stream.extend(teller.take(chunk));
    }
    took.into_iter().for_each(|took| teller.took(took));
    stream.extend(teller.end());
    stream
}

fn whole(way: Way, chunks: &[Chunk], took: Option<Took>) -> Vec<u8> {
    let mut teller = teller(way, false);
    assert!(chunks.iter().all(|chunk| teller.take(chunk).is_empty()));
    took.into_iter().for_each(|took| teller.took(took));
    teller.whole()
}

fn said(text: &str) -> Chunk {
    Chunk { text: text.into(), ..Chunk::default() }
}

fn finish(finish: Finish) -> Chunk {
    Chunk { finish: Some(finish), ..Chunk::default() }
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Chunk {
    let piece =
        CallPiece { index, id: id.map(Into::into), name: name.map(Into::into), arguments: arguments.into() };
    Chunk { calls: vec![piece], ..Chunk::default() }
}

#[test]
fn a_stream_is_said_line_by_line() {
    let usage = Usage { prompt: Some(26), cached: Some(20), output: Some(9), thoughts: None };
    let chunks = [
        Chunk { thoughts: "hm".into(), ..Chunk::default() },
        said("a\n\"b\""),
        call(0, Some("c1"), Some("f"), "{\"z\":1,\n\"a\":"),
        call(0, None, None, "\"x\"}"),
        finish(Finish::ToolCalls),
        Chunk { usage: Some(usage), ..Chunk::default() },
    ];
    let took = Took { loaded_ns: Some(5), first_ns: Some(25), total_ns: 125 };
    let mut teller = teller(Way::Chat, true);
    let lines: Vec<String> = chunks
        .iter()
        .map(|chunk| String::from_utf8(teller.take(chunk)).unwrap())
        .filter(|line| !line.is_empty())
        .collect();
    let head =
        r#"{"model":"m:latest","created_at":"2026-05-28T20:26:40Z","message":{"role":"assistant","content":"#;
    assert_eq!(
        lines,
        [
            format!("{head}\"\",\"thinking\":\"hm\"}},\"done\":false}}\n"),
            format!("{head}\"a\\n\\\"b\\\"\"}},\"done\":false}}\n"),
            format!(
                "{head}\"\",\"tool_calls\":[{{\"id\":\"c1\",\"function\":{{\"index\":0,\"name\":\"f\",\"arguments\":{{\"z\":1, \"a\":\"x\"}}}}}}]}},\"done\":false}}\n"
            ),
        ]
    );
    teller.took(took);
    let figures = concat!(
        r#""total_duration":125,"load_duration":5,"prompt_eval_count":26,"prompt_eval_cached_count":20,"#,
        r#""prompt_eval_duration":20,"eval_count":9,"eval_duration":100"#,
    );
    assert_eq!(
        String::from_utf8(teller.end()).unwrap(),
        format!("{head}\"\"}},\"done\":true,\"done_reason\":\"stop\",{figures}}}\n")
    );
}

#[test]
fn the_reason_of_the_end_is_said_in_ollamas_words() {
    for (finish, wanted) in [
        (Some(Finish::Stop), "stop"),
        (Some(Finish::ToolCalls), "stop"),
        (Some(Finish::Length), "length"),
        (Some(Finish::ContentFilter), "content_filter"),
        (Some(Finish::Other("eosFound".into())), "eosFound"),
        (None, "stop"),
    ] {
        let chunk = Chunk { finish, ..said("a") };
        for way in [Way::Chat, Way::Generate] {
            let last = Heard::of(&told(way, std::slice::from_ref(&chunk), None), way).last.unwrap();
            assert_eq!(last["done_reason"], wanted);
        }
    }
}

#[test]
fn figures_that_nobody_has_are_left_out() {
    let times = Times { prompt_ns: Some(7), output_ns: None };
    let took = |loaded, first, total| Took { loaded_ns: loaded, first_ns: first, total_ns: total };
    for (times, took, wanted) in [
        (None, None, [None; 4]),
        (None, Some(took(None, None, 90)), [Some(90), None, None, None]),
        (None, Some(took(None, Some(30), 90)), [Some(90), None, Some(30), Some(60)]),
        (None, Some(took(Some(10), Some(30), 90)), [Some(90), Some(10), Some(20), Some(60)]),
        (None, Some(took(Some(0), Some(90), 90)), [Some(90), None, Some(90), None]),
        (Some(times), Some(took(Some(10), Some(30), 90)), [Some(90), Some(10), Some(7), Some(60)]),
        (Some(times), None, [None, None, Some(7), None]),
    ] {
        let chunk = Chunk { times, ..finish(Finish::Stop) };
        let last = Heard::of(&told(Way::Generate, &[chunk], took), Way::Generate).last.unwrap();
        let names = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];
        assert_eq!(names.map(|name| last.get(name).and_then(Value::as_u64)), wanted);
        assert!(last.get("eval_count").is_none() && last.get("prompt_eval_count").is_none());
    }
}

#[test]
fn a_failure_never_looks_like_a_good_end() {
    let why = Refused::new(502, "server_error", "It\nstopped.");
    let mut broken = teller(Way::Chat, true);
    let mut stream = broken.take(&said("a"));
    stream.extend(broken.fail(&why));
    let heard = Heard::of(&stream, Way::Chat);
    assert_eq!((heard.error.as_deref(), heard.last), (Some("It\nstopped."), None));

    let chunks = [said("a"), call(0, None, Some("f"), "{\"a\":"), finish(Finish::ToolCalls)];
    let heard = Heard::of(&told(Way::Chat, &chunks, None), Way::Chat);
    assert!(heard.error.unwrap().contains("tool f") && heard.calls.is_empty() && heard.last.is_none());
    let mut teller = teller(Way::Chat, false);
    chunks.iter().for_each(|chunk| drop(teller.take(chunk)));
    assert_eq!(teller.untellable().unwrap().status, 502);

    let chunks = [said("a"), call(0, None, Some("f"), "{\"a\":"), finish(Finish::Length)];
    let heard = Heard::of(&told(Way::Chat, &chunks, None), Way::Chat);
    assert_eq!((heard.error, heard.last.unwrap()["done_reason"].clone()), (None, "length".into()));
}

#[test]
fn calls_are_told_where_a_server_gives_no_reason() {
    let chunks = [call(0, None, Some("f"), "")];
    for way in [Way::Chat, Way::Generate] {
        let heard = Heard::of(&told(way, &chunks, None), way);
        assert_eq!(
            heard.calls,
            [serde_json::json!({ "function": { "index": 0, "name": "f", "arguments": {} } })]
        );
        assert_eq!(heard, Heard::of_whole(&whole(way, &chunks, None), way));
    }
}

/// Parts of an answer, in any order that a server may send them.
fn parts() -> impl Strategy<Value = Vec<Chunk>> {
    let text = "[a-c\"\\\\\n ü🦀]{0,6}";
    let piece = prop_oneof![
        3 => text.prop_map(|text| said(&text)),
        2 => text.prop_map(|thoughts| Chunk { thoughts, ..Chunk::default() }),
        1 => text.prop_map(|refusal| Chunk { refusal, ..Chunk::default() }),
        1 => (0u64..99).prop_map(|n| Chunk {
            usage: Some(Usage { output: Some(n), ..Usage::default() }),
            times: Some(Times { prompt_ns: Some(n), output_ns: None }),
            ..Chunk::default()
        }),
        1 => Just(Chunk { logprobs: vec![serde_json::json!({ "token": "a", "logprob": -0.5 })], ..said("a") }),
    ];
    let calls = prop::collection::vec(("[fg]", "[a-c\\\\\" \n]{0,4}"), 0..3);
    (prop::collection::vec(piece, 0..8), calls).prop_map(|(mut chunks, calls)| {
        for (index, (name, value)) in (0u32..).zip(calls) {
            let arguments = serde_json::to_string_pretty(&serde_json::json!({ "z": value, "a": 1 })).unwrap();
            chunks.push(call(index, Some(&format!("id{index}")), Some(&name), &arguments));
        }
        chunks.push(finish(Finish::Stop));
        chunks
    })
}

/// The same parts, each text cut in two at a place that the numbers choose.
fn cut(chunks: &[Chunk], places: &[usize]) -> Vec<Chunk> {
    let halves = |text: &str, place: usize| {
        let at =
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).nth(place % (text.chars().count() + 1));
        let (left, right) = text.split_at(at.unwrap_or(0));
        (left.to_owned(), right.to_owned())
    };
    let mut pieces = vec![];
    for (at, chunk) in chunks.iter().enumerate() {
        let place = places[at % places.len()];
        let (text, thoughts, refusal) =
            (halves(&chunk.text, place), halves(&chunk.thoughts, place), halves(&chunk.refusal, place));
        let arguments = chunk.calls.first().map(|call| halves(&call.arguments, place)).unwrap_or_default();
        let with = |text: String| {
            chunk.calls.iter().map(move |call| CallPiece { arguments: text.clone(), ..call.clone() })
        };
        let first = Chunk {
            text: text.0,
            thoughts: thoughts.0,
            refusal: refusal.0,
            calls: with(arguments.0).collect(),
            finish: None,
            ..chunk.clone()
        };
        let rest = with(arguments.1).map(|call| CallPiece { id: None, name: None, ..call });
        pieces.push(first);
        pieces.push(Chunk {
            text: text.1,
            thoughts: thoughts.1,
            refusal: refusal.1,
            calls: rest.collect(),
            finish: chunk.finish.clone(),
            ..Chunk::default()
        });
    }
    pieces
}

proptest! {
    #[test]
    fn pieces_do_not_matter(chunks in parts(), places in prop::collection::vec(0usize..40, 1..6), chat: bool) {
        let way = if chat { Way::Chat } else { Way::Generate };
        let took = Some(Took { loaded_ns: None, first_ns: Some(3), total_ns: 9 });
        let wanted = whole(way, &chunks, took);
        let pieces = cut(&chunks, &places);
        prop_assert_eq!(&whole(way, &pieces, took), &wanted);
        let wanted = Heard::of_whole(&wanted, way);
        prop_assert_eq!(&Heard::of(&told(way, &chunks, took), way), &wanted);
        prop_assert_eq!(&Heard::of(&told(way, &pieces, took), way), &wanted);
    }

    /// Any pieces at all: legal to the end, good or bad.
    #[test]
    fn every_stream_ends_in_one_way(
        names in prop::collection::vec((0u32..3, prop::option::of("[ab]?"), prop::option::of("[fg]?"), "[{}\\[\"a:1,\n]{0,5}"), 0..5),
        length: bool,
    ) {
        let mut chunks: Vec<Chunk> = names
            .iter()
            .map(|(index, id, name, arguments)| call(*index, id.as_deref(), name.as_deref(), arguments))
            .collect();
        chunks.push(finish(if length { Finish::Length } else { Finish::Stop }));
        let heard = Heard::of(&told(Way::Chat, &chunks, None), Way::Chat);
        prop_assert!(heard.last.is_some() != heard.error.is_some());
        let mut teller = teller(Way::Chat, false);
        chunks.iter().for_each(|chunk| drop(teller.take(chunk)));
        prop_assert_eq!(teller.untellable().is_some(), heard.error.is_some());
    }
}
