use crate::{
    client_keys,
    output::{Output, words},
    session::{Session, unexpected},
};
use clap::Subcommand;
use pilothouse_domain::server::{KeyText, ServerId};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use serde_json::json;
use std::io::{BufRead, IsTerminal};

#[derive(Subcommand)]
pub enum Act {
    /// Keep a key; it is asked for, or read from stdin, so that no history of the shell has it.
    Set { server: String },
    /// Forget a key.
    Remove { server: String },
    /// Make, list or revoke the keys by which programs may use the one address.
    Client {
        #[command(subcommand)]
        act: client_keys::Act,
    },
}

pub async fn run(act: Act, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    match act {
        Act::Client { act } => client_keys::run(act, &session, output).await,
        Act::Set { server } => {
            let key = read_key(&server)?;
            match session.call(Call::SetKey { server: ServerId(server.clone()), key: KeyText(key) }).await? {
                Reply::KeyKept { place } => {
                    output.answer(json!({ "server": server, "kept_in": place }), || {
                        format!("The key of {server} is kept in the {}.", words(&place))
                    });
                    Ok(0)
                }
                other => Err(unexpected(&other)),
            }
        }
        Act::Remove { server } => {
            match session.call(Call::RemoveKey { server: ServerId(server.clone()) }).await? {
                Reply::Done => {
                    output.answer(json!({ "server": server, "kept_in": null }), || {
                        format!("The key of {server} is forgotten.")
                    });
                    Ok(0)
                }
                other => Err(unexpected(&other)),
            }
        }
    }
}

fn read_key(server: &str) -> Result<String, ApiError> {
    let unread = |error: std::io::Error| {
        ApiError::new(ErrorCode::InvalidCall, format!("The key could not be read: {error}."))
    };
    let term = console::Term::stderr();
    if std::io::stdin().is_terminal() && term.is_term() {
        term.write_str(&format!("Key of {server}: ")).map_err(unread)?;
        return term.read_secure_line().map_err(unread);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unread)?;
    Ok(line.trim().to_owned())
}
