//! Where Ollama keeps its models: manifests by name, and blobs (reference: telemetry, section 7.2).

use super::ModelFiles;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A manifest has some hundred bytes per tensor where each is a layer of its own; one beyond this is none.
const MAX_MANIFEST: u64 = 8 << 20;
const KIND: &str = "application/vnd.ollama.image.";

/// What a model consists of.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    name: Option<String>,
}

impl Manifest {
    /// From its JSON; `None`: not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The files of the model among the blobs. `None`: no model's weights, or a layer that leads elsewhere.
    pub fn files(&self, blobs: &Path) -> Option<ModelFiles> {
        let of = |kinds: &[&str]| -> Option<Vec<PathBuf>> {
            let wanted = self.layers.iter().filter(|layer| layer.is_any(kinds));
            wanted.map(|layer| Some(blobs.join(blob_name(&layer.digest)?))).collect()
        };
        if let Some(model) = of(&["model"])?.into_iter().next() {
            return Some(ModelFiles::Gguf { model, beside: of(&["projector", "adapter", "draft"])? });
        }
        // A model for MLX: a safetensors file per tensor or group of tensors, and its configurations.
        let is_config =
            |layer: &&Layer| layer.is_any(&["json"]) && layer.name.as_deref() == Some("config.json");
        let config = blobs.join(blob_name(&self.layers.iter().find(is_config)?.digest)?);
        let weights = of(&["tensor"])?;
        (!weights.is_empty()).then_some(ModelFiles::Safetensors { config, weights })
    }
}

impl Layer {
    fn is_any(&self, kinds: &[&str]) -> bool {
        self.media_type.strip_prefix(KIND).is_some_and(|kind| kinds.contains(&kind))
    }
}

/// Nothing but a hash becomes part of a path.
fn blob_name(digest: &str) -> Option<String> {
    let hash = digest.strip_prefix("sha256:")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| format!("sha256-{hash}"))
}

/// The files of a model, by the name that Ollama lists. `None`: no such model, or its store may not be read.
pub fn files_of(store: &Path, name: &str) -> Option<ModelFiles> {
    let manifest = store.join("manifests").join(place(name)?);
    if std::fs::metadata(&manifest).ok()?.len() > MAX_MANIFEST {
        return None;
    }
    let files = Manifest::parse(&std::fs::read(manifest).ok()?)?.files(&store.join("blobs"))?;
    std::fs::File::open(files.paths().first()?).ok().map(|_| files)
}

/// `host/namespace/model/tag` with the usual host and namespace. `None`: a name that would lead elsewhere.
fn place(name: &str) -> Option<PathBuf> {
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (name, "latest"),
    };
    let parts: Vec<&str> = path.split('/').collect();
    let whole: Vec<&str> = match parts[..] {
        [model] => vec!["registry.ollama.ai", "library", model],
        [namespace, model] => vec!["registry.ollama.ai", namespace, model],
        [host, namespace, model] => vec![host, namespace, model],
        _ => return None,
    };
    let safe = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', ':']);
    let whole: Vec<&str> = whole.into_iter().chain([tag]).collect();
    whole.iter().all(safe).then(|| whole.iter().collect())
}

/// Where the store is: the folder of the settings, the user's, or that of the Linux service.
pub fn store(configured: &str, user_home: &Path) -> PathBuf {
    if !configured.is_empty() {
        return PathBuf::from(configured);
    }
    let own = user_home.join(".ollama/models");
    let service = Path::new("/usr/share/ollama/.ollama/models");
    if !own.join("manifests").is_dir() && service.is_dir() { service.to_owned() } else { own }
}

/// The manifest of the reference, section 7.2, with a whole hash for the weights.
#[cfg(test)]
pub(super) fn sample() -> String {
    r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
"config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:455f34728c9b","size":487},
"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:HASH","size":4920738944},
{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:948af2743fc7","size":1481},
{"mediaType":"application/vnd.ollama.image.params","digest":"sha256:56bb8bd477a5","size":96}]}"#
        .replace("HASH", &"2".repeat(64))
}

