//! What the clients ask of their servers for a vector, and to keep what is in memory, held against a small server.

use crate::oddity_tests::{KINDS, Kind, Odd};
use pilothouse_domain::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
};
use serde_json::{Value, json};

async fn vector(kind: Kind, status: u16, body: &str) -> Result<Vec<f32>, ApiError> {
    let body = body.to_owned();
    let server = Odd::start(move |path, _| (path == "/v1/embeddings").then(|| (status, body.clone()))).await;
    server.client(kind).embed("m", "Hello").await
}

#[tokio::test]
async fn a_vector_is_numbers_and_at_least_one() {
    // As the embedded build and Ollama 0.32 give it, shortened.
    let llama = r#"{"model":"m","object":"list","usage":{"prompt_tokens":3,"total_tokens":3},
        "data":[{"embedding":[0.5,-0.25,0.0],"index":0,"object":"embedding"}]}"#;
    let ollama = r#"{"object":"list","data":[{"object":"embedding","embedding":[0.5,-0.25,0],"index":0}],
        "model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    for kind in KINDS {
        for body in [llama, ollama] {
            assert_eq!(vector(kind, 200, body).await.unwrap(), [0.5, -0.25, 0.0], "{kind:?}");
        }
        for body in [
            r#"{"data":[]}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":[0.5,null]}]}"#,
            r#"{"data":[{"embedding":[1e300]}]}"#,
            r#"{"data":[{"embedding":"AAAAPw=="}]}"#,
            r#"{"object":"list"}"#,
            "no JSON",
        ] {
            assert_eq!(
                vector(kind, 200, body).await.unwrap_err().code,
                ErrorCode::BadAnswer,
                "{kind:?} {body}"
            );
        }
        let refusal = r#"{"error":{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}}"#;
        for status in [501, 200] {
            let error = vector(kind, status, refusal).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::ServerError, "{kind:?} {status}");
            assert!(error.message.contains("does not support embeddings"), "{error}");
        }
    }
}

/// Asks an Ollama that holds this to keep "m:latest"; gives what came of it, and each question but the first, which is what it holds.
async fn kept(held: Value) -> (Result<bool, ApiError>, Vec<(String, Value)>) {
    let of_embedding = held["name"] == "e:latest";
    let list = json!({ "models": [held] }).to_string();
    let server = Odd::start(move |path, _| match path {
        "/api/ps" => Some((200, list.clone())),
        "/api/generate" if of_embedding => {
            Some((400, r#"{"error":"\"e\" does not support generate"}"#.into()))
        }
        "/api/generate" => {
            Some((200, r#"{"model":"m","response":"","done":true,"done_reason":"load"}"#.into()))
        }
        "/api/embed" => Some((200, r#"{"model":"e","embeddings":[]}"#.into())),
        _ => None,
    })
    .await;
    let name = if of_embedding { "e" } else { "m" };
    let result = server.client(Kind::Ollama).keep(name).await;
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked[0].0, "/api/ps");
    let asked = asked.into_iter().skip(1);
    (result, asked.map(|(path, body)| (path, serde_json::from_str(&body).unwrap())).collect())
}

#[tokio::test]
async fn ollama_is_asked_to_keep_what_it_holds_as_it_is_and_nothing_else() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5);
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
    let nothing = json!({ "model": "m", "keep_alive": -1, "stream": false });
    let with = |mut body: Value, context: u64| {
        body["options"] = json!({ "num_ctx": context });
        body
    };
    let generate = |body: Value| vec![("/api/generate".to_owned(), body)];
    for (held, kept_now, questions) in [
        (
            json!({ "name": "m:latest", "expires_at": soon, "context_length": 1024 }),
            true,
            generate(with(nothing.clone(), 1024)),
        ),
        // Before 0.10 the context is not told.
        (json!({ "name": "m:latest", "expires_at": soon }), true, generate(nothing.clone())),
        (json!({ "name": "m:latest" }), true, generate(nothing.clone())),
        (json!({ "name": "m:latest", "expires_at": "2318-09-01T00:00:00Z" }), true, vec![]),
        // It is on its way out: a question would load it again.
        (json!({ "name": "m:latest", "expires_at": past, "context_length": 1024 }), false, vec![]),
        (json!({ "name": "other:latest", "expires_at": soon, "context_length": 1024 }), false, vec![]),
        (
            json!({ "name": "e:latest", "expires_at": soon, "context_length": 512 }),
            true,
            vec![
                (
                    "/api/generate".to_owned(),
                    with(json!({ "model": "e", "keep_alive": -1, "stream": false }), 512),
                ),
                // A context that is named makes it load an embedding model again.
                ("/api/embed".to_owned(), json!({ "model": "e", "keep_alive": -1, "input": [] })),
            ],
        ),
    ] {
        let (result, asked) = kept(held.clone()).await;
        assert_eq!(result.unwrap(), kept_now, "{held}");
        assert_eq!(asked, questions, "{held}");
    }
}

#[tokio::test]
async fn what_is_not_set_is_always_fine_and_what_is_refused_names_a_way() {
    let with = LoadSettings { context: Some(512), parallel: Some(2), kv_type: Some(KvType::Q8_0) };
    let server = Odd::start(|_, _| None).await;
    for kind in KINDS {
        let client = server.client(kind);
        assert_eq!(client.cannot_load_with(&LoadSettings::default()), None, "{kind:?}");
        let error = client.cannot_load_with(&with).unwrap();
        assert_eq!((error.code, error.hint.is_some()), (ErrorCode::Unsupported, true), "{kind:?}");
        assert!(!client.keep("m").await.unwrap_or_default(), "{kind:?}");
    }
}
