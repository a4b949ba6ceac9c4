//! Servers that run and that nobody told Pilothouse of.

use crate::server::ServerId;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What answers at a port, as far as its answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Product {
    Ollama,
    #[serde(rename = "lmstudio")]
    LmStudio,
    LlamaServer,
    /// Any other OpenAI-compatible server.
    #[serde(rename = "openai")]
    OpenAi,
}

/// A server that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Discovered {
    pub product: Product,
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    /// The process, in words ("ollama (pid 812)"); `None`: the system does not tell.
    pub process: Option<String>,
    /// The server of Pilothouse that this is.
    pub known_as: Option<ServerId>,
    /// The id under which it can be added as a server of another owner, when Pilothouse does not use it yet.
    pub add_as: Option<ServerId>,
    /// The base of its OpenAI-compatible API, for that.
    pub openai: String,
    /// The lines for the settings file that make it one of the three servers that Pilothouse supervises, where it can be one.
    pub settings: Option<String>,
}

impl Product {
    /// The lines for the settings file that make one on this port *the* Ollama or LM Studio. Of the others Pilothouse has
    /// one of its own.
    pub fn settings(self, port: u16) -> Option<String> {
        let table = match self {
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::LlamaServer | Self::OpenAi => return None,
        };
        Some(format!("[servers.{table}]\naddress = \"http://127.0.0.1:{port}\"\n"))
    }

    /// The id of one on this port that is added as a server of another owner.
    pub fn add_as(self, port: u16) -> ServerId {
        let name = match self {
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::LlamaServer => "llama",
            Self::OpenAi => "server",
        };
        ServerId(format!("{name}-{port}"))
    }
}

/// What an answer to a GET of `path` says about the server. `/lmstudio-greeting` is LM Studio's alone; `/api/version` is
/// Ollama's; `build_info` in `/props` is llama.cpp's (llama.cpp: tools/server/README.md). LM Studio answers every path
/// with HTTP 200, so only shapes count.
pub fn recognise(path: &str, body: &str) -> Option<Product> {
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let is = |product: Product, proof: bool| proof.then_some(product);
    match path {
        "/lmstudio-greeting" => is(Product::LmStudio, json["lmstudio"] == true),
        "/api/version" => is(Product::Ollama, json["version"].is_string()),
        "/props" => is(Product::LlamaServer, json["build_info"].is_string()),
        "/v1/models" => is(Product::OpenAi, json["data"].is_array()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{RemoteSettings, Settings};

    #[test]
    fn products_are_told_by_the_shape_of_their_answers() {
        let nonsense =
            r#"{"error":"Unexpected endpoint or method. (GET /api/version). Returning 200 anyway"}"#;
        assert_eq!(recognise("/api/version", nonsense), None);
        assert_eq!(recognise("/api/version", r#"{"version":"0.32.0"}"#), Some(Product::Ollama));
        assert_eq!(recognise("/lmstudio-greeting", r#"{"lmstudio":true}"#), Some(Product::LmStudio));
        assert_eq!(
            recognise("/props", r#"{"build_info":"b10068","role":"router"}"#),
            Some(Product::LlamaServer)
        );
        assert_eq!(recognise("/v1/models", r#"{"object":"list","data":[]}"#), Some(Product::OpenAi));
        assert_eq!(recognise("/v1/models", "<html>"), None);
    }

    #[test]
    fn what_is_found_can_be_added_under_an_allowed_name() {
        for product in [Product::Ollama, Product::LmStudio, Product::LlamaServer, Product::OpenAi] {
            let mut settings = Settings::default();
            let remote = RemoteSettings { address: "http://127.0.0.1:8080/v1".into(), ..Default::default() };
            settings.servers.remote.insert(product.add_as(8080).0, remote);
            assert_eq!(settings.check(), Ok(()));
            assert!(product.settings(8080).is_none_or(|lines| lines.contains("http://127.0.0.1:8080")));
        }
    }
}
