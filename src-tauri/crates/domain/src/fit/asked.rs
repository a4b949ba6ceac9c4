//! What a person means by the question "does it fit?".

use super::typical;
use crate::{
    anatomy::Anatomy,
    error::{ApiError, ErrorCode},
    model::{Model, find_exactly, find_models},
    server::ServerId,
};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Meant<'a> {
    Model(&'a Model),
    /// A model of that size, wherever it may come from.
    Typical(Box<Anatomy>),
    /// More than one model.
    Several,
    Nothing,
}

/// A model of just that name goes first, then a typical size ("7b"), and only then models that have it as a part of their
/// name. Whoever names a server means one of its models, if it has such a one.
pub fn meant<'a>(models: &'a [Model], name: &str, server: Option<&ServerId>) -> Meant<'a> {
    let typical = || typical(name.trim()).map(|anatomy| Meant::Typical(Box::new(anatomy)));
    let exact = find_exactly(models, name, server);
    if exact.is_empty()
        && server.is_none()
        && let Some(typical) = typical()
    {
        return typical;
    }
    match find_models(models, name, server)[..] {
        [] => typical().unwrap_or(Meant::Nothing),
        [model] => Meant::Model(model),
        _ => Meant::Several,
    }
}

/// A longer context than a model was trained for is refused: servers cut it, or answer nonsense beyond it, so that a figure for
/// it would be of no use. Errors: unsupported.
pub fn check_context(title: &str, asked: Option<u64>, context_max: Option<u64>) -> Result<(), ApiError> {
    match (asked, context_max) {
        (Some(asked), Some(most)) if asked > most => {
            let text =
                format!("{title} was trained for contexts of up to {most} tokens; {asked} were asked for.");
            Err(ApiError::new(ErrorCode::Unsupported, text)
                .hint(format!("Ask for a context of {most} tokens or less.")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelPurpose;

    fn model(server: &str, name: &str) -> Model {
        Model {
            server: server.into(),
            name: name.into(),
            title: name.into(),
            purpose: ModelPurpose::Llm,
            format: None,
            quantization: None,
            parameters: None,
            size_bytes: None,
            context_max: None,
            damaged: None,
        }
    }

    #[test]
    fn a_size_is_a_size_unless_a_model_is_called_just_that() {
        let models = [
            model("llama-server", "Qwen2.5-7B-Instruct-Q4_K_M"),
            model("ollama", "qwen3:30b"),
            model("ollama", "qwen3:30b-a3b"),
            model("ollama", "70b:latest"),
            model("lmstudio", "13B"),
            model("lmstudio", "gemma-3b"),
        ];
        let of = |name: &str, server: Option<&str>| match meant(
            &models,
            name,
            server.map(ServerId::from).as_ref(),
        ) {
            Meant::Model(model) => model.name.clone(),
            Meant::Typical(_) => "a size".into(),
            Meant::Several => "several".into(),
            Meant::Nothing => "nothing".into(),
        };
        for (name, server, wanted) in [
            ("7b", None, "a size"),
            ("7B", None, "a size"),
            (" 7b ", None, "a size"),
            ("30b", None, "a size"),
            ("3b:q8_0", None, "a size"),
            ("0.5b", None, "a size"),
            ("7b", Some("llama-server"), "Qwen2.5-7B-Instruct-Q4_K_M"),
            ("30b", Some("ollama"), "several"),
            ("1.5b", Some("ollama"), "a size"),
            // Just that name.
            ("70b", None, "70b:latest"),
            ("13b", None, "13B"),
            ("qwen3:30b", None, "qwen3:30b"),
            // No typical sizes.
            ("32b", None, "nothing"),
            ("qwen3", None, "several"),
            ("7b-instruct", None, "Qwen2.5-7B-Instruct-Q4_K_M"),
        ] {
            assert_eq!(of(name, server), wanted, "{name} {server:?}");
        }
    }

    #[test]
    fn a_context_beyond_the_models_own_is_refused_with_the_reason() {
        for (asked, most, fine) in [
            (Some(32_768), Some(32_768), true),
            (Some(32_769), Some(32_768), false),
            (Some(1 << 24), Some(8192), false),
            (Some(1 << 24), None, true),
            (None, Some(2048), true),
            (Some(1), Some(2048), true),
        ] {
            assert_eq!(check_context("m", asked, most).is_ok(), fine, "{asked:?} of {most:?}");
        }
        let refused = check_context("Qwen 7B", Some(40_000), Some(32_768)).unwrap_err();
        assert!(refused.message.contains("32768") && refused.hint.is_some(), "{refused:?}");
        assert_eq!(refused.code.exit_code(), 5);
    }
}
