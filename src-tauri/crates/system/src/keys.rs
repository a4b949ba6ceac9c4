//! Keys and tokens of servers: in the system's keyring, else in a file that only its owner can read.
//!
//! A portable home (`PILOTHOUSE_HOME`) keeps them in its file, because it shall leave nothing elsewhere.
//!
//! A keyring may be locked, may start later than we do, end in the middle or never answer. So no question to it is
//! without a bound, its owner is asked for a password once in a life and when a person wants something of it, and a key
//! that could not be read is looked for again.

mod keyring;
#[cfg(not(target_os = "linux"))]
mod native;
#[cfg(target_os = "linux")]
mod secret_service;
#[cfg(test)]
mod tests;

use crate::{files::write_private, paths::Paths, redact};
use keyring::{Answer, Fault, Keyring};
use pilothouse_domain::{
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    server::{KeyPlace, ServerId},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// For a question that nobody need be asked for. A keyring that is well answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(5);
/// For a person to type a password, when the person waits for what comes of it.
const PERSON_LIMIT: Duration = Duration::from_secs(30);
/// The same when nobody waits: nobody may sit there.
const UNATTENDED_LIMIT: Duration = Duration::from_secs(120);
/// When a keyring that holds a key and is locked is looked at again. Nobody is asked by that.
const LOCKED_AGAIN: Duration = Duration::from_secs(5);
/// The same where none runs: to see that costs next to nothing, and a desktop mostly starts one.
const ABSENT_AGAIN: Duration = Duration::from_secs(15);
/// The same of one that says nothing, or is locked and mostly holds nothing of ours.
const AGAIN: Duration = Duration::from_secs(60);

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Keys(Arc<Places>);

struct Places {
    file: Option<PathBuf>,
    keyring: Option<Arc<dyn Keyring>>,
    /// What was read or written in this life.
    known: Mutex<BTreeMap<ServerId, Known>>,
    /// Its owner was asked for the password without wanting anything of it; that is done once.
    owner_was_asked: AtomicBool,
    /// There is something to look for again, or sooner than was thought.
    changed: Notify,
}

/// What is known of a server's key.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Key(Secret, KeyPlace),
    None,
    /// The keyring could not say; it is asked again at this time.
    Unread(Fault, Instant),
}

impl Known {
    fn unread(fault: Fault) -> Self {
        let pause = match fault {
            Fault::Locked { holds: true } => LOCKED_AGAIN,
            Fault::Absent => ABSENT_AGAIN,
            _ => AGAIN,
        };
        Self::Unread(fault, Instant::now() + pause)
    }
}

fn keyring_of_this_system() -> Arc<dyn Keyring> {
    #[cfg(target_os = "linux")]
    return Arc::new(secret_service::SecretService);
    #[cfg(not(target_os = "linux"))]
    Arc::new(native::Native)
}

impl Keys {
    pub fn new(paths: &Paths) -> Self {
        let keyring = (!paths.portable).then(keyring_of_this_system);
        Self::with(Some(paths.data.join("keys.json")), keyring)
    }

    /// Keeps what it is given in memory alone, for tests and adapters without a home.
    pub fn in_memory() -> Self {
        Self::with(None, None)
    }

    fn with(file: Option<PathBuf>, keyring: Option<Arc<dyn Keyring>>) -> Self {
        Self(Arc::new(Places {
            file,
            keyring,
            known: Mutex::default(),
            owner_was_asked: AtomicBool::new(false),
            changed: Notify::new(),
        }))
    }

    /// A server's key. Not readable counts as none for the time being; [`Self::newly_read`] tells when it is.
    pub async fn get(&self, server: &ServerId) -> Option<Secret> {
        let known = self.known().get(server).cloned();
        let known = match known {
            Some(known) => known,
            None => self.read(server).await,
        };
        match known {
            Known::Key(key, _) => Some(key),
            Known::None | Known::Unread(..) => None,
        }
    }

