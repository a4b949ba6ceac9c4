//! Changes that Pilothouse makes to the settings file when a person asks for it: scenes and the names that programs may use.
//! Comments and everything else stay as they are.

use super::{SettingsFile, invalid, rewrite::Written};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    scene::{RoleSettings, check_alias, check_name, in_order},
};
use std::collections::BTreeMap;
use toml_edit::{Item, Table, value};

impl SettingsFile {
    /// Writes a scene, new or instead of the one of that name; with `renames` instead of that one. Errors: invalid_call, not_found (what
    /// shall be renamed), busy (the new name is taken), settings_invalid, system; nothing is written then. With `dry_run` nothing is
    /// written in any case. Returns whether a scene of that name stood there.
    pub fn save_scene(
        &self,
        name: &str,
        roles: &BTreeMap<String, RoleSettings>,
        renames: Option<&str>,
        dry_run: bool,
    ) -> Result<bool, ApiError> {
        check_name(name).map_err(|allowed| {
            let text = format!("A scene cannot be called “{name}”. Nothing was written.");
            ApiError::new(ErrorCode::InvalidCall, text).hint(format!("Allowed: {allowed}."))
        })?;
        let mut replaces = false;
        let edit = |Written { settings, document, .. }: &mut Written| {
            replaces = settings.scenes.contains_key(name);
            let scenes = table(document.as_table_mut(), "scenes")?;
            let mut place = settings.scenes.get(name).and_then(|scene| scene.place);
            if let Some(before) = renames.filter(|before| *before != name) {
                let Some(old) = settings.scenes.get(before) else { return Err(no_scene(before)) };
                if settings.scenes.contains_key(name) {
                    let text = format!("There is a scene “{name}” already. Nothing was written.");
                    return Err(ApiError::new(ErrorCode::Busy, text).hint("Choose another name."));
                }
                place = old.place;
                if let Some(item) = scenes.remove(before) {
                    scenes.insert(name, item);
                }
            }
            let scene = table(scenes, name)?;
            if let Some(place) = place {
                scene.insert("place", value(i64::from(place)));
            }
            write_roles(table(scene, "roles")?, roles)
        };
        self.written_or_rehearsed(dry_run, edit)?;
        Ok(replaces)
    }

    /// With `dry_run` nothing is written. Errors: not_found, settings_invalid, system.
    pub fn delete_scene(&self, name: &str, dry_run: bool) -> Result<(), ApiError> {
        self.written_or_rehearsed(dry_run, |written| {
            let gone = table(written.document.as_table_mut(), "scenes")?.remove(name);
            gone.map(drop).ok_or_else(|| no_scene(name))
        })
    }

    fn written_or_rehearsed(
        &self,
        dry_run: bool,
        edit: impl FnOnce(&mut Written) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        if dry_run { self.rehearse(edit) } else { self.rewrite(edit).map(drop) }
    }

    /// Puts the scenes into this order; what is not named comes after. Errors: not_found, settings_invalid, system.
    pub fn order_scenes(&self, names: &[String]) -> Result<(), ApiError> {
        let edited = self.rewrite(|Written { settings, document, .. }| {
            if let Some(unknown) = names.iter().find(|name| !settings.scenes.contains_key(*name)) {
                return Err(no_scene(unknown));
            }
            let rest = in_order(&settings.scenes).into_iter().filter(|name| !names.contains(name));
            let order: Vec<String> = names.iter().chain(rest).cloned().collect();
            let scenes = table(document.as_table_mut(), "scenes")?;
            for (place, name) in (1_i64..).zip(&order) {
                let scene = table(scenes, name)?;
                match scene.get_mut("place").and_then(Item::as_value_mut) {
                    // What stands behind it stays.
                    Some(old) => {
                        let decor = old.decor().clone();
                        *old = place.into();
                        *old.decor_mut() = decor;
                    }
                    None => drop(scene.insert("place", value(place))),
                }
            }
            Ok(())
        });
        edited.map(drop)
    }

    /// Another name that programs may ask by; `None`: it means nothing any more. Errors: invalid_call, not_found, settings_invalid,
    /// system.
    pub fn set_alias(&self, alias: &str, to: Option<&str>) -> Result<(), ApiError> {
        check_alias(alias).map_err(|allowed| {
            let text = format!("Programs cannot ask by “{alias}”. Nothing was written.");
            ApiError::new(ErrorCode::InvalidCall, text).hint(format!("Allowed: {allowed}."))
        })?;
        let edited = self.rewrite(|written| {
            let gateway = table(written.document.as_table_mut(), "gateway")?;
            let aliases = table(gateway, "aliases")?;
            match to {
                Some(to) => drop(aliases.insert(alias, value(to))),
                None => {
                    aliases.remove(alias).ok_or_else(|| {
                        let text = format!("“{alias}” is none of the names that programs may use.");
                        ApiError::not_found(text).hint("“pilothouse alias” lists them.")
                    })?;
                }
            }
            Ok(())
        });
        edited.map(drop)
    }
}

