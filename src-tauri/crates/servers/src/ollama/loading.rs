//! With what an Ollama loads, and why it did not.

use pilothouse_domain::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
    settings::OllamaSettings,
};

/// What of this an Ollama cannot do. `started`: the settings that one of ours was started with; `None`: it is somebody else's.
///
/// A context of its own it takes with a load, and it would not last: requests in OpenAI's form cannot name one, and Ollama loads the
/// model again, with the usual context and for five minutes, as soon as one comes that does not (Ollama: server/sched.go,
/// needsReload; seen with 0.32.0 and 0.34.1). The other two are one for all of its models.
pub(super) fn cannot(with: &LoadSettings, started: Option<&OllamaSettings>) -> Option<ApiError> {
    let unsupported = |text: &str, key: &str| {
        let hint = match started {
            Some(_) => format!("Set servers.ollama.{key}, or leave it out."),
            None => "Leave it out: this Ollama was started by somebody else, who sets it.".to_owned(),
        };
        Some(ApiError::new(ErrorCode::Unsupported, text).hint(hint))
    };
    let usual = |told: fn(&OllamaSettings) -> u32| started.map(told).filter(|number| *number > 0);
    if with.context.is_some_and(|tokens| usual(|own| own.context).map(u64::from) != Some(tokens)) {
        let text = "Ollama goes back to its usual context with the first request that names none.";
        return unsupported(text, "context");
    }
    if with.parallel.is_some() && with.parallel != usual(|own| own.parallel) {
        return unsupported("Ollama has one number of requests at a time for all its models.", "parallel");
    }
    let usual_kv = started.map(|own| KvType::parse(&own.kv_type).unwrap_or_default());
    if with.kv_type.is_some() && with.kv_type != usual_kv {
        return unsupported("Ollama has one KV type for all its models.", "kv_type");
    }
    None
}

/// Whether it is an embedding model that was asked to be loaded for answers (Ollama: server/routes.go, GenerateHandler).
pub(super) fn only_embeds(error: &ApiError) -> bool {
    error.message.contains("does not support generate")
}

/// Why a load failed, and what to do next. Nearly all reasons are HTTP 500; only their words tell them apart.
pub(super) fn load_error(error: ApiError, model: &str) -> ApiError {
    if error.code != ErrorCode::ServerError {
        return error;
    }
    if lacks_memory(&error.message) {
        let hint = format!(
            "Unload another model, or give an Ollama that Pilothouse starts less to hold: a smaller context \
             (servers.ollama.context in the settings file) or a KV cache of q8_0 (servers.ollama.kv_type). \
             “pilothouse fit {model} --server ollama” reckons what fits."
        );
        return ApiError { code: ErrorCode::DoesNotFit, ..error }.hint(hint);
    }
    let hint = match error.retry {
        true => "Ollama is busy; try again in a moment.",
        false => "Look into its log: pilothouse logs ollama",
    };
    ApiError { code: ErrorCode::LoadFailed, ..error }.hint(hint)
}

/// Why a model is not in memory although its load succeeded. Ollama has one runner for each file of weights, and lists it by the name
/// that came first (Ollama: server/sched.go): a copy under another name, or with another prompt, answers by it and is in no list.
/// They do not fit beside each other: whoever lets the other one go has room for it. `other_name`: that of its weights, if they are
/// in memory.
pub(super) fn not_there(model: &str, other_name: Option<&str>) -> ApiError {
    if let Some(name) = other_name {
        let text = format!(
            "Ollama has the weights of {model} in memory by the name {name} already, and never by two."
        );
        let hint = format!("Unload that one first: pilothouse unload {name} --server ollama");
        return ApiError::new(ErrorCode::DoesNotFit, text).hint(hint);
    }
    let text = format!("Ollama loaded {model} and dropped it again.");
    ApiError::new(ErrorCode::LoadFailed, text)
        .hint("Another program may need the memory; look into its log: pilothouse logs ollama")
}

