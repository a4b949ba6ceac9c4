//! Models (weights a server can load) and instances (models in a server's memory).

use crate::{
    Timestamp,
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    server::ServerId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use ts_rs::TS;

/// A model where it lives: the name is the server's own, so the same weights on two servers are two references.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ModelRef {
    pub server: ServerId,
    /// The name as the server spells it ("smollm2:135m", "SmolLM2-135M-Instruct.Q4_1").
    pub model: String,
}

impl ModelRef {
    pub fn new(server: impl Into<ServerId>, model: impl Into<String>) -> Self {
        Self { server: server.into(), model: model.into() }
    }

    /// The identity across servers: `<server>/<model>`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.server, self.model)
    }
}

impl From<&str> for ServerId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.model, self.server)
    }
}

/// What a model is for. Only `Llm` can become the active model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum ModelPurpose {
    #[default]
    Llm,
    Embedding,
    /// None of these, or its files are damaged.
    Other,
}

/// Weights that a server can load. What the server does not report is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Model {
    pub server: ServerId,
    /// The server's own name for it.
    pub name: String,
    /// The name as people read it.
    pub title: String,
    pub purpose: ModelPurpose,
    /// "gguf", "mlx", "safetensors".
    pub format: Option<String>,
    /// "Q4_K_M", "4bit".
    pub quantization: Option<String>,
    /// Parameter count as text ("135M", "26B-A4B").
    pub parameters: Option<String>,
    /// Bytes of the weights on disk.
    pub size_bytes: Option<u64>,
    /// Context length that the model was trained for, in tokens.
    pub context_max: Option<u64>,
    /// Why its files cannot be loaded by anything ("it is cut off, …"). It is listed, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

impl Model {
    /// As it is listed when its files are damaged: whatever offers, counts or tries models passes over it.
    pub fn damaged(self, why: impl Into<String>) -> Self {
        Self { purpose: ModelPurpose::Other, damaged: Some(why.into()), ..self }
    }

    /// That it cannot be loaded. `None`: its files are not known to be damaged.
    pub fn damage(&self) -> Option<ApiError> {
        let why = self.damaged.as_ref()?;
        let text = format!("{} cannot be loaded: {why}.", self.title);
        Some(ApiError::new(ErrorCode::Unsupported, text).hint("Fetch it again, or remove its file."))
    }

    pub fn reference(&self) -> ModelRef {
        ModelRef { server: self.server.clone(), model: self.name.clone() }
    }
}

/// With what a model shall be put into memory. What is left out is as its server does it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize, TS)]
#[serde(default)]
#[ts(export)]
pub struct LoadSettings {
    /// Tokens per request.
    #[ts(optional)]
    pub context: Option<u64>,
    /// Requests at a time, 1 and more.
    #[ts(optional)]
    pub parallel: Option<u32>,
    /// How keys and values are kept.
    #[ts(optional)]
    pub kv_type: Option<KvType>,
}

impl LoadSettings {
    /// Only the context, in tokens, where one is wanted.
    pub fn context(context: Option<u64>) -> Self {
        Self { context, ..Self::default() }
    }
}

/// When an idle instance leaves memory by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum Expiry {
    NotReported,
    Never,
    At(#[ts(type = "string")] Timestamp),
}

/// A model in a server's memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Instance {
    /// The server's identifier of this copy; what a request must name ("key:2" on LM Studio).
    pub id: String,
    pub server: ServerId,
    /// The model's name on that server.
    pub model: String,
    /// Bytes in all memory as the server reports them.
    pub memory_bytes: Option<u64>,
    /// The part of it in GPU memory, as the server reports it.
    pub gpu_memory_bytes: Option<u64>,
    /// Context length in force, in tokens.
    pub context: Option<u64>,
    pub expiry: Expiry,
    /// The process that holds it, where a server has one for each and that could be seen.
    pub pid: Option<u32>,
    /// Where it answers itself on its server's host, past its server. `None`: its server answers for it.
    pub port: Option<u16>,
    /// Answers that it gives at a time, as far as that is known; more wait in its own queue.
    pub slots: Option<u32>,
    /// Answers that it goes on giving although nobody waits for them any more: they keep slots from others. `None`: its
    /// slots are not told.
    pub orphaned_answers: Option<u32>,
}

