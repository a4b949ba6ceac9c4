//! Scenes: listed, shown, applied, saved, deleted.

use crate::{
    changes, completing,
    document::with_reasons,
    output::{ABSENT, Output, strong, table},
    session::{Session, unexpected},
    switch::exit_code,
};
use clap::Subcommand;
use pilothouse_domain::{
    notice::seconds,
    scene::{FREE_MEMORY, RESTORE, RoleSettings, ScenePlan, SceneReport, SceneView, built_in},
    snapshot::Snapshot,
    switch::{Active, SwitchOutcome, SwitchReport},
    tray::arranging_line,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Read, path::PathBuf};

#[derive(Subcommand)]
pub enum Act {
    /// Load what a scene holds, on all its servers, or put everything back.
    Apply {
        /// A scene of the settings, "Free the memory" or "Restore".
        #[arg(add = completing::scenes())]
        name: String,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Cut answers at once where models leave, instead of waiting for them.
        #[arg(long)]
        now: bool,
    },
    /// Show the roles of a scene, and what applying it would do.
    Show {
        #[arg(add = completing::scenes())]
        name: String,
    },
    /// Save what is in memory now as a scene, or what stands in a file.
    Save {
        name: String,
        /// A scene as `scene show --json` prints it; - for standard input.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// Only say what would be written.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a scene out of the settings; memory stays as it is.
    Delete {
        #[arg(add = completing::scenes())]
        name: String,
        /// Only say what would be taken out.
        #[arg(long)]
        dry_run: bool,
    },
}

/// As a scene travels in a file.
#[derive(Serialize, Deserialize)]
struct Exported {
    roles: BTreeMap<String, RoleSettings>,
}

pub async fn list(output: &Output) -> Result<u8, ApiError> {
    let snapshot = Session::connect()?.snapshot().await?;
    let restore_at = snapshot.restore_at;
    let whole = with_reasons(
        json!({ "scenes": listed(&snapshot.scenes), "restore_at": restore_at }),
        &[("restore_at", "no scene was applied yet")],
    );
    output.answer(whole, || {
        if snapshot.scenes.is_empty() {
            return "There are no scenes.\n\nhint: “pilothouse scene save NAME” keeps what is in memory now."
                .into();
        }
        let row = |scene: &SceneView| {
            let state = match (scene.in_force, scene.changed) {
                (true, true) => "in force, changed",
                (true, false) => "in force",
                (false, _) => "",
            };
            let fits = match scene.fits {
                Some(true) => "yes".to_owned(),
                Some(false) => format!("no: {}", scene.fits_reason),
                None => ABSENT.into(),
            };
            let needs = scene.needed_bytes.map_or_else(|| ABSENT.into(), gigabytes);
            let takes = scene.takes_s.map_or_else(|| ABSENT.into(), |s| format!("{s:.1} s"));
            let roles: Vec<&str> = scene.roles.keys().map(String::as_str).collect();
            vec![scene.name.clone(), roles.join(", "), needs, fits, takes, state.to_owned()]
        };
        let header = ["SCENE", "ROLES", "NEEDS", "FITS", "TAKES", "STATE"];
        let rows = table(&header, snapshot.scenes.iter().map(row).collect());
        let restore = if restore_at.is_some() { format!(" and “{RESTORE}”") } else { String::new() };
        format!("{rows}\n\nAlso: “{FREE_MEMORY}”{restore}.")
    });
    Ok(0)
}

pub async fn run(act: Act, output: &Output) -> Result<u8, ApiError> {
    match act {
        Act::Apply { name, dry_run, now } => apply(name, dry_run, now, output).await,
        Act::Show { name } => show(name, output).await,
        Act::Save { name, from, dry_run: false } => save(name, from, output).await,
        Act::Save { name, from, dry_run: true } => would_save(name, from, output).await,
        Act::Delete { name, dry_run } => delete(name, dry_run, output).await,
    }
}

async fn delete(name: String, dry_run: bool, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    session.call(Call::DeleteScene { name: name.clone(), dry_run }).await?;
    let mut left = session.snapshot().await?.scenes.clone();
    left.retain(|scene| scene.name != name);
    let whole = json!({ "deleted": name, "dry_run": dry_run, "scenes": listed(&left) });
    output.answer(whole, || match dry_run {
        true => format!("{name} would be taken out of the settings; memory would stay as it is."),
        false => format!("{name} is not in the settings any more."),
    });
    Ok(0)
}

async fn apply(name: String, dry_run: bool, now: bool, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let call = Call::ApplyScene { name: Some(name.clone()), roles: None, dry_run, now };
    let bar = output.progress();
    let show = |snapshot: &Snapshot| {
        if let Some(arranging) = &snapshot.arranging {
            bar.set_message(arranging_line(snapshot, arranging));
            bar.tick();
        }
    };
    let reply = session.call_and_watch(call, Call::CancelSwitch, show).await?;
    bar.finish_and_clear();
    let Reply::Scene { report } = reply else { return Err(unexpected(&reply)) };
    let name = built_in(&name).unwrap_or(&name);
    output.answer(changes::scene_report(name, &report), || text(name, &report));
    Ok(exit_code(report.outcome, report.error.as_ref()))
}

fn text(name: &str, report: &SceneReport) -> String {
    let models = |models: &[pilothouse_domain::model::ModelRef]| {
        models.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    if report.dry_run {
        let mut lines = vec![match report.loaded.is_empty() {
            true => format!("{name}: nothing has to be loaded."),
            false => format!("{name} would load {}.", models(&report.loaded)),
        }];
        if !report.evicted.is_empty() {
            lines.push(format!("Would leave memory: {}.", models(&report.evicted)));
        }
        return lines.join("\n");
    }
    let mut lines = vec![match report.outcome {
        SwitchOutcome::Committed => format!("{name} is in force after {}.", seconds(report.took_ms)),
        SwitchOutcome::RolledBack => format!("{name} could not be applied; what was before is back."),
        SwitchOutcome::Cancelled => format!("{name} was cancelled; what was before is back."),
    }];
    if let Some(error) = &report.error {
        lines.push(error.message.clone());
        lines.extend(error.hint.clone());
    }
    lines.extend(report.reason.clone());
    lines.join("\n")
}

async fn show(name: String, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let snapshot = session.snapshot().await?;
    let alike = |scene: &&SceneView| scene.name.to_lowercase() == name.trim().to_lowercase();
    let exact = snapshot.scenes.iter().find(|scene| scene.name == name);
    let Some(scene) = exact.or_else(|| snapshot.scenes.iter().find(alike)) else {
        return Err(ApiError::not_found(format!("There is no scene “{name}”."))
            .hint("“pilothouse scenes” lists them."));
    };
    let call = Call::PlanScene { name: Some(scene.name.clone()), roles: None };
    let plan = match session.call(call).await {
        Ok(Reply::ScenePlan { plan }) => Ok(plan),
        Ok(other) => return Err(unexpected(&other)),
        // A scene whose model is gone is shown all the same.
        Err(error) => Err(error),
    };
    let why = plan.as_ref().err().map(|error| error.message.as_str()).unwrap_or_default();
    let shown = json!({ "plan": plan.as_ref().ok(), "scenes": [document(scene)] });
    let shown = with_reasons(shown, &[("plan", why)]);
    let mut whole = document(scene);
    if let (Value::Object(whole), Value::Object(shown), Ok(exported)) =
        (&mut whole, shown, serde_json::to_value(Exported { roles: scene.roles.clone() }))
    {
        whole.extend(shown);
        whole.insert("settings".into(), exported);
    }
    output.answer(whole, || described(scene, &plan));
    Ok(0)
}

fn described(scene: &SceneView, plan: &Result<ScenePlan, ApiError>) -> String {
    let told = |text: Option<String>| text.unwrap_or_else(|| ABSENT.into());
    let bytes = |role: &str| plan.as_ref().ok().and_then(|plan| plan.role_bytes.get(role).copied().flatten());
    let row = |(role, settings): (&String, &RoleSettings)| {
        vec![
            role.clone(),
            settings.model.clone(),
            settings.server.clone(),
            told(settings.context.map(|tokens| tokens.to_string())),
            told(settings.parallel.map(|parallel| parallel.to_string())),
            told(settings.kv_type.map(|kv| kv.name().to_owned())),
            if settings.pinned { "yes".into() } else { String::new() },
            settings.priority.word().to_owned(),
            told(settings.idle_s.map(|idle| format!("{} min", idle.div_ceil(60)))),
            told(bytes(role).map(gigabytes)),
        ]
    };
    let header =
        ["ROLE", "MODEL", "SERVER", "CONTEXT", "AT A TIME", "KV", "PIN", "PRIORITY", "IDLE LIMIT", "NEEDS"];
    let mut parts = vec![strong(&scene.name), table(&header, scene.roles.iter().map(row).collect())];
    match plan {
        Ok(plan) => {
            if let Some(refusal) = &plan.refusal {
                parts.push(refusal.message.clone());
                parts.extend(plan.offers.iter().map(|offer| {
                    let enough = if offer.enough { "" } else { ", not enough alone" };
                    format!("- {}: frees {}{enough}", offer.what, gigabytes(offer.frees_bytes))
                }));
            } else {
                let free = plan.free_bytes.map(|free| format!(", {} stay free", gigabytes(free)));
                let takes = plan.takes_s.map_or_else(
                    || "how long it takes is not known yet".to_owned(),
                    |seconds| format!("about {seconds:.1} s"),
                );
                parts.push(format!("Applying it: {takes}{}.", free.unwrap_or_default()));
            }
        }
        Err(error) => parts.push(error.message.clone()),
    }
    parts.join("\n")
}

fn listed(scenes: &[SceneView]) -> Vec<Value> {
    scenes.iter().map(document).collect()
}

/// As `scenes` lists it.
fn document(scene: &SceneView) -> Value {
    with_reasons(
        json!({
            "name": scene.name,
            "in_force": scene.in_force,
            "changed": scene.changed,
            "roles": scene.roles.iter().map(role_document).collect::<Vec<_>>(),
            "needed_bytes": scene.needed_bytes,
            "fits": scene.fits,
            "fits_reason": scene.fits_reason,
            "takes_s": scene.takes_s,
        }),
        &[
            ("needed_bytes", "what a model takes is not known yet"),
            ("fits", &scene.fits_reason),
            ("takes_s", "not each of its models was loaded yet"),
        ],
    )
}

fn role_document((role, settings): (&String, &RoleSettings)) -> Value {
    with_reasons(
        json!({
            "role": role,
            "server": settings.server,
            "model": settings.model,
            "context": settings.context,
            "parallel": settings.parallel,
            "kv": settings.kv_type,
            "pinned": settings.pinned,
            "priority": settings.priority,
            "idle_s": settings.idle_s,
        }),
        &crate::document::OF_A_ROLE,
    )
}

async fn save(name: String, from: Option<PathBuf>, output: &Output) -> Result<u8, ApiError> {
    let roles = from.map(|file| read(&file)).transpose()?;
    let session = Session::connect()?;
    session.call(Call::SaveScene { name: name.clone(), roles, renames: None, dry_run: false }).await?;
    let snapshot = session.snapshot().await?;
    let scene = snapshot.scenes.iter().find(|scene| scene.name == name.trim());
    let roles = scene.map_or(0, |scene| scene.roles.len());
    let mut whole = scene.map_or_else(|| json!({ "name": name }), document);
    if let Value::Object(fields) = &mut whole {
        fields.insert("scenes".into(), scene.into_iter().map(document).collect());
        fields.insert("dry_run".into(), json!(false));
    }
    output.answer(whole, || {
        format!("{name} is saved with {}.\napply it: pilothouse scene apply “{name}”", counted(roles))
    });
    Ok(0)
}

async fn would_save(name: String, from: Option<PathBuf>, output: &Output) -> Result<u8, ApiError> {
    let roles = from.map(|file| read(&file)).transpose()?;
    let call = Call::SaveScene { name, roles, renames: None, dry_run: true };
    let reply = Session::connect()?.call(call).await?;
    let Reply::SceneToSave { name, roles, replaces } = reply else { return Err(unexpected(&reply)) };
    let whole = json!({
        "name": name,
        "dry_run": true,
        "replaces": replaces,
        "roles": roles.iter().map(role_document).collect::<Vec<_>>(),
        "settings": { "roles": roles },
    });
    output.answer(whole, || {
        let row =
            |(role, one): (&String, &RoleSettings)| vec![role.clone(), one.model.clone(), one.server.clone()];
        let rows = table(&["ROLE", "MODEL", "SERVER"], roles.iter().map(row).collect());
        let instead = if replaces { ", instead of the scene of that name" } else { "" };
        format!("{name} would be saved with {}{instead}.\n{rows}", counted(roles.len()))
    });
    Ok(0)
}

fn counted(roles: usize) -> String {
    if roles == 1 { "1 role".to_owned() } else { format!("{roles} roles") }
}

/// The most that a scene in a file may take.
const MOST_BYTES: u64 = 1 << 20;

/// A scene in a file: what `scene show --json` prints, or just its `roles`.
fn read(file: &std::path::Path) -> Result<BTreeMap<String, RoleSettings>, ApiError> {
    let invalid = |why: String| ApiError::new(ErrorCode::InvalidCall, why);
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(MOST_BYTES).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text)),
    };
    read.map_err(|error| invalid(format!("{} cannot be read: {error}.", file.display())))?;
    let whole: Value = serde_json::from_str(&text)
        .map_err(|error| invalid(format!("{} is no JSON: {error}.", file.display())))?;
    let settings = whole.get("settings").unwrap_or(&whole).clone();
    let exported: Exported = serde_json::from_value(settings).map_err(|error| {
        invalid(format!("{} is no scene: {error}.", file.display()))
            .hint("“pilothouse scene show NAME --json” prints one.")
    })?;
    Ok(exported.roles)
}