/// Whether an error of Ollama is about memory: the words that it looks for itself (Ollama: server/sched.go and llm/llama_server.go), those
/// of its own refusals, and what llama.cpp and Vulkan say beside them.
fn lacks_memory(said: &str) -> bool {
    const WORDS: [&str; 14] = [
        "out of memory",
        "out-of-memory",
        "out of device memory",
        "cudamalloc failed",
        "hipmalloc failed",
        "failed to allocate",
        "unable to allocate",
        "allocation failed",
        "not enough memory",
        "insufficient memory",
        "vk_error_out_of_device_memory",
        "erroroutofmemory",
        "erroroutofdevicememory",
        "requires more system memory",
    ];
    let said = said.to_lowercase();
    let of_mlx =
        || said.contains("model requires") && said.contains("but only") && said.contains("available");
    WORDS.iter().any(|words| said.contains(words)) || of_mlx()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_ollama_cannot_do_for_one_model_is_refused_by_name() {
        let with = |context, parallel, kv_type| LoadSettings { context, parallel, kv_type };
        let set = OllamaSettings {
            context: 8192,
            parallel: 2,
            kv_type: "q8_0".into(),
            ..OllamaSettings::default()
        };
        let plain = OllamaSettings::default();
        for (with, of_ours, of_plain, of_others) in [
            (with(None, None, None), None, None, None),
            (with(Some(8192), None, None), None, Some("context"), Some("context")),
            (with(Some(4096), None, None), Some("context"), Some("context"), Some("context")),
            (with(None, Some(2), None), None, Some("parallel"), Some("parallel")),
            // Which one it has by itself depends on its version.
            (with(None, Some(1), None), Some("parallel"), Some("parallel"), Some("parallel")),
            (with(None, None, Some(KvType::Q8_0)), None, Some("kv_type"), Some("kv_type")),
            (with(None, None, Some(KvType::F16)), Some("kv_type"), None, Some("kv_type")),
            (
                with(Some(8192), Some(2), Some(KvType::Q4_0)),
                Some("kv_type"),
                Some("context"),
                Some("context"),
            ),
        ] {
            let said = |started: Option<&OllamaSettings>| {
                let error = cannot(&with, started)?;
                assert_eq!(error.code, ErrorCode::Unsupported);
                let hint = error.hint.clone().unwrap();
                assert_eq!(hint.contains("servers.ollama."), started.is_some(), "{hint}");
                let words = [
                    ("usual context", "context"),
                    ("requests at a time", "parallel"),
                    ("KV type", "kv_type"),
                ];
                let (_, key) = words.into_iter().find(|(words, _)| error.message.contains(words)).unwrap();
                assert!(started.is_none() || hint.contains(key), "{hint}");
                Some(key)
            };
            assert_eq!(
                (said(Some(&set)), said(Some(&plain)), said(None)),
                (of_ours, of_plain, of_others),
                "{with:?}"
            );
        }
    }

    #[test]
    fn a_load_without_memory_does_not_fit_and_every_failure_says_what_to_do() {
        let failed = |said: &str| {
            load_error(ApiError::new(ErrorCode::ServerError, format!("Ollama: {said}")), "qwen3:8b")
        };
        for said in [
            "model requires more system memory (9.1 GiB) than is available (4.0 GiB)",
            "llama-server reported out-of-memory during startup: see the log",
            "llama runner process has terminated: CUDA error: out of memory",
            "llama-server process has terminated: exit status 1: cudaMalloc failed: unspecified",
            "llama-server process has terminated: exit status 1: vk::ErrorOutOfMemory",
            "llama runner process has terminated: error loading model: unable to allocate CUDA0 buffer",
            "model requires 20.1 GiB but only 12.0 GiB are available (after 1.0 GiB overhead)",
        ] {
            let error = failed(said);
            assert_eq!(error.code, ErrorCode::DoesNotFit, "{said}");
            assert!(error.hint.unwrap().contains("pilothouse fit qwen3:8b"), "{said}");
        }
        for said in [
            "llama-server process has terminated: exit status 1: unknown model architecture: 'x'",
            "timed out waiting for llama runner to start - progress 0.00 - ",
            "this model requires a newer version of Ollama, which is available for download",
        ] {
            let error = failed(said);
            assert_eq!(error.code, ErrorCode::LoadFailed, "{said}");
            assert!(error.hint.unwrap().contains("pilothouse logs ollama"), "{said}");
        }
        let busy = ApiError::new(ErrorCode::ServerError, "Ollama: server busy").retryable();
        let busy = load_error(busy, "qwen3:8b");
        assert_eq!((busy.code, busy.retry), (ErrorCode::LoadFailed, true));
        assert!(busy.hint.unwrap().contains("try again"));
        let gone = ApiError::not_found("Ollama: model 'a' not found");
        assert_eq!(load_error(gone.clone(), "a"), gone, "that is no failed load");
    }
}