/// The one model that a person means by `wanted`. Errors: not_found, ambiguous.
pub fn find_model<'a>(
    models: &'a [Model],
    wanted: &str,
    server: Option<&ServerId>,
) -> Result<&'a Model, ApiError> {
    let hits = find_models(models, wanted, server);
    match hits[..] {
        [] => Err(ApiError::not_found(format!("No server has a model named {wanted}."))
            .hint("“pilothouse models” lists the models; a stopped server must be started first.")),
        [model] => Ok(model),
        _ => {
            let names: Vec<String> = hits.iter().take(6).map(|model| model.reference().id()).collect();
            let text = format!("{wanted} fits {} models: {}.", hits.len(), names.join(", "));
            Err(ApiError::new(ErrorCode::Ambiguous, text).hint("Name one of them, or add --server."))
        }
    }
}

/// Whether `asked` is another spelling of a name that Ollama lists, one that Ollama takes itself: without the tag `latest`,
/// with its default registry and namespace in front, in other letters' case (ollama, types/model/name.go). Ollama lists every
/// name with its tag, and nobody else has tags, so that names of other servers are never taken for one.
pub fn is_spelling_of(listed: &str, asked: &str) -> bool {
    fn whole(name: &str) -> String {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let last = name.rsplit('/').next().unwrap_or_default();
        if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
    }
    let tagged = listed.rsplit('/').next().is_some_and(|last| last.contains(':'));
    tagged && !asked.is_empty() && whole(listed) == whole(asked)
}

/// Finds the models that a person may have meant by `wanted`: those of [`find_exactly`], else those whose name begins with it,
/// else those whose name has it as a part. Several hits mean that the name is ambiguous.
pub fn find_models<'a>(models: &'a [Model], wanted: &str, server: Option<&ServerId>) -> Vec<&'a Model> {
    let exact = find_exactly(models, wanted, server);
    if !exact.is_empty() || wanted.trim().is_empty() {
        return exact;
    }
    let lower = wanted.trim().to_lowercase();
    first_hits(
        models,
        server,
        &[
            &|m| m.name.to_lowercase().starts_with(&lower),
            &|m| m.name.to_lowercase().contains(&lower),
            // `server/part`.
            &|m| m.server.named_in(&lower).is_some_and(|part| m.name.to_lowercase().contains(part)),
        ],
    )
}

/// Finds the models that have this name: an exact `server/name` or name first, then another
/// spelling of it (see [`is_spelling_of`]), then name or title
/// without regard to case.
pub fn find_exactly<'a>(models: &'a [Model], wanted: &str, server: Option<&ServerId>) -> Vec<&'a Model> {
    let wanted = wanted.trim();
    if wanted.is_empty() {
        return Vec::new();
    }
    let lower = wanted.to_lowercase();
    first_hits(
        models,
        server,
        &[
            &|m| m.reference().id() == wanted || m.name == wanted,
            &|m| {
                is_spelling_of(&m.name, wanted)
                    || m.server.named_in(wanted).is_some_and(|name| is_spelling_of(&m.name, name))
            },
            &|m| m.name.to_lowercase() == lower || m.title.to_lowercase() == lower,
        ],
    )
}

