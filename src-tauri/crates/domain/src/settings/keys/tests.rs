use super::*;
use serde_json::json;
use std::collections::BTreeSet;

/// The dotted names of all leaves; tables whose names people choose are leaves.
fn leaves(value: &Value, path: &str, tables: &BTreeSet<String>, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !tables.contains(path) => {
            for (name, value) in fields {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, &below, tables, into);
            }
        }
        _ => into.push(path.to_owned()),
    }
}

#[test]
fn every_key_is_described_once_and_none_too_many() {
    let keys = setting_keys();
    let tables = keys.iter().filter(|key| matches!(key.kind, SettingKind::Table { .. }));
    let tables = tables.map(|key| key.key.clone()).collect();
    let mut written = Vec::new();
    leaves(&serde_json::to_value(Settings::default()).unwrap(), "", &tables, &mut written);
    let mut described: Vec<String> = keys.iter().map(|key| key.key.clone()).collect();
    described.sort();
    written.sort();
    assert_eq!(described, written);
}

#[test]
fn the_kinds_are_those_of_the_defaults_and_all_words_are_there() {
    for key in setting_keys() {
        let default = key.default_value();
        let fits = match &key.kind {
            SettingKind::Table { .. } => default.is_object(),
            kind => kind.takes(&default),
        };
        assert!(fits, "{}: {default}", key.key);
        assert!(!key.title.is_empty() && !key.title.ends_with('.'), "{}", key.key);
        assert!(key.meaning.len() <= 120 && !key.meaning.contains('\n'), "{}: one line", key.key);
    }
}

/// By types and `check` alone, without what the description says.
fn stands(settings: &Settings, key: &str, value: i64) -> bool {
    put(settings, key, json!(value)).is_some_and(|settings| settings.check().is_ok())
}

#[test]
fn the_range_of_every_number_is_that_of_the_check() {
    let bounds = |key: &str| match setting_key(key).unwrap().kind {
        SettingKind::Number { least, most, .. } => (least, most),
        _ => panic!("{key} is no number"),
    };
    let mut numbers = 0;
    for SettingKey { key, kind, .. } in setting_keys() {
        let SettingKind::Number { least, most, zero, not_below, not_above, .. } = kind else { continue };
        numbers += 1;
        let mut around = Settings::default();
        for (other, end) in [
            (&not_below, not_below.as_deref().map(|other| bounds(other).0)),
            (&not_above, not_above.as_deref().map(|other| bounds(other).1)),
        ] {
            if let (Some(other), Some(end)) = (other, end) {
                around = put(&around, other, json!(end)).unwrap();
            }
        }
        for (value, allowed) in [
            (i64::from(least), true),
            (i64::from(most), true),
            (i64::from(least) - 1, false),
            (i64::from(most) + 1, false),
        ] {
            assert_eq!(stands(&around, &key, value), allowed, "{key} = {value}");
        }
        assert!(zero.is_none() || least == 0, "{key}: 0 means something, so it is allowed");
        // What holds between two keys is held by the check too.
        for (other, beyond) in [(not_below, -1), (not_above, 1)] {
            let Some(other) = other else { continue };
            let around = put(&Settings::default(), &other, json!(500)).unwrap();
            assert!(stands(&around, &key, 500), "{key} as {other}");
            assert!(!stands(&around, &key, 500 + beyond), "{key} beyond {other}");
        }
    }
    assert_eq!(numbers, 30, "each was tried");
}

