//! Single models in memory: taken out, pinned, brought back; and the names that programs may use.

use crate::{
    changes::as_switch,
    completing, document,
    document::with_reasons,
    output::{Output, table},
    scenes,
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{notice::seconds, server::ServerId, settings::keys::value_at, snapshot::Snapshot};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

#[derive(Args)]
pub struct Unload {
    /// A model's name, SERVER/NAME, or an unambiguous part of one.
    #[arg(add = completing::models())]
    model: String,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Cut its answers at once instead of waiting for them.
    #[arg(long)]
    now: bool,
    /// Only the copies of it that nobody needs beside the one that answers.
    #[arg(long, conflicts_with = "now")]
    copies: bool,
}

#[derive(Args)]
pub struct Deactivate {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Cut its answers at once instead of waiting for them.
    #[arg(long)]
    now: bool,
}

#[derive(Args)]
pub struct Pin {
    /// A model's name, SERVER/NAME, or an unambiguous part of one.
    #[arg(add = completing::models())]
    model: String,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Only say which model is meant.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub struct Alias {
    /// The name that programs ask by: "gpt-4o-mini". Without it, those that there are.
    alias: Option<String>,
    /// The role or the model that it means.
    #[arg(long, value_name = "ROLE|MODEL", requires = "alias")]
    to: Option<String>,
    /// It means nothing any more.
    #[arg(long, conflicts_with = "to", requires = "alias")]
    remove: bool,
}

pub async fn unload(arguments: Unload, output: &Output) -> Result<u8, ApiError> {
    let Unload { model, server, dry_run, now, copies } = arguments;
    if copies {
        return unload_copies(&model, server.map(ServerId), dry_run, output).await;
    }
    let call = Call::Unload { model, server: server.map(ServerId), now, dry_run };
    let reply = watched(call, output).await?;
    let Reply::Unloaded { unloaded, answers_cut, deactivated, took_ms, .. } = reply else {
        return Err(unexpected(&reply));
    };
    let document = json!({
        "unloaded": unloaded, "answers_cut": answers_cut, "deactivated": deactivated, "took_ms": took_ms,
        "dry_run": dry_run,
    });
    let document = with_reasons(document, &[("deactivated", "the active model is as it was")]);
    output.answer(document, || {
        let names: Vec<String> =
            unloaded.iter().map(|one| format!("{} on {}", one.model, one.server)).collect();
        let names = if names.is_empty() { "Nothing".to_owned() } else { names.join(", ") };
        let none = if deactivated.is_some() { "\nNo model is active." } else { "" };
        match dry_run {
            true => format!("{names} would leave memory."),
            false => format!("{names} left memory after {}.{none}", seconds(took_ms)),
        }
    });
    Ok(0)
}

/// One after the other; the first that does not leave is the error, and those before it have left.
async fn unload_copies(
    model: &str,
    server: Option<ServerId>,
    dry_run: bool,
    output: &Output,
) -> Result<u8, ApiError> {
    let snapshot = Session::connect()?.snapshot().await?;
    let models: Vec<_> = snapshot.models.iter().map(|view| view.model.clone()).collect();
    let model = pilothouse_domain::model::find_model(&models, model, server.as_ref())?.reference();
    let copies: Vec<_> = snapshot
        .extra_copies()
        .into_iter()
        .filter(|one| one.server == model.server && one.model == model.model)
        .map(|one| json!({ "server": one.server, "model": one.model, "instance": one.id }))
        .collect();
    if copies.is_empty() {
        let error = ApiError::not_found(format!("There is no copy of {model} that nobody needs."));
        return Err(error.hint("“pilothouse unload” without --copies takes the model itself out of memory."));
    }
    let (mut answers, mut took) = (0, 0);
    for copy in copies.iter().filter(|_| !dry_run) {
        let instance = copy["instance"].as_str().unwrap_or_default().to_owned();
        let reply = watched(Call::UnloadCopy { server: model.server.clone(), instance }, output).await?;
        let Reply::Unloaded { answers_cut, took_ms, .. } = reply else { return Err(unexpected(&reply)) };
        (answers, took) = (answers + answers_cut, took + took_ms);
    }
    let document = json!({
        "unloaded": copies, "answers_cut": answers, "deactivated": null, "took_ms": took, "dry_run": dry_run,
    });
    let document = with_reasons(document, &[("deactivated", "the active model is as it was")]);
    output.answer(document, || {
        let count = match copies.len() {
            1 => "One copy".to_owned(),
            many => format!("{many} copies"),
        };
        match dry_run {
            true => format!("{count} of {model} would leave memory."),
            false => format!("{count} of {model} left memory after {}.", seconds(took)),
        }
    });
    Ok(0)
}

pub async fn deactivate(arguments: Deactivate, output: &Output) -> Result<u8, ApiError> {
    let Deactivate { dry_run, now } = arguments;
    let before = Session::connect()?.snapshot().await?;
    let reply = watched(Call::Deactivate { now, dry_run }, output).await?;
    let Reply::Unloaded { unloaded, answers_cut, deactivated, took_ms, .. } = reply else {
        return Err(unexpected(&reply));
    };
    // One that a pin or another role keeps in memory is only not active any more.
    let from = deactivated.or_else(|| before.active.clone());
    let done = json!({
        "outcome": "committed", "dry_run": dry_run, "took_ms": took_ms, "answers_cut": answers_cut, "unloaded": unloaded,
    });
    output.answer(as_switch(from.as_ref(), None, done), || {
        let name = from.as_ref().map_or("The model", |active| active.model.as_str());
        let leaves = !unloaded.is_empty();
        match (dry_run, leaves) {
            (true, true) => format!("{name} would not be active any more, and leave memory."),
            (true, false) => format!("{name} would not be active any more, and stay in memory."),
            (false, true) => format!(
                "No model is active. {name} left after {}.\nundo within a minute: pilothouse undo",
                seconds(took_ms)
            ),
            (false, false) => {
                format!("No model is active. {name} stays in memory.\nundo within a minute: pilothouse undo")
            }
        }
    });
    Ok(0)
}

pub async fn undo(dry_run: bool, output: &Output) -> Result<u8, ApiError> {
    if dry_run {
        let snapshot = Session::connect()?.snapshot().await?;
        let Some(undo) = &snapshot.undo else {
            return Err(ApiError::not_found("There is nothing to undo.")
                .hint("A switch or a scene can be taken back for a minute."));
        };
        output.answer(json!({ "undo": document::undo(undo) }), || {
            let back = undo.back_to.as_deref().unwrap_or("no active model");
            format!("Would go back to {back}. ({}.)", undo.done)
        });
        return Ok(0);
    }
    let session = Session::connect()?;
    let before = session.snapshot().await?;
    let reply = watched(Call::Undo, output).await?;
    let after = session.snapshot().await?;
    scenes::told_undone(reply, before.active.as_ref(), after.active.as_ref(), output)
}

pub async fn pin(arguments: Pin, pinned: bool, output: &Output) -> Result<u8, ApiError> {
    let Pin { model, server, dry_run } = arguments;
    let session = Session::connect()?;
    if dry_run {
        let snapshot = session.snapshot().await?;
        let models: Vec<_> = snapshot.models.iter().map(|view| view.model.clone()).collect();
        let found = pilothouse_domain::model::find_model(&models, &model, server.map(ServerId).as_ref())?;
        output.answer(json!({ "pinned": pinned, "model": found.reference(), "dry_run": true }), || {
            format!("{} on {} would {}be pinned.", found.name, found.server, if pinned { "" } else { "not " })
        });
        return Ok(0);
    }
    let reply = session.call(Call::Pin { model, server: server.map(ServerId), pinned }).await?;
    let Reply::Pinned { model, pinned } = reply else { return Err(unexpected(&reply)) };
    output.answer(json!({ "pinned": pinned, "model": model }), || match pinned {
        true => format!("{model} stays in memory once it is there."),
        false => format!("{model} may leave memory for others."),
    });
    Ok(0)
}

pub async fn alias(arguments: Alias, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let Alias { alias, to, remove } = arguments;
    if let Some(alias) = alias.filter(|_| to.is_some() || remove) {
        session.call(Call::SetAlias { alias: alias.clone(), to: to.clone() }).await?;
        output.answer(json!({ "alias": alias, "to": to }), || match &to {
            Some(to) => format!("Programs that ask for {alias} get {to}."),
            None => format!("{alias} means nothing any more."),
        });
        return Ok(0);
    }
    let settings = match session.call(Call::Settings).await? {
        Reply::Settings { settings } => settings,
        other => return Err(unexpected(&other)),
    };
    let aliases = settings.settings.iter().find(|view| view.about.key == "gateway.aliases");
    let aliases =
        aliases.map_or_else(|| value_at(&Default::default(), "gateway.aliases"), |view| view.value.clone());
    output.answer(json!({ "aliases": aliases }), || {
        let rows: Vec<Vec<String>> = aliases
            .as_object()
            .into_iter()
            .flatten()
            .map(|(alias, to)| vec![alias.clone(), to.as_str().unwrap_or_default().to_owned()])
            .collect();
        match rows.is_empty() {
            true => "There are no other names.\n\nhint: pilothouse alias gpt-4o-mini --to ROLE".into(),
            false => table(&["NAME", "MEANS"], rows),
        }
    });
    Ok(0)
}

/// A call during which memory changes, with what happens meanwhile.
async fn watched(call: Call, output: &Output) -> Result<Reply, ApiError> {
    let session = Session::connect()?;
    let bar = output.progress();
    let show = |snapshot: &Snapshot| {
        if let Some(arranging) = &snapshot.arranging {
            bar.set_message(pilothouse_domain::tray::arranging_line(snapshot, arranging));
            bar.tick();
        } else if let Some(switching) = &snapshot.switching {
            bar.set_message(pilothouse_domain::tray::switching_line(snapshot, switching));
            bar.tick();
        }
    };
    let reply = session.call_and_watch(call, Call::CancelSwitch, show).await;
    bar.finish_and_clear();
    reply
}
