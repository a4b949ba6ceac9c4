//! The GGUF files of all folders under one folder of links, which is what the router serves.

use super::{ID, preset::Embeds};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Model, ModelPurpose},
    server::ServerId,
};
use pilothouse_system::{
    apart::{self, Unanswered},
    model_files::{Header, gguf_files, is_later_part, look_at, parts_of},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Looking through the folders of models, which may lie on another machine.
const SCAN_LIMIT: Duration = Duration::from_secs(20);

/// What tells one state of a file from another.
type Stamp = (PathBuf, u64, Option<SystemTime>);

pub(super) struct Library {
    folders: Vec<PathBuf>,
    links: PathBuf,
    /// Whether there may be links: not after a start that came to nothing.
    open: Mutex<bool>,
    /// Headers that were read already.
    read: Mutex<HashMap<Stamp, (Model, Option<Embeds>)>>,
}

/// What lies in the folders.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub models: Vec<Model>,
    /// Those that answer with vectors or scores.
    pub embeds: BTreeMap<String, Embeds>,
    /// The router must look again.
    pub changed: bool,
}

impl Library {
    pub fn new(folders: Vec<PathBuf>, links: PathBuf) -> Self {
        Self { folders, links, open: Mutex::new(true), read: Mutex::default() }
    }

    /// The folder for the router.
    pub fn folder(&self) -> &Path {
        &self.links
    }

    /// Makes the links anew where they differ; tells whether any did. Errors: system.
    pub fn link(&self) -> Result<bool, ApiError> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let wanted = self.files();
        self.link_files(&wanted).map_err(|error| {
            ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", self.links.display()))
        })
    }

    /// Takes the links away until [`Self::link`], also from under a look that still goes on.
    pub fn unlink(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = false;
        let _ = std::fs::remove_dir_all(&self.links);
    }

    /// The same as [`Self::scan`], on a thread of its own. Errors: a folder does not answer.
    pub async fn looked_through(self: Arc<Self>) -> Result<Scan, Unanswered> {
        apart::once("the folder of models", SCAN_LIMIT, move || self.scan()).await
    }

    /// Reads the heads of files that are new.
    pub fn scan(&self) -> Scan {
        let files = self.files();
        let changed = self.link_files(&files).unwrap_or_else(|error| {
            tracing::warn!(%error, "the links to models could not be renewed");
            false
        });
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let mut scan = Scan { changed, ..Scan::default() };
        for (name, path) in files {
            let Ok(meta) = std::fs::metadata(&path) else {
                continue;
            };
            // The router finds the later parts of a model beside the first.
            if is_later_part(&path) {
                continue;
            }
            let sizes = parts_of(&path).into_iter().filter_map(|part| std::fs::metadata(part).ok());
            let size = sizes.map(|meta| meta.len()).sum();
            let stamp = (path.clone(), size, meta.modified().ok());
            let (model, embeds) = read.remove(&stamp).unwrap_or_else(|| describe(&name, &path, size));
            scan.models.push(model.clone());
            scan.embeds.extend(embeds.map(|embeds| (name, embeds)));
            kept.insert(stamp, (model, embeds));
        }
        *read = kept;
        scan
    }

    /// The file of a model.
    pub fn file(&self, model: &str) -> Option<PathBuf> {
        self.files().remove(model)
    }

    /// Name (the router's id: the file's stem) and path; the first folder wins a name, and in it the file that lies nearest.
    fn files(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        for path in self.folders.iter().flat_map(|folder| gguf_files(folder)) {
            let projector = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().starts_with("mmproj"));
            if let (Some(stem), false) = (path.file_stem(), projector) {
                files.entry(stem.to_string_lossy().into_owned()).or_insert(path);
            }
        }
        files
    }

    fn link_files(&self, wanted: &BTreeMap<String, PathBuf>) -> std::io::Result<bool> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Ok(false);
        }
        std::fs::create_dir_all(&self.links)?;
        let mut changed = false;
        for entry in std::fs::read_dir(&self.links)?.flatten() {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if std::fs::read_link(&path).ok().as_ref() != wanted.get(&name) {
                std::fs::remove_file(&path)?;
                changed = true;
            }
        }
        for (name, target) in wanted {
            let link = self.links.join(format!("{name}.gguf"));
            if !link.is_symlink() {
                make_link(target, &link)?;
                changed = true;
            }
        }
        Ok(changed)
    }
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// What the file says of itself; one that cannot be read is listed by its name and size.
fn describe(name: &str, path: &Path, size: u64) -> (Model, Option<Embeds>) {
    let looked = look_at(path)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not a readable GGUF file"));
    let (header, damaged) = looked.unwrap_or_default();
    let embeds = embeds(&header);
    let model = Model {
        server: ServerId::new(ID),
        name: name.to_owned(),
        // The name in the file is often a training run's; people know the file's.
        title: name.to_owned(),
        purpose: if embeds.is_some() { ModelPurpose::Embedding } else { ModelPurpose::Llm },
        format: Some("gguf".into()),
        quantization: header.quantization,
        parameters: header.parameters,
        size_bytes: Some(size),
        context_max: header.context,
        damaged: None,
    };
    match damaged {
        Some(why) => {
            tracing::warn!(path = %path.display(), %why, "a damaged model");
            (model.damaged(why), None)
        }
        None => (model, embeds),
    }
}