/// What the first of these rules finds that finds anything.
fn first_hits<'a>(
    models: &'a [Model],
    server: Option<&ServerId>,
    rules: &[&dyn Fn(&Model) -> bool],
) -> Vec<&'a Model> {
    let candidates: Vec<&Model> = models.iter().filter(|m| server.is_none_or(|s| &m.server == s)).collect();
    rules
        .iter()
        .map(|rule| candidates.iter().copied().filter(|m| rule(m)).collect::<Vec<_>>())
        .find(|hits| !hits.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_name_may_be_spelled_as_ollama_takes_it() {
        for (listed, asked) in [
            ("qwen2.5:latest", "qwen2.5"),
            ("qwen2.5:latest", "Qwen2.5:Latest"),
            ("qwen2.5:7b", "library/qwen2.5:7b"),
            ("qwen2.5:latest", "registry.ollama.ai/library/qwen2.5"),
            ("hf.co/someone/Model-GGUF:latest", "hf.co/someone/model-gguf"),
            ("me/own:latest", "me/own"),
        ] {
            assert!(is_spelling_of(listed, asked), "{asked} for {listed}");
        }
        for (listed, asked) in [
            ("qwen2.5:7b", "qwen2.5"),
            ("qwen2.5:latest", "qwen2"),
            ("qwen2.5:latest", "me/qwen2.5"),
            ("me/own:latest", "own"),
            ("qwen2.5", "qwen2.5:latest"),
            ("Qwen/Qwen2.5", "qwen/qwen2.5"),
            ("host:80/qwen2.5", "HOST:80/qwen2.5"),
            (":latest", ""),
        ] {
            assert!(!is_spelling_of(listed, asked), "{asked} for {listed}");
        }
    }

    #[test]
    fn a_name_is_found_by_the_first_rung_that_fits() {
        let models = [
            model("llama-server", "SmolLM2-135M-Instruct.Q4_1"),
            model("ollama", "smollm2:135m"),
            model("ollama", "gemma3:latest"),
            model("lmstudio", "gemma3"),
        ];
        let names = |wanted: &str, server: Option<&str>| -> Vec<String> {
            find_models(&models, wanted, server.map(ServerId::from).as_ref())
                .iter()
                .map(|m| m.reference().id())
                .collect()
        };
        assert_eq!(names("smollm2:135m", None), ["ollama/smollm2:135m"]);
        assert_eq!(names("ollama/smollm2:135m", None), ["ollama/smollm2:135m"]);
        assert_eq!(names("gemma3", None), ["lmstudio/gemma3"]);
        assert_eq!(names("gemma3", Some("ollama")), ["ollama/gemma3:latest"]);
        assert_eq!(names("smol", None).len(), 2, "a shared beginning is ambiguous");
        assert_eq!(names("instruct", None), ["llama-server/SmolLM2-135M-Instruct.Q4_1"]);
        for wanted in [
            "ollama/gemma3",
            "gemma3:latest",
            "ollama/library/Gemma3",
            "registry.ollama.ai/library/gemma3:latest",
        ] {
            assert_eq!(names(wanted, None), ["ollama/gemma3:latest"], "{wanted}");
        }
        assert_eq!(names("lmstudio/gemma3", None), ["lmstudio/gemma3"]);
        assert!(names("", None).is_empty());
        assert!(names("qwen", None).is_empty());
        let one = |wanted: &str| find_model(&models, wanted, None);
        assert_eq!(one("lmstudio/gemma3").unwrap().server, "lmstudio".into());
        assert_eq!(one("qwen").unwrap_err().code, ErrorCode::NotFound);
        let many = one("smol").unwrap_err();
        assert_eq!(many.code, ErrorCode::Ambiguous);
        assert!(many.message.contains("ollama/smollm2:135m"), "{many:?}");
    }

    #[test]
    fn what_is_damaged_is_listed_for_nothing_and_says_why() {
        let whole = model("llama-server", "a");
        assert_eq!(whole.damage(), None);
        let damaged = whole.damaged("it is cut off, 3 bytes of 9");
        assert_eq!(damaged.purpose, ModelPurpose::Other);
        let damage = damaged.damage().unwrap();
        assert_eq!(damage.message, "a cannot be loaded: it is cut off, 3 bytes of 9.");
        assert!(damage.hint.is_some());
    }
}
