//! A client that is strict about the order of events.

use super::*;
use crate::sse::{Event, Splitter};

/// What the events of a stream add up to, for a client that is strict about their order.
pub fn folded(bytes: &[u8]) -> Value {
    let mut splitter = Splitter::default();
    let events: Vec<Event> = splitter.take(bytes).unwrap();
    assert_eq!(splitter.finish(), None, "the last event has its end");
    let (mut message, mut open, mut is_over) = (Value::Null, None, false);
    for (at, event) in events.iter().enumerate() {
        let said: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(said["type"], event.name.as_str(), "named by its type");
        assert!(!is_over, "nothing after the end");
        assert_eq!(at == 0, event.name == "message_start", "one beginning, at the beginning");
        let is_ended = !message["stop_reason"].is_null();
        match event.name.as_str() {
            "message_start" => {
                message = said["message"].clone();
                assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &Value::Null));
            }
            "ping" => {}
            "content_block_start" => {
                assert!(open.is_none() && !is_ended);
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(said["index"], blocks.len());
                open = Some((blocks.len(), String::new()));
                blocks.push(said["content_block"].clone());
            }
            "content_block_delta" => {
                let (index, written) = open.as_mut().unwrap();
                assert_eq!(said["index"], *index);
                fold_delta(&mut message["content"][*index], &said["delta"], written);
            }
            "content_block_stop" => {
                let (index, written) = open.take().unwrap();
                assert_eq!(said["index"], index);
                let block = &mut message["content"][index];
                if block["type"] == "tool_use" && !written.is_empty() {
                    block["input"] = serde_json::from_str(&written).unwrap_or(Value::String(written));
                }
            }
            "message_delta" => {
                assert!(open.is_none() && !is_ended);
                for (name, value) in said["delta"].as_object().unwrap() {
                    message[name] = value.clone();
                }
                for (name, value) in said["usage"].as_object().unwrap() {
                    message["usage"][name] = value.clone();
                }
            }
            "message_stop" => {
                assert!(is_ended);
                is_over = true;
            }
            other => panic!("{other}"),
        }
    }
    assert!(is_over);
    message
}

fn fold_delta(block: &mut Value, delta: &Value, written: &mut String) {
    let (kind, field) = match delta["type"].as_str().unwrap() {
        "text_delta" => ("text", "text"),
        "thinking_delta" => ("thinking", "thinking"),
        "signature_delta" => ("thinking", "signature"),
        "input_json_delta" => {
            assert_eq!(block["type"], "tool_use");
            written.push_str(delta["partial_json"].as_str().unwrap());
            return;
        }
        other => panic!("{other}"),
    };
    assert_eq!(block["type"], kind);
    let text = format!("{}{}", block[field].as_str().unwrap(), delta[field].as_str().unwrap());
    block[field] = text.into();
}
