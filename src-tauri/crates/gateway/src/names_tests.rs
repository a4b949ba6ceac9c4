//! Names: what they lead to, what an answer says of that, and the list of them.

use super::switch_tests::{Answers, Scene, server, text};
use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use pilothouse_domain::{model::ModelRef, scene::Priority};
use pilothouse_leases::{About, ActiveRoute, RoleRoute, Routes, Target};
use serde_json::{Value, json};

/// `big` is active and the role high, `small` the role low; `disk` is not in memory.
async fn routes() -> Routes {
    let (big, small) = (server("big", Answers::Echo).await, server("small", Answers::Echo).await);
    let role = |target: &Target, priority| RoleRoute { route: ActiveRoute::Open(target.clone()), priority };
    let away = RoleRoute { route: ActiveRoute::Away(ModelRef::new("s", "disk")), priority: Priority::Normal };
    let down = RoleRoute { route: ActiveRoute::Down("s".into()), priority: Priority::Normal };
    let roles = [
        ("high", role(&big, Priority::Critical)),
        ("low", role(&small, Priority::Background)),
        ("away", away),
        ("down", down),
    ];
    let aliases = [
        ("gpt-4o", "active"),
        ("gpt-4o-mini", "low"),
        ("small", "big"),
        ("claude-é", "s/big"),
        ("text-embedding-3", "gone"),
        ("low", "big"),
    ];
    Routes {
        active: ActiveRoute::Open(big.clone()),
        roles: roles.map(|(name, role)| (name.to_owned(), role)).into(),
        aliases: aliases.map(|(alias, to)| (alias.to_owned(), to.to_owned())).into(),
        kept: [(big.server.clone(), big.instance.clone())].into(),
        known: ["big", "small", "disk"].map(|name| ModelRef::new("s", name)).into(),
        loaded: vec![big, small],
        about: [
            (
                ModelRef::new("s", "big"),
                About { context: Some(8192), context_max: Some(40960), ..About::default() },
            ),
            (ModelRef::new("s", "disk"), About { context_max: Some(40960), ..About::default() }),
        ]
        .into(),
        ..Routes::default()
    }
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn document(answer: Response<Body>) -> Value {
    serde_json::from_str(&text(answer).await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_answer_says_who_gives_it_and_by_which_name() {
    let scene = Scene::with(routes().await);
    for (name, model, role) in [
        ("active", "big", Some("active")),
        ("high", "big", Some("high")),
        ("low", "small", Some("low")),
        ("gpt-4o", "big", Some("active")),
        ("gpt-4o-mini", "small", Some("low")),
        ("small", "big", None),
        ("s/small", "small", None),
        ("big", "big", None),
        ("claude-é", "big", None),
    ] {
        let answer = scene.send("POST", "/v1/chat/completions", &json!({ "model": name }).to_string()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        assert_eq!(
            (header(&answer, "x-pilothouse-model"), header(&answer, "x-pilothouse-role")),
            (Some(model), role)
        );
        assert_eq!(header(&answer, "x-pilothouse-asked"), Some(name.replace('é', "%C3%A9").as_str()));
        assert_eq!(header(&answer, "x-pilothouse-server"), Some("s"));
        assert!(header(&answer, "x-pilothouse-waited-ms").unwrap().parse::<u64>().is_ok());
        assert_eq!(document(answer).await["model"], model, "the server hears its own name");
    }
    let answer = scene.send("POST", "/v1/chat/completions", "{}").await;
    assert_eq!(
        (header(&answer, "x-pilothouse-role"), header(&answer, "x-pilothouse-asked")),
        (Some("active"), None)
    );
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_refused_with_what_it_stands_for() {
    let scene = Scene::with(routes().await);
    for (name, status, code, words) in [
        ("text-embedding-3", 404, "alias_without_model", "text-embedding-3 stands for gone"),
        ("down", 503, "server_down", "of the role down, does not run"),
        ("nobody", 404, "model_not_found", "no model nobody"),
        ("disk", 404, "model_not_loaded", "memory.load_on_request"),
        ("away", 404, "model_not_loaded", "disk is not loaded on s"),
    ] {
        let answer = scene.send("POST", "/v1/chat/completions", &json!({ "model": name }).to_string()).await;
        assert_eq!(answer.status().as_u16(), status, "{name}");
        let said = document(answer).await;
        assert_eq!(said["error"]["code"], code, "{name}");
        assert!(said["error"]["message"].as_str().unwrap().contains(words), "{said}");
    }
}

#[tokio::test]
async fn how_long_a_kept_model_stays_is_not_for_clients_to_say() {
    let scene = Scene::with(routes().await);
    let body =
        |model: &str| format!("{{ \"model\":\"{model}\" , \"keep_alive\":0,\"ttl\":1, \"messages\":[ ] }}");
    let answer = scene.send("POST", "/v1/chat/completions", &body("active")).await;
    assert_eq!(header(&answer, "x-pilothouse-governed"), Some("keep_alive, ttl"));
    assert_eq!(text(answer).await.unwrap(), "{ \"model\":\"big\" , \"messages\":[ ] }");
    // It passes where the model is not ours to keep, and where nothing is said of it nothing is changed.
    let answer = scene.send("POST", "/v1/chat/completions", &body("low")).await;
    assert_eq!(header(&answer, "x-pilothouse-governed"), None);
    assert_eq!(text(answer).await.unwrap(), body("small"));
    let answer = scene.send("POST", "/v1/chat/completions", "{\"model\":\"big\" }").await;
    assert_eq!(header(&answer, "x-pilothouse-governed"), None);
    assert_eq!(text(answer).await.unwrap(), "{\"model\":\"big\" }");
}

#[tokio::test]
async fn the_list_has_active_then_roles_then_aliases_then_models() {
    let scene = Scene::with(routes().await);
    let list = document(scene.send("GET", "/v1/models", "").await).await;
    let lines: Vec<String> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_eq!((&one["object"], &one["created"]), (&json!("model"), &json!(0)), "{one}");
            let stands = &one["pilothouse"];
            let (id, owner) = (one["id"].as_str().unwrap(), one["owned_by"].as_str().unwrap());
            match stands["kind"].as_str() {
                Some("model") | None => format!("{id} {owner}"),
                Some(kind) => format!("{id} {owner} {kind} {}", stands["stands_for"]),
            }
        })
        .collect();
    let wanted = [
        "active s role \"big\"",
        "away s role \"disk\"",
        "down pilothouse role null",
        "high s role \"big\"",
        "low s role \"s/small\"",
        "claude-é s alias \"s/big\"",
        "gpt-4o s alias \"active\"",
        "gpt-4o-mini s alias \"low\"",
        "small s alias \"big\"",
        "big s",
        "s/small s",
        "disk s",
    ];
    assert_eq!(lines, wanted);
    for line in list["data"].as_array().unwrap() {
        let id = line["id"].as_str().unwrap().replace('é', "%C3%A9");
        let one = document(scene.send("GET", &format!("/v1/models/{id}"), "").await).await;
        assert_eq!(one, *line);
    }
    let named = |name: &str| list["data"].as_array().unwrap().iter().find(|one| one["id"] == *name).unwrap();
    for (name, loaded, context) in [
        ("active", json!(true), json!(8192)),
        ("gpt-4o", json!(true), json!(8192)),
        ("big", json!(true), json!(8192)),
        ("disk", json!(false), json!(null)),
        ("down", json!(null), json!(null)),
    ] {
        assert_eq!(named(name)["pilothouse"]["loaded"], loaded, "{name}");
        assert_eq!(named(name)["pilothouse"]["context"], context, "{name}");
    }
    assert_eq!(
        (&named("active")["context_length"], &named("disk")["context_length"]),
        (&json!(8192), &json!(40960))
    );
    assert_eq!(named("big")["pilothouse"]["abilities"], json!(["chat"]));
    let gone = scene.send("GET", "/v1/models/text-embedding-3", "").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND, "it stands for nothing");
}
