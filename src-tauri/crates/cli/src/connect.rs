//! Connecting an app: the list, the lines to copy, its file, and a question as it asks.

use crate::{
    completing,
    document::with_reasons,
    output::{ABSENT, Output, attention, day_and_clock, quiet, strong, table},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{
    client_key::{KeyScope, MOST, free_name},
    connect::{AppView, Connection, FileChange, FileState, NO_KEY, TestReport},
    server::KeyText,
};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use serde_json::{Value, json};

#[derive(Args)]
pub struct Connect {
    /// Its id or title: "claude-code". Without it, the list.
    #[arg(add = completing::apps())]
    app: Option<String>,
    /// Write its configuration file; everything else in it stays as it is.
    #[arg(long, requires = "app", conflicts_with = "undo")]
    write: bool,
    /// Only show what would change in its file.
    #[arg(long, requires = "app")]
    dry_run: bool,
    /// Put its file back as it was before Pilothouse wrote it.
    #[arg(long, requires = "app")]
    undo: bool,
    /// Ask as the app asks, and say what came back.
    #[arg(long, requires = "app", conflicts_with_all = ["undo", "dry_run"])]
    test: bool,
    /// The name that it shall ask by: a role, an alias or a model. Default: active.
    #[arg(long, value_name = "NAME", requires = "app", conflicts_with = "undo", add = completing::models())]
    model: Option<String>,
    /// The key that it shall show. Without it a placeholder, and a key that its file has stays there.
    #[arg(long, value_name = "KEY", requires = "app", conflicts_with = "undo")]
    key: Option<String>,
    /// Make a client key named after it, and use that.
    #[arg(long, requires = "app", conflicts_with_all = ["key", "undo", "dry_run"])]
    new_key: bool,
    /// The same for its small tasks, where it has a name for them.
    #[arg(long, value_name = "NAME", requires = "app", conflicts_with = "undo", add = completing::models())]
    small: Option<String>,
}

pub async fn run(arguments: Connect, output: &Output) -> Result<u8, ApiError> {
    let Connect { app, write, dry_run, undo, test, model, key, new_key, small } = arguments;
    let session = Session::connect()?;
    let Some(app) = app else { return list(&session, output).await };
    if undo {
        let change = file_call(&session, Call::ConnectUndo { app: app.clone(), dry_run }).await?;
        output.answer(json!({ "app": app, "undone": change.written, "files": [file(&change)] }), || {
            match change.written {
                true => format!("{} is as it was before.", change.path),
                false => format!("{}\nNothing was put back.", change.diff),
            }
        });
        return Ok(0);
    }
    let mut key = key.map(KeyText);
    let mut made = None;
    let asked = |key: &Option<KeyText>| Call::Connect {
        app: app.clone(),
        model: model.clone(),
        small: small.clone(),
        key: key.clone(),
    };
    let mut connection = connected(&session, asked(&key)).await?;
    if new_key {
        // A key that no file takes would only be lost.
        if let Some(refused) = connection.refused.filter(|_| write) {
            return Err(refused);
        }
        let (name, secret) = make_key(&session, &connection.app.title).await?;
        output.remark(&format!(
            "The client key “{name}” was made for it, and is shown this once: {}",
            secret.0
        ));
        (made, key) = (Some(name), Some(secret));
        connection = connected(&session, asked(&key)).await?;
    }
    let mut change = None;
    if write || dry_run {
        // What was seen by the call before: whoever writes in between is not written over.
        let digest = connection.change.as_ref().map(|change| change.digest.clone());
        let call = Call::ConnectWrite {
            app: app.clone(),
            model: model.clone(),
            small: small.clone(),
            key: key.clone(),
            digest,
            dry_run,
        };
        let done = file_call(&session, call).await?;
        if done.written {
            connection = connected(&session, asked(&key)).await?;
        }
        change = Some(done);
    }
    let report = match test {
        true => Some(tested(&session, app.clone(), model.clone(), key.clone()).await?),
        false => None,
    };
    let ok = report.as_ref().is_none_or(|report| report.ok);
    output.answer(document(&connection, made.as_deref(), change.as_ref(), report.as_ref()), || {
        let told = match (&change, &report) {
            (None, None) => vec![shown(&connection)],
            (change, report) => {
                let change = change.as_ref().map(|change| changed(&connection.app, change));
                let report = report.as_ref().map(answered);
                change.into_iter().chain(report).collect()
            }
        };
        told.join("\n\n")
    });
    Ok(if ok { 0 } else { 1 })
}

async fn list(session: &Session, output: &Output) -> Result<u8, ApiError> {
    let reply = session.call(Call::Apps).await?;
    let Reply::Apps { apps, address, address_absent } = reply else { return Err(unexpected(&reply)) };
    let document = json!({ "apps": apps, "address": address, "address_absent": address_absent });
    let document = with_reasons(document, &[("address", "there is no gateway")]);
    output.answer(document, || {
        let rows = apps.iter().map(|app| {
            let file = app.file.clone().unwrap_or_else(|| ABSENT.into());
            vec![app.id.clone(), app.title.clone(), standing(app), file]
        });
        let table = table(&["APP", "TITLE", "STATE", "FILE"], rows.collect());
        let address = address.as_deref().map_or_else(
            || {
                format!(
                    "There is no address: {}.",
                    address_absent.as_deref().unwrap_or("no gateway").trim_end_matches('.')
                )
            },
            |address| format!("They all use {address}"),
        );
        format!(
            "{table}\n\n{address}\n\nhint: pilothouse connect APP shows what to do, with --write it is done."
        )
    });
    Ok(0)
}

fn standing(app: &AppView) -> String {
    match (app.state, app.written_at) {
        (Some(FileState::SetUp), Some(at)) => format!("set up {}", day_and_clock(at)),
        (Some(FileState::SetUp), None) => "set up".into(),
        (Some(FileState::Differs), Some(_)) => "set up otherwise".into(),
        (Some(FileState::Differs | FileState::NoFile), _) => "not set up".into(),
        (Some(FileState::Refused), _) => "its file cannot be changed".into(),
        (None, _) => "lines to copy".into(),
    }
}

async fn connected(session: &Session, call: Call) -> Result<Connection, ApiError> {
    match session.call(call).await? {
        Reply::Connection { connection } => Ok(connection),
        other => Err(unexpected(&other)),
    }
}

async fn file_call(session: &Session, call: Call) -> Result<FileChange, ApiError> {
    match session.call(call).await? {
        Reply::AppFile { change } => Ok(change),
        other => Err(unexpected(&other)),
    }
}

/// A client key named after an app, under a name that is free. Another one may take it in between: then the next is tried.
async fn make_key(session: &Session, title: &str) -> Result<(String, KeyText), ApiError> {
    let mut taken = match session.call(Call::ClientKeys).await? {
        Reply::ClientKeys { keys, .. } => keys.into_iter().map(|view| view.key.name).collect::<Vec<_>>(),
        other => return Err(unexpected(&other)),
    };
    loop {
        let name = free_name(title, taken.iter().map(String::as_str));
        let call = Call::AddClientKey {
            name: name.clone(),
            scope: KeyScope::Inference,
            models: vec![],
            at_once: None,
            tokens_per_minute: None,
        };
        match session.call(call).await {
            Ok(Reply::ClientKeyMade { key, secret }) => return Ok((key.name, secret)),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if error.code == ErrorCode::Busy && taken.len() < 2 * MOST => taken.push(name),
            Err(error) => return Err(error),
        }
    }
}

async fn tested(
    session: &Session,
    app: String,
    model: Option<String>,
    key: Option<KeyText>,
) -> Result<TestReport, ApiError> {
    match session.call(Call::ConnectTest { app, model, key }).await? {
        Reply::AppTest { test } => Ok(test),
        other => Err(unexpected(&other)),
    }
}

fn file(change: &FileChange) -> Value {
    json!({ "path": change.path, "change": change.diff, "digest": change.digest, "written": change.written })
}

/// `made`: the name of the client key that was made for it.
fn document(
    connection: &Connection,
    made: Option<&str>,
    change: Option<&FileChange>,
    report: Option<&TestReport>,
) -> Value {
    let files: Vec<Value> = change.or(connection.change.as_ref()).map(file).into_iter().collect();
    let whole = json!({
        "app": connection.app.id,
        "title": connection.app.title,
        "dialect": connection.app.dialect,
        "state": connection.app.state,
        "written_at": connection.app.written_at,
        "address": connection.address,
        "address_absent": connection.address_absent,
        "key": connection.key,
        "key_name": made,
        "key_kept": connection.key_kept,
        "key_missing": connection.key_missing,
        "model": connection.model,
        "small": connection.small,
        "context": connection.context,
        "context_absent": connection.context_absent,
        "files": files,
        "refused": connection.refused,
        "snippet": connection.snippets.first().map(|snippet| &snippet.text),
        "snippets": connection.snippets,
        "notes": notes(connection),
        "test": report,
    });
    with_reasons(
        whole,
        &[
            ("state", "it has no file that Pilothouse changes"),
            ("written_at", "there is nothing that could be taken back"),
            ("small", "it has no second model"),
            ("key_name", "no client key was made for it"),
            ("snippet", "there is no address that lines could name"),
            ("refused", "nothing is in the way"),
            ("test", "it was not asked for"),
        ],
    )
}

fn shown(connection: &Connection) -> String {
    let Connection { app, address, model, small, context, snippets, refused, .. } = connection;
    let address = address.as_ref().map(|address| format!("address {address}"));
    let absent = connection.address_absent.as_ref().map(|why| format!("no address: {why}"));
    let mut facts: Vec<String> = address.or(absent).into_iter().collect();
    facts.push(format!("model {model}"));
    facts.extend((connection.key != NO_KEY).then(|| format!("key {}", connection.key)));
    facts.extend(small.as_ref().map(|small| format!("small tasks {small}")));
    facts.extend(context.map(|context| format!("context {context}")));
    let mut parts = vec![format!("{}  {}\n{}", strong(&app.title), quiet(&standing(app)), facts.join(", "))];
    for snippet in snippets {
        parts.push(format!("{}\n{}", strong(&snippet.title), snippet.text.trim_end()));
    }
    let notes = notes(connection);
    if !notes.is_empty() {
        parts.push(notes.join("\n"));
    }
    let id = &app.id;
    parts.push(match (refused, app.state) {
        (Some(refused), _) => attention(&refused.message),
        (None, None) if connection.address.is_none() => no_address(connection.ollama_port),
        (None, Some(FileState::SetUp)) => format!("hint: pilothouse connect {id} --test asks as it asks."),
        (None, Some(_)) => {
            format!(
                "hint: pilothouse connect {id} --write writes its file, --dry-run shows what would change."
            )
        }
        (None, None) => format!("hint: pilothouse connect {id} --test asks as it asks."),
    });
    parts.join("\n\n")
}

fn no_address(port: Option<u16>) -> String {
    match port {
        Some(port) => format!("hint: pilothouse settings set gateway.ollama_port {port} makes one."),
        None => "hint: pilothouse doctor says what there is to do.".into(),
    }
}

/// What to know of it; first of all what is missing.
fn notes(connection: &Connection) -> Vec<String> {
    let missing = format!(
        "This address asks every program for a key: pilothouse connect {} --new-key makes one and uses it.",
        connection.app.id
    );
    let kept = "Its file holds a key, which stays there unless another one is named.".to_owned();
    let own = [(connection.key_missing, missing), (connection.key_kept, kept)];
    let own = own.into_iter().filter_map(|(holds, note)| holds.then_some(note));
    own.chain(connection.notes.iter().cloned()).collect()
}

fn changed(app: &AppView, change: &FileChange) -> String {
    match (change.diff.is_empty(), change.written) {
        (true, _) => format!("{} says all of it already.", change.path),
        (false, true) => format!(
            "{}\n{} was written. Back to before: pilothouse connect {} --undo",
            change.diff, change.path, app.id
        ),
        (false, false) => format!("{}\nNothing was written.", change.diff),
    }
}

fn answered(report: &TestReport) -> String {
    let by = report.answered_by.as_ref().map(|by| format!("answered by {by}"));
    let first = report.first_token_ms.map(|ms| format!("first token after {ms} ms"));
    let facts: Vec<String> = by.into_iter().chain(first).collect();
    let word = if report.ok { "ok" } else { "failed" };
    format!("{word}: {}\n{}", report.detail, facts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::connect::{AppGroup, Dialect, Snippet};

    fn app(state: Option<FileState>) -> AppView {
        AppView {
            id: "codex".into(),
            title: "Codex".into(),
            group: AppGroup::Program,
            dialect: Dialect::Responses,
            in_container: false,
            file: Some("~/.codex/config.toml".into()),
            state,
            written_at: None,
        }
    }

    #[test]
    fn the_document_has_what_the_contract_says() {
        let connection = Connection {
            app: app(Some(FileState::NoFile)),
            address: Some("http://127.0.0.1:1/v1".into()),
            address_absent: None,
            ollama_port: None,
            key: NO_KEY.into(),
            key_kept: false,
            key_missing: false,
            model: "active".into(),
            small: None,
            context: None,
            context_absent: Some("active is not loaded".into()),
            snippets: vec![Snippet { title: "t".into(), language: "toml".into(), text: "a = 1\n".into() }],
            notes: vec![],
            change: Some(FileChange {
                path: "~/.codex/config.toml".into(),
                diff: "+a = 1".into(),
                digest: "absent".into(),
                written: false,
            }),
            refused: None,
        };
        let document = document(&connection, None, None, None);
        assert_eq!((&document["app"], &document["snippet"]), (&json!("codex"), &json!("a = 1\n")));
        assert_eq!(document["files"][0]["path"], "~/.codex/config.toml");
        assert_eq!(document["files"][0]["change"], "+a = 1");
        for absent in ["test", "small", "context", "refused", "written_at", "key_name"] {
            assert!(
                document[absent].is_null() && document[format!("{absent}_absent")].is_string(),
                "{absent}"
            );
        }
        let text = shown(&connection);
        assert!(text.contains("a = 1") && text.contains("--write") && !text.contains("context"), "{text}");
    }

    #[test]
    fn states_are_said() {
        for (state, said) in [
            (Some(FileState::SetUp), "set up"),
            (Some(FileState::Differs), "not set up"),
            (Some(FileState::NoFile), "not set up"),
            (Some(FileState::Refused), "its file cannot be changed"),
            (None, "lines to copy"),
        ] {
            assert_eq!(standing(&app(state)), said);
        }
    }
}
