//! All parsers of model files on what nobody means: any bytes, and good files with a few bytes changed. They must come to an
//! end soon, without a panic and without asking for more memory than the file can fill.

use super::{ollama_store::Manifest, *};
use pilothouse_domain::{
    estimate::{OnCpu, Place, Wish, estimate},
    machine::CpuFeatures,
};
use proptest::prelude::*;
use std::{
    cell::Cell,
    io::{Cursor, SeekFrom},
    path::Path,
};

/// Counts what is read, so that a parser that goes round in circles is seen whatever the clock says.
struct Counted<'a> {
    file: Cursor<&'a [u8]>,
    reads: &'a Cell<usize>,
}

impl Read for Counted<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.reads.set(self.reads.get() + 1);
        self.file.read(to)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reads.set(self.reads.get() + 1);
        self.file.seek(to)
    }
}

fn reckon(anatomy: &Anatomy) {
    let wish = Wish::checked(1 << 24, Some(256), Some("f32")).unwrap();
    for place in [Place::Cpu(OnCpu::Mapped(CpuFeatures::USUAL)), Place::Cpu(OnCpu::Read), Place::Gpu] {
        assert!(estimate(anatomy, &wish, place).total_bytes() >= anatomy.weights_bytes);
    }
    assert!(anatomy.bytes_per_token() <= anatomy.weights_bytes);
}

fn try_gguf(bytes: &[u8]) {
    let reads = Cell::new(0);
    let file = || Counted { file: Cursor::new(bytes), reads: &reads };
    let _ = read_header(file());
    if let Ok(anatomy) = read_anatomy(file()) {
        reckon(&anatomy);
    }
    assert!(reads.get() <= 16 + bytes.len(), "{} reads of {} bytes", reads.get(), bytes.len());
}

fn try_safetensors(bytes: &[u8]) {
    let reads = Cell::new(0);
    let _ = SafetensorsHead::read(Counted { file: Cursor::new(bytes), reads: &reads });
    assert!(reads.get() <= 16 + bytes.len());
}

fn try_mlx(config: &[u8], head: &[u8]) {
    let heads: Vec<_> = SafetensorsHead::read(head).into_iter().collect();
    if let Ok(anatomy) = read_mlx_anatomy(config, &heads) {
        reckon(&anatomy);
    }
}

fn try_manifest(bytes: &[u8]) {
    let blobs = Path::new("/store/blobs");
    let files = Manifest::parse(bytes).and_then(|manifest| manifest.files(blobs));
    for path in files.iter().flat_map(ModelFiles::paths) {
        assert_eq!(path.parent(), Some(blobs));
    }
    for name in read_index(bytes).iter().flatten() {
        assert_eq!(Path::new("/m").join(name).parent(), Some(Path::new("/m")), "{name}");
    }
}

fn config() -> Vec<u8> {
    mlx::sample::config().to_string().into_bytes()
}

fn head() -> Vec<u8> {
    safetensors::sample::head(&mlx::sample::head())
}

fn manifest() -> Vec<u8> {
    ollama_store::sample().into_bytes()
}

fn index() -> Vec<u8> {
    br#"{"metadata":{"total_size":32},"weight_map":{"a.weight":"model-00001-of-00002.safetensors","b.weight":"model-00002-of-00002.safetensors"}}"#.to_vec()
}

/// What the fuzzer starts with: target, name, content.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    // The target has the length of the head from the end of the input.
    let mlx = [&config()[..], b"\0", &head()[8..]].concat();
    vec![
        ("gguf", "header", gguf::sample::header()),
        ("gguf", "built", gguf::sample::built()),
        ("gguf", "part", gguf::sample::part(0, 2, 2)),
        ("manifest", "gguf", manifest()),
        ("manifest", "tensors", ollama_store::sample_of_tensors().into_bytes()),
        ("manifest", "index", index()),
        ("mlx_config", "mixture", mlx),
        (
            "mlx_config",
            "bare",
            br#"{"model_type":"llama","num_hidden_layers":2,"hidden_size":64,"num_attention_heads":4}"#
                .to_vec(),
        ),
        ("safetensors", "mixture", head()),
    ]
}

/// With WRITE_SEEDS set they are written.
#[test]
fn the_seeds_of_the_fuzzer_are_good_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds");
    for (target, name, bytes) in seeds() {
        let path = root.join(target).join(name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            std::fs::create_dir_all(root.join(target)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        let understood = match target {
            "gguf" => read_header(Cursor::new(&kept)).is_ok(),
            "manifest" => Manifest::parse(&kept).is_some() || read_index(&kept).is_ok(),
            "mlx_config" => read_mlx_anatomy(kept.split(|byte| *byte == 0).next().unwrap(), &[]).is_ok(),
            _ => SafetensorsHead::read(&kept[..]).is_ok(),
        };
        assert!(understood, "{}", path.display());
    }
}

#[test]
fn the_samples_are_understood() {
    assert!(read_anatomy(Cursor::new(gguf::sample::built())).is_ok());
    assert!(read_mlx_anatomy(&config(), &[SafetensorsHead::read(&head()[..]).unwrap()]).is_ok());
    assert!(Manifest::parse(&manifest()).unwrap().files(Path::new("/b")).is_some());
    assert_eq!(read_index(&index()).unwrap().len(), 2);
}

/// Some bytes changed, a piece cut out or doubled.
fn mutated(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = whole.len();
    let changes = proptest::collection::vec((0..length, any::<u8>()), 0..6);
    let piece = (0..length, 0..length, 0..3usize);
    (changes, piece).prop_map(move |(changes, (from, to, times))| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let (from, to) = (from.min(to), from.max(to));
        let piece = bytes[from..to].repeat(times);
        bytes.splice(from..to, piece);
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let after = |start: &[u8]| [start, &bytes].concat();
        for bytes in [&bytes, &after(b"GGUF\x03\0\0\0")] {
            try_gguf(bytes);
        }
        for bytes in [&bytes, &after(&(bytes.len() as u64).to_le_bytes())] {
            try_safetensors(bytes);
            try_mlx(&config(), bytes);
        }
        try_mlx(&bytes, &head());
        try_manifest(&bytes);
    }

    #[test]
    fn changed_gguf_files_are_an_answer_or_an_error(bytes in mutated(gguf::sample::built())) {
        try_gguf(&bytes);
    }

    #[test]
    fn changed_heads_are_an_answer_or_an_error(bytes in mutated(head())) {
        try_safetensors(&bytes);
        try_mlx(&config(), &bytes);
    }

    #[test]
    fn changed_configurations_are_an_answer_or_an_error(bytes in mutated(config())) {
        try_mlx(&bytes, &head());
    }

    #[test]
    fn changed_manifests_lead_nowhere_else(manifest in mutated(manifest()), index in mutated(index())) {
        try_manifest(&manifest);
        try_manifest(&index);
    }
}
