//! Models and instances in the words of each surface.

use super::{
    catalogue::{CatalogueModel, Format, Kind},
    state::{Instance, State},
};
use serde_json::{Value, json};

/// `GET /api/v1/models`.
pub fn models_v1(state: &State) -> Value {
    let row = |model| model_v1(state, model);
    json!({ "models": state.catalogue.iter().map(row).collect::<Vec<_>>() })
}

fn model_v1(state: &State, model: &CatalogueModel) -> Value {
    // Seen from outside, an instance is there once it is loaded.
    let loaded = state.instances_of(&model.key).filter(|instance| instance.is_loaded());
    let mut row = json!({
        "type": model.kind,
        "publisher": model.publisher,
        "key": model.key,
        "display_name": model.display_name,
        "quantization": model.quantization.as_ref().map(|name| json!({ "name": name, "bits_per_weight": model.bits })),
        "size_bytes": model.size_bytes,
        "params_string": model.params,
        "loaded_instances": loaded.map(|instance| instance_v1(model, instance)).collect::<Vec<_>>(),
        "max_context_length": model.max_context,
        "format": model.format.rest(),
    });
    if model.kind == Kind::Llm {
        row["architecture"] = json!(model.architecture);
        row["capabilities"] = json!({ "vision": model.vision, "trained_for_tool_use": model.tool_use });
        row["description"] = Value::Null;
    }
    if let Some(selected) = model.variants.first() {
        row["variants"] = json!(model.variants);
        row["selected_variant"] = json!(selected);
    }
    row
}

fn instance_v1(model: &CatalogueModel, instance: &Instance) -> Value {
    let mut config = json!({ "context_length": instance.context });
    if let Some(parallel) = instance.parallel {
        config["parallel"] = json!(parallel);
    }
    if model.format == Format::Gguf && model.kind == Kind::Llm {
        config["eval_batch_size"] = json!(512);
        config["flash_attention"] = json!(true);
        config["offload_kv_cache_to_gpu"] = json!(true);
    }
    if model.format == Format::Splash {
        config["reasoning_budget_message"] = json!("");
    }
    json!({ "id": instance.id, "config": config })
}

/// `GET /api/v0/models`: each instance is a row of its own.
pub fn models_v0(state: &State) -> Value {
    json!({ "data": rows_v0(state), "object": "list" })
}

/// One row of v0, by instance id or key.
pub fn model_v0(state: &State, id: &str) -> Option<Value> {
    rows_v0(state).into_iter().find(|row| row["id"] == json!(id))
}

fn rows_v0(state: &State) -> Vec<Value> {
    let mut rows = vec![];
    for model in &state.catalogue {
        let before = rows.len();
        rows.extend(state.instances_of(&model.key).map(|instance| row_v0(model, Some(instance))));
        if rows.len() == before {
            rows.push(row_v0(model, None));
        }
    }
    rows
}

fn row_v0(model: &CatalogueModel, instance: Option<&Instance>) -> Value {
    let kind = match model.kind {
        Kind::Embedding => "embeddings",
        Kind::Llm if model.vision => "vlm",
        Kind::Llm => "llm",
    };
    let state = match instance {
        None => "not-loaded",
        Some(instance) if instance.is_loaded() => "loaded",
        Some(_) => "loading",
    };
    let mut row = json!({
        "id": instance.map_or(&model.key, |instance| &instance.id),
        "object": "model",
        "type": kind,
        "publisher": model.publisher,
        "arch": model.architecture,
        "compatibility_type": model.format.rest(),
        "quantization": model.quantization,
        "state": state,
        "max_context_length": model.max_context,
    });
    if let Some(instance) = instance.filter(|instance| instance.is_loaded()) {
        row["loaded_context_length"] = json!(instance.context);
    }
    if model.kind == Kind::Llm {
        row["capabilities"] = if model.tool_use { json!(["tool_use"]) } else { json!([]) };
    }
    row
}

/// `GET /v1/models`: all models with JIT, else the loaded ones; aliases and twins are ids too.
pub fn models_openai(state: &State) -> Value {
    let loaded = state.instances.iter().filter(|instance| instance.is_loaded()).map(|instance| &instance.id);
    let mut ids: Vec<&String> =
        if state.jit() { state.catalogue.iter().map(|model| &model.key).collect() } else { vec![] };
    for id in loaded {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    json!({ "data": ids.into_iter().map(|id| model_openai(id)).collect::<Vec<_>>(), "object": "list" })
}

pub fn model_openai(id: &str) -> Value {
    json!({ "id": id, "object": "model", "owned_by": "organization_owner" })
}

/// `lms ls --json`.
pub fn models_cli(state: &State) -> Value {
    state.catalogue.iter().map(model_cli).collect()
}

fn model_cli(model: &CatalogueModel) -> Value {
    let path = format!("{}/{}", model.publisher, model.key.rsplit('/').next().unwrap_or(&model.key));
    let mut row = json!({
        "type": model.kind,
        "modelKey": model.key,
        "format": model.format.cli(),
        "displayName": model.display_name,
        "publisher": model.publisher,
        "path": path,
        "sizeBytes": model.size_bytes,
        "indexedModelIdentifier": path,
        "deviceIdentifier": null,
        "maxContextLength": model.max_context,
    });
    let quantization = model.quantization.as_ref().map(|name| json!({ "name": name, "bits": model.bits }));
    let optional = [
        ("paramsString", model.params.as_ref().map(|params| json!(params))),
        ("architecture", model.architecture.as_ref().map(|name| json!(name))),
        ("quantization", quantization),
        ("variants", model.variants.first().map(|_| json!(model.variants))),
        ("selectedVariant", model.variants.first().map(|first| json!(first))),
        ("vision", (model.kind == Kind::Llm).then(|| json!(model.vision))),
        ("trainedForToolUse", (model.kind == Kind::Llm).then(|| json!(model.tool_use))),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            row[name] = value;
        }
    }
    row
}

/// `lms ps --json`.
pub fn instances_cli(state: &State) -> Value {
    let loaded = state.instances.iter().filter(|instance| instance.is_loaded());
    loaded.filter_map(|instance| Some(instance_cli(state.model(&instance.key)?, instance))).collect()
}

fn instance_cli(model: &CatalogueModel, instance: &Instance) -> Value {
    let mut row = model_cli(model);
    row["identifier"] = json!(instance.id);
    row["ttlMs"] = json!(instance.ttl_ms);
    row["lastUsedTime"] = json!(instance.last_used_ms);
    row["contextLength"] = json!(instance.context);
    row["status"] = json!(instance.status());
    row["queued"] = json!(instance.queued());
    row["parallel"] = json!(instance.parallel);
    row
}
