//! The proof that a model in memory answers: one real token.

use super::{Connection, ResidencyWiring};
use futures_util::StreamExt;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose},
    snapshot::Snapshot,
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
            if let Some(told) = event.model.as_deref()
                && is_another(&around.hub.now(), model, instance, told)
            {
                let text = format!("{} was asked, and {told} has answered.", model.title);
                return Err(ApiError::new(ErrorCode::ProofFailed, text).hint(hint.as_str()));
            }
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

/// Whether an answer came from another model of the same server. What names no model of it, as a path or an alias, says nothing.
fn is_another(snapshot: &Snapshot, model: &Model, instance: &str, told: &str) -> bool {
    if told == model.name || told == instance {
        return false;
    }
    let listed = snapshot.models.iter().map(|view| (&view.model.server, &view.model.name, &view.model.name));
    let loaded = snapshot.instances.iter().map(|one| (&one.server, &one.model, &one.id));
    // A copy has a name of its own.
    listed.chain(loaded).any(|(server, name, told_as)| {
        *server == model.server && *name != model.name && told_as.as_str() == told
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeServer;
    use pilothouse_domain::{model::Expiry, snapshot::ModelView};
    use pilothouse_servers::ServerClient;

    #[tokio::test]
    async fn only_the_name_of_another_model_of_the_same_server_tells_that_another_has_answered() {
        let one = FakeServer::new("one").with_model("a", 1).with_model("b", 1).with_model("a:latest", 1);
        let mut snapshot = Snapshot::empty(
            pilothouse_domain::snapshot::EngineView::default(),
            pilothouse_domain::Timestamp::UNIX_EPOCH,
        );
        let models = one.models().await.unwrap();
        snapshot.models = models
            .iter()
            .map(|model| ModelView {
                id: model.reference().id(),
                model: model.clone(),
                loaded: false,
                active: false,
                fits: None,
                fits_reason: String::new(),
                needed_bytes: None,
                off_card: false,
                standing: pilothouse_domain::standing::Standing::default(),
            })
            .collect();
        let copy = |model: &str, id: &str, server: &str| pilothouse_domain::model::Instance {
            id: id.into(),
            server: server.into(),
            model: model.into(),
            memory_bytes: None,
            gpu_memory_bytes: None,
            context: None,
            expiry: Expiry::Never,
            pid: None,
            port: None,
            slots: None,
            orphaned_answers: None,
        };
        snapshot.instances = vec![copy("a", "a:2", "one"), copy("b", "b:2", "one"), copy("c", "c", "two")];
        let a = models.iter().find(|model| model.name == "a").unwrap();
        for (told, another) in [
            ("a", false),
            ("a:2", false),
            ("b", true),
            ("b:2", true),
            ("a:latest", true),
            ("c", false),
            ("/models/b.gguf", false),
            ("", false),
        ] {
            assert_eq!(is_another(&snapshot, a, "a:2", told), another, "{told}");
        }
        assert!(!is_another(&snapshot, a, "x", "x"), "it was asked for by that name");
    }
}
