use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Llm,
    Embedding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Gguf,
    Mlx,
    /// Bionic alone has it.
    Splash,
}

impl Format {
    /// The name in v0 and v1.
    pub fn rest(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Mlx => "mlx",
            Self::Splash => "splash",
        }
    }

    /// The name that `lms` prints.
    pub fn cli(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Mlx => "safetensors",
            Self::Splash => "yuzu",
        }
    }
}

/// A model on disk, as an entry of `--models FILE.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    /// What loads and requests name.
    pub key: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub display_name: String,
    pub publisher: String,
    #[serde(default)]
    pub architecture: Option<String>,
    /// `Q4_K_M`, `4bit`.
    #[serde(default)]
    pub quantization: Option<String>,
    #[serde(default)]
    pub bits: Option<u32>,
    pub format: Format,
    /// Bytes on disk.
    pub size_bytes: u64,
    #[serde(default)]
    pub params: Option<String>,
    /// Tokens.
    pub max_context: u64,
    #[serde(default)]
    pub vision: bool,
    #[serde(default)]
    pub tool_use: bool,
    /// Variant keys, `<key>@q4_k_m`; the first is the selected one.
    #[serde(default)]
    pub variants: Vec<String>,
}

/// Two LLMs and an embedding model. None of them exists; the sizes are invented.
pub fn built_in() -> Vec<CatalogueModel> {
    let quantized = |name: &str| (Some(name.to_owned()), Some(4));
    let (alpha_quantization, alpha_bits) = quantized("Q4_K_M");
    let (beta_quantization, beta_bits) = quantized("4bit");
    let (embedding_quantization, embedding_bits) = quantized("Q4_K_M");
    vec![
        CatalogueModel {
            key: "simulated/alpha-2b".into(),
            kind: Kind::Llm,
            display_name: "Alpha 2B (simulated)".into(),
            publisher: "simulated".into(),
            architecture: Some("simulated".into()),
            quantization: alpha_quantization,
            bits: alpha_bits,
            format: Format::Gguf,
            size_bytes: 1_500_000_000,
            params: Some("2B".into()),
            max_context: 32_768,
            vision: false,
            tool_use: true,
            variants: vec!["simulated/alpha-2b@q4_k_m".into()],
        },
        CatalogueModel {
            key: "beta-7b-simulated".into(),
            kind: Kind::Llm,
            display_name: "Beta 7B (simulated)".into(),
            publisher: "simulated".into(),
            architecture: Some("simulated".into()),
            quantization: beta_quantization,
            bits: beta_bits,
            format: Format::Mlx,
            size_bytes: 4_200_000_000,
            params: Some("7B".into()),
            max_context: 131_072,
            vision: true,
            tool_use: true,
            variants: vec![],
        },
        CatalogueModel {
            key: "text-embedding-simulated-v1".into(),
            kind: Kind::Embedding,
            display_name: "Embedding v1 (simulated)".into(),
            publisher: "simulated".into(),
            architecture: None,
            quantization: embedding_quantization,
            bits: embedding_bits,
            format: Format::Gguf,
            size_bytes: 80_000_000,
            params: None,
            max_context: 2048,
            vision: false,
            tool_use: false,
            variants: vec![],
        },
    ]
}

/// What Bionic has beside those.
pub fn of_bionic() -> CatalogueModel {
    CatalogueModel {
        key: "simulated/gamma-1b".into(),
        kind: Kind::Llm,
        display_name: "Gamma 1B (simulated)".into(),
        publisher: "simulated".into(),
        architecture: None,
        quantization: None,
        bits: None,
        format: Format::Splash,
        size_bytes: 700_000_000,
        params: None,
        max_context: 8192,
        vision: false,
        tool_use: false,
        variants: vec![],
    }
}

/// Reads a catalogue. Errors: the file is missing, not understood, or names a key twice.
pub fn read(file: &Path) -> anyhow::Result<Vec<CatalogueModel>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let models: Vec<CatalogueModel> =
        serde_json::from_slice(&text).with_context(|| format!("{} is no catalogue", file.display()))?;
    for (position, model) in models.iter().enumerate() {
        let again = models[..position].iter().any(|other| other.key == model.key);
        anyhow::ensure!(!again, "{} names {} twice", file.display(), model.key);
    }
    Ok(models)
}