    /// Where a server's key is kept; `None`: there is none. Errors: why that cannot be said, in words.
    pub async fn kept(&self, server: &ServerId) -> Result<Option<KeyPlace>, String> {
        self.get(server).await;
        let known = self.known().get(server).cloned();
        match known {
            Some(Known::Key(_, place)) => Ok(Some(place)),
            _ => self.why_unread(server).map_or(Ok(None), Err),
        }
    }

    /// Why a server's key could not be read, in words; `None`: it could, or there is nothing to read it from.
    pub fn why_unread(&self, server: &ServerId) -> Option<String> {
        match self.known().get(server) {
            Some(Known::Unread(fault, _)) if *fault != Fault::Absent => Some(fault.to_string()),
            _ => None,
        }
    }

    /// Waits until a key that could not be read has been read, and tells whose it is. For one caller at a time.
    pub async fn newly_read(&self) -> ServerId {
        loop {
            let due = self.known().iter().filter_map(Self::due).min_by_key(|(_, at)| *at);
            let Some((server, at)) = due else {
                self.0.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = self.0.changed.notified() => continue,
                () = tokio::time::sleep_until(at) => {}
            }
            if matches!(self.read(&server).await, Known::Key(..)) {
                tracing::info!(%server, "its key can be read now");
                return server;
            }
        }
    }

    fn due((server, known): (&ServerId, &Known)) -> Option<(ServerId, Instant)> {
        match known {
            Known::Unread(_, at) => Some((server.clone(), *at)),
            Known::Key(..) | Known::None => None,
        }
    }

    /// Keeps a server's key, in the file when the keyring does not take it. Errors: system, when neither does.
    pub async fn set(&self, server: &ServerId, key: Secret) -> Result<KeyPlace, ApiError> {
        redact::register(&key);
        // What is in the file counts before the keyring, so a file that cannot be changed takes no new key at all.
        self.in_file()?;
        let text = key.expose().to_owned();
        let kept = self.insist(server, |keyring, user| keyring.write(user, text.clone())).await;
        let place = match kept {
            Ok(()) => {
                self.rewrite(|keys| drop(keys.remove(server)))?;
                KeyPlace::Keyring
            }
            Err(fault) => {
                if fault != Fault::Absent {
                    tracing::warn!(%server, %fault, "its key is kept in the file");
                }
                self.rewrite(|keys| drop(keys.insert(server.clone(), key.expose().to_owned())))?;
                KeyPlace::File
            }
        };
        self.known().insert(server.clone(), Known::Key(key, place));
        Ok(place)
    }

    /// Forgets a server's key, wherever it is kept. Errors: system (the keyring may still have it: it does not answer,
    /// or stays locked; or the file cannot be changed), not_found (there is no keyring, and none in the file).
    pub async fn remove(&self, server: &ServerId) -> Result<(), ApiError> {
        let was_in_file = self.in_file()?.contains_key(server);
        self.rewrite(|keys| drop(keys.remove(server)))?;
        let fault = match self.insist(server, |keyring, user| keyring.remove(user)).await {
            Ok(_) => None,
            Err(Fault::Absent) if self.0.keyring.is_none() || was_in_file => None,
            Err(fault) => Some(fault),
        };
        let Some(fault) = fault else {
            self.known().insert(server.clone(), Known::None);
            return Ok(());
        };
        let mut known = self.known();
        let is_in_use = matches!(known.get(server), Some(Known::Key(_, KeyPlace::Keyring)));
        if !is_in_use {
            known.insert(server.clone(), Known::unread(fault.clone()));
            self.0.changed.notify_one();
        }
        if fault == Fault::Absent && !is_in_use {
            return Err(ApiError::not_found(format!("No key of {server} is kept here, and {fault}.")));
        }
        let text = format!("The key of {server} could not be taken out of the keyring: {fault}.");
        Err(ApiError::new(ErrorCode::System, text).hint(fault.way_out()).retryable())
    }

