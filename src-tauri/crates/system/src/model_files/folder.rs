//! A folder as MLX and Hugging Face lay it out: `config.json`, `*.safetensors`, and an index where there are several.

use super::{SafetensorsHead, bad, mlx::read_mlx_anatomy, open};
use pilothouse_domain::anatomy::Anatomy;
use serde::{
    Deserialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Configurations with a line per quantised module have some hundred kilobytes.
const MAX_CONFIG: u64 = 4 << 20;
/// The index has a line per tensor.
const MAX_INDEX: u64 = 64 << 20;
/// The largest models come in some hundred files; Ollama keeps each tensor in one.
const MAX_FILES: usize = 1 << 16;
/// Tensors of all files together.
const MAX_TENSORS: usize = 1 << 20;

/// The build of the model in a folder.
pub(super) fn read(folder: &Path) -> io::Result<Anatomy> {
    read_each(&folder.join("config.json"), &weights(folder)?)
}

/// The build of a model from its configuration and its files.
pub(super) fn read_each(config: &Path, weights: &[PathBuf]) -> io::Result<Anatomy> {
    let config = text(config, MAX_CONFIG)?;
    let (mut heads, mut tensors) = (Vec::new(), 0);
    for path in weights {
        let named = |error: io::Error| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            io::Error::new(error.kind(), format!("{name}: {error}"))
        };
        let file = open(path)?;
        let length = file.metadata()?.len();
        let head = SafetensorsHead::read(file).map_err(named)?;
        if length < head.file_bytes {
            let text = format!("it is cut off, {length} bytes of {}", head.file_bytes);
            return Err(named(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
        }
        tensors += head.tensors.len();
        if tensors > MAX_TENSORS {
            return Err(bad("too many tensors"));
        }
        heads.push(head);
    }
    read_mlx_anatomy(&config, &heads).map_err(bad)
}

fn text(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut text)?;
    if text.len() as u64 > most {
        return Err(bad(format!("{} is too long", path.display())));
    }
    Ok(text)
}

/// The files with the weights: those that the index names, whether they are there or not; else those that MLX would load.
pub(super) fn weights(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        let named = read_index(&text(&index, MAX_INDEX)?)?;
        return Ok(named.into_iter().map(|name| folder.join(name)).collect());
    }
    let entries = std::fs::read_dir(folder)?.flatten().take(MAX_FILES);
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    let is_model =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("model"));
    // Publishers put the same weights in another order, or an adapter, beside them.
    if files.iter().any(is_model) {
        files.retain(is_model);
    }
    if files.is_empty() {
        return Err(bad("there are no safetensors files in it"));
    }
    files.sort();
    Ok(files)
}

/// The files that an index names, without the tensors. Its total is not used: publishers copy it from the model that theirs was
/// made of.
pub fn read_index(text: &[u8]) -> io::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Names,
    }
    let index: Index = serde_json::from_slice(text).map_err(|_| bad("its index is not understood"))?;
    let safe = |name: &String| {
        let plain = !name.contains(['/', '\\', ':', '\0']) && !name.starts_with('.');
        plain && name.ends_with(".safetensors")
    };
    match index.weight_map.0 {
        names if names.is_empty() => Err(bad("its index names no files")),
        names if names.iter().all(safe) => Ok(names),
        _ => Err(bad("its index names something that is not a file of its folder")),
    }
}

struct Names(BTreeSet<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Files;
        impl<'de> Visitor<'de> for Files {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("files by tensor")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Names, M::Error> {
                let mut names = BTreeSet::new();
                while let Some((IgnoredAny, name)) = map.next_entry::<IgnoredAny, String>()? {
                    names.insert(name);
                    if names.len() > MAX_FILES {
                        return Err(de::Error::custom("too many files"));
                    }
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_files::{mlx, safetensors};
    use serde_json::json;

    fn file(head: &serde_json::Value, weights: usize) -> Vec<u8> {
        let mut file = safetensors::sample::head(head);
        file.resize(file.len() + weights, 0);
        file
    }

    #[test]
    fn a_folder_is_read_file_by_file_and_what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let said = || read(folder.path()).unwrap_err().to_string();
        assert_eq!(said(), "there are no safetensors files in it");
        write("adapters.safetensors", b"");
        let tensor = safetensors::sample::tensors(&[("model.layers.0.x.weight", "F32", &[4], 16)]);
        write("model-00001-of-00002.safetensors", &file(&tensor, 16));
        assert_eq!(said(), "config.json is missing");
        write("config.json", mlx::sample::config().to_string().as_bytes());
        assert_eq!(read(folder.path()).unwrap().weights_bytes, 16, "without index what begins with model");
        let map = json!({ "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors" });
        write("model.safetensors.index.json", json!({ "weight_map": map }).to_string().as_bytes());
        assert_eq!(said(), "model-00002-of-00002.safetensors is missing");
        write("model-00002-of-00002.safetensors", &file(&tensor, 15));
        assert!(said().contains("it is cut off"), "{}", said());
        write("model-00002-of-00002.safetensors", &file(&tensor, 16));
        assert_eq!(read(folder.path()).unwrap().weights_bytes, 32);
    }

    #[test]
    fn an_index_leads_nowhere_else() {
        for name in [
            "../x.safetensors",
            "/x.safetensors",
            "a/b.safetensors",
            "..\\x.safetensors",
            "config.json",
            ".safetensors",
        ] {
            let index = json!({ "weight_map": { "t": name } });
            assert!(read_index(index.to_string().as_bytes()).is_err(), "{name}");
        }
        assert!(read_index(b"{}").is_err() && read_index(br#"{"weight_map":{}}"#).is_err());
    }
}
