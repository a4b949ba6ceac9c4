//! The file of settings by which our router starts each model, and what of it the router has read.
//!
//! The router reads the file again when it is told to, for the models that are not in memory; one in memory whose section differs it
//! unloads (llama.cpp: tools/server/server-models.cpp, `load_models`). So a section only ever changes right before its own model is
//! loaded, and the others stay as they were read.

use pilothouse_domain::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    model::LoadSettings,
    settings::{LlamaModelSettings, LlamaServerSettings},
};
use pilothouse_system::files::write_private;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Tokens of a prompt that are read in one go. Between two of them a client that has left is noticed and other answers get on; by
/// default it is four times as many, of which the processor computes as many at a time as of these.
pub(super) const BATCH: u32 = 512;
/// Tokens of a model of which nobody could reckon how many fit comfortably.
const LEAST_CONTEXT: u64 = 4096;
/// A text whose vectors become one has to be read in one go. More than this takes memory by its square.
const LONGEST_TEXT: u32 = 2048;

/// What a model that answers with vectors or scores says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Embeds {
    /// It scores documents by a question.
    pub ranks: bool,
    /// Context length in training, in tokens.
    pub context_max: Option<u64>,
}

/// What differs from the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wishes {
    /// With what each model was loaded last, where somebody wanted it otherwise than usual.
    pub with: BTreeMap<String, LoadSettings>,
    /// Tokens that each of them gets where nobody says and the settings leave it open.
    pub contexts: BTreeMap<String, u64>,
    pub embeds: BTreeMap<String, Embeds>,
}

pub(super) struct Presets {
    file: PathBuf,
    router: Mutex<Option<Router>>,
    /// Held from a change of the file until the router has read it.
    pub changing: tokio::sync::Mutex<()>,
}

/// The router of ours that was started last.
struct Router {
    base_url: String,
    /// As they were when it was started.
    settings: LlamaServerSettings,
    wishes: Wishes,
    /// What it has read.
    read: String,
}

