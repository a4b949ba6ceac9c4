//! Where the models of LM Studio lie: under its models folder, by the path that `lms ls --json` tells
//! (lmstudio.js: lms-shared-types, ModelInfoBase), else by their exact size.

use super::{home::Home, launch::lms};
use pilothouse_system::{
    model_files::{ModelFiles, is_later_part, parts_of},
    process::run_to_end,
};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const LIST_LIMIT: Duration = Duration::from_secs(10);
/// More models than anybody keeps.
const MAX_FOLDERS: usize = 4096;

/// A row of `lms ls --json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    model_key: String,
    path: String,
    size_bytes: Option<u64>,
    /// Set for models of another machine (LM Link).
    device_identifier: Option<String>,
}

/// What `lms` lists. Empty: nobody to ask without waking something up, or an answer that is not understood.
pub(super) async fn listed(home: &Home) -> Vec<Listed> {
    let (Some(program), Some(port)) = (home.lms(), home.internal_port().await) else {
        return Vec::new();
    };
    // With a port it asks there and starts nothing.
    let spec = lms(&program, &["ls", "--json", "--port", &port.to_string()]);
    let finished = run_to_end(&spec, LIST_LIMIT).await;
    finished.map(|finished| rows(&finished.stdout)).unwrap_or_default()
}

/// Older builds put other lines before the list; a row that is not understood costs itself only.
fn rows(output: &str) -> Vec<Listed> {
    let list =
        output.lines().find_map(|line| serde_json::from_str::<Vec<serde_json::Value>>(line.trim()).ok());
    let rows = list.unwrap_or_default().into_iter();
    rows.filter_map(|row| serde_json::from_value(row).ok()).collect()
}

/// The files of a model by its key; `told_bytes` is its size as the server tells it.
pub(super) fn find(
    models: &Path,
    listed: &[Listed],
    key: &str,
    told_bytes: Option<u64>,
) -> Option<ModelFiles> {
    let row = listed.iter().find(|row| row.model_key == key);
    if row.is_some_and(|row| row.device_identifier.is_some()) {
        return None;
    }
    let by_path = row.and_then(|row| at(&inside(models, &row.path)?));
    by_path.or_else(|| of_size(models, row.and_then(|row| row.size_bytes).or(told_bytes)?))
}

/// A path of the list under the models folder. `None`: it would lead elsewhere.
fn inside(models: &Path, path: &str) -> Option<PathBuf> {
    let safe = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':', '\0']);
    path.split('/')
        .all(safe)
        .then(|| path.split('/').fold(models.to_owned(), |folder, part| folder.join(part)))
}

/// What lies there: a GGUF file, a folder for MLX, or a folder with a single GGUF model.
fn at(path: &Path) -> Option<ModelFiles> {
    if path.is_file() {
        return is_gguf(path).then(|| with_projector(path.to_owned()));
    }
    if path.join("config.json").is_file() {
        return Some(ModelFiles::Folder(path.to_owned()));
    }
    match &ggufs(path)[..] {
        [only] => Some(with_projector(only.clone())),
        _ => None,
    }
}

/// The one model whose files have just this size. A list of models of the hub names no path, but counts the bytes.
fn of_size(models: &Path, bytes: u64) -> Option<ModelFiles> {
    let mut found = Vec::new();
    for folder in folders(models).iter().flat_map(|publisher| folders(publisher)).take(MAX_FOLDERS) {
        let beside: u64 = projectors(&folder).iter().map(|path| size(path)).sum();
        for file in ggufs(&folder) {
            let all: u64 = parts_of(&file).iter().map(|part| size(part)).sum();
            if all == bytes || all + beside == bytes {
                found.push(with_projector(file));
            }
        }
        if folder.join("config.json").is_file() {
            let weights: u64 = with_extension(&folder, "safetensors").iter().map(|path| size(path)).sum();
            let all: u64 = entries(&folder).iter().map(|path| size(path)).sum();
            if weights == bytes || all == bytes {
                found.push(ModelFiles::Folder(folder));
            }
        }
    }
    // Two of the same size may be two models.
    if found.len() == 1 { found.pop() } else { None }
}

