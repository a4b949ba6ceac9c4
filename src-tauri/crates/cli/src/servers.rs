use crate::{
    completing, doctor, document,
    output::{Output, table, words},
    session::{Session, unexpected},
};
use clap::Subcommand;
use pilothouse_domain::{discovery::Discovered, server::ServerId, snapshot::Snapshot, units::gigabytes};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Subcommand)]
pub enum Act {
    Start {
        #[arg(add = completing::servers())]
        server: String,
    },
    Stop {
        #[arg(add = completing::servers())]
        server: String,
    },
    Restart {
        #[arg(add = completing::servers())]
        server: String,
    },
    /// Look again for the program of one that is not installed.
    Locate {
        #[arg(add = completing::servers())]
        server: String,
    },
    /// Look at port and API, and ask for one real token.
    Check {
        #[arg(add = completing::servers())]
        server: String,
    },
    /// Look for servers that run on this machine, known or not.
    Discover,
    /// Use a server of another owner: any OpenAI-compatible address.
    Add {
        /// Its id from now on: a-z, 0-9 and -.
        server: String,
        /// Such as http://studio.local:11434/v1.
        address: String,
        /// Its name as people read it.
        #[arg(long)]
        title: Option<String>,
    },
    /// Forget a server that was added.
    Remove {
        #[arg(add = completing::servers())]
        server: String,
    },
    /// End processes with models whose Ollama has died without them.
    EndOrphans,
    /// End one that somebody else started, and start one of Pilothouse's in its place.
    TakeOver {
        #[arg(add = completing::servers())]
        server: String,
    },
}

pub async fn run(act: Option<Act>, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let call = match act {
        None => {
            let snapshot = session.snapshot().await?;
            output.answer(json!({ "servers": document::servers(&snapshot) }), || list(&snapshot));
            return Ok(0);
        }
        Some(Act::Start { server }) => Call::StartServer { server: ServerId(server) },
        Some(Act::Stop { server }) => Call::StopServer { server: ServerId(server) },
        Some(Act::Locate { server }) => Call::LocateServer { server: ServerId(server) },
        Some(Act::Check { server }) => Call::CheckServer { server: ServerId(server) },
        Some(Act::Discover) => Call::Discover,
        Some(Act::Add { server, address, title }) => {
            Call::AddServer { server: ServerId(server), address, title }
        }
        Some(Act::Remove { server }) => {
            let id = ServerId(server.clone());
            let active = session.snapshot().await?.active.as_ref().is_some_and(|active| active.server == id);
            session.call(Call::RemoveServer { server: id }).await?;
            output.answer(json!({ "removed": server, "was_active": active }), || match active {
                true => format!("{server} is forgotten. It had the active model: no model is active now."),
                false => format!("{server} is forgotten."),
            });
            return Ok(0);
        }
        Some(Act::EndOrphans) => {
            session.call(Call::EndOrphans).await?;
            output.answer(json!({ "ended": true }), || "The left-over processes were ended.".into());
            return Ok(0);
        }
        Some(Act::TakeOver { server }) => Call::TakeOver { server: ServerId(server) },
        Some(Act::Restart { server }) => Call::RestartServer { server: ServerId(server) },
    };
    match session.call(call).await? {
        Reply::Server { server } => {
            let snapshot = session.snapshot().await?;
            let document = json!({ "servers": [document::server(&server, snapshot.gauges.as_ref())] });
            output.answer(document, || format!("{} is {}.", server.title, words(&server.state)));
            Ok(0)
        }
        Reply::Doctor { checks } => Ok(doctor::show(&checks, output)),
        Reply::Discovered { servers } => {
            output.answer(json!({ "discovered": servers }), || discovered(&servers));
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}

fn discovered(servers: &[Discovered]) -> String {
    let line = |one: &Discovered| {
        let known =
            one.known_as.as_ref().map_or_else(|| "not used yet".into(), |id| format!("known as {id}"));
        let process = one.process.as_deref().unwrap_or("–");
        let add = one
            .add_as
            .as_ref()
            .map(|id| format!("\nTo use it: pilothouse servers add {id} {}\n", one.openai));
        format!("{} at {}, {process}: {known}{}\n", words(&one.product), one.address, add.unwrap_or_default())
    };
    match servers {
        [] => "No language-model server runs on this machine.".into(),
        servers => servers.iter().map(line).collect(),
    }
}

/// The servers as a table.
pub fn list(snapshot: &Snapshot) -> String {
    let rows = snapshot.servers.iter().map(|server| {
        let usage =
            snapshot.gauges.as_ref().and_then(|g| g.servers.iter().find(|usage| usage.id == server.id));
        let memory = usage.and_then(|usage| usage.memory_bytes).map_or_else(|| "–".into(), gigabytes);
        let owner = server.ownership.map_or_else(|| "–".into(), |ownership| words(&ownership));
        vec![
            server.id.to_string(),
            words(&server.state),
            owner,
            memory,
            server.version.clone().unwrap_or_else(|| "–".into()),
            server.endpoint.clone().or_else(|| server.reason.clone()).unwrap_or_else(|| "–".into()),
        ]
    });
    table(&["SERVER", "STATE", "OWNER", "MEMORY", "VERSION", "ADDRESS"], rows.collect())
}
