//! Folders that the settings name and that are not there: without a word people would look at an empty list.

use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    settings::Settings,
};
use std::path::Path;

/// What is wrong with the folders of settings in force, all of them in one trouble. Ollama makes its own folder of models,
/// so that one is no fault until it is something else. Blocking.
pub fn missing(settings: &Settings) -> Option<ApiError> {
    let servers = &settings.servers;
    let named = [
        (
            servers.llama_server.enabled,
            "servers.llama-server.models_dir",
            &servers.llama_server.models_dir,
            true,
        ),
        (servers.ollama.enabled, "servers.ollama.models_dir", &servers.ollama.models_dir, false),
        (servers.lmstudio.enabled, "servers.lmstudio.home", &servers.lmstudio.home, true),
    ];
    let wrong = named.into_iter().filter(|(enabled, _, path, _)| *enabled && !path.is_empty());
    let wrong: Vec<(String, bool)> = wrong
        .filter_map(|(_, key, path, wanted)| {
            let wrong = wrong_with(Path::new(path), wanted)?;
            Some((format!("{key} in the settings file: {wrong}."), Path::new(path).is_absolute()))
        })
        .collect();
    let hint = match wrong.iter().all(|(_, absolute)| *absolute) {
        true => "Make the folder, connect its disk, or correct the path.",
        false => "Write the whole path, from / or ~ on.",
    };
    let words: Vec<&str> = wrong.iter().map(|(words, _)| words.as_str()).collect();
    (!words.is_empty()).then(|| ApiError::new(ErrorCode::FolderMissing, words.join(" ")).hint(hint))
}

/// `None`: it is a folder that can be read. `wanted`: nobody else makes it.
fn wrong_with(path: &Path, wanted: bool) -> Option<String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => Some(format!("{shown} is no folder")),
        Ok(_) => std::fs::read_dir(path).err().map(|error| format!("{shown} cannot be read: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (wanted || !path.is_absolute()).then(|| format!("there is no folder {shown}"))
        }
        Err(error) => Some(format!("{shown} cannot be read: {error}")),
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_named_with_its_key() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        std::fs::write(root.path().join("file"), "").unwrap();
        std::fs::create_dir(root.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(root.path().join("away"), root.path().join("dangling")).unwrap();
        for (written, wrong) in [
            (String::new(), None),
            (path("folder"), None),
            (path("none"), Some(format!("there is no folder {}.", path("none")))),
            (path("folder/deeper/none"), Some(format!("there is no folder {}.", path("folder/deeper/none")))),
            (path("file"), Some(format!("{} is no folder.", path("file")))),
            (path("dangling"), Some(format!("there is no folder {}.", path("dangling")))),
            ("models".into(), Some("there is no folder models.".into())),
            ("~bob/models".into(), Some("there is no folder ~bob/models.".into())),
            ("$MODELS/gguf".into(), Some("there is no folder $MODELS/gguf.".into())),
        ] {
            let mut settings = Settings::default();
            settings.servers.llama_server.models_dir.clone_from(&written);
            let said = missing(&settings).map(|error| error.message);
            let wanted =
                wrong.map(|wrong| format!("servers.llama-server.models_dir in the settings file: {wrong}"));
            assert_eq!(said, wanted, "{written}");
            settings.servers.llama_server.enabled = false;
            assert_eq!(missing(&settings), None, "{written}, of a server that is not used");
        }
    }

    #[test]
    fn what_ollama_makes_itself_is_not_missing_and_all_wrong_ones_are_said() {
        let root = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.servers.ollama.models_dir = root.path().join("none").display().to_string();
        assert_eq!(missing(&settings), None);
        settings.servers.ollama.models_dir = "models".into();
        settings.servers.lmstudio.home = root.path().join("away").display().to_string();
        let error = missing(&settings).unwrap();
        assert!(error.message.contains("servers.ollama.models_dir"), "{error}");
        assert!(error.message.contains("servers.lmstudio.home"), "{error}");
        assert!(error.hint.unwrap().contains("whole path"));
    }
}
