//! The one command of the page: a call goes in, a reply or an error comes out, as over HTTP.

use pilothouse_engine::{
    EngineHandle,
    api::{ApiError, Call, CallHandler, ErrorCode, Reply},
};
use serde_json::Value;
use tauri::State;

#[tauri::command]
pub async fn call(engine: State<'_, EngineHandle>, call: Value) -> Result<Reply, ApiError> {
    engine.call(parse(call)?).await
}

/// A call that is not understood is answered in the same shape as every other error.
pub fn parse(call: Value) -> Result<Call, ApiError> {
    serde_json::from_value(call).map_err(|error| {
        ApiError::new(ErrorCode::InvalidCall, format!("The call is not understood: {error}."))
    })
}