/// What an undo did; returns the exit code. `from`, `to`: what was active before it and is after it.
pub fn told_undone(
    reply: Reply,
    from: Option<&Active>,
    to: Option<&Active>,
    output: &Output,
) -> Result<u8, ApiError> {
    match reply {
        Reply::Switch { report } => {
            output.answer(changes::switch(&report), || undone(&report));
            Ok(exit_code(report.outcome, report.error.as_ref()))
        }
        Reply::Scene { report } => {
            let name = report.scene.as_deref().unwrap_or("What was before");
            let mut done = changes::scene_report(name, &report);
            // It goes back to what was there, which need not be a scene.
            done["scene"] = json!(report.scene);
            let loads = report.steps.iter().filter(|step| step.name == "load");
            if let Some(load_ms) = loads.map(|step| step.ms).reduce(|sum, ms| sum + ms) {
                done["load_ms"] = json!(load_ms);
            }
            output.answer(changes::as_switch(from, to, done), || text(name, &report));
            Ok(exit_code(report.outcome, report.error.as_ref()))
        }
        Reply::Unloaded { unloaded, answers_cut, took_ms, .. } => {
            let done = json!({
                "outcome": SwitchOutcome::Committed, "took_ms": took_ms, "answers_cut": answers_cut, "unloaded": unloaded,
            });
            output.answer(changes::as_switch(from, to, done), || "No model is active again.".into());
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}

fn undone(report: &SwitchReport) -> String {
    match &report.error {
        None => format!("{} is active again after {}.", report.to, seconds(report.took_ms)),
        Some(error) => format!("{} could not be made active again: {}", report.to, error.message),
    }
}
