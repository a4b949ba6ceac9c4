//! A question in OpenAI's Responses and behind the first zero byte the answer of a server: events are numbered without a gap, and
//! one of them says how it ended.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_dialects::{Question, responses};
use pilothouse_fuzz::dialects::{asked, document, events, halves, told};

const ENDS: [&str; 3] = ["response.completed", "response.incomplete", "response.failed"];

fuzz_target!(|bytes: &[u8]| {
    let (body, answer) = halves(bytes);
    let Ok(question) = responses::read(body, &|_| None) else { return };
    asked(&question);
    let said = told(&question, answer);
    if !question.streams() {
        document(&said);
        return;
    }
    let events = events(&said);
    for (event, number) in events.iter().zip(0u64..) {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let ends = events.iter().filter(|event| ENDS.iter().any(|end| event["type"] == *end)).count();
    assert_eq!(ends, 1, "{}", String::from_utf8_lossy(&said));
});
