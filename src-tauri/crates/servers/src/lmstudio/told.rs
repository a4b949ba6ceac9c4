//! What both dialects have in common.

use super::ID;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Expiry, Instance, ModelPurpose},
    server::ServerId,
};

pub(super) fn purpose(kind: &str) -> ModelPurpose {
    match kind {
        "llm" | "vlm" => ModelPurpose::Llm,
        "embedding" | "embeddings" => ModelPurpose::Embedding,
        _ => ModelPurpose::Other,
    }
}

pub(super) fn instance(id: &str, model: &str, context: Option<u64>) -> Instance {
    Instance {
        id: id.to_owned(),
        server: ServerId::new(ID),
        model: model.to_owned(),
        memory_bytes: None,
        gpu_memory_bytes: None,
        context,
        expiry: Expiry::NotReported,
        pid: None,
        port: None,
        slots: None,
        orphaned_answers: None,
    }
}

pub(super) fn server_error(said: &str) -> ApiError {
    ApiError::new(ErrorCode::ServerError, format!("LM Studio: {said}"))
}

pub(super) fn not_understood() -> ApiError {
    ApiError::new(ErrorCode::BadAnswer, "LM Studio sent an event that is not understood.")
}