/// Whether a model is one of vectors or scores: its head says how the tokens of a text become one, or it is built like BERT, which
/// gives nothing else. Chat models have no such key.
fn embeds(header: &Header) -> Option<Embeds> {
    let bert = header.architecture.as_deref().is_some_and(|name| name.contains("bert"));
    let pools = matches!(header.pooling, Some(1..=4));
    (bert || pools).then_some(Embeds { ranks: header.pooling == Some(4), context_max: header.context })
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "no header, listed by its name").unwrap();
    }

    fn names(library: &Library) -> Vec<String> {
        library.scan().models.into_iter().map(|model| model.name).collect()
    }

    #[test]
    fn a_look_that_goes_on_after_a_start_that_came_to_nothing_makes_no_links() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        std::fs::create_dir(&models).unwrap();
        std::fs::write(models.join("a.gguf"), "no GGUF").unwrap();
        let library = Library::new(vec![models], root.path().join("links"));
        assert!(library.link().unwrap() && library.folder().join("a.gguf").is_symlink());
        library.unlink();
        assert_eq!(library.scan().models.len(), 1);
        assert!(!library.folder().exists());
        assert!(library.link().unwrap() && library.folder().join("a.gguf").is_symlink(), "the next start");
    }

    #[test]
    fn files_in_folders_below_and_in_capital_letters_are_found() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        for path in [
            "top.gguf",
            "owner/model/deep.gguf",
            "LOUD.GGUF",
            "owner/Mixed.Gguf",
            "a/b/c/d/far.gguf",
            ".hidden/no.gguf",
            "owner/mmproj-f16.gguf",
            "owner/MMPROJ.gguf",
            "owner/part-00001-of-00002.gguf",
            "owner/part-00002-of-00002.gguf",
            "owner/readme.txt",
            "gguf",
            "b/top.gguf",
        ] {
            put(&models, path);
        }
        // Folders that hold themselves, and one that stands elsewhere.
        symlink(&models, models.join("owner/loop")).unwrap();
        symlink("..", models.join("a/up")).unwrap();
        put(root.path(), "elsewhere/linked.gguf");
        symlink(root.path().join("elsewhere"), models.join("other-disk")).unwrap();
        symlink(root.path().join("elsewhere/linked.gguf"), models.join("by-link.gguf")).unwrap();
        symlink(root.path().join("nowhere.gguf"), models.join("dangling.gguf")).unwrap();
        let library = Library::new(vec![models.clone()], root.path().join("links"));
        let wanted = ["LOUD", "Mixed", "by-link", "deep", "far", "linked", "part-00001-of-00002", "top"];
        assert_eq!(names(&library), wanted);
        assert_eq!(library.file("top").unwrap(), models.join("top.gguf"), "the nearest one wins a name");
        // What the router gets to see is named in small letters, whatever the file's name is.
        for name in wanted {
            let link = library.folder().join(format!("{name}.gguf"));
            assert!(link.is_file(), "{name}");
        }
        assert!(
            library.folder().join("part-00002-of-00002.gguf").is_file(),
            "the router finds it beside the first"
        );
    }

    #[test]
    fn folders_without_end_are_looked_through_within_a_bound() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        let mut deep = String::new();
        for level in 0..40 {
            deep.push_str(&format!("{level}/"));
            put(&models, &format!("{deep}at-{level}.gguf"));
        }
        let library = Library::new(vec![models], root.path().join("links"));
        let found = names(&library);
        assert!(found.contains(&"at-3".to_owned()) && !found.contains(&"at-39".to_owned()), "{found:?}");
    }

    /// The head of a GGUF file of version 3 with one tensor of 256 bytes, and its data.
    fn file() -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: u32| number.to_le_bytes().to_vec();
        let long = |number: u64| number.to_le_bytes().to_vec();
        let mut file = [
            b"GGUF".to_vec(),
            number(3),
            long(1),
            long(1),
            text("general.architecture"),
            number(8),
            text("llama"),
            text("output_norm.weight"),
            number(1),
            long(64),
            number(0),
            long(0),
        ]
        .concat();
        file.resize(file.len().next_multiple_of(32) + 256, 0);
        file
    }

    #[test]
    fn a_file_that_is_cut_short_is_listed_as_damaged_until_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path().join("models");
        std::fs::create_dir(&models).unwrap();
        let library = Library::new(vec![models.clone()], folder.path().join("links"));
        let whole = file();
        let listed = |length: usize| {
            std::fs::write(models.join("m.gguf"), &whole[..length]).unwrap();
            let models = library.scan().models;
            (models[0].purpose, models[0].damaged.clone())
        };
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            let (purpose, damaged) = listed(length);
            assert_eq!(purpose, ModelPurpose::Other, "{length}");
            assert!(damaged.is_some_and(|why| why.contains("cut off")), "{length}");
        }
        assert_eq!(listed(whole.len()), (ModelPurpose::Llm, None));
    }

    #[test]
    fn what_a_head_says_tells_embedding_models_and_rerankers_from_chat_models() {
        for (architecture, pooling, wanted) in [
            ("bert", Some(1), Some(false)),
            ("nomic-bert", Some(2), Some(false)),
            ("bert", Some(4), Some(true)),
            ("qwen3", Some(4), Some(true)),
            ("qwen3", Some(3), Some(false)),
            ("gemma-embedding", Some(1), Some(false)),
            ("bert", None, Some(false)),
            ("jina-bert-v2", Some(0), Some(false)),
            ("qwen3", None, None),
            ("llama", Some(0), None),
            ("llama", Some(9), None),
        ] {
            let header = Header {
                architecture: Some(architecture.into()),
                pooling,
                context: Some(512),
                ..Header::default()
            };
            let wanted = wanted.map(|ranks| Embeds { ranks, context_max: Some(512) });
            assert_eq!(embeds(&header), wanted, "{architecture} {pooling:?}");
        }
        assert_eq!(embeds(&Header::default()), None, "a file that says nothing");
    }
}
