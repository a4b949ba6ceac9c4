//! Tests of `cards.rs`.

use super::*;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn full() -> ModelCard {
    ModelCard {
        name: "qwen3:8b".into(),
        size_bytes: Some(5_225_387_677),
        digest: Some("ab".repeat(32)),
        modified_at: Some(at(1_780_000_000)),
        format: Some("gguf".into()),
        family: Some("qwen3".into()),
        parameter_size: Some("8.2B".into()),
        quantization: Some("Q4_K_M".into()),
        context: Some(40_960),
        embedding_length: Some(4096),
        template: Some("{{ .Prompt }}".into()),
        capabilities: Some(vec!["completion".into(), "tools".into()]),
        loaded: Some(Loaded {
            size_bytes: Some(6_654_289_920),
            vram_bytes: Some(6_654_289_920),
            expires_at: Some(at(1_780_000_300)),
        }),
    }
}

fn bare() -> ModelCard {
    ModelCard { name: "lmstudio/phi".into(), ..ModelCard::default() }
}

fn read(document: Vec<u8>) -> Value {
    serde_json::from_slice(&document).unwrap()
}

#[test]
fn tags_say_what_is_known() {
    let details = json!({
        "parent_model": "", "format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M", "context_length": 40960, "embedding_length": 4096,
    });
    let nothing = json!({
        "parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": "",
    });
    assert_eq!(
        read(tags(&[full(), bare()])),
        json!({ "models": [
            { "name": "qwen3:8b", "model": "qwen3:8b", "modified_at": "2026-05-28T20:26:40Z", "size": 5_225_387_677_u64,
              "digest": "ab".repeat(32), "details": details, "capabilities": ["completion", "tools"] },
            { "name": "lmstudio/phi:latest", "model": "lmstudio/phi:latest", "modified_at": "0001-01-01T00:00:00Z",
              "size": 0, "digest": digest_of("lmstudio/phi"), "details": nothing },
        ] })
    );
    assert_eq!(read(tags(&[])), json!({ "models": [] }));
}

#[test]
fn ps_lists_the_loaded_ones_that_stay_longest_first() {
    let until = |name: &str, second: Option<i64>| ModelCard {
        loaded: Some(Loaded { expires_at: second.map(at), ..Loaded::default() }),
        ..ModelCard { name: name.into(), ..ModelCard::default() }
    };
    let said = read(ps(&[until("a", Some(9)), bare(), until("b", None), full(), until("c", Some(70))]));
    let names: Vec<&str> =
        said["models"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["b:latest", "qwen3:8b", "c:latest", "a:latest"]);
    let first = &said["models"][0];
    assert_eq!((&first["expires_at"], &first["size"]), (&json!(NEVER), &json!(0)));
    assert!(
        first.get("size_vram").is_none() && first.get("context_length").is_none(),
        "not known is not zero"
    );
    let second = &said["models"][1];
    assert_eq!((&second["size_vram"], &second["context_length"]), (&json!(6_654_289_920_u64), &json!(40960)));
    assert_eq!(read(ps(&[bare()])), json!({ "models": [] }));
}

#[test]
fn show_says_the_room_for_tokens_wherever_clients_look() {
    let said = read(show(&full()));
    assert_eq!(
        said["parameters"].as_str().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["num_ctx", "40960"]
    );
    assert_eq!(
        said["model_info"],
        json!({ "general.architecture": "qwen3", "general.basename": "qwen3:8b", "qwen3.context_length": 40960,
            "qwen3.embedding_length": 4096 })
    );
    assert_eq!(
        (&said["capabilities"], &said["template"]),
        (&json!(["completion", "tools"]), &json!("{{ .Prompt }}"))
    );
    let said = read(show(&ModelCard { context: Some(8192), ..bare() }));
    assert_eq!(
        said["model_info"],
        json!({ "general.architecture": "unknown", "general.basename": "lmstudio/phi", "unknown.context_length": 8192 })
    );
    let said = read(show(&bare()));
    assert_eq!((&said["parameters"], &said["template"]), (&json!(""), &json!("")));
    assert!(said.get("capabilities").is_none() && said.get("modified_at").is_none());
}

#[test]
fn digests_are_stable_and_each_ones_own() {
    assert_eq!(digest_of("a"), digest_of("a:latest"));
    let names = ["a", "b", "a:8b", "a/b", "", "ü"];
    let digests: std::collections::BTreeSet<String> = names.iter().map(|name| digest_of(name)).collect();
    assert_eq!(digests.len(), names.len());
    assert!(digests.iter().all(|one| one.len() == 64 && one.bytes().all(|digit| digit.is_ascii_hexdigit())));
    // Pinned: a digest that changes with a release would make each model a new one.
    assert_eq!(&digest_of("llama3.2")[..12], "b45459251084");
}

#[test]
fn the_version_is_one_that_clients_take() {
    assert_eq!(read(version()), json!({ "version": VERSION }));
    let parts: Vec<u32> = VERSION.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts > vec![0, 6, 4]);
}
