//! The GGUF files below a folder, as people sort them: by owner, by model, on another disk behind a link.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Levels of folders below the first; the deepest layouts in use (a cache of the hub) have four.
const MAX_DEPTH: usize = 8;
/// A folder of models has fewer folders by far. Somebody's whole disk must not be read for each list.
const MAX_FOLDERS: usize = 4096;

/// Whether a file's name ends as GGUF files do, in small or capital letters.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// All GGUF files in a folder and those below it, the nearest first, then by name. Links are followed, each folder is read once
/// wherever it is met, and hidden ones are left out. Blocking.
pub fn gguf_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..=MAX_DEPTH {
        let mut below = Vec::new();
        for folder in level {
            // A folder that holds itself, by a link, ends here.
            let fresh = folder.canonicalize().is_ok_and(|real| seen.insert(real));
            if !fresh || seen.len() > MAX_FOLDERS {
                continue;
            }
            let mut entries: Vec<PathBuf> = std::fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect();
            entries.sort();
            let shown = |path: &PathBuf| {
                path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
            };
            for path in entries.into_iter().filter(shown) {
                if path.is_dir() {
                    below.push(path);
                } else if is_gguf(&path) && path.is_file() {
                    files.push(path);
                }
            }
        }
        level = below;
    }
    files
}
