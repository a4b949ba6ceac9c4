//! How many requests at a time a server answers: where that stands in the settings, and how it is changed for one model.

use super::{ServersSettings, Settings};
use crate::{
    error::{ApiError, ErrorCode},
    server::{Ownership, ServerId, ServerKind},
};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// The most requests at a time that may be set. The range of the settings file.
pub const MAX_PARALLEL: u32 = 64;

/// What came of a change of how many requests at a time a model answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ParallelReport {
    pub server: ServerId,
    pub model: String,
    /// The key of the settings file that was written: "servers.ollama.parallel".
    pub key: String,
    /// Requests at a time before; 0: as the server itself chose.
    pub before: u32,
    /// And now.
    pub parallel: u32,
    /// `false`: it was so already, and nothing was done.
    pub changed: bool,
    pub took_ms: u64,
    /// Until the first token of the proof; `None` where nothing was done.
    pub first_token_ms: Option<u64>,
    /// For so many seconds it can be undone; 0: it cannot.
    pub undo_s: u32,
}

/// The key of the settings file, part by part. `None`: Pilothouse has no setting for it on servers of this kind.
pub fn parallel_key(kind: ServerKind, model: &str) -> Option<Vec<String>> {
    let key: &[&str] = match kind {
        ServerKind::LlamaServer => &["servers", "llama-server", "models", model, "parallel"],
        ServerKind::Ollama => &["servers", "ollama", "parallel"],
        ServerKind::LmStudio | ServerKind::OpenAi => return None,
    };
    Some(key.iter().map(|part| (*part).to_owned()).collect())
}

/// What these settings say themselves; `None`: nothing for this model, so that what holds for all counts.
pub fn parallel_written(servers: &ServersSettings, kind: ServerKind, model: &str) -> Option<u32> {
    match kind {
        ServerKind::LlamaServer => servers.llama_server.models.get(model)?.parallel,
        ServerKind::Ollama => Some(servers.ollama.parallel),
        ServerKind::LmStudio | ServerKind::OpenAi => None,
    }
}

/// Requests at a time with which a server loads a model; 0: as the server itself chooses.
pub fn parallel_of(servers: &ServersSettings, kind: ServerKind, model: &str) -> u32 {
    let written = parallel_written(servers, kind, model);
    match kind {
        ServerKind::LlamaServer => written.unwrap_or(servers.llama_server.parallel),
        _ => written.unwrap_or(0),
    }
}

/// Sets it in settings, or takes it out.
pub fn set_parallel(settings: &mut Settings, kind: ServerKind, model: &str, parallel: Option<u32>) {
    match kind {
        ServerKind::LlamaServer => {
            let models = &mut settings.servers.llama_server.models;
            let own = models.entry(model.to_owned()).or_default();
            own.parallel = parallel;
            if *own == super::LlamaModelSettings::default() {
                models.remove(model);
            }
        }
        ServerKind::Ollama => settings.servers.ollama.parallel = parallel.unwrap_or(0),
        ServerKind::LmStudio | ServerKind::OpenAi => {}
    }
}

/// Whether Pilothouse may change it on this server, which takes a restart of it. Errors: not_ours (somebody else keeps the server),
/// unsupported (it is set elsewhere), each with what its owner has to set; invalid_call (out of range).
pub fn may_set_parallel(
    kind: ServerKind,
    ownership: Option<Ownership>,
    title: &str,
    model: &str,
    parallel: u32,
) -> Result<(), ApiError> {
    if !(1..=MAX_PARALLEL).contains(&parallel) {
        let text = format!("1 to {MAX_PARALLEL} requests at a time can be set.");
        return Err(ApiError::new(ErrorCode::InvalidCall, text));
    }
    let (code, text, hint) = match (kind, ownership) {
        (ServerKind::LlamaServer | ServerKind::Ollama, None | Some(Ownership::Ours)) => return Ok(()),
        (ServerKind::Ollama, _) => (
            ErrorCode::NotOurs,
            format!("{title} was started by somebody else, so Pilothouse does not restart it."),
            format!(
                "Its owner sets OLLAMA_NUM_PARALLEL={parallel} in its environment and starts it again (as a service: “systemctl \
                 edit ollama”)."
            ),
        ),
        (ServerKind::LmStudio, _) => (
            ErrorCode::Unsupported,
            format!("{title} keeps this setting itself."),
            format!(
                "Set Max Concurrent Predictions to {parallel} for this model in LM Studio, or load it with “lms load {model} \
                 --parallel {parallel}”."
            ),
        ),
        _ => (
            ErrorCode::NotOurs,
            format!("{title} belongs to another owner, so Pilothouse changes nothing there."),
            format!(
                "Its owner starts it with --parallel {parallel} (llama-server) or --max-num-seqs {parallel} (vLLM)."
            ),
        ),
    };
    Err(ApiError::new(code, text).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServerKind::{LlamaServer, LmStudio, Ollama, OpenAi};

    #[test]
    fn only_servers_of_ours_are_changed_and_all_others_are_told_what_to_set() {
        for (kind, ownership, parallel, wanted) in [
            (LlamaServer, Some(Ownership::Ours), 6, Ok(())),
            (LlamaServer, None, 1, Ok(())),
            (Ollama, Some(Ownership::Ours), 64, Ok(())),
            (Ollama, Some(Ownership::Adopted), 6, Err((ErrorCode::NotOurs, "OLLAMA_NUM_PARALLEL=6"))),
            (LmStudio, Some(Ownership::Adopted), 6, Err((ErrorCode::Unsupported, "--parallel 6"))),
            (OpenAi, Some(Ownership::Remote), 6, Err((ErrorCode::NotOurs, "--max-num-seqs 6"))),
            (Ollama, Some(Ownership::Ours), 0, Err((ErrorCode::InvalidCall, ""))),
            (Ollama, Some(Ownership::Ours), 65, Err((ErrorCode::InvalidCall, ""))),
        ] {
            let may = may_set_parallel(kind, ownership, "It", "m", parallel);
            match (may, wanted) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err((code, said))) => {
                    assert_eq!(error.code, code, "{kind:?}");
                    assert!(error.hint.unwrap_or_default().contains(said), "{kind:?}: {said}");
                }
                (may, wanted) => panic!("{kind:?} {ownership:?} {parallel}: {may:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn what_is_set_is_read_and_what_is_taken_out_leaves_nothing() {
        for (kind, bare) in [(LlamaServer, 3), (Ollama, 0)] {
            let mut settings = Settings::default();
            settings.servers.llama_server.parallel = 3;
            let before = settings.clone();
            assert_eq!(parallel_of(&settings.servers, kind, "m"), bare, "{kind:?}");
            set_parallel(&mut settings, kind, "m", Some(6));
            assert_eq!(parallel_of(&settings.servers, kind, "m"), 6, "{kind:?}");
            assert_eq!(settings.check(), Ok(()));
            set_parallel(&mut settings, kind, "m", None);
            assert_eq!(settings, before, "{kind:?}");
        }
        let mut settings = Settings::default();
        for kind in [LmStudio, OpenAi] {
            set_parallel(&mut settings, kind, "m", Some(6));
            assert_eq!((settings.clone(), parallel_key(kind, "m")), (Settings::default(), None), "{kind:?}");
        }
    }
}
