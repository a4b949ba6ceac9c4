//! What the clients ask of their servers with a load, held against a small server.

use crate::oddity_tests::{KINDS, Odd};
use pilothouse_domain::{anatomy::KvType, error::ErrorCode, model::LoadSettings};

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
