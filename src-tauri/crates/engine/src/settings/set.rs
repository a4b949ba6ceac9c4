//! A setting that a person changes on the page or by the command line, and what both show of the file.

use super::{
    SettingsFile,
    rewrite::{Written, digest, item_at, put},
};
use crate::api::{SettingView, SettingsView};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::{
        Settings,
        keys::{SettingKey, Waiting, differing, setting_keys, value_at, with_value},
    },
};
use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, Value};

impl SettingsFile {
    /// Writes a value at a key, or its default with `None`; a key that is not written has its default already. `known`: the digest of
    /// the text that the person has seen. Errors: busy (somebody else has changed the file since then, with what), invalid_call
    /// (with what is allowed), unsupported (a table), settings_invalid (the file has a mistake already), system; nothing is written
    /// then.
    pub fn set(&self, key: &SettingKey, value: Option<&Json>, known: Option<&str>) -> Result<(), ApiError> {
        let path = parts(key);
        let default = key.default_value();
        let edited = self.rewrite(|Written { text, settings, document }| {
            if let Some(then) = known.and_then(|known| self.changed_by_others(known, text)) {
                return Err(changed_meanwhile(then.as_ref(), settings));
            }
            let value = value.unwrap_or(&default);
            // Also where nothing has to be written: a table cannot be set, not even to what it is.
            with_value(settings, key, value)?;
            if value_at(settings, &key.key) == *value {
                return Ok(());
            }
            put(document.as_table_mut(), &path, Some(in_toml(value)?), false)
        });
        edited.map(drop)
    }

    /// All settings as the file has them. `otherwise`: what is in force where the file has a mistake. `waiting`: what of these settings
    /// waits for a restart.
    pub fn view(&self, otherwise: &Settings, waiting: impl Fn(&Settings) -> Vec<Waiting>) -> SettingsView {
        let (written, trouble) = match self.written() {
            Ok(written) => (Some(written), None),
            // It is made anew by the next change, or the next start.
            Err(_) if !self.path().exists() => (None, None),
            Err(error) => (None, Some(error)),
        };
        let settings = written.as_ref().map_or(otherwise, |written| &written.settings);
        let waiting = waiting(settings);
        let views = setting_keys().into_iter().map(|about| SettingView {
            value: value_at(settings, &about.key),
            default: about.default_value(),
            written: written.as_ref().is_some_and(|written| is_written(&written.document, &about)),
            waits: waiting.iter().any(|waiting| waiting.key == about.key),
            about,
        });
        SettingsView {
            settings: views.collect(),
            path: self.path().display().to_string(),
            digest: written.as_ref().map(|written| self.shown(written)),
            trouble,
        }
    }
}

fn parts(key: &SettingKey) -> Vec<String> {
    key.key.split('.').map(str::to_owned).collect()
}

fn is_written(document: &DocumentMut, key: &SettingKey) -> bool {
    item_at(document, &parts(key)).is_some()
}

fn changed_meanwhile(then: Option<&Settings>, now: &Settings) -> ApiError {
    let changed = then.map(|then| differing(then, now)).unwrap_or_default();
    let said: Vec<String> = changed
        .iter()
        .map(|key| match value_at(now, &key.key) {
            Json::Object(_) => format!("{} is another one", key.key),
            value => format!("{} is {value} now", key.key),
        })
        .collect();
    let what = if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) };
    let text =
        format!("The settings file was changed by somebody else meanwhile{what}. Nothing was written.");
    ApiError::new(ErrorCode::Busy, text).hint("Look at what it says now, then set it again.")
}

/// Errors: internal, for what no setting is.
fn in_toml(value: &Json) -> Result<Value, ApiError> {
    Ok(match value {
        Json::Bool(value) => (*value).into(),
        Json::String(text) => text.as_str().into(),
        Json::Number(number) if number.as_i64().is_some() => number.as_i64().unwrap_or_default().into(),
        Json::Array(texts) => Value::Array(texts.iter().filter_map(Json::as_str).collect::<Array>()),
        other => {
            return Err(ApiError::internal(format!("{other} cannot be written into the settings file.")));
        }
    })
}

