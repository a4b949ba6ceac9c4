use crate::{
    document,
    output::{ABSENT, Output, strong, table},
    session::{Session, unexpected},
};
use pilothouse_domain::{snapshot::ModelView, standing::Holds, units::gigabytes};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::json;

pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let snapshot = match session.call(Call::Refresh).await? {
        Reply::Snapshot { snapshot, .. } => snapshot,
        other => return Err(unexpected(&other)),
    };
    let documents: Vec<_> = snapshot.models.iter().map(document::model).collect();
    output.answer(json!({ "models": documents }), || {
        if snapshot.models.is_empty() {
            return "No server has a model.\n\nhint: “pilothouse setup” fetches a small one.".into();
        }
        // What is in memory first: that is at hand.
        let (there, on_disk): (Vec<&ModelView>, Vec<&ModelView>) =
            snapshot.models.iter().partition(|view| view.loaded);
        let parts = [("In memory", there), ("On disk", on_disk)];
        let shown = parts.iter().filter(|(_, models)| !models.is_empty());
        let header = ["MODEL", "SERVER", "QUANT", "SIZE", "NEEDS", "FITS", "STATE"];
        let text = |(title, models): &(&str, Vec<&ModelView>)| {
            format!("{}\n{}", strong(title), table(&header, models.iter().map(|view| row(view)).collect()))
        };
        shown.map(text).collect::<Vec<_>>().join("\n\n")
    });
    Ok(0)
}

fn row(view: &ModelView) -> Vec<String> {
    let state = match (view.standing.holds, &view.standing.reason) {
        (Holds::Damaged | Holds::Failed, Some(why)) => format!("{}: {why}", view.standing.word),
        _ => view.standing.word.clone(),
    };
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| ABSENT.into());
    let bytes = |value: Option<u64>| value.map_or_else(|| ABSENT.into(), gigabytes);
    let fits = match view.fits {
        Some(true) => "yes",
        Some(false) => "no",
        None => ABSENT,
    };
    vec![
        view.model.name.clone(),
        view.model.server.to_string(),
        told(&view.model.quantization),
        bytes(view.model.size_bytes),
        bytes(view.needed_bytes),
        fits.to_owned(),
        state,
    ]
}
