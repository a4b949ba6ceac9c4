//! What the clients ask of their servers for a vector, held against a small server.

use crate::oddity_tests::{KINDS, Kind, Odd};
use pilothouse_domain::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
};

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

#[tokio::test]
async fn what_is_not_set_is_always_fine_and_what_is_refused_names_a_way() {
    let with = LoadSettings { context: Some(512), parallel: Some(2), kv_type: Some(KvType::Q8_0) };
    let server = Odd::start(|_, _| None).await;
    for kind in KINDS {
        let client = server.client(kind);
        assert_eq!(client.cannot_load_with(&LoadSettings::default()), None, "{kind:?}");
        let error = client.cannot_load_with(&with).unwrap();
        assert_eq!((error.code, error.hint.is_some()), (ErrorCode::Unsupported, true), "{kind:?}");
    }
}
