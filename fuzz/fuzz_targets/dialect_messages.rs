//! A question in Anthropic's Messages and behind the first zero byte the answer of a server: blocks are opened and closed in order,
//! and there is one end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_dialects::{Question, messages};
use pilothouse_fuzz::dialects::{asked, document, events, halves, told};

fn in_order(stream: &[u8]) {
    let (mut open, mut blocks, mut ended) = (None, 0, false);
    for event in events(stream) {
        assert!(!ended, "nothing follows the end: {event}");
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                assert!(open.is_none() && event["index"] == blocks, "{event}");
                open = Some(blocks);
                blocks += 1;
            }
            "content_block_delta" => assert!(open.is_some_and(|at| event["index"] == at), "{event}"),
            "content_block_stop" => assert!(open.take().is_some_and(|at| event["index"] == at), "{event}"),
            "message_stop" => {
                assert!(open.is_none());
                ended = true;
            }
            "error" => ended = true,
            "message_start" => assert_eq!(blocks, 0),
            "message_delta" => assert!(open.is_none()),
            other => assert_eq!(other, "ping"),
        }
    }
    assert!(ended);
}

fuzz_target!(|bytes: &[u8]| {
    let (body, answer) = halves(bytes);
    if let Ok(count) = messages::count(body, true) {
        let _ = count.estimate();
    }
    match messages::read(body, true) {
        Ok(question) => {
            asked(&question);
            let said = told(&question, answer);
            if question.streams() {
                in_order(&said);
            } else {
                document(&said);
            }
        }
        Err(why) => assert_eq!(document(&messages::error_document(&why, "a"))["type"], "error"),
    }
});
