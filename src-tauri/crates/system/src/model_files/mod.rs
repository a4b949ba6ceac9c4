//! What model files say of themselves. Reads heads only, never weights, and never writes.

mod anatomy;
mod config;
mod folder;
mod gguf;
mod mlx;
pub mod ollama_store;
mod parts;
mod safetensors;
mod sample;
mod search;
#[cfg(test)]
mod tests;
mod told;

pub use folder::read_index;
pub use gguf::{Header, read as read_header};
pub use mlx::read_mlx_anatomy;
pub use parts::{is_damage, is_later_part, look_at, parts_of};
pub use safetensors::SafetensorsHead;
pub use sample::sampled_digest;
pub use search::{gguf_files, is_gguf};
pub use told::{ToldTensor, read_told};

use pilothouse_domain::anatomy::Anatomy;
use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

/// Where the weights of a model lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelFiles {
    /// A GGUF file, or the first of its parts.
    Gguf {
        model: PathBuf,
        /// What the server loads with it: projector, adapters, draft.
        beside: Vec<PathBuf>,
    },
    /// A folder as MLX and Hugging Face lay it out: `config.json` and `*.safetensors`.
    Folder(PathBuf),
    /// The same, file by file.
    Safetensors { config: PathBuf, weights: Vec<PathBuf> },
    /// Files that this user may not read: what their server tells of them.
    Told(Box<Anatomy>),
}

impl ModelFiles {
    /// A GGUF file, or the first of its parts, with nothing beside it.
    pub fn gguf(model: PathBuf) -> Self {
        Self::Gguf { model, beside: Vec::new() }
    }

    /// The files and folders that it names, the first one first.
    pub fn paths(&self) -> Vec<&Path> {
        let (first, others) = match self {
            Self::Gguf { model, beside } => (model, &beside[..]),
            Self::Folder(folder) => (folder, &[][..]),
            Self::Safetensors { config, weights } => (config, &weights[..]),
            Self::Told(_) => return Vec::new(),
        };
        [first].into_iter().chain(others).map(PathBuf::as_path).collect()
    }
}

impl fmt::Display for ModelFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paths().first() {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str("what its server tells"),
        }
    }
}

/// The build of a model, read from disk: for a thread that may block. Errors: as [`read_anatomy`], or a file that is missing.
pub fn read_files(files: &ModelFiles) -> io::Result<Anatomy> {
    match files {
        ModelFiles::Gguf { model, beside } => {
            let mut anatomy = parts::read(model)?;
            anatomy.beside_bytes = sizes(beside)?;
            Ok(anatomy)
        }
        ModelFiles::Folder(folder) => folder::read(folder),
        ModelFiles::Safetensors { config, weights } => folder::read_each(config, weights),
        ModelFiles::Told(anatomy) => Ok((**anatomy).clone()),
    }
}

/// The build of a model from the head of a GGUF file. Errors: not such a file, cut off, lengths beyond reason, or a build that
/// is not understood.
pub fn read_anatomy(file: impl Read + Seek) -> io::Result<Anatomy> {
    let (metadata, tensors) = gguf::read_whole(file)?;
    anatomy::of(&metadata, &tensors).map_err(bad)
}

fn sizes(files: &[PathBuf]) -> io::Result<u64> {
    files.iter().map(|file| Ok(open(file)?.metadata()?.len())).sum()
}

/// Opens a file; the error names it.
fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), format!("{name} is missing")),
            kind => io::Error::new(kind, format!("{name}: {error}")),
        }
    })
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
