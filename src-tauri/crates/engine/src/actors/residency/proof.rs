//! The proof that a model in memory answers: one real token.

use super::{Connection, ResidencyWiring};
use futures_util::StreamExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose},
};
use pilothouse_servers::GenerateRequest;
use std::time::Duration;

/// How long the first token may take.
const PROOF_LIMIT: Duration = Duration::from_secs(120);

/// Waits for a real answer of an instance: a token, or the embedding of a word. Errors: proof_failed, and what the server says.
pub(super) async fn one_answer(
    around: &ResidencyWiring,
    connection: &Connection,
    model: &Model,
    instance: &str,
) -> Result<(), ApiError> {
    if model.purpose == ModelPurpose::Llm {
        return one_token(around, connection, model, instance).await;
    }
    let lease = connection.target(&model.server, &model.name, instance);
    let _lease = around.leases.enter(&lease);
    let embedding = connection.client.embed(instance, "Hello");
    match tokio::time::timeout(PROOF_LIMIT, embedding).await {
        Ok(Ok(numbers)) if !numbers.is_empty() => Ok(()),
        // A server that cannot be asked for one in this way is believed.
        Ok(Err(error)) if error.code == ErrorCode::Unsupported => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) => {
            Err(ApiError::new(ErrorCode::ProofFailed, format!("{} gave no embedding.", model.title)))
        }
        Err(_) => {
            let text = format!("{} gave no embedding within {} s.", model.title, PROOF_LIMIT.as_secs());
            Err(ApiError::new(ErrorCode::ProofFailed, text))
        }
    }
}

/// Waits for a token of an instance. Errors: proof_failed, and what the server says.
pub(super) async fn one_token(
    around: &ResidencyWiring,
    connection: &Connection,
    model: &Model,
    instance: &str,
) -> Result<(), ApiError> {
    let lease = connection.target(&model.server, &model.name, instance);
    let _lease = around.leases.enter(&lease);
    let request = GenerateRequest {
        instance: instance.to_owned(),
        prompt: "Hello".into(),
        max_tokens: 4,
        raw: true,
        reuses_prefix: false,
        ends_by_itself: false,
    };
    let hint = format!("Look at the server's log (pilothouse logs {}), or try another model.", model.server);
    let token = async {
        let mut answer = connection.client.generate(&request).await?;
        while let Some(event) = answer.next().await {
            let event = event?;
            let counted = event.end.as_ref().is_some_and(|end| end.output_tokens > Some(0));
            if !event.text.is_empty() || counted {
                return Ok(());
            }
        }
        let text = format!("{} gave no token.", model.title);
        Err(ApiError::new(ErrorCode::ProofFailed, text).hint(hint.as_str()))
    };
    tokio::time::timeout(PROOF_LIMIT, token).await.unwrap_or_else(|_| {
        let text = format!("{} gave no token within {} s.", model.title, PROOF_LIMIT.as_secs());
        Err(ApiError::new(ErrorCode::ProofFailed, text).hint(hint.as_str()))
    })
}
