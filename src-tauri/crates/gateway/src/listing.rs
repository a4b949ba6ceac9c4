//! `GET /v1/models`: what can be asked for here.

use super::{Shared, path, refusal::Refusal};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use pilothouse_domain::{model::ModelRef, scene::ACTIVE};
use pilothouse_leases::{ActiveRoute, Routes, known_by};
use serde_json::{Value, json};

/// The name of a model here: its own, with the server in front where two servers have the same, or where it means something else.
fn public_name(model: &ModelRef, routes: &Routes) -> String {
    let twins = routes.known.iter().filter(|other| other.model == model.model).count();
    let name = model.model.as_str();
    let means_other = name == ACTIVE || routes.roles.contains_key(name) || routes.aliases.contains_key(name);
    if twins > 1 || means_other { model.id() } else { model.model.clone() }
}

/// One line of the list: OpenAI's fields, and for a name that stands for something else what that is.
fn entry(id: &str, owner: &str, stands_for: Option<(&str, Option<&str>)>) -> Value {
    let mut entry = json!({ "id": id, "object": "model", "created": 0, "owned_by": owner });
    if let Some((kind, what)) = stands_for {
        entry["pilothouse"] = json!({ "kind": kind, "stands_for": what });
    }
    entry
}

/// A role, as far as its route says what it is.
fn role_entry(name: &str, route: &ActiveRoute, routes: &Routes) -> Value {
    let model = match route {
        ActiveRoute::Open(target) => Some(ModelRef::new(target.server.clone(), target.model.clone())),
        ActiveRoute::Away(model) => Some(model.clone()),
        ActiveRoute::None | ActiveRoute::Held | ActiveRoute::Down(_) | ActiveRoute::Refusing(_) => None,
    };
    let owner = model.as_ref().map_or("pilothouse", |model| model.server.as_str());
    let what = model.as_ref().map(|model| public_name(model, routes));
    entry(name, owner, Some(("role", what.as_deref())))
}

/// `active` as far as it can answer or will, the roles of the scene in force, the aliases that stand for one of these or for a
/// model, and the models.
fn entries(routes: &Routes) -> Vec<Value> {
    let mut entries = Vec::new();
    if matches!(routes.active, ActiveRoute::Open(_) | ActiveRoute::Held | ActiveRoute::Away(_)) {
        entries.push(role_entry(ACTIVE, &routes.active, routes));
    }
    entries.extend(routes.roles.iter().map(|(name, role)| role_entry(name, &role.route, routes)));
    for (alias, to) in &routes.aliases {
        if alias == ACTIVE || routes.roles.contains_key(alias) {
            continue;
        }
        let role = entries.iter().find(|entry| entry["id"] == **to && entry["pilothouse"]["kind"] == "role");
        let owner = match role {
            Some(role) => role["owned_by"].as_str().map(str::to_owned),
            None => known_by(&routes.known, to).map(|model| model.server.to_string()),
        };
        if let Some(owner) = owner {
            entries.push(entry(alias, &owner, Some(("alias", Some(to)))));
        }
    }
    let models =
        routes.known.iter().map(|model| entry(&public_name(model, routes), model.server.as_str(), None));
    entries.extend(models);
    entries
}

pub(super) async fn list(State(shared): State<Shared>) -> Json<Value> {
    let routes = shared.leases.routes();
    Json(json!({ "object": "list", "data": entries(&routes) }))
}

pub(super) async fn one(State(shared): State<Shared>, uri: Uri) -> Result<Json<Value>, Refusal> {
    let raw = path::below(uri.path()).strip_prefix("models/").unwrap_or_default();
    let routes = shared.leases.routes();
    let hit = path::model_id(raw).and_then(|id| {
        let entry = |id: &str| entries(&routes).into_iter().find(|entry| entry["id"] == id);
        entry(&id).or_else(|| entry(&public_name(known_by(&routes.known, &id)?, &routes)))
    });
    hit.map(Json).ok_or_else(|| {
        let text = format!("There is no model {} here.", path::shown(raw));
        Refusal::new(StatusCode::NOT_FOUND, "model_not_found", text).about("model")
    })
}
