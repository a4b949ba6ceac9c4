//! `GET /v1/models`: what can be asked for here.

use super::{Shared, path, refusal::Refusal};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use pilothouse_domain::model::ModelRef;
use pilothouse_leases::{ActiveRoute, Routes, known_by};
use serde_json::{Value, json};

/// The name of a model here: its own, with the server in front where two servers have the same.
pub(super) fn public_name(model: &ModelRef, known: &[ModelRef]) -> String {
    let twins = known.iter().filter(|other| other.model == model.model).count();
    if twins > 1 { model.id() } else { model.model.clone() }
}

fn entries(routes: &Routes) -> Vec<Value> {
    let entry =
        |id: &str, owner: &str| json!({ "id": id, "object": "model", "created": 0, "owned_by": owner });
    let active = match &routes.active {
        ActiveRoute::Open(target) => Some(entry("active", target.server.as_str())),
        ActiveRoute::Held | ActiveRoute::Away(_) => Some(entry("active", "pilothouse")),
        ActiveRoute::None | ActiveRoute::Down(_) | ActiveRoute::Refusing(_) => None,
    };
    let known =
        routes.known.iter().map(|model| entry(&public_name(model, &routes.known), model.server.as_str()));
    active.into_iter().chain(known).collect()
}

pub(super) async fn list(State(shared): State<Shared>) -> Json<Value> {
    let routes = shared.leases.routes();
    Json(json!({ "object": "list", "data": entries(&routes) }))
}

pub(super) async fn one(State(shared): State<Shared>, uri: Uri) -> Result<Json<Value>, Refusal> {
    let raw = uri.path().strip_prefix("/v1/models/").unwrap_or_default();
    let routes = shared.leases.routes();
    let hit = path::model_id(raw).and_then(|id| {
        let entry = |id: &str| entries(&routes).into_iter().find(|entry| entry["id"] == id);
        entry(&id).or_else(|| entry(&public_name(known_by(&routes.known, &id)?, &routes.known)))
    });
    hit.map(Json).ok_or_else(|| {
        let text = format!("There is no model {} here.", path::shown(raw));
        Refusal::new(StatusCode::NOT_FOUND, "model_not_found", text).about("model")
    })
}
