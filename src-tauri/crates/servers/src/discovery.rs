//! Which language-model servers run on this machine, whether Pilothouse knows them or not. Nothing is woken up: only
//! ports that are open already are asked, and of those only the usual ones and those of programs with a known name.

use crate::http::ServerHttp;
use futures_util::future::join_all;
use pilothouse_domain::{
    discovery::{Discovered, Product, recognise},
    endpoint::Endpoint,
    error::ErrorCode,
    server::ServerKind,
    snapshot::Snapshot,
};
use pilothouse_system::connect::port_of;
use pilothouse_system::process::{Holder, children, listener, listeners};
use std::time::Duration;

/// Ollama, LM Studio, llama-server and mlx_lm, vLLM, LiteLLM, KoboldCpp, text-generation-webui, Jan.
const USUAL_PORTS: [u16; 8] = [11434, 1234, 8080, 8000, 4000, 5001, 5000, 1337];
/// Parts of the names of programs that serve models.
const NAMES: [&str; 8] =
    ["ollama", "llama-server", "llmster", "lm studio", "vllm", "litellm", "mlx_lm", "koboldcpp"];
/// An open port that says nothing for so long is no server of this kind.
const LIMIT: Duration = Duration::from_millis(1500);

/// Looks once. Pilothouse's own doors are no find.
pub async fn discover(snapshot: &Snapshot) -> Vec<Discovered> {
    let doors = [snapshot.engine.gateway.as_deref(), snapshot.engine.web.as_deref()];
    let ours: Vec<u16> = doors.into_iter().flatten().map(port_of).collect();
    let mut ports = USUAL_PORTS.to_vec();
    let named = |holder: &Holder| {
        let name = holder.name.to_lowercase();
        NAMES.iter().any(|known| name.contains(known))
    };
    ports.extend(listeners().await.into_iter().filter(|(_, holder)| named(holder)).map(|(port, _)| port));
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|port| !ours.contains(port));
    let asked = ports.into_iter().map(|port| async move { look(snapshot, port).await });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The process of a model behind a server that is known already (its own children and theirs).
fn is_runner(snapshot: &Snapshot, pid: u32) -> bool {
    let servers: Vec<u32> = snapshot.servers.iter().filter_map(|server| server.pid).collect();
    servers
        .iter()
        .any(|server| children(*server).is_some_and(|children| children.iter().any(|child| child.pid == pid)))
}

async fn look(snapshot: &Snapshot, port: u16) -> Option<Discovered> {
    let address = format!("http://127.0.0.1:{port}");
    let http = ServerHttp::new(&Endpoint { base_url: address.clone(), key: None }, "it");
    let product = product(&http).await?;
    let holder = listener(port).await;
    let pid = holder.as_ref().map(|holder| holder.pid);
    if pid.is_some_and(|pid| is_runner(snapshot, pid)) {
        return None;
    }
    let known_as = snapshot.servers.iter().find(|server| {
        let endpoint = server.endpoint.as_deref().unwrap_or_default();
        endpoint.trim_end_matches("/v1").trim_end_matches('/') == address
            || (pid.is_some() && server.pid == pid)
    });
    // One with a key tells strangers nothing about itself.
    let product = match known_as.map(|server| server.kind) {
        Some(ServerKind::LlamaServer) => Product::LlamaServer,
        Some(ServerKind::Ollama) => Product::Ollama,
        Some(ServerKind::LmStudio) => Product::LmStudio,
        Some(ServerKind::OpenAi) | None => product,
    };
    Some(Discovered {
        product,
        openai: format!("{address}/v1"),
        address,
        process: holder.map(|holder| holder.to_string()),
        known_as: known_as.map(|server| server.id.clone()),
        add_as: known_as.is_none().then(|| product.add_as(port)),
        settings: product.settings(port).filter(|_| known_as.is_none()),
    })
}

/// One question after the other, the most certain first. All of them are answered without loading anything.
async fn product(http: &ServerHttp) -> Option<Product> {
    for path in ["/lmstudio-greeting", "/api/version", "/props", "/v1/models"] {
        match http.text(path, LIMIT).await {
            Ok(body) => {
                if let Some(product) = recognise(path, &body) {
                    return Some(product);
                }
            }
            Err(error) if error.code == ErrorCode::Unauthorized => {
                return Some(Product::OpenAi);
            }
            Err(error) if error.code == ErrorCode::Unreachable => return None,
            Err(_) => {}
        }
    }
    None
}
