//! Keys of client programs: made, listed and revoked.

use crate::{
    document::with_reasons,
    output::{ABSENT, Output, day_and_clock, table},
    session::{Session, unexpected},
};
use clap::{Subcommand, ValueEnum};
use pilothouse_domain::client_key::{ClientKey, KeyScope};
use pilothouse_engine::api::{ApiError, Call, ClientKeyView, Reply};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Act {
    /// Make a key and print it, this once; what is kept is only a hash.
    Add {
        /// Who asks, in lists and in “traffic”.
        name: String,
        /// What it opens: answers, or only the list of models.
        #[arg(long, value_enum, default_value_t = Scope::Inference)]
        scope: Scope,
        /// A name that it may ask by or a model that may answer it, with * for any characters; may be repeated. Default: all.
        #[arg(long = "model", value_name = "NAME")]
        models: Vec<String>,
        /// Requests at a time; default: without a limit.
        #[arg(long, value_name = "N")]
        at_once: Option<u32>,
        /// Tokens by the minute, of prompts and answers together; default: without a limit.
        #[arg(long, value_name = "N")]
        tokens_per_minute: Option<u32>,
    },
    /// List the keys, when each was used last, and how many wrong ones came.
    List,
    /// Take a key back: from now on it opens nothing. Answers under way go on.
    Revoke { name: String },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Scope {
    Inference,
    Read,
}

pub async fn run(act: Act, session: &Session, output: &Output) -> Result<u8, ApiError> {
    match act {
        Act::Add { name, scope, models, at_once, tokens_per_minute } => {
            let scope = match scope {
                Scope::Inference => KeyScope::Inference,
                Scope::Read => KeyScope::Read,
            };
            let call = Call::AddClientKey { name, scope, models, at_once, tokens_per_minute };
            match session.call(call).await? {
                Reply::ClientKeyMade { key, secret } => {
                    let mut made = document(&key);
                    made["key"] = json!(secret.0);
                    output.answer(made, || secret.0.clone());
                    output.remark(&format!(
                        "This is the key “{}”, shown this once. A program sends it as “Authorization: Bearer …” or “x-api-key: …”.",
                        key.name
                    ));
                    Ok(0)
                }
                other => Err(unexpected(&other)),
            }
        }
        Act::List => match session.call(Call::ClientKeys).await? {
            Reply::ClientKeys { keys, required, wrong, wrong_at } => {
                let documents: Vec<Value> = keys.iter().map(listed).collect();
                let all =
                    json!({ "keys": documents, "required": required, "wrong": wrong, "wrong_at": wrong_at });
                let all = with_reasons(all, &[("wrong_at", "no wrong key was shown since the start")]);
                output.answer(all, || {
                    let wrong = match (wrong, wrong_at) {
                        (0, _) | (_, None) => "No wrong key was shown since the start.".to_owned(),
                        (1, Some(at)) => format!("One wrong key was shown, {}.", day_and_clock(at)),
                        (n, Some(at)) => {
                            format!(
                                "Wrong keys were shown {n} times since the start, the last {}.",
                                day_and_clock(at)
                            )
                        }
                    };
                    let required = match required {
                        true => "Every program needs a key (gateway.require_key).",
                        false => "Programs of this machine need none (gateway.require_key).",
                    };
                    let list = match keys.is_empty() {
                        true => "There are no keys; “pilothouse keys client add NAME” makes one.".to_owned(),
                        false => listing(&keys),
                    };
                    format!("{list}\n\n{required} {wrong}")
                });
                Ok(0)
            }
            other => Err(unexpected(&other)),
        },
        Act::Revoke { name } => match session.call(Call::RevokeClientKey { name: name.clone() }).await? {
            Reply::Done => {
                output.answer(json!({ "revoked": name }), || {
                    format!("The key {name} opens nothing any more. Answers under way go on.")
                });
                Ok(0)
            }
            other => Err(unexpected(&other)),
        },
    }
}

fn document(key: &ClientKey) -> Value {
    let ClientKey { name, scope, models, at_once, tokens_per_minute, made_at, last_used_at } = key;
    let document = json!({
        "name": name, "scope": scope, "models": models, "at_once": at_once, "tokens_per_minute": tokens_per_minute,
        "made_at": made_at, "last_used_at": last_used_at,
    });
    with_reasons(
        document,
        &[("at_once", "no limit"), ("tokens_per_minute", "no limit"), ("last_used_at", "never used")],
    )
}

fn listed(view: &ClientKeyView) -> Value {
    let mut listed = document(&view.key);
    listed["under_way"] = json!(view.under_way);
    listed["limited"] = json!(view.limited);
    listed
}

fn listing(keys: &[ClientKeyView]) -> String {
    let row = |view: &ClientKeyView| {
        let key = &view.key;
        let limits = [
            key.at_once.map(|n| format!("{n} at a time")),
            key.tokens_per_minute.map(|n| format!("{n} tokens/min")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        vec![
            key.name.clone(),
            key.scope.word().to_owned(),
            if key.models.is_empty() { "all".to_owned() } else { key.models.join(", ") },
            if limits.is_empty() { "none".to_owned() } else { limits.join(", ") },
            key.last_used_at.map_or_else(|| ABSENT.to_owned(), day_and_clock),
        ]
    };
    table(&["KEY", "MAY", "MODELS", "LIMITS", "LAST USED"], keys.iter().map(row).collect())
}