impl Presets {
    pub fn new(file: PathBuf) -> Self {
        Self { file, router: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    fn router(&self) -> MutexGuard<'_, Option<Router>> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file for a router that is about to be started there. Errors: system.
    pub fn start(
        &self,
        base_url: &str,
        settings: &LlamaServerSettings,
        embeds: BTreeMap<String, Embeds>,
    ) -> Result<(), ApiError> {
        let wishes = Wishes { embeds, ..Wishes::default() };
        let read = preset(settings, &wishes);
        self.write(&read)?;
        let router = Router { base_url: base_url.to_owned(), settings: settings.clone(), wishes, read };
        *self.router() = Some(router);
        Ok(())
    }

    /// Whether the router there is the one that reads this file.
    pub fn is_for(&self, base_url: &str) -> bool {
        self.router().as_ref().is_some_and(|router| router.base_url == base_url)
    }

    /// Changes what is wished of the router there and writes it down. Gives what the router has to read then; `None`: it has read it
    /// all. Errors: system; the wishes stay.
    pub fn change(
        &self,
        base_url: &str,
        change: impl FnOnce(&mut Wishes),
    ) -> Result<Option<String>, ApiError> {
        let mut router = self.router();
        let Some(router) = router.as_mut().filter(|router| router.base_url == base_url) else {
            return Ok(None);
        };
        change(&mut router.wishes);
        let text = preset(&router.settings, &router.wishes);
        if text == router.read {
            return Ok(None);
        }
        self.write(&text)?;
        Ok(Some(text))
    }

    /// The router there has read this.
    pub fn was_read(&self, base_url: &str, text: String) {
        if let Some(router) = self.router().as_mut().filter(|router| router.base_url == base_url) {
            router.read = text;
        }
    }

    fn write(&self, text: &str) -> Result<(), ApiError> {
        write_private(&self.file, text.as_bytes()).map_err(|error| unwritten(&self.file, &error))
    }
}

pub(super) fn unwritten(file: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", file.display()))
        .hint("Check the permissions of its folder and the free disk space.")
}

/// Whether a model of this name can have a section.
pub(super) fn can_stand(name: &str) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(['\n', '\r', '[', ']', '='])
}

/// As llama-server reads it (llama.cpp: tools/server/README.md, "Using multiple models"): `[*]` for all, then one section per model
/// with flags without their dashes.
fn preset(settings: &LlamaServerSettings, wishes: &Wishes) -> String {
    let context = if settings.context == 0 { LEAST_CONTEXT } else { settings.context.into() };
    let mut text = format!(
        "version = 1\n\n[*]\nctx-size = {}\nparallel = {}\nbatch-size = {BATCH}\n",
        context * u64::from(settings.parallel),
        settings.parallel
    );
    let named = settings.models.keys().chain(wishes.with.keys()).chain(wishes.contexts.keys());
    let names: BTreeSet<&String> = named.chain(wishes.embeds.keys()).collect();
    for name in names.into_iter().filter(|name| can_stand(name)) {
        text += &format!("\n[{name}]\n");
        for (flag, value) in section(settings, name, wishes) {
            text += &format!("{flag} = {value}\n");
        }
    }
    text
}

/// The flags of one model; each is there once.
fn section(settings: &LlamaServerSettings, name: &str, wishes: &Wishes) -> Vec<(String, String)> {
    let own = settings.models.get(name).cloned().unwrap_or_default();
    let with = wishes.with.get(name).copied().unwrap_or_default();
    let said =
        with.context.or(Some(own.context.unwrap_or(settings.context).into()).filter(|tokens| *tokens > 0));
    // One that embeds reads whole texts; of the rest it was reckoned how much is comfortable, or nobody could.
    let open = if wishes.embeds.contains_key(name) { 0 } else { LEAST_CONTEXT };
    let context = said.or(wishes.contexts.get(name).copied()).unwrap_or(open);
    let parallel = with.parallel.or(own.parallel).unwrap_or(settings.parallel);
    let mut lines = vec![
        // The server shares the context out among the requests at a time.
        ("ctx-size".to_owned(), context.saturating_mul(u64::from(parallel)).to_string()),
        ("parallel".to_owned(), parallel.to_string()),
    ];
    let mut line =
        |name: &str, value: Option<String>| lines.extend(value.map(|value| (name.to_owned(), value)));
    if let Some(embeds) = wishes.embeds.get(name) {
        line(if embeds.ranks { "reranking" } else { "embeddings" }, Some("true".into()));
        let batch = in_one_go(context, embeds.context_max).to_string();
        line("batch-size", Some(batch.clone()));
        line("ubatch-size", Some(batch));
    }
    line("n-gpu-layers", own.gpu_layers.map(|layers| layers.to_string()));
    let kv_type = with.kv_type.map(|kind| kind.name().to_owned()).or_else(|| own.kv_type.clone());
    line("cache-type-k", kv_type.clone());
    line("cache-type-v", kv_type);
    line("flash-attn", flash_attention(&own, &with).map(|on| if on { "on" } else { "off" }.to_owned()));
    for (flag, value) in own.options.iter().filter(|(flag, _)| !is_wished(flag, &with)) {
        lines.retain(|(before, _)| before != flag);
        lines.push((flag.clone(), value.clone()));
    }
    lines
}

/// Tokens that an embedding model reads at once.
fn in_one_go(context: u64, context_max: Option<u64>) -> u64 {
    let longest = [Some(context).filter(|tokens| *tokens > 0), context_max].into_iter().flatten().min();
    longest.unwrap_or(u64::from(LONGEST_TEXT)).clamp(u64::from(BATCH), u64::from(LONGEST_TEXT))
}

/// Values that are kept in blocks are read by flash attention alone.
fn flash_attention(own: &LlamaModelSettings, with: &LoadSettings) -> Option<bool> {
    match with.kv_type {
        Some(KvType::Q8_0 | KvType::Q5_1 | KvType::Q4_0) => Some(true),
        Some(KvType::F32 | KvType::F16) | None => own.flash_attention,
    }
}

/// Whether a flag of the settings would speak against what is wished, in any of its spellings.
fn is_wished(flag: &str, with: &LoadSettings) -> bool {
    let share = ["ctx-size", "c", "LLAMA_ARG_CTX_SIZE", "parallel", "np", "LLAMA_ARG_N_PARALLEL"];
    let kv = [
        "cache-type-k",
        "ctk",
        "LLAMA_ARG_CACHE_TYPE_K",
        "cache-type-v",
        "ctv",
        "LLAMA_ARG_CACHE_TYPE_V",
        "flash-attn",
        "fa",
        "LLAMA_ARG_FLASH_ATTN",
    ];
    let shares = with.context.is_some() || with.parallel.is_some();
    (shares && share.contains(&flag)) || (with.kv_type.is_some() && kv.contains(&flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(models: &[(&str, LlamaModelSettings)]) -> LlamaServerSettings {
        let models = models.iter().map(|(name, own)| ((*name).to_owned(), own.clone())).collect();
        LlamaServerSettings { context: 4096, parallel: 2, models, ..LlamaServerSettings::default() }
    }

    fn options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())).collect()
    }

    /// The section of "tiny", line by line.
    fn lines(own: LlamaModelSettings, with: LoadSettings, embeds: Option<Embeds>) -> String {
        let wishes = Wishes {
            with: [("tiny".to_owned(), with)].into(),
            embeds: embeds.map(|embeds| ("tiny".to_owned(), embeds)).into_iter().collect(),
            ..Wishes::default()
        };
        let text = preset(&settings(&[("tiny", own)]), &wishes);
        let (_, section) = text.split_once("[tiny]\n").unwrap();
        section.trim().replace('\n', ", ")
    }

