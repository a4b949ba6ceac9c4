use super::{
    Failed,
    arguments::{List, Unload},
    backend::{Backend, Reach},
    field, prompt, say, say_out,
};
use crate::sims::lmstudio::control;
use serde_json::Value;

/// Models on disk.
pub async fn ls(list: List, reach: &Reach) -> Result<(), Failed> {
    let backend = reach.or_wake(Some(&list.connection)).await?;
    let mut models: Vec<Value> = backend.get("models").await?;
    if list.llm || list.embedding {
        models.retain(|model| {
            (list.llm && field(model, "type") == "llm")
                || (list.embedding && field(model, "type") == "embedding")
        });
    }
    print_list(&models, list.json, |model| {
        let bytes = model["sizeBytes"].as_u64().unwrap_or_default();
        format!("{:<40} {:<10} {}", field(model, "modelKey"), field(model, "paramsString"), gibibytes(bytes))
    });
    Ok(())
}

/// Loaded instances.
pub async fn ps(list: List, reach: &Reach) -> Result<(), Failed> {
    let backend = reach.or_wake(Some(&list.connection)).await?;
    let instances: Vec<Value> = backend.get("instances").await?;
    print_list(&instances, list.json, |instance| {
        // The table shouts, the JSON does not.
        let status = field(instance, "status").to_uppercase();
        format!("{:<40} {:<40} {status}", field(instance, "identifier"), field(instance, "modelKey"))
    });
    Ok(())
}

fn print_list(rows: &[Value], as_json: bool, line: impl Fn(&Value) -> String) {
    if as_json {
        return say_out(&Value::from(rows.to_vec()).to_string());
    }
    for row in rows {
        say_out(&line(row));
    }
}

/// As `lms` writes sizes: 1024 to the third.
pub fn gibibytes(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1u32 << 30))
}

/// Unknown ids are an error on stderr with exit code 0.
pub async fn unload(unload: Unload, reach: &Reach) -> Result<(), Failed> {
    if unload.all && unload.identifier.is_some() {
        say("Error: You cannot provide both an identifier and --all.");
        return Ok(());
    }
    let backend = reach.or_wake(Some(&unload.connection)).await?;
    let instances: Vec<Value> = backend.get("instances").await?;
    let mut ids = instances.iter().map(|instance| field(instance, "identifier").to_owned());
    if unload.all {
        for id in ids {
            drop_instance(&backend, &id).await?;
        }
        return Ok(());
    }
    if let Some(identifier) = unload.identifier {
        if !ids.any(|id| id == identifier) {
            say(&format!("Error: Cannot find a model with the identifier \"{identifier}\"."));
            return Ok(());
        }
        return drop_instance(&backend, &identifier).await;
    }
    match (ids.next(), ids.next()) {
        (None, _) => Err("There are no models to unload.".into()),
        (Some(only), None) => drop_instance(&backend, &only).await,
        (Some(_), Some(_)) => Err(prompt("? Select a model to unload")),
    }
}

async fn drop_instance(backend: &Backend, id: &str) -> Result<(), Failed> {
    let body = control::Unload { identifier: id.to_owned() };
    backend.post("unload", &body).await?;
    say(&format!("Model \"{id}\" unloaded."));
    Ok(())
}