/// The digest of the text in a settings file, by which a person names what he has seen.
pub fn digest_of(text: &str) -> String {
    digest(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::settings::keys::setting_key;
    use serde_json::json;

    fn file(text: &str) -> (tempfile::TempDir, SettingsFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        let (file, _) = SettingsFile::open(&path);
        (folder, file)
    }

    fn read(file: &SettingsFile) -> String {
        std::fs::read_to_string(file.path()).unwrap()
    }

    fn set(file: &SettingsFile, key: &str, value: Option<Json>) -> Result<(), ApiError> {
        file.set(&setting_key(key).unwrap(), value.as_ref(), None)
    }

    fn view(file: &SettingsFile) -> SettingsView {
        file.view(&Settings::default(), |_| vec![])
    }

    #[test]
    fn a_value_is_changed_where_it_stands_and_everything_else_stays() {
        for (before, key, value, after) in [
            ("", "gateway.wait_s", json!(20), "[gateway]\nwait_s = 20\n"),
            (
                "# top\n[gateway] # one\n# two\nwait_s  =  30   # three\n\n# end\n",
                "gateway.wait_s",
                json!(20),
                "# top\n[gateway] # one\n# two\nwait_s  =  20   # three\n\n# end\n",
            ),
            ("tray.gauge = 'both' # bars\n", "tray.gauge", json!("gpu"), "tray.gauge = \"gpu\" # bars\n"),
            (
                "tray = { text = true, gauge = \"gpu\" }\n",
                "tray.text",
                json!(false),
                "tray = { text = false, gauge = \"gpu\" }\n",
            ),
            (
                "[servers.llama-server.models.a]\ncontext = 1\n",
                "servers.llama-server.parallel",
                json!(3),
                "[servers.llama-server]\nparallel = 3\n\n[servers.llama-server.models.a]\ncontext = 1\n",
            ),
            (
                "[gateway]\nhosts = [\n  \"a\", # the box\n  \"b\", # the phone\n]\n",
                "gateway.hosts",
                json!(["b"]),
                "[gateway]\nhosts = [ # the box\n  \"b\", # the phone\n]\n",
            ),
            (
                "[gateway]\nhosts = [] # none\n",
                "gateway.hosts",
                json!(["x"]),
                "[gateway]\nhosts = [\"x\"] # none\n",
            ),
            (
                "[gateway]\nhosts = [\"a\", \"b\"]\n",
                "gateway.hosts",
                json!(["b", "a"]),
                "[gateway]\nhosts = [\"b\", \"a\"]\n",
            ),
        ] {
            let (_folder, file) = file(before);
            set(&file, key, Some(value.clone())).unwrap();
            assert_eq!(value_at(&file.read().unwrap(), key), value, "{before}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&read(&file)), words(after), "{before}");
        }
    }

    #[test]
    fn every_key_of_the_new_file_can_be_set_and_reset_and_no_remark_is_lost() {
        use pilothouse_domain::settings::keys::SettingKind;
        let (_folder, file) = file(super::super::DEFAULT_TEXT);
        for key in setting_keys() {
            let other = match (&key.kind, key.default_value()) {
                (SettingKind::Table { .. }, _) => continue,
                (SettingKind::Switch, default) => json!(default != json!(true)),
                (SettingKind::Number { .. }, default) => json!(default.as_u64().unwrap() + 1),
                (SettingKind::Choice { choices }, _) => json!(choices.last().unwrap().value),
                _ if key.key == "gateway.origins" => json!(["http://localhost:3000"]),
                (SettingKind::List { .. }, _) => json!(["box.example"]),
                _ if key.key == "notifications.quiet" => json!("22:00-07:00"),
                _ if key.key == "tray.previous_model_shortcut" => json!("Ctrl+Alt+P"),
                (SettingKind::Text { .. } | SettingKind::Path { .. }, _) => json!("http://127.0.0.1:9"),
            };
            file.set(&key, Some(&other), None).unwrap_or_else(|error| panic!("{}: {error}", key.key));
            assert_eq!(value_at(&file.read().unwrap(), &key.key), other, "{}", key.key);
            file.set(&key, None, None).unwrap();
            assert_eq!(read(&file), super::super::DEFAULT_TEXT, "{}", key.key);
        }
    }

    #[test]
    fn what_is_refused_writes_nothing() {
        for (text, key, value, code) in [
            ("[gateway]\n", "gateway.wait_s", json!(0), ErrorCode::InvalidCall),
            ("[restart]\nfirst_ms = 900\n", "restart.max_ms", json!(800), ErrorCode::InvalidCall),
            ("gateway = 5\n", "gateway.wait_s", json!(20), ErrorCode::SettingsInvalid),
            ("[gateway]\nwait_s = 0\n", "gateway.wait_s", json!(20), ErrorCode::SettingsInvalid),
            ("[gateway]\n", "servers.remote", json!({}), ErrorCode::Unsupported),
        ] {
            let (_folder, file) = file(text);
            assert_eq!(set(&file, key, Some(value)).unwrap_err().code, code, "{text}");
            assert_eq!(read(&file), text);
        }
    }

    #[test]
    fn a_change_by_somebody_else_is_said_and_one_of_our_own_is_none() {
        let (_folder, file) = file("[gateway]\nwait_s = 30\n");
        let wait = setting_key("gateway.wait_s").unwrap();
        let queue = setting_key("gateway.queue").unwrap();
        let seen = view(&file).digest.unwrap();
        file.set(&wait, Some(&json!(20)), Some(&seen)).unwrap();
        file.add_remote("studio", "http://x/v1", "").unwrap();
        // Both by Pilothouse: what the page has seen is not outdated by them, nor by the way back to the same text.
        file.set(&queue, Some(&json!(9)), Some(&seen)).unwrap();
        let now = view(&file).digest.unwrap();
        file.set(&queue, Some(&json!(8)), Some(&now)).unwrap();
        file.set(&queue, Some(&json!(9)), Some(&now)).unwrap();
        file.set(&queue, Some(&json!(7)), Some(&now)).unwrap();

        let theirs = read(&file).replace("wait_s = 20", "wait_s = 25");
        std::fs::write(file.path(), &theirs).unwrap();
        for known in [&seen, &now] {
            let refused = file.set(&queue, Some(&json!(5)), Some(known)).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Busy);
            assert!(refused.message.contains("gateway.wait_s is 25 now"), "{refused}");
        }
        assert_eq!(read(&file), theirs, "nothing was written");
        file.set(&queue, Some(&json!(5)), view(&file).digest.as_deref()).unwrap();
        assert_eq!(file.set(&queue, None, Some("never shown")).unwrap_err().code, ErrorCode::Busy);
    }

    #[test]
    fn a_file_that_is_gone_is_made_anew_and_a_link_stays_one() {
        let (folder, file) = file("");
        std::fs::remove_file(file.path()).unwrap();
        set(&file, "gateway.wait_s", Some(json!(20))).unwrap();
        let wanted = super::super::DEFAULT_TEXT.replace("\nwait_s = 30\n", "\nwait_s = 20\n");
        assert_eq!(read(&file), wanted);
        #[cfg(unix)]
        {
            let real = folder.path().join("dotfiles.toml");
            std::fs::rename(file.path(), &real).unwrap();
            std::os::unix::fs::symlink(&real, file.path()).unwrap();
            set(&file, "gateway.wait_s", None).unwrap();
            assert!(file.path().is_symlink());
            assert_eq!(std::fs::read_to_string(&real).unwrap(), super::super::DEFAULT_TEXT);
        }
        drop(folder);
    }

    #[test]
    fn lines_of_another_system_and_the_rights_of_the_file_stay() {
        let text = "# top\r\n[gateway]\r\nwait_s = 30 # x\r\n\r\n[tray]\r\ntext = true\r\n";
        let (_folder, file) = file(text);
        #[cfg(unix)]
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        #[cfg(unix)]
        std::fs::set_permissions(file.path(), rights).unwrap();
        set(&file, "gateway.wait_s", Some(json!(20))).unwrap();
        assert_eq!(read(&file), text.replace("= 30", "= 20"));
        #[cfg(unix)]
        {
            let mode = std::fs::metadata(file.path()).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o644);
        }
    }

    #[test]
    fn what_is_shown_is_what_is_written_and_a_mistake_is_said() {
        let (_folder, file) = file("[gateway]\nwait_s = 20\n");
        let shown = view(&file);
        let of = |shown: &SettingsView, key: &str| {
            shown.settings.iter().find(|view| view.about.key == key).cloned().unwrap()
        };
        let wait = of(&shown, "gateway.wait_s");
        assert_eq!((wait.value, wait.default, wait.written), (json!(20), json!(30), true));
        assert!(!of(&shown, "gateway.queue").written);
        assert_eq!(shown.digest, Some(digest_of("[gateway]\nwait_s = 20\n")));
        std::fs::remove_file(file.path()).unwrap();
        let shown = view(&file);
        assert_eq!((shown.digest, shown.trouble), (None, None), "it is no mistake to have none");
        std::fs::write(file.path(), "gateway = 5\n").unwrap();
        let shown = view(&file);
        assert_eq!((shown.digest, shown.trouble.unwrap().code), (None, ErrorCode::SettingsInvalid));
    }
}
