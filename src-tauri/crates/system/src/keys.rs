//! Keys and tokens of servers: in the system's keyring, else in a file that only its owner can read.
//!
//! A portable home (`PILOTHOUSE_HOME`) keeps them in its file, because it shall leave nothing elsewhere.

use crate::{files::write_private, paths::Paths, redact};
use pilothouse_domain::{
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    server::{KeyPlace, ServerId},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The name of Pilothouse in the keyring.
const SERVICE: &str = "pilothouse";
/// A locked keyring asks its owner; nobody may be there to answer.
const KEYRING_LIMIT: Duration = Duration::from_secs(10);

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Places>);

struct Places {
    file: Option<PathBuf>,
    keyring: bool,
    /// What was read or written in this life, so that a locked keyring asks once and not with every look.
    known: Mutex<BTreeMap<ServerId, Option<Secret>>>,
}

impl Keys {
    pub fn new(paths: &Paths) -> Self {
        let file = Some(paths.data.join("keys.json"));
        Self(Arc::new(Places { file, keyring: !paths.portable, known: Mutex::default() }))
    }

    /// Keeps what it is given in memory alone, for tests and adapters without a home.
    pub fn in_memory() -> Self {
        Self(Arc::new(Places { file: None, keyring: false, known: Mutex::default() }))
    }

    /// A server's key. Not readable counts as none, and the log says why.
    pub async fn get(&self, server: &ServerId) -> Option<Secret> {
        if let Some(known) = self.known().get(server) {
            return known.clone();
        }
        let kept = match self.in_keyring(server, |entry| entry.get_password()).await {
            Some(key) => Some(key),
            None => self.in_file().remove(server),
        };
        let key = kept.map(Secret::new);
        if let Some(key) = &key {
            redact::register(key);
        }
        self.known().insert(server.clone(), key.clone());
        key
    }

    /// Where a server's key is kept; `None`: there is none.
    pub async fn kept(&self, server: &ServerId) -> Option<KeyPlace> {
        self.get(server).await?;
        Some(if self.in_file().contains_key(server) { KeyPlace::File } else { KeyPlace::Keyring })
    }

    /// Keeps a server's key. Errors: system, when neither keyring nor file takes it.
    pub async fn set(&self, server: &ServerId, key: Secret) -> Result<KeyPlace, ApiError> {
        redact::register(&key);
        let text = key.expose().to_owned();
        let place = match self.in_keyring(server, move |entry| entry.set_password(&text)).await {
            Some(()) => {
                self.rewrite(|keys| drop(keys.remove(server)))?;
                KeyPlace::Keyring
            }
            None => {
                self.rewrite(|keys| drop(keys.insert(server.clone(), key.expose().to_owned())))?;
                KeyPlace::File
            }
        };
        self.known().insert(server.clone(), Some(key));
        Ok(place)
    }

    /// Forgets a server's key. Errors: system.
    pub async fn remove(&self, server: &ServerId) -> Result<(), ApiError> {
        self.in_keyring(server, |entry| entry.delete_credential()).await;
        self.rewrite(|keys| drop(keys.remove(server)))?;
        self.known().insert(server.clone(), None);
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServerId, Option<Secret>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: there is no keyring, or no such entry, or it does not answer.
    async fn in_keyring<T: Send + 'static>(
        &self,
        server: &ServerId,
        act: impl FnOnce(&keyring::v1::Entry) -> keyring::v1::Result<T> + Send + 'static,
    ) -> Option<T> {
        if !self.0.keyring {
            return None;
        }
        let user = server.to_string();
        // The keyring's library blocks.
        let asked = tokio::task::spawn_blocking(move || {
            keyring::v1::Entry::new(SERVICE, &user).and_then(|entry| act(&entry))
        });
        match tokio::time::timeout(KEYRING_LIMIT, asked).await {
            Ok(Ok(Ok(value))) => Some(value),
            Ok(Ok(Err(keyring::v1::Error::NoEntry))) => None,
            Ok(Ok(Err(error))) => {
                tracing::debug!(%error, "the keyring is not used");
                None
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the keyring does not answer");
                None
            }
        }
    }

    fn in_file(&self) -> BTreeMap<ServerId, String> {
        let Some(text) = self.0.file.as_ref().and_then(|file| std::fs::read(file).ok()) else {
            return BTreeMap::new();
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "the file of keys is not understood"))
            .unwrap_or_default()
    }

    fn rewrite(&self, change: impl FnOnce(&mut BTreeMap<ServerId, String>)) -> Result<(), ApiError> {
        let Some(file) = &self.0.file else { return Ok(()) };
        let before = self.in_file();
        let mut keys = before.clone();
        change(&mut keys);
        if keys == before {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| {
            let text = format!("The file {} could not be written: {error}.", file.display());
            ApiError::new(ErrorCode::System, text).hint("Check its permissions and the free disk space.")
        };
        let text = serde_json::to_vec_pretty(&keys).map_err(|error| failed(&error))?;
        write_private(file, &text).map_err(|error| failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(file: &std::path::Path) -> Keys {
        Keys(Arc::new(Places { file: Some(file.into()), keyring: false, known: Mutex::default() }))
    }

    #[tokio::test]
    async fn without_a_keyring_they_live_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let (studio, other) = (ServerId::new("studio"), ServerId::new("other"));
        assert_eq!(keys(&file).get(&studio).await, None);
        let place = keys(&file).set(&studio, Secret::new("sk-studio-1")).await.unwrap();
        assert_eq!(place, KeyPlace::File);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(keys(&file).get(&studio).await.unwrap().expose(), "sk-studio-1");
        assert_eq!(keys(&file).get(&other).await, None);
        keys(&file).remove(&studio).await.unwrap();
        assert_eq!(keys(&file).get(&studio).await, None);
    }
}
