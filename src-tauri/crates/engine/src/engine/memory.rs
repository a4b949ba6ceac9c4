//! Calls about what is in memory beside the active model, and about scenes.

use super::Inner;
use crate::api::{Call, CallResult};
use pilothouse_domain::error::{ApiError, ErrorCode};

impl Inner {
    pub(super) async fn memory_call(&self, _call: Call) -> CallResult {
        Err(ApiError::new(ErrorCode::Unsupported, "Scenes are being built."))
    }
}
