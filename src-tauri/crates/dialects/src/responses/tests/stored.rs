//! What is kept, for how long, and what it is good for.

use super::*;
use crate::responses::{Limits, Page, Store, deleted, not_found};

/// Asks, is answered with these chunks, and keeps what is to be kept.
fn turn(store: &mut Store, id: &str, body: &Value, chunks: &[Chunk]) -> Asked {
    let asked = {
        let shared = std::sync::Mutex::new(&mut *store);
        read(body.to_string().as_bytes(), &|id| shared.lock().unwrap().get(id, 0)).unwrap()
    };
    let mut answer = asked.answer(telling(id));
    chunks.iter().for_each(|chunk| {
        answer.take(chunk);
    });
    answer.whole();
    if let Some(stored) = answer.kept() {
        store.keep(stored, 0);
    }
    assert!(answer.kept().is_none(), "only once");
    asked
}

fn roomy() -> Store {
    Store::new(Limits { number: 10, bytes: 1 << 20, age_s: 100 })
}

#[test]
fn a_conversation_goes_on_from_answer_to_answer() {
    let mut store = roomy();
    let tools = json!([{ "type": "function", "name": "f" }]);
    turn(
        &mut store,
        "one",
        &json!({ "input": "a", "instructions": "first", "tools": tools }),
        &[thoughts("t"), call(0, "c1", "f", "{\"b\": 1}")],
    );
    let result = json!([{ "type": "function_call_output", "call_id": "c1", "output": "r" }]);
    turn(
        &mut store,
        "two",
        &json!({ "previous_response_id": "resp_one", "input": result, "tools": tools }),
        &[text("done")],
    );
    let third = turn(
        &mut store,
        "three",
        &json!({ "previous_response_id": "resp_two", "input": "more", "instructions": "third" }),
        &[text("yes")],
    );
    let said = chat_of(&third, ServerKind::LlamaServer).unwrap();
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"b\": 1}" } });
    assert_eq!(
        said["messages"],
        json!([
            { "role": "system", "content": "third" },
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": null, "reasoning_content": "t", "tool_calls": [call] },
            { "role": "tool", "content": "r", "tool_call_id": "c1" },
            { "role": "assistant", "content": "done" },
            { "role": "user", "content": "more" },
        ])
    );
    let kept = store.get("resp_three", 0).unwrap();
    let document: Value = serde_json::from_str(kept.document()).unwrap();
    assert_eq!(
        (&document["id"], &document["previous_response_id"]),
        (&json!("resp_three"), &json!("resp_two"))
    );

    let list = |page: &[(&str, &str)]| -> Value {
        serde_json::from_str(&kept.input_items(&Page::of(page.iter().copied())).unwrap()).unwrap()
    };
    let ids = |list: &Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let oldest_first = list(&[("order", "asc")]);
    let all = ["msg_one_i0", "rs_one_0", "fc_one_1", "fco_two_i3", "msg_two_0", "msg_three_i5"];
    assert_eq!(ids(&oldest_first), all);
    let user = json!({ "id": "msg_one_i0", "type": "message", "role": "user", "status": "completed", "content": [{ "type": "input_text", "text": "a" }] });
    assert_eq!(oldest_first["data"][0], user);
    let page = list(&[("limit", "2")]);
    assert_eq!((ids(&page), &page["has_more"]), (vec![all[5].to_owned(), all[4].to_owned()], &json!(true)));
    let page = list(&[("limit", "90"), ("after", all[4]), ("what", "ever")]);
    assert_eq!((ids(&page).len(), &page["has_more"], &page["last_id"]), (4, &json!(false), &json!(all[0])));
    assert!(kept.input_items(&Page::of([("after", "nobody")])).is_err());
}

