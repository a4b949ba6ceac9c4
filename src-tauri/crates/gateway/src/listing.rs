//! `GET /v1/models`: what can be asked for here.

use super::{Shared, keys::Held, path, refusal::Refusal};
use axum::{
    Json,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use pilothouse_dialects::messages::{self, Model};
use pilothouse_domain::{model::ModelRef, scene::ACTIVE};
use pilothouse_leases::{ActiveRoute, Asked, Leases, Routes, known_by};
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
        // A rule with a star is no name to ask by.
        if alias == ACTIVE || alias.contains('*') || routes.roles.contains_key(alias) {
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

/// The same, with what is known of the model behind each: whether it is in memory, the tokens that it has room for, what it is for.
/// `context_length` is where programs look for those tokens (OpenRouter's name).
fn described(routes: &Routes) -> Vec<Value> {
    let models = names(routes);
    let mut entries = entries(routes);
    for entry in &mut entries {
        let model =
            models.iter().find(|(name, _)| entry["id"] == **name).and_then(|(_, model)| model.as_ref());
        let Some(model) = model else { continue };
        if entry["pilothouse"].is_null() {
            entry["pilothouse"] = json!({ "kind": "model" });
        }
        let its = &mut entry["pilothouse"];
        its["loaded"] =
            routes.loaded.iter().any(|one| one.server == model.server && one.model == model.model).into();
        if let Some(about) = routes.about.get(model) {
            its["context"] = about.context.into();
            its["context_max"] = about.context_max.into();
            its["abilities"] = json!([if about.embeds { "embeddings" } else { "chat" }]);
            if let Some(context) = about.context.or(about.context_max) {
                entry["context_length"] = context.into();
            }
        }
    }
    entries
}

/// Those that a key may use; all where none is shown.
fn entries_for(key: Option<&Extension<Held>>, leases: &Leases, routes: &Routes) -> Vec<Value> {
    let mut entries = described(routes);
    if let Some(Extension(key)) = key {
        entries.retain(|entry| {
            let id = entry["id"].as_str();
            key.may_use(id, leases.model_of(&Asked::new(id)).as_ref())
        });
    }
    entries
}

/// The names that can be asked for, each with the model that it means now. `None`: none at the moment.
pub(super) fn names(routes: &Routes) -> Vec<(String, Option<ModelRef>)> {
    let by_id = |id: &str| known_by(&routes.known, id).cloned();
    entries(routes)
        .into_iter()
        .filter_map(|entry| {
            let id = entry["id"].as_str()?.to_owned();
            // An alias stands for a role, that for a model.
            let mut means = id.clone();
            for _ in 0..2 {
                let role = (means == ACTIVE).then_some(&routes.active);
                let role = role.or_else(|| routes.roles.get(&means).map(|role| &role.route));
                if let Some(route) = role {
                    let model = match route {
                        ActiveRoute::Open(target) => {
                            Some(ModelRef::new(target.server.clone(), target.model.clone()))
                        }
                        ActiveRoute::Away(model) => Some(model.clone()),
                        _ => None,
                    };
                    return Some((id, model));
                }
                means = routes.aliases.get(&means).cloned().unwrap_or(means);
            }
            let model = by_id(&means);
            Some((id, model))
        })
        .collect()
}

/// Whether an answer is for a client of Anthropic's: they tell their version wherever they ask.
fn in_anthropics_words(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// As Anthropic's clients read a line of the list. What is not known is left out.
fn model_of(entry: &Value) -> Model {
    let id = entry["id"].as_str().unwrap_or_default().to_owned();
    Model { display_name: id.clone(), id, created_s: None, context: entry["context_length"].as_u64() }
}

fn document(said: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], said).into_response()
}

pub(super) async fn list(
    State(shared): State<Shared>,
    key: Option<Extension<Held>>,
    headers: HeaderMap,
) -> Response {
    let entries = entries_for(key.as_ref(), &shared.leases, &shared.leases.routes());
    if in_anthropics_words(&headers) {
        let models: Vec<Model> = entries.iter().map(model_of).collect();
        return document(messages::models_document(&models));
    }
    Json(json!({ "object": "list", "data": entries })).into_response()
}

pub(super) async fn one(
    State(shared): State<Shared>,
    key: Option<Extension<Held>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let raw = path::below(uri.path()).strip_prefix("models/").unwrap_or_default();
    let routes = shared.leases.routes();
    let hit = path::model_id(raw).and_then(|id| {
        let entry = |id: &str| {
            entries_for(key.as_ref(), &shared.leases, &routes).into_iter().find(|entry| entry["id"] == id)
        };
        entry(&id).or_else(|| entry(&public_name(known_by(&routes.known, &id)?, &routes)))
    });
    let Some(entry) = hit else {
        let text = format!("There is no model {} here.", path::shown(raw));
        return Err(Refusal::new(StatusCode::NOT_FOUND, "model_not_found", text).about("model"));
    };
    Ok(match in_anthropics_words(&headers) {
        true => document(messages::model_document(&model_of(&entry))),
        false => Json(entry).into_response(),
    })
}