    #[test]
    fn single_models_differ_in_what_is_said_of_them() {
        let own = LlamaModelSettings {
            context: Some(1024),
            kv_type: Some("q8_0".into()),
            flash_attention: Some(true),
            options: options(&[("temp", "0.2")]),
            ..LlamaModelSettings::default()
        };
        assert_eq!(
            preset(&settings(&[("tiny", own)]), &Wishes::default()),
            "version = 1\n\n[*]\nctx-size = 8192\nparallel = 2\nbatch-size = 512\n\n[tiny]\nctx-size = 2048\nparallel = 2\n\
             cache-type-k = q8_0\ncache-type-v = q8_0\nflash-attn = on\ntemp = 0.2\n"
        );
    }

    #[test]
    fn a_context_that_is_left_open_is_what_is_comfortable_and_never_wins_over_what_is_said() {
        let section = |general, own, with, comfortable: Option<u64>, embeds: Option<Embeds>| {
            let own = LlamaModelSettings { context: own, ..LlamaModelSettings::default() };
            let settings = LlamaServerSettings { context: general, ..settings(&[("tiny", own)]) };
            let with = LoadSettings { context: with, ..LoadSettings::default() };
            let wishes = Wishes {
                with: [("tiny".to_owned(), with)].into(),
                contexts: comfortable.map(|tokens| ("tiny".to_owned(), tokens)).into_iter().collect(),
                embeds: embeds.map(|embeds| ("tiny".to_owned(), embeds)).into_iter().collect(),
            };
            let text = preset(&settings, &wishes);
            let (all, section) = text.split_once("[tiny]\n").unwrap();
            let size =
                |text: &str| text.split_once("ctx-size = ").unwrap().1.lines().next().unwrap().to_owned();
            (size(all), size(section))
        };
        let embeds = Embeds { ranks: false, context_max: Some(512) };
        for (general, own, with, comfortable, embeds, wanted) in [
            (0, None, None, Some(32_768), None, ("8192", "65536")),
            (0, Some(0), None, Some(32_768), None, ("8192", "65536")),
            (0, None, None, None, None, ("8192", "8192")),
            (0, None, None, None, Some(embeds), ("8192", "0")),
            (2048, None, None, Some(32_768), None, ("4096", "4096")),
            (0, Some(1024), None, Some(32_768), None, ("8192", "2048")),
            (0, None, Some(512), Some(32_768), None, ("8192", "1024")),
            (2048, Some(0), None, Some(32_768), None, ("4096", "65536")),
        ] {
            let (all, one) = section(general, own, with, comfortable, embeds);
            assert_eq!((all.as_str(), one.as_str()), wanted, "{general} {own:?} {with:?} {comfortable:?}");
        }
    }

    #[test]
    fn what_is_wished_of_a_load_wins_and_the_rest_stays_as_the_settings_say() {
        let with = |context, parallel, kv_type| LoadSettings { context, parallel, kv_type };
        let own = || LlamaModelSettings {
            context: Some(1024),
            gpu_layers: Some(7),
            options: options(&[("temp", "0.2")]),
            ..LlamaModelSettings::default()
        };
        for (own, with, wanted) in [
            (
                own(),
                with(Some(512), None, None),
                "ctx-size = 1024, parallel = 2, n-gpu-layers = 7, temp = 0.2",
            ),
            (own(), with(None, Some(3), None), "ctx-size = 3072, parallel = 3, n-gpu-layers = 7, temp = 0.2"),
            (
                own(),
                with(Some(512), Some(1), Some(KvType::Q8_0)),
                "ctx-size = 512, parallel = 1, n-gpu-layers = 7, cache-type-k = q8_0, cache-type-v = q8_0, flash-attn = on, temp = 0.2",
            ),
            // Without flash attention there are no blocks; what the role wants is what counts.
            (
                LlamaModelSettings { flash_attention: Some(false), ..LlamaModelSettings::default() },
                with(None, None, Some(KvType::Q4_0)),
                "ctx-size = 8192, parallel = 2, cache-type-k = q4_0, cache-type-v = q4_0, flash-attn = on",
            ),
            (
                LlamaModelSettings {
                    kv_type: Some("q8_0".into()),
                    flash_attention: Some(false),
                    ..LlamaModelSettings::default()
                },
                with(None, None, Some(KvType::F16)),
                "ctx-size = 8192, parallel = 2, cache-type-k = f16, cache-type-v = f16, flash-attn = off",
            ),
            // The same said a second time, by flags of one's own.
            (
                LlamaModelSettings {
                    options: options(&[("c", "99"), ("ctk", "f32"), ("LLAMA_ARG_N_PARALLEL", "9")]),
                    ..LlamaModelSettings::default()
                },
                with(Some(512), None, Some(KvType::F32)),
                "ctx-size = 1024, parallel = 2, cache-type-k = f32, cache-type-v = f32",
            ),
            (
                LlamaModelSettings {
                    options: options(&[("ctx-size", "99")]),
                    ..LlamaModelSettings::default()
                },
                with(None, None, Some(KvType::F32)),
                "parallel = 2, cache-type-k = f32, cache-type-v = f32, ctx-size = 99",
            ),
            // Beyond every number: no overflow.
            (
                LlamaModelSettings::default(),
                with(Some(u64::MAX), Some(64), None),
                "ctx-size = 18446744073709551615, parallel = 64",
            ),
        ] {
            assert_eq!(lines(own, with, None), wanted);
        }
    }