fn no_scene(name: &str) -> ApiError {
    ApiError::not_found(format!("There is no scene “{name}”.")).hint("“pilothouse scenes” lists them.")
}

/// Roles that are there already are changed where they stand, so that what a person wrote around them stays.
fn write_roles(table_of: &mut Table, roles: &BTreeMap<String, RoleSettings>) -> Result<(), ApiError> {
    let gone: Vec<String> =
        table_of.iter().map(|(name, _)| name.to_owned()).filter(|name| !roles.contains_key(name)).collect();
    for name in gone {
        table_of.remove(&name);
    }
    for (name, role) in roles {
        // Written as one line it is made a table of its own.
        if table_of.get(name).is_some_and(|item| !item.is_table()) {
            table_of.remove(name);
        }
        let entry = table(table_of, name)?;
        entry.set_implicit(false);
        let mut put = |key: &str, wanted: Option<toml_edit::Value>| match wanted {
            Some(wanted) => match entry.get_mut(key).and_then(Item::as_value_mut) {
                Some(old) => {
                    let decor = old.decor().clone();
                    *old = wanted;
                    *old.decor_mut() = decor;
                }
                None => drop(entry.insert(key, Item::Value(wanted))),
            },
            None => drop(entry.remove(key)),
        };
        let number = |number: u64| toml_edit::Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        put("server", Some(role.server.as_str().into()));
        put("model", Some(role.model.as_str().into()));
        put("context", role.context.map(number));
        put("parallel", role.parallel.map(|parallel| number(parallel.into())));
        put("kv_type", role.kv_type.map(|kv| kv.name().into()));
        put("pinned", role.pinned.then(|| true.into()));
        let usual = role.priority == pilothouse_domain::scene::Priority::default();
        put("priority", (!usual).then(|| role.priority.word().into()));
        put("idle_s", role.idle_s.map(number));
    }
    Ok(())
}