    /// Looks for a key once, in the file first: it is there because the keyring did not take it.
    async fn read(&self, server: &ServerId) -> Known {
        let in_file = self.in_file().map(|mut keys| keys.remove(server));
        let read = match in_file {
            Ok(Some(key)) => Known::Key(Secret::new(key), KeyPlace::File),
            Ok(None) => self.in_keyring(server).await,
            // The log has why. The file may be mended, as a keyring may be unlocked.
            Err(_) => match self.in_keyring(server).await {
                Known::None => Known::unread(Fault::Broken("the file of keys is not understood".into())),
                other => other,
            },
        };
        if let Known::Key(key, _) = &read {
            redact::register(key);
        }
        let mut known = self.known();
        // What a person has set or removed meanwhile counts.
        if let Some(settled @ (Known::Key(..) | Known::None)) = known.get(server) {
            return settled.clone();
        }
        if matches!(read, Known::Unread(..)) && known.get(server).is_none() {
            self.0.changed.notify_one();
        }
        known.insert(server.clone(), read.clone());
        read
    }

    async fn in_keyring(&self, server: &ServerId) -> Known {
        let Some(keyring) = &self.0.keyring else { return Known::None };
        let fault = match bounded(LIMIT, keyring.read(server.to_string())).await {
            Ok(Some(key)) => return Known::Key(Secret::new(key), KeyPlace::Keyring),
            Ok(None) => return Known::None,
            Err(fault) => fault,
        };
        tracing::debug!(%server, %fault, "the keyring gives no key");
        if fault == (Fault::Locked { holds: true }) {
            self.ask_owner_once(server);
        }
        Known::unread(fault)
    }

    /// Lets the system ask for the keyring's password, without waiting for it.
    fn ask_owner_once(&self, server: &ServerId) {
        let Some(keyring) = &self.0.keyring else { return };
        if self.0.owner_was_asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let (unlocking, keys) = (keyring.unlock(server.to_string()), self.clone());
        tokio::spawn(async move {
            match bounded(UNATTENDED_LIMIT, unlocking).await {
                Ok(()) => keys.look_now(),
                Err(fault) => tracing::info!(%fault, "the keyring was not unlocked"),
            }
        });
    }

    /// What could not be read is looked for at once.
    fn look_now(&self) {
        for known in self.known().values_mut() {
            if let Known::Unread(_, at) = known {
                *at = Instant::now();
            }
        }
        self.0.changed.notify_one();
    }

    /// Does what a person wants of the keyring, who may be asked for its password.
    async fn insist<T>(
        &self,
        server: &ServerId,
        act: impl Fn(&dyn Keyring, String) -> Answer<T>,
    ) -> Result<T, Fault> {
        let Some(keyring) = &self.0.keyring else { return Err(Fault::Absent) };
        let act = || bounded(LIMIT, act(keyring.as_ref(), server.to_string()));
        match act().await {
            Err(Fault::Locked { .. }) => {
                // Who does not answer now is the person.
                let unlocked = bounded(PERSON_LIMIT, keyring.unlock(server.to_string())).await;
                unlocked.map_err(|fault| match fault {
                    Fault::Silent => Fault::Locked { holds: false },
                    other => other,
                })?;
                self.look_now();
                act().await
            }
            other => other,
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ServerId, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors: system, when the file is there and cannot be read. It is left as it is then.
    fn in_file(&self) -> Result<BTreeMap<ServerId, String>, ApiError> {
        let Some(file) = &self.0.file else { return Ok(BTreeMap::new()) };
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, file = %file.display(), "the file of keys is not understood");
            let text = format!("The file of keys cannot be read: {error}.");
            let hint = format!("Mend {0}, or move it away. It is left as it is.", file.display());
            ApiError::new(ErrorCode::System, text).hint(hint)
        };
        match std::fs::read(file) {
            // Where the mistake is, and nothing of what stands there.
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| unreadable(&format!("line {}, column {}", error.line(), error.column()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn rewrite(&self, change: impl FnOnce(&mut BTreeMap<ServerId, String>)) -> Result<(), ApiError> {
        let before = self.in_file()?;
        let Some(file) = &self.0.file else { return Ok(()) };
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

async fn bounded<T>(limit: Duration, answer: Answer<T>) -> Result<T, Fault> {
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(Fault::Silent))
}
