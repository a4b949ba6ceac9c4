//! A change that Pilothouse makes to the settings file when a person asks for it: a remote server more or less. Comments and everything else stay as they are.

use super::{SettingsFile, invalid};
use pilothouse_domain::error::{ApiError, ErrorCode};
use toml_edit::{Item, Table, value};

impl SettingsFile {
    /// Adds `servers.remote.<name>`. Errors: invalid_call (name or address), busy (the name is taken), settings_invalid,
    /// system.
    pub fn add_remote(&self, name: &str, address: &str, title: &str) -> Result<(), ApiError> {
        self.change(|remotes| {
            if remotes.contains_key(name) {
                let text = format!("There is a server {name} in the settings already.");
                return Err(ApiError::new(ErrorCode::Busy, text).hint("Choose another name."));
            }
            let mut remote = Table::new();
            remote.insert("address", value(address));
            if !title.is_empty() {
                remote.insert("title", value(title));
            }
            remotes.insert(name, Item::Table(remote));
            Ok(())
        })
    }

    /// Takes `servers.remote.<name>` out. Errors: not_found, settings_invalid, system.
    pub fn remove_remote(&self, name: &str) -> Result<(), ApiError> {
        self.change(|remotes| {
            let gone = remotes.remove(name).map(|_| ());
            gone.ok_or_else(|| {
                ApiError::not_found(format!("The settings have no remote server {name}."))
                    .hint("`pilothouse servers` lists the servers; only remote ones can be removed.")
            })
        })
    }

    fn change(&self, edit: impl FnOnce(&mut Table) -> Result<(), ApiError>) -> Result<(), ApiError> {
        let edited = self.rewrite(|written| {
            let servers = table(written.document.as_table_mut(), "servers")?;
            edit(table(servers, "remote")?)
        });
        edited.map(drop)
    }
}

/// A table of that name, made without a header of its own when there is none.
fn table<'a>(parent: &'a mut Table, name: &str) -> Result<&'a mut Table, ApiError> {
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    parent
        .entry(name)
        .or_insert_with(implicit)
        .as_table_mut()
        .ok_or_else(|| invalid(format!("{name} is not written as a table of its own, so nothing was added.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, SettingsFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        std::fs::write(&path, text).unwrap();
        let (file, _) = SettingsFile::open(&path);
        (folder, file)
    }

    #[test]
    fn a_server_is_added_and_taken_out_and_comments_stay() {
        let text = "# mine\n[gateway]\nport = 1 # fixed\n";
        let (_folder, file) = file(text);
        file.add_remote("vllm", "http://10.0.0.5:8000/v1", "").unwrap();
        let written = std::fs::read_to_string(file.path()).unwrap();
        assert!(written.starts_with(text), "{written}");
        assert!(
            written.contains("[servers.remote.vllm]\naddress = \"http://10.0.0.5:8000/v1\"\n"),
            "{written}"
        );
        assert_eq!(file.read().unwrap().servers.remote["vllm"].address, "http://10.0.0.5:8000/v1");
        assert_eq!(file.add_remote("vllm", "http://x/v1", "").unwrap_err().code, ErrorCode::Busy);
        file.add_remote("second", "http://x/v1", "Two").unwrap();
        file.remove_remote("vllm").unwrap();
        let left = file.read().unwrap().servers.remote;
        assert_eq!(left.keys().collect::<Vec<_>>(), ["second"]);
        assert_eq!(file.remove_remote("vllm").unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn a_bad_name_or_address_or_file_changes_nothing() {
        let (_folder, file) = file("");
        for (name, address) in [("My Mac", "http://x/v1"), ("ollama", "http://x/v1"), ("mac", "x")] {
            assert_eq!(file.add_remote(name, address, "").unwrap_err().code, ErrorCode::InvalidCall);
        }
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "");
        std::fs::write(file.path(), "gateway = 5\n").unwrap();
        let refused = file.add_remote("mac", "http://x/v1", "").unwrap_err();
        assert_eq!(refused.code, ErrorCode::SettingsInvalid);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "gateway = 5\n");
    }

    #[test]
    fn the_new_file_takes_a_server() {
        let (_folder, file) = file(super::super::DEFAULT_TEXT);
        file.add_remote("mac", "http://x/v1", "").unwrap();
        assert_eq!(file.read().unwrap().servers.remote.len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_linked_file_stays_a_link() {
        let (folder, file) = file("");
        let real = folder.path().join("dotfiles.toml");
        std::fs::rename(file.path(), &real).unwrap();
        std::os::unix::fs::symlink(&real, file.path()).unwrap();
        file.add_remote("mac", "http://x/v1", "").unwrap();
        assert!(file.path().is_symlink());
        assert!(std::fs::read_to_string(&real).unwrap().contains("mac"));
    }
}