#[test]
fn items_are_found_by_their_id() {
    let mut store = roomy();
    turn(&mut store, "one", &json!({ "input": "a" }), &[text("b")]);
    let referred = json!({ "input": [{ "type": "item_reference", "id": "msg_one_i0" }, { "id": "msg_one_0" }, { "type": "item_reference", "id": "msg_gone_0" }, { "role": "user", "content": "c" }] });
    let asked = turn(&mut store, "two", &referred, &[]);
    let said = chat_of(&asked, ServerKind::LlamaServer).unwrap();
    let texts: Vec<&str> =
        said["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(asked.dropped(), ["input[2] (item_reference)"]);
}

#[test]
fn nothing_is_kept_that_was_not_wanted_or_did_not_end() {
    let mut store = roomy();
    let asked = turn(&mut store, "one", &json!({ "input": "a", "store": false }), &[text("b")]);
    assert!(store.is_empty() && !asked.stores());
    let mut answer = streamed(json!({ "input": "a" })).answer(telling("two"));
    answer.begin();
    answer.take(&text("b"));
    assert!(answer.kept().is_none());
    answer.end();
    assert_eq!(answer.kept().unwrap().id(), "resp_two");
}

fn answer(id: &str, length: usize) -> Stored {
    Stored::new(id, "d".repeat(length), &[], 0, vec![])
}

#[test]
fn the_one_not_used_for_longest_goes_first() {
    let mut store = Store::new(Limits { number: 3, bytes: 10_000, age_s: 100 });
    for id in ["a", "b", "c"] {
        store.keep(answer(id, 100), 0);
    }
    assert!(store.get("a", 0).is_some());
    store.keep(answer("d", 100), 0);
    let left: Vec<bool> = ["a", "b", "c", "d"].iter().map(|id| store.get(id, 0).is_some()).collect();
    assert_eq!((left, store.len()), (vec![true, false, true, true], 3));
    // By memory: the large one takes the place of all that do not fit beside it.
    store.keep(answer("large", 9_800), 0);
    assert!(store.len() == 1 && store.bytes() <= 10_000 && store.get("large", 0).is_some());
    store.keep(answer("too large", 10_001), 0);
    assert!(store.get("too large", 0).is_none() && store.get("large", 0).is_some());
    assert!(store.delete("large") && !store.delete("large"));
    assert_eq!((store.len(), store.bytes()), (0, 0));
}

#[test]
fn what_is_old_is_gone() {
    let mut store = Store::new(Limits { number: 3, bytes: 10_000, age_s: 100 });
    store.keep(answer("a", 10), 0);
    store.keep(answer("b", 10), 60);
    assert!(store.get("a", 100).is_some() && store.get("a", 101).is_none());
    assert!(store.get("b", -5).is_some(), "a clock that was set back");
    store.keep(answer("c", 10), 161);
    assert!(store.len() == 1 && store.get("c", 161).is_some());
    store.keep(answer("c", 20), 162);
    assert_eq!(store.len(), 1, "the same id again takes its own place");
}

#[test]
fn the_other_documents() {
    assert_eq!(
        serde_json::from_str::<Value>(&deleted("resp_a")).unwrap(),
        json!({ "id": "resp_a", "object": "response", "deleted": true })
    );
    assert_eq!(not_found("resp_a").status, 404);
    for (query, wanted) in [
        (vec![], (20, None, false)),
        (vec![("limit", "0")], (1, None, false)),
        (vec![("limit", "1000"), ("order", "asc"), ("after", "x")], (100, Some("x".to_owned()), true)),
        (vec![("limit", "many"), ("order", "desc"), ("after", "")], (20, None, false)),
    ] {
        let page = Page::of(query);
        assert_eq!((page.limit, page.after, page.oldest_first), wanted);
    }
}

proptest::proptest! {
    #[test]
    fn the_store_keeps_to_its_limits(steps in proptest::collection::vec((0u8..8, 0usize..400, 0i64..50), 0..60)) {
        let mut store = Store::new(Limits { number: 4, bytes: 1_000, age_s: 100 });
        let mut now_s = 0;
        for (id, length, later_s) in steps {
            now_s += later_s;
            let id = id.to_string();
            match length % 5 {
                0 => { store.delete(&id); }
                1 => { store.get(&id, now_s); }
                _ => store.keep(answer(&id, length), now_s),
            }
            proptest::prop_assert!(store.len() <= 4 && store.bytes() <= 1_000);
            proptest::prop_assert_eq!(store.is_empty(), store.bytes() == 0);
        }
    }
}