/// A table of that name, made without a header of its own when there is none.
fn table<'a>(parent: &'a mut Table, name: &str) -> Result<&'a mut Table, ApiError> {
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    parent.entry(name).or_insert_with(implicit).as_table_mut().ok_or_else(|| {
        invalid(format!("{name} is not written as a table of its own, so nothing was changed."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{anatomy::KvType, scene::Priority};

    fn file(text: &str) -> (tempfile::TempDir, SettingsFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        let (file, _) = SettingsFile::open(&path);
        (folder, file)
    }

    fn role(model: &str) -> RoleSettings {
        RoleSettings {
            server: "ollama".into(),
            model: model.into(),
            context: None,
            parallel: None,
            kv_type: None,
            pinned: false,
            priority: Priority::Normal,
            idle_s: None,
        }
    }

    fn roles(all: &[(&str, RoleSettings)]) -> BTreeMap<String, RoleSettings> {
        all.iter().map(|(name, role)| ((*name).to_owned(), role.clone())).collect()
    }

    #[test]
    fn a_scene_is_written_read_changed_renamed_and_deleted_and_comments_stay() {
        let text = "# mine\n[gateway]\nport = 1 # fixed\n\n[scenes.Old.roles.critical] # the one\nserver = \"lmstudio\"\nmodel = \"m\" # big\ncontext = 4096\n";
        let (_folder, file) = file(text);
        let full = RoleSettings {
            context: Some(8192),
            parallel: Some(4),
            kv_type: Some(KvType::Q8_0),
            pinned: true,
            priority: Priority::Critical,
            idle_s: Some(60),
            ..role("qwen/qwen3-8b")
        };
        let both = roles(&[("critical", full), ("small one".replace(' ', "-").as_str(), role("b"))]);
        file.save_scene("Für \"abends\"", &both, None, false).unwrap();
        let read = file.read().unwrap();
        assert_eq!(read.scenes["Für \"abends\""].roles, both);
        assert!(std::fs::read_to_string(file.path()).unwrap().starts_with(text));
        file.save_scene("Old", &roles(&[("critical", role("m2"))]), None, false).unwrap();
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert!(
            written.contains(
                "[scenes.Old.roles.critical] # the one\nserver = \"ollama\"\nmodel = \"m2\" # big\n"
            ),
            "{written}"
        );
        assert!(!written.contains("context = 4096"), "{written}");
        file.save_scene("New", &roles(&[("critical", role("m2"))]), Some("Old"), false).unwrap();
        let names: Vec<String> = file.read().unwrap().scenes.into_keys().collect();
        assert_eq!(names, ["Für \"abends\"", "New"]);
        file.order_scenes(&["New".into()]).unwrap();
        let scenes = file.read().unwrap().scenes;
        assert_eq!(in_order(&scenes), ["New", "Für \"abends\""]);
        file.order_scenes(&["Für \"abends\"".into(), "New".into()]).unwrap();
        assert_eq!(in_order(&file.read().unwrap().scenes), ["Für \"abends\"", "New"]);
        file.delete_scene("New", false).unwrap();
        file.delete_scene("Für \"abends\"", false).unwrap();
        assert!(file.read().unwrap().scenes.is_empty());
        let left = std::fs::read_to_string(file.path()).unwrap();
        assert!(left.contains("# mine\n[gateway]\nport = 1 # fixed\n"), "{left}");
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_the_reason_and_nothing_is_written() {
        let (_folder, file) = file(super::super::DEFAULT_TEXT);
        let before = std::fs::read_to_string(file.path()).unwrap();
        let bad = |change: fn(&mut RoleSettings)| {
            let mut role = role("m");
            change(&mut role);
            roles(&[("critical", role)])
        };
        type Case<'a> = (&'a str, BTreeMap<String, RoleSettings>, Option<&'a str>, ErrorCode);
        let cases: [Case<'_>; 8] = [
            ("", roles(&[]), None, ErrorCode::InvalidCall),
            ("restore", roles(&[]), None, ErrorCode::InvalidCall),
            ("S", roles(&[("Big", role("m"))]), None, ErrorCode::InvalidCall),
            ("S", bad(|role| role.context = Some(0)), None, ErrorCode::InvalidCall),
            ("S", bad(|role| role.parallel = Some(65)), None, ErrorCode::InvalidCall),
            ("S", bad(|role| role.model = String::new()), None, ErrorCode::InvalidCall),
            ("S", bad(|role| role.idle_s = Some(0)), None, ErrorCode::InvalidCall),
            ("S", roles(&[("a", role("m"))]), Some("gone"), ErrorCode::NotFound),
        ];
        for (name, roles, renames, code) in cases {
            assert_eq!(
                file.save_scene(name, &roles, renames, false).unwrap_err().code,
                code,
                "{name} {roles:?}"
            );
        }
        let differing = roles(&[("a", role("m")), ("b", RoleSettings { context: Some(1), ..role("m") })]);
        assert_eq!(file.save_scene("S", &differing, None, false).unwrap_err().code, ErrorCode::InvalidCall);
        assert_eq!(file.delete_scene("gone", false).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(file.order_scenes(&["gone".into()]).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(file.set_alias("active", Some("small")).unwrap_err().code, ErrorCode::InvalidCall);
        assert_eq!(file.set_alias("x", Some(" ")).unwrap_err().code, ErrorCode::InvalidCall);
        assert_eq!(file.set_alias("gone", None).unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), before);
    }

    /// A dry run says what the real thing says, whatever that is, and leaves the file as it is, or away.
    #[test]
    fn a_dry_run_is_refused_as_the_real_thing_and_writes_nothing() {
        let text = "[scenes.Old.roles.critical]\nserver = \"ollama\"\nmodel = \"m\"\n";
        let one = roles(&[("a", role("m"))]);
        let bad = roles(&[("a", RoleSettings { parallel: Some(65), ..role("m") })]);
        let there = Some(text);
        let saves = [
            (there, "New", &one, None, Ok(false)),
            (there, "Old", &one, None, Ok(true)),
            (there, "New", &one, Some("Old"), Ok(false)),
            (there, "New", &one, Some("gone"), Err(ErrorCode::NotFound)),
            (there, "restore", &one, None, Err(ErrorCode::InvalidCall)),
            (there, "New", &bad, None, Err(ErrorCode::InvalidCall)),
            (Some("[scenes"), "New", &one, None, Err(ErrorCode::SettingsInvalid)),
            (None, "New", &one, None, Ok(false)),
        ];
        for (text, name, roles, renames, expected) in saves {
            let (_folder, file) = file(text.unwrap_or_default());
            if text.is_none() {
                std::fs::remove_file(file.path()).unwrap();
            }
            let stands = || std::fs::read_to_string(file.path()).ok();
            let before = stands();
            let dry = file.save_scene(name, roles, renames, true);
            assert_eq!(stands(), before, "{name} {renames:?}");
            let real = file.save_scene(name, roles, renames, false);
            assert_eq!(dry, real, "{name} {renames:?}");
            assert_eq!(real.map_err(|error| error.code), expected, "{name} {renames:?}");
        }
        let (_folder, file) = file(text);
        assert_eq!(
            file.delete_scene("gone", true).unwrap_err(),
            file.delete_scene("gone", false).unwrap_err()
        );
        file.delete_scene("Old", true).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), text);
        file.delete_scene("Old", false).unwrap();
        assert!(file.read().unwrap().scenes.is_empty());
    }

    #[test]
    fn names_for_programs_come_and_go() {
        let (_folder, file) = file(super::super::DEFAULT_TEXT);
        file.set_alias("gpt-4o-mini", Some("small")).unwrap();
        file.set_alias("claude-3.5 \"haiku\"", Some("ollama/qwen2.5:3b")).unwrap();
        file.set_alias("gpt-4o-mini", Some("background")).unwrap();
        let aliases = file.read().unwrap().gateway.aliases;
        assert_eq!(aliases["gpt-4o-mini"], "background");
        assert_eq!(aliases.len(), 2);
        file.set_alias("gpt-4o-mini", None).unwrap();
        assert_eq!(file.read().unwrap().gateway.aliases.len(), 1);
    }
}
