//! A manifest of Ollama's store and the index of a folder of safetensors files: neither may lead outside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::model_files::{ollama_store::Manifest, read_index};
use std::path::{Component, Path};

fuzz_target!(|bytes: &[u8]| {
    let blobs = Path::new("/store/blobs");
    let files = Manifest::parse(bytes).and_then(|manifest| manifest.files(blobs));
    for path in files.iter().flat_map(|files| files.paths()) {
        assert_eq!(path.parent(), Some(blobs), "{}", path.display());
        assert!(path.components().all(|part| part != Component::ParentDir));
    }
    for name in read_index(bytes).iter().flatten() {
        let inside = Path::new("/models").join(name);
        assert_eq!(inside.parent(), Some(Path::new("/models")), "{name}");
        assert!(inside.components().all(|part| part != Component::ParentDir));
    }
});
