//! The settings file by its keys. Without an engine the same code works on the file itself.

use crate::{
    completing,
    output::{Output, quiet, strong},
    session::{Session, unexpected},
};
use clap::Subcommand;
use pilothouse_domain::settings::{
    Settings,
    keys::{RestartOf, SettingKey, SettingKind, setting_key},
};
use pilothouse_engine::{
    api::{ApiError, Call, ErrorCode, Reply, SettingView, SettingsView},
    settings::SettingsFile,
};
use pilothouse_system::paths::Paths;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum Act {
    /// Print the value of a key ("gateway.wait_s").
    Get {
        #[arg(add = completing::settings())]
        key: String,
    },
    /// Write a value into the settings file, with everything else in it as it is.
    Set {
        #[arg(add = completing::settings())]
        key: String,
        /// A number, a word, on or off; a list with commas between its parts.
        #[arg(allow_negative_numbers = true)]
        value: String,
    },
    /// Put a key back to its default.
    Reset {
        #[arg(add = completing::settings())]
        key: String,
    },
    /// Print where the settings file is.
    Path,
}

pub async fn run(act: Option<Act>, output: &Output) -> Result<u8, ApiError> {
    match act {
        None => {
            let view = read().await?;
            output.answer(listed(&view), || list(&view));
            if let Some(trouble) = &view.trouble {
                output.remark(&format!("The settings file has a mistake; these hold. {}", trouble.message));
            }
        }
        Some(Act::Get { key }) => {
            let key = setting_key(&key)?;
            let view = of(read().await?, &key)?;
            output.answer(document(&view), || bare(&view.value));
        }
        Some(Act::Set { key, value }) => {
            let key = setting_key(&key)?;
            let value = parsed(&key.kind, &value);
            tell_set(&key, write(&key, value).await?, output)?;
        }
        Some(Act::Reset { key }) => {
            let key = setting_key(&key)?;
            tell_set(&key, write(&key, Value::Null).await?, output)?;
        }
        Some(Act::Path) => {
            let path = Paths::from_env()?.settings_file().display().to_string();
            output.answer(json!({ "path": path }), || path.clone());
        }
    }
    Ok(0)
}

/// The engine that runs; `None`: none does.
fn engine() -> Result<Option<Session>, ApiError> {
    match Session::connect() {
        Ok(session) => Ok(Some(session)),
        Err(error) if error.code == ErrorCode::NotRunning => Ok(None),
        Err(error) => Err(error),
    }
}

fn file() -> Result<SettingsFile, ApiError> {
    Ok(SettingsFile::at(&Paths::from_env()?.settings_file()))
}

async fn read() -> Result<SettingsView, ApiError> {
    match engine()? {
        Some(session) => view_of(session.call(Call::Settings).await?),
        None => Ok(file()?.view(&Settings::default(), |_| vec![])),
    }
}

/// Null: the default.
async fn write(key: &SettingKey, value: Value) -> Result<SettingsView, ApiError> {
    if let Some(session) = engine()? {
        return view_of(session.call(Call::SetSetting { key: key.key.clone(), value, digest: None }).await?);
    }
    let file = file()?;
    file.set(key, (!value.is_null()).then_some(&value), None)?;
    Ok(file.view(&Settings::default(), |_| vec![]))
}

fn view_of(reply: Reply) -> Result<SettingsView, ApiError> {
    match reply {
        Reply::Settings { settings } => Ok(settings),
        other => Err(unexpected(&other)),
    }
}

fn of(view: SettingsView, key: &SettingKey) -> Result<SettingView, ApiError> {
    let found = view.settings.into_iter().find(|one| one.about.key == key.key);
    found.ok_or_else(|| ApiError::not_found(format!("The engine that runs knows no setting {}.", key.key)))
}

fn tell_set(key: &SettingKey, view: SettingsView, output: &Output) -> Result<(), ApiError> {
    let view = of(view, key)?;
    output.answer(document(&view), || {
        let waits = waits_for(&view).map(|what| format!("; in force after the next start of {what}"));
        format!("{} = {}{}", key.key, bare(&view.value), waits.unwrap_or_default())
    });
    Ok(())
}

/// A value as it was typed. What cannot be understood stays a text, and is refused with what is allowed.
fn parsed(kind: &SettingKind, typed: &str) -> Value {
    let typed = typed.trim();
    match kind {
        SettingKind::Switch => match typed.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => json!(true),
            "off" | "false" | "no" => json!(false),
            _ => json!(typed),
        },
        SettingKind::Number { unit, .. } => {
            let unit = unit.as_deref().unwrap_or_default();
            let digits = typed.strip_suffix(unit).unwrap_or(typed).trim();
            digits.parse::<i64>().map_or_else(|_| json!(typed), |number| json!(number))
        }
        SettingKind::List { .. } => match serde_json::from_str(typed) {
            Ok(Value::Array(list)) => Value::Array(list),
            _ => typed.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        },
        SettingKind::Choice { .. }
        | SettingKind::Text { .. }
        | SettingKind::Path { .. }
        | SettingKind::Table { .. } => json!(typed),
    }
}

/// For scripts: a text without quotes, everything else as JSON.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn waits_for(view: &SettingView) -> Option<String> {
    let restart = view.about.restart.as_ref().filter(|_| view.waits)?;
    Some(match restart {
        RestartOf::Pilothouse => "Pilothouse".into(),
        RestartOf::Server { server } => server.to_string(),
    })
}

