use crate::{
    document,
    output::{Output, table},
    session::{Session, unexpected},
};
use pilothouse_domain::{standing::Holds, units::gigabytes};
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
        let rows = snapshot.models.iter().map(|view| {
            let mark = match (view.standing.holds, &view.standing.reason) {
                (Holds::Damaged | Holds::Failed, Some(why)) => format!("{}: {why}", view.standing.word),
                // That is said by all that is not here: most models of most people are on disk.
                (Holds::OnDisk | Holds::Remote, _) if view.standing.word == "on disk" => String::new(),
                _ => view.standing.word.clone(),
            };
            let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
            vec![
                view.model.name.clone(),
                view.model.server.to_string(),
                told(&view.model.parameters),
                told(&view.model.quantization),
                view.model.size_bytes.map_or_else(|| "–".into(), gigabytes),
                view.model.context_max.map_or_else(|| "–".into(), |tokens| tokens.to_string()),
                mark,
            ]
        });
        table(&["MODEL", "SERVER", "PARAMETERS", "QUANT", "SIZE", "CONTEXT", ""], rows.collect())
    });
    Ok(0)
}