    #[test]
    fn embedding_models_and_rerankers_get_their_flags_and_read_a_text_in_one_go() {
        let usual = LoadSettings::default();
        for (embeds, context, wanted) in [
            (
                Embeds { ranks: false, context_max: Some(512) },
                None,
                "embeddings = true, batch-size = 512, ubatch-size = 512",
            ),
            (
                Embeds { ranks: true, context_max: Some(8192) },
                None,
                "reranking = true, batch-size = 2048, ubatch-size = 2048",
            ),
            (
                Embeds { ranks: false, context_max: None },
                Some(1000),
                "embeddings = true, batch-size = 1000, ubatch-size = 1000",
            ),
            (
                Embeds { ranks: false, context_max: Some(8192) },
                Some(0),
                "embeddings = true, batch-size = 2048, ubatch-size = 2048",
            ),
            (
                Embeds { ranks: false, context_max: Some(100) },
                None,
                "embeddings = true, batch-size = 512, ubatch-size = 512",
            ),
        ] {
            let own = LlamaModelSettings { context, parallel: Some(1), ..LlamaModelSettings::default() };
            let lines = lines(own, usual, Some(embeds));
            let (_, said) = lines.split_once("parallel = 1, ").unwrap();
            assert_eq!(said, wanted);
        }
        let own = LlamaModelSettings {
            options: options(&[("ubatch-size", "4096")]),
            ..LlamaModelSettings::default()
        };
        let embeds = Embeds { ranks: false, context_max: Some(512) };
        let said = lines(own, usual, Some(embeds));
        assert!(said.ends_with("batch-size = 512, ubatch-size = 4096"), "a person's own word counts: {said}");
    }

    #[test]
    fn the_file_changes_for_what_is_wished_and_is_read_again_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let presets = Presets::new(folder.path().join("preset.ini"));
        let written = || std::fs::read_to_string(presets.file()).unwrap();
        let wish = |at: &str, with: Option<LoadSettings>| {
            let change = |wishes: &mut Wishes| match with {
                Some(with) => drop(wishes.with.insert("tiny".into(), with)),
                None => drop(wishes.with.remove("tiny")),
            };
            presets.change(at, change).unwrap()
        };
        let smaller = Some(LoadSettings::context(Some(512)));
        assert_eq!(wish("http://a", smaller), None, "no router of ours");
        assert!(!presets.is_for("http://a"));
        presets.start("http://a", &settings(&[]), BTreeMap::new()).unwrap();
        let usual = written();
        assert_eq!((presets.is_for("http://a"), presets.is_for("http://b")), (true, false));
        assert_eq!(wish("http://b", smaller), None);
        assert_eq!(wish("http://a", None), None, "as it is");
        let text = wish("http://a", smaller).unwrap();
        assert!(text.contains("[tiny]\nctx-size = 1024\n") && written() == text, "{text}");
        // The router did not answer: it has to be told again.
        assert_eq!(wish("http://a", smaller), Some(text.clone()));
        presets.was_read("http://a", text);
        assert_eq!(wish("http://a", smaller), None);
        assert_eq!(wish("http://a", None), Some(usual.clone()));
        assert_eq!(written(), usual);
    }

    #[test]
    fn what_cannot_be_a_section_is_none() {
        for name in ["a]b", "a[b", "a=b", "a\nb", "", " a"] {
            assert!(!can_stand(name), "{name:?}");
            let embeds = Embeds { ranks: false, context_max: None };
            let wishes = Wishes { embeds: [(name.to_owned(), embeds)].into(), ..Wishes::default() };
            assert!(!preset(&settings(&[]), &wishes).contains("embeddings"), "{name:?}");
        }
        assert!(can_stand("Qwen 2.5 (q4_K).v1"));
    }
}