fn document(view: &SettingView) -> Value {
    let SettingView { about, value, default, written, .. } = view;
    json!({
        "key": about.key,
        "group": about.group,
        "title": about.title,
        "value": value,
        "default": default,
        "differs": value != default,
        "written": written,
        "waits_for": waits_for(view).map(|what| what.to_lowercase()),
    })
}

fn listed(view: &SettingsView) -> Value {
    let settings: Vec<Value> = view.settings.iter().map(document).collect();
    json!({ "path": view.path, "trouble": view.trouble, "settings": settings })
}

fn list(view: &SettingsView) -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let rows: Vec<(&SettingView, String)> =
        view.settings.iter().map(|view| (view, words(&view.about.kind, &view.value))).collect();
    let keys = width(&mut rows.iter().map(|(view, _)| view.about.key.chars().count()));
    let values = width(&mut rows.iter().map(|(_, value)| value.chars().count())).min(32);
    let mut lines = Vec::new();
    let mut group = None;
    for (view, value) in &rows {
        if group != Some(view.about.group) {
            let gap = if group.is_none() { "" } else { "\n" };
            lines.push(format!("{gap}{}", strong(view.about.group.title())));
            group = Some(view.about.group);
        }
        let differs = view.value != view.default;
        let mut remarks = Vec::new();
        if differs && !view.default.is_object() {
            remarks.push(format!("default {}", words(&view.about.kind, &view.default)));
        }
        remarks.extend(waits_for(view).map(|what| format!("waits for a restart of {what}")));
        let mark = if differs { '*' } else { ' ' };
        let line = format!("{mark} {:keys$}  {value:values$}", view.about.key);
        lines.push(match &remarks[..] {
            [] => line.trim_end().to_owned(),
            remarks => format!("{line}  {}", quiet(&remarks.join(", "))),
        });
    }
    lines.push(format!("\n* differs from the default. The file: {}", view.path));
    lines.join("\n")
}

/// A value as people read it.
fn words(kind: &SettingKind, value: &Value) -> String {
    match (kind, value) {
        (SettingKind::Switch, Value::Bool(true)) => "on".into(),
        (SettingKind::Switch, Value::Bool(false)) => "off".into(),
        (SettingKind::Number { zero: Some(words), .. }, value) if *value == 0 => format!("0 ({words})"),
        (SettingKind::Number { unit: Some(unit), .. }, value) => format!("{value} {unit}"),
        (SettingKind::Text { empty: Some(words) } | SettingKind::Path { empty: words }, value)
            if value == "" =>
        {
            format!("({words})")
        }
        // As it is set; what nothing means is said.
        (SettingKind::Choice { choices }, value) if value == "" => {
            let nothing = choices.iter().find(|choice| choice.value.is_empty());
            format!("({})", nothing.map(|choice| choice.words.as_str()).unwrap_or_default())
        }
        (SettingKind::List { .. }, Value::Array(list)) => match &list[..] {
            [] => "none".into(),
            list => list.iter().map(bare).collect::<Vec<_>>().join(", "),
        },
        (SettingKind::Table { .. }, Value::Object(table)) => match table.len() {
            0 => "none".into(),
            _ => table.keys().cloned().collect::<Vec<_>>().join(", "),
        },
        (_, value) => bare(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_what_the_key_is() {
        for (key, typed, wanted) in [
            ("gateway.wait_s", "20", json!(20)),
            ("gateway.wait_s", "20 s", json!(20)),
            ("gateway.wait_s", "20s", json!(20)),
            ("gateway.wait_s", "-1", json!(-1)),
            ("gateway.wait_s", "soon", json!("soon")),
            ("gateway.enabled", "off", json!(false)),
            ("gateway.enabled", "True", json!(true)),
            ("gateway.enabled", "maybe", json!("maybe")),
            ("gateway.hosts", "a, b.example", json!(["a", "b.example"])),
            ("gateway.hosts", "[\"a\"]", json!(["a"])),
            ("gateway.hosts", "", json!([])),
            ("servers.ollama.keep_alive", "-1", json!("-1")),
            ("tray.gauge", "both", json!("both")),
            ("servers.ollama.program", "", json!("")),
        ] {
            assert_eq!(parsed(&setting_key(key).unwrap().kind, typed), wanted, "{key} {typed}");
        }
    }

    #[test]
    fn the_list_marks_what_differs_and_says_what_waits() {
        let view = |key: &str, value: Value, waits: bool| {
            let about = setting_key(key).unwrap();
            SettingView { value, default: about.default_value(), written: true, waits, about }
        };
        let settings = vec![
            view("gateway.wait_s", json!(20), false),
            view("gateway.queue", json!(1024), false),
            view("servers.ollama.context", json!(8192), true),
            view("servers.ollama.flash_attention", json!(""), false),
        ];
        let text = list(&SettingsView { settings, path: "/p".into(), digest: None, trouble: None });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "One address");
        assert!(lines[1].starts_with("* gateway.wait_s") && lines[1].ends_with("default 30 s"), "{text}");
        assert!(lines[2].starts_with("  gateway.queue") && lines[2].ends_with("1024"), "{text}");
        assert_eq!(lines[4], "Ollama");
        assert!(lines[5].contains("8192") && lines[5].ends_with("waits for a restart of ollama"), "{text}");
        assert!(lines[6].ends_with("(Ollama chooses)"), "{text}");
        assert!(text.ends_with("The file: /p"), "{text}");
    }
}