/// LM Studio loads a projector that lies beside the model; where there are several, the largest is counted.
fn with_projector(model: PathBuf) -> ModelFiles {
    let beside =
        model.parent().and_then(|folder| projectors(folder).into_iter().max_by_key(|path| size(path)));
    ModelFiles::Gguf { model, beside: beside.into_iter().collect() }
}

fn projectors(folder: &Path) -> Vec<PathBuf> {
    with_extension(folder, "gguf").into_iter().filter(|path| is_projector(path)).collect()
}

/// The models in a folder, one each however many parts it has.
fn ggufs(folder: &Path) -> Vec<PathBuf> {
    let files = with_extension(folder, "gguf").into_iter();
    files.filter(|path| is_gguf(path) && !is_projector(path) && !is_later_part(path)).collect()
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

fn is_projector(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mmproj"))
}

fn with_extension(folder: &Path, wanted: &str) -> Vec<PathBuf> {
    let of = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|extension| extension == wanted);
    entries(folder).into_iter().filter(of).collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.is_dir()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).take(MAX_FOLDERS).collect();
    paths.sort();
    paths
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of the reference, section 1.6, shortened.
    const LIST: &str = r#"[{"type":"llm","modelKey":"qwen/qwen3.8-27b","format":"gguf","path":"qwen/qwen3.8-27b","sizeBytes":30,"indexedModelIdentifier":"qwen/qwen3.8-27b","deviceIdentifier":null},{"type":"llm","modelKey":"llama-3.2-1b-instruct","format":"safetensors","path":"mlx-community/Llama-3.2-1B-Instruct-4bit","sizeBytes":712575975,"deviceIdentifier":null},{"type":"embedding","modelKey":"text-embedding-nomic-embed-text-v1.5","format":"gguf","path":"nomic-ai/nomic-embed-text-v1.5-GGUF/nomic-embed-text-v1.5.Q4_K_M.gguf","sizeBytes":84106624,"deviceIdentifier":null},{"modelKey":"far","path":"a/far","deviceIdentifier":"peer"},{"modelKey":"out","path":"../../etc"},{"strange":1}]"#;

    fn write(root: &Path, name: &str, bytes: usize) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![0; bytes]).unwrap();
        path
    }

    #[test]
    fn models_are_found_by_the_path_of_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path();
        let listed = rows(&format!("Streaming\n{LIST}\n"));
        assert_eq!(listed.len(), 5);
        let of = |key: &str| find(models, &listed, key, None);
        assert_eq!(of("llama-3.2-1b-instruct"), None, "nothing lies there");
        write(models, "mlx-community/Llama-3.2-1B-Instruct-4bit/config.json", 2);
        let mlx = models.join("mlx-community/Llama-3.2-1B-Instruct-4bit");
        assert_eq!(of("llama-3.2-1b-instruct"), Some(ModelFiles::Folder(mlx)));
        let nomic = write(models, "nomic-ai/nomic-embed-text-v1.5-GGUF/nomic-embed-text-v1.5.Q4_K_M.gguf", 5);
        assert_eq!(of("text-embedding-nomic-embed-text-v1.5"), Some(ModelFiles::gguf(nomic)));
        write(models, "a/far/config.json", 2);
        assert_eq!((of("far"), of("out"), of("unknown")), (None, None, None));
    }

    #[test]
    fn a_model_of_the_hub_is_found_by_its_size_with_the_projector_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let models = folder.path();
        let model = write(models, "lmstudio-community/Qwen3.8-27B-GGUF/Qwen3.8-27B-Q4_K_M.gguf", 20);
        write(models, "lmstudio-community/Qwen3.8-27B-GGUF/Qwen3.8-27B-Q8_0.gguf", 40);
        let projector = write(models, "lmstudio-community/Qwen3.8-27B-GGUF/mmproj-F16.gguf", 10);
        let found = find(models, &rows(LIST), "qwen/qwen3.8-27b", None);
        assert_eq!(found, Some(ModelFiles::Gguf { model, beside: vec![projector] }));
        write(models, "another/same/size.gguf", 30);
        assert_eq!(find(models, &rows(LIST), "qwen/qwen3.8-27b", None), None, "two may be it");
        let first = write(models, "big/parts/m-00001-of-00002.gguf", 50);
        write(models, "big/parts/m-00002-of-00002.gguf", 51);
        assert_eq!(find(models, &[], "m", Some(101)), Some(ModelFiles::gguf(first)));
    }
}
