//! Where Ollama keeps its models: manifests by name, and blobs (reference: telemetry, section 7.2).

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Manifests are small; one beyond this is none.
const MAX_MANIFEST: u64 = 1 << 20;
const WEIGHTS: &str = "application/vnd.ollama.image.model";

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// The weights file of a model, by the name that Ollama lists. `None`: no such model, its store may not be read, or it is
/// not one GGUF file.
pub fn weights_of(store: &Path, name: &str) -> Option<PathBuf> {
    let manifest = store.join("manifests").join(place(name)?);
    if std::fs::metadata(&manifest).ok()?.len() > MAX_MANIFEST {
        return None;
    }
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
    let layer = manifest.layers.into_iter().find(|layer| layer.media_type == WEIGHTS)?;
    let hash = layer.digest.strip_prefix("sha256:")?;
    // Nothing but a hash becomes part of a path.
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| store.join("blobs").join(format!("sha256-{hash}"))).filter(|file| file.is_file())
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

    #[test]
    fn the_weights_are_the_layer_of_their_type() {
        let folder = tempfile::tempdir().unwrap();
        let hash = "ab".repeat(32);
        let manifests = folder.path().join("manifests/registry.ollama.ai/library/m");
        let blobs = folder.path().join("blobs");
        std::fs::create_dir_all(&manifests).unwrap();
        std::fs::create_dir_all(&blobs).unwrap();
        let blob = blobs.join(format!("sha256-{hash}"));
        std::fs::write(&blob, "GGUF").unwrap();
        let layer = |kind: &str, digest: &str| serde_json::json!({ "mediaType": format!("application/vnd.ollama.image.{kind}"), "digest": digest, "size": 4 });
        let write = |digest: &str| {
            let manifest =
                serde_json::json!({ "layers": [layer("template", "sha256:00"), layer("model", digest)] });
            std::fs::write(manifests.join("latest"), manifest.to_string()).unwrap();
        };
        write(&format!("sha256:{hash}"));
        assert_eq!(weights_of(folder.path(), "m:latest"), Some(blob));
        write("sha256:../../../etc/passwd");
        assert_eq!(weights_of(folder.path(), "m"), None);
        std::fs::write(manifests.join("latest"), "no manifest").unwrap();
        assert_eq!(weights_of(folder.path(), "m"), None);
        assert_eq!(weights_of(folder.path(), "other"), None);
    }
}
