//! A number of the settings file, changed because a person asked for it, with the way back. Comments and everything else stay as they
//! are.

use super::{
    SettingsFile,
    rewrite::{Rewritten, item_at, put},
};
use pilothouse_domain::error::{ApiError, ErrorCode};
use toml_edit::DocumentMut;

/// Parts of a key that belongs to a whole server ("servers.ollama.parallel"); longer ones name a model.
const OF_A_SERVER: usize = 3;

/// What was changed: the number, and the whole text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberChange {
    key: Vec<String>,
    /// `None`: it was not written.
    pub before: Option<u32>,
    pub after: Option<u32>,
    text_before: String,
    text_after: String,
}

impl SettingsFile {
    /// The number as it is written; `None`: it is not. Errors: settings_invalid.
    pub fn number(&self, key: &[String]) -> Result<Option<u32>, ApiError> {
        Ok(number_in(&self.written()?.document, key))
    }

    /// Writes a number, or takes it out. Errors: busy (it is not `before` any more: somebody else has changed it meanwhile),
    /// settings_invalid, system.
    pub fn change_number(
        &self,
        key: &[String],
        before: Option<u32>,
        after: Option<u32>,
    ) -> Result<NumberChange, ApiError> {
        let rewritten = self.rewrite(|written| {
            want_still(&written.document, key, before)?;
            let number = after.map(|number| i64::from(number).into());
            put(written.document.as_table_mut(), key, number, key.len() > OF_A_SERVER)
        })?;
        let Rewritten { before: text_before, after: text_after } = rewritten;
        Ok(NumberChange { key: key.to_vec(), before, after, text_before, text_after })
    }

    /// Takes a change back: to the very text of before where nothing else was changed since, else only the number.
    /// Errors: as `change_number`.
    pub fn change_back(&self, change: &NumberChange) -> Result<(), ApiError> {
        let whole =
            self.rewrite_text(|text| Ok((text == change.text_after).then(|| change.text_before.clone())))?;
        match whole {
            Some(_) => Ok(()),
            None => self.change_number(&change.key, change.after, change.before).map(drop),
        }
    }
}

fn want_still(document: &DocumentMut, key: &[String], before: Option<u32>) -> Result<(), ApiError> {
    let now = number_in(document, key);
    if now == before {
        return Ok(());
    }
    let said = |number: Option<u32>| number.map_or_else(|| "not set".to_owned(), |number| number.to_string());
    let text = format!(
        "{} in the settings file was {} and is {} now: somebody else has changed it meanwhile.",
        key.join("."),
        said(before),
        said(now)
    );
    Err(ApiError::new(ErrorCode::Busy, text).hint("Look at the file, then try again."))
}

fn number_in(document: &DocumentMut, key: &[String]) -> Option<u32> {
    u32::try_from(item_at(document, key)?.as_integer()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{
        server::ServerKind,
        settings::parallel::{parallel_key, parallel_of},
    };

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

    /// What stands in the file, and what after 6 was set for this kind of server.
    const TABLE: [(ServerKind, &str, &str); 9] = [
        (ServerKind::Ollama, "", "[servers.ollama]\nparallel = 6\n"),
        (
            ServerKind::Ollama,
            "[servers.ollama]\nparallel = 2 # mine\n",
            "[servers.ollama]\nparallel = 6 # mine\n",
        ),
        (ServerKind::Ollama, "servers.ollama.parallel = 2\n", "servers.ollama.parallel = 6\n"),
        (
            ServerKind::Ollama,
            "[servers]\nollama = { parallel = 2, context = 1 }\n",
            "[servers]\nollama = { parallel = 6, context = 1 }\n",
        ),
        (ServerKind::LlamaServer, "", "[servers.llama-server.models.\"a.b:c\"]\nparallel = 6\n"),
        (
            ServerKind::LlamaServer,
            "[servers.llama-server.models.\"a.b:c\"]\n# long\ncontext = 1\n",
            "[servers.llama-server.models.\"a.b:c\"]\n# long\ncontext = 1\nparallel = 6\n",
        ),
        (
            ServerKind::LlamaServer,
            "[servers.llama-server]\nmodels.\"a.b:c\".parallel = 3 # three\n",
            "[servers.llama-server]\nmodels.\"a.b:c\".parallel = 6 # three\n",
        ),
        (
            ServerKind::LlamaServer,
            "[servers.llama-server.models]\n\"a.b:c\" = { parallel = 1 }\n",
            "[servers.llama-server.models]\n\"a.b:c\" = { parallel = 6 }\n",
        ),
        (
            ServerKind::LlamaServer,
            "[servers.llama-server.models.other]\nparallel = 2\n\n[tray] # below\n",
            "[servers.llama-server.models.other]\nparallel = 2\n\n[servers.llama-server.models.\"a.b:c\"]\nparallel = 6\n\n[tray] # below\n",
        ),
    ];

    #[test]
    fn a_number_is_changed_where_it_stands_and_the_text_comes_back_exactly() {
        for (kind, before, after) in TABLE {
            let (_folder, file) = file(before);
            let key = parallel_key(kind, "a.b:c").unwrap();
            let was = file.number(&key).unwrap();
            let change = file.change_number(&key, was, Some(6)).unwrap();
            let squeezed = |text: &str| text.replace("\n\n", "\n");
            assert_eq!(squeezed(&read(&file)), squeezed(after), "{before}");
            assert_eq!(parallel_of(&file.read().unwrap().servers, kind, "a.b:c"), 6, "{before}");
            file.change_back(&change).unwrap();
            assert_eq!(read(&file), before);
        }
    }

    #[test]
    fn the_new_file_takes_it_and_keeps_every_line() {
        let (_folder, file) = file(super::super::DEFAULT_TEXT);
        for kind in [ServerKind::Ollama, ServerKind::LlamaServer] {
            let key = parallel_key(kind, "m").unwrap();
            file.change_number(&key, file.number(&key).unwrap(), Some(6)).unwrap();
        }
        let written = read(&file);
        let lost = super::super::DEFAULT_TEXT.lines().filter(|line| !written.lines().any(|one| one == *line));
        assert_eq!(lost.collect::<Vec<_>>(), ["parallel = 0"]);
    }

    #[test]
    fn beside_other_changes_only_the_number_goes_back_and_its_own_change_is_not_overwritten() {
        let (_folder, file) = file("[tray]\n");
        let key = parallel_key(ServerKind::LlamaServer, "m").unwrap();
        let change = file.change_number(&key, None, Some(6)).unwrap();
        std::fs::write(file.path(), format!("# new\n{}", read(&file))).unwrap();
        file.change_back(&change).unwrap();
        assert_eq!(read(&file).trim(), "# new\n[tray]");

        let change = file.change_number(&key, None, Some(6)).unwrap();
        std::fs::write(file.path(), read(&file).replace("= 6", "= 7")).unwrap();
        let refused = file.change_back(&change).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Busy);
        assert!(refused.message.contains("is 7 now"), "{refused}");
        assert_eq!(file.number(&key).unwrap(), Some(7));
        std::fs::write(file.path(), "gateway = 5\n").unwrap();
        assert_eq!(file.change_back(&change).unwrap_err().code, ErrorCode::SettingsInvalid);
        assert_eq!(read(&file), "gateway = 5\n");
    }
}