#[test]
fn a_wrong_value_is_refused_with_what_is_allowed() {
    for (key, value, code, said) in [
        ("gauges.interval_ms", json!(5), ErrorCode::InvalidCall, "200 to 60000 ms"),
        ("gauges.interval_ms", json!("soon"), ErrorCode::InvalidCall, "200 to 60000 ms"),
        ("gauges.interval_ms", json!(500.5), ErrorCode::InvalidCall, "200 to 60000 ms"),
        ("gateway.enabled", json!("yes"), ErrorCode::InvalidCall, "on or off"),
        ("tray.gauge", json!("all"), ErrorCode::InvalidCall, "one of none, memory, gpu, both"),
        ("switching.load_ceiling_s", json!(10), ErrorCode::InvalidCall, "switching.load_floor_s to 7200"),
        (
            "restart.max_ms",
            json!(100),
            ErrorCode::InvalidCall,
            "restart.first_ms must be 1 up to restart.max_ms",
        ),
        ("notifications.quiet", json!("at night"), ErrorCode::InvalidCall, "such as 22:00-07:00"),
        ("notifications.quiet", json!("22:00-22:00"), ErrorCode::InvalidCall, "two different times"),
        ("tray.previous_model_shortcut", json!("P"), ErrorCode::InvalidCall, "such as Ctrl+Alt+P"),
        ("gateway.hosts", json!(["http://a"]), ErrorCode::InvalidCall, "without scheme"),
        ("gateway.hosts", json!(["a", "a"]), ErrorCode::InvalidCall, "a list"),
        ("servers.ollama.address", json!("ftp://x"), ErrorCode::InvalidCall, "http://127.0.0.1:11434"),
        ("servers.ollama.address", json!(""), ErrorCode::InvalidCall, "one line"),
        ("servers.ollama.program", json!("a\nb"), ErrorCode::InvalidCall, "one line"),
        ("servers.remote", json!({}), ErrorCode::Unsupported, "page Servers"),
        (
            "history.trace_minutes_days",
            json!(5),
            ErrorCode::InvalidCall,
            "0 (for ever), or history.traces_days",
        ),
    ] {
        let about = setting_key(key).unwrap();
        let error = with_value(&Settings::default(), &about, &value).unwrap_err();
        assert_eq!(error.code, code, "{key} = {value}");
        let words = format!("{} {}", error.message, error.hint.unwrap_or_default());
        assert!(words.contains(said), "{key} = {value}: {words}");
        assert!(words.contains(key), "{words}");
    }
    let about = setting_key("gateway.hosts").unwrap();
    let changed = with_value(&Settings::default(), &about, &json!(["a", "b.example"])).unwrap();
    assert_eq!(changed.gateway.hosts, ["a", "b.example"]);
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    for (written, code, said) in [
        ("gateway.prot", ErrorCode::NotFound, "Did you mean gateway.port?"),
        ("interval_ms", ErrorCode::NotFound, "Did you mean gauges.interval_ms?"),
        ("server.ollama.parallel", ErrorCode::NotFound, "servers.ollama.parallel"),
        ("gauge.docker", ErrorCode::NotFound, "Did you mean gauges.docker?"),
        ("", ErrorCode::NotFound, "pilothouse settings"),
        ("quite.something.else", ErrorCode::NotFound, "pilothouse settings"),
        ("servers.remote.studio.address", ErrorCode::Unsupported, "page Servers"),
        ("servers.llama-server.models.a.b.context", ErrorCode::Unsupported, "in the file"),
    ] {
        let error = setting_key(written).unwrap_err();
        assert_eq!(error.code, code, "{written}");
        assert!(error.hint.as_deref().unwrap_or_default().contains(said), "{written}: {error:?}");
    }
}

#[test]
fn what_waits_names_what_has_to_start_again_and_its_restart_ends_the_wait() {
    let in_force = Settings::default();
    let mut wanted = in_force.clone();
    wanted.gauges.interval_ms = 500;
    wanted.servers.ollama.autostart = false;
    wanted.servers.remote.insert("studio".into(), super::super::RemoteSettings::default());
    assert_eq!(waiting(&in_force, &wanted), [], "in force at once, or read at a start only");
    wanted.gateway.port = 1;
    wanted.servers.ollama.context = 8192;
    wanted.servers.ollama.environment.insert("A".into(), "b".into());
    wanted.servers.llama_server.parallel = 4;
    let of = |settings: &Settings| -> Vec<String> {
        waiting(settings, &wanted).into_iter().map(|waiting| waiting.key).collect()
    };
    let all = [
        "gateway.port",
        "servers.ollama.context",
        "servers.ollama.environment",
        "servers.llama-server.parallel",
    ];
    assert_eq!(of(&in_force), all);
    let renewed = after_restart_of(&"ollama".into(), &in_force, &wanted);
    assert_eq!(of(&renewed), ["gateway.port", "servers.llama-server.parallel"]);
    assert_eq!(renewed.servers.ollama.context, 8192);
    assert_eq!(renewed.gateway.port, in_force.gateway.port);
    assert_eq!(after_restart_of(&"lmstudio".into(), &in_force, &wanted), in_force);
}

#[test]
fn the_distance_counts_single_letter_edits() {
    assert_eq!(distance("kitten", "sitting"), 3);
    assert_eq!(distance("", "abc"), 3);
    assert_eq!(distance("port", "port"), 0);
}

#[test]
fn only_a_near_key_is_suggested() {
    assert_eq!(nearest("adress", &["enabled", "address"]), Some("address"));
    assert_eq!(nearest("colour", &["enabled", "address"]), None);
}

/// The UI's simulated engine behaves by the same ranges: it reads this file, as it reads the generated types.
#[test]
fn export_bindings_setting_keys() {
    let keys: Vec<Value> = setting_keys()
        .iter()
        .map(|key| json!({ "about": key, "default": key.default_value(), "allowed": key.kind.allowed() }))
        .collect();
    let folder = std::env::var_os("TS_RS_EXPORT_DIR").unwrap_or_else(|| "bindings".into());
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&keys).unwrap();
    std::fs::write(folder.join("setting-keys.json"), format!("{text}\n")).unwrap();
}