/// A model for MLX: two tensors, two configurations.
#[cfg(test)]
pub(super) fn sample_of_tensors() -> String {
    let layers = [
        ("tensor", "1", "model.a.weight"),
        ("tensor", "2", "model.b.weight"),
        ("json", "3", "tokenizer.json"),
        ("json", "4", "config.json"),
    ];
    let layers = layers.map(|(kind, digit, name)| {
        let digest = digit.repeat(64);
        format!(r#"{{"mediaType":"{KIND}{kind}","digest":"sha256:{digest}","size":9,"name":"{name}"}}"#)
    });
    format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_into_the_store_and_nowhere_else() {
        let of = |name| place(name).map(|path| path.display().to_string());
        assert_eq!(of("smollm2:135m").as_deref(), Some("registry.ollama.ai/library/smollm2/135m"));
        assert_eq!(of("smollm2").as_deref(), Some("registry.ollama.ai/library/smollm2/latest"));
        assert_eq!(of("me/mine:q4").as_deref(), Some("registry.ollama.ai/me/mine/q4"));
        assert_eq!(of("hf.co/org/model:Q4_K_M").as_deref(), Some("hf.co/org/model/Q4_K_M"));
        for bad in ["../../etc/passwd", "a/../b", "", "a:..", "a/b/c/d", "a\\b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    fn manifest(layers: &[(&str, &str)]) -> String {
        let layer = |(kind, digest): &(&str, &str)| serde_json::json!({ "mediaType": format!("{KIND}{kind}"), "digest": digest, "size": 4 });
        let layers: Vec<_> = layers.iter().map(layer).collect();
        serde_json::json!({ "schemaVersion": 2, "config": { "digest": "sha256:00" }, "layers": layers })
            .to_string()
    }

    #[test]
    fn the_weights_are_the_layer_of_their_type() {
        let folder = tempfile::tempdir().unwrap();
        let digest = format!("sha256:{}", "ab".repeat(32));
        let manifests = folder.path().join("manifests/registry.ollama.ai/library/m");
        let blobs = folder.path().join("blobs");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::create_dir_all(&blobs).unwrap();
        let blob = blobs.join(digest.replace(':', "-"));
        let write = |digest: &str| {
            let text = manifest(&[("template", "sha256:00"), ("model", digest)]);
            std::fs::write(manifests.join("latest"), text).unwrap();
        };
        write(&digest);
        assert_eq!(files_of(folder.path(), "m"), None, "its blob is not there");
        std::fs::write(&blob, "GGUF").unwrap();
        assert_eq!(files_of(folder.path(), "m:latest"), Some(ModelFiles::gguf(blob)));
        write("sha256:../../../etc/passwd");
        assert_eq!(files_of(folder.path(), "m"), None);
        std::fs::write(manifests.join("latest"), "no manifest").unwrap();
        assert_eq!(files_of(folder.path(), "m"), None);
        assert_eq!(files_of(folder.path(), "other"), None);
    }

    #[test]
    fn what_is_loaded_with_the_weights_is_beside_them() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let blob = |digit: &str| PathBuf::from(format!("/b/sha256-{}", digit.repeat(64)));
        let layers = [("projector", digest("1")), ("model", digest("2")), ("license", digest("3"))];
        let layers = layers.iter().map(|(kind, digest)| (*kind, digest.as_str())).collect::<Vec<_>>();
        let text = manifest(&[&layers[..], &[("draft", &digest("4"))]].concat());
        let files = Manifest::parse(text.as_bytes()).unwrap().files(Path::new("/b"));
        assert_eq!(files, Some(ModelFiles::Gguf { model: blob("2"), beside: vec![blob("1"), blob("4")] }));
        let files = Manifest::parse(sample().as_bytes()).unwrap().files(Path::new("/b"));
        assert_eq!(files, Some(ModelFiles::gguf(blob("2"))));
        let elsewhere = manifest(&[("model", &digest("2")), ("projector", "sha256:../x")]);
        assert_eq!(Manifest::parse(elsewhere.as_bytes()).unwrap().files(Path::new("/b")), None);
    }

    #[test]
    fn a_model_of_tensors_is_its_configuration_and_all_of_them() {
        let read = |text: &str| Manifest::parse(text.as_bytes()).unwrap().files(Path::new("/b"));
        let blob = |digit: &str| PathBuf::from(format!("/b/sha256-{}", digit.repeat(64)));
        let weights = vec![blob("1"), blob("2")];
        let whole = sample_of_tensors();
        assert_eq!(read(&whole), Some(ModelFiles::Safetensors { config: blob("4"), weights }));
        assert_eq!(read(&whole.replace("config.json", "other.json")), None, "nothing says what it is");
        assert_eq!(read(&whole.replace("image.tensor", "image.other")), None, "no weights");
    }
}
