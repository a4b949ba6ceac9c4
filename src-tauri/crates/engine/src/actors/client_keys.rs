//! Keeps the keys of client programs, and puts each change in force at the one address before it is answered.

use crate::{
    api::{CallResult, ClientKeyView, Reply},
    hub::{Hub, Report},
    store::Store,
};
use pilothouse_domain::{
    Timestamp,
    client_key::{ClientKey, KeyHash, MOST, PREFIX},
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    server::KeyText,
};
use pilothouse_gateway::{KeyRing, WrongKeys, hash_of};
use pilothouse_system::redact;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Lock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How often the last uses of keys are written.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the last write at our own end.
const END_LIMIT: Duration = Duration::from_secs(1);

/// The keys, and the task that writes down when they were used.
pub(crate) struct ClientKeys {
    ring: KeyRing,
    shared: Arc<Shared>,
    writing: Lock<Option<JoinHandle<()>>>,
}

struct Shared {
    ring: KeyRing,
    /// `None`: there is no history, and no key outlives the end; so none is made.
    store: Option<Store>,
    /// As they stand in the store. Whoever changes them holds it until the change is in force.
    keys: Mutex<Vec<(KeyHash, ClientKey)>>,
}

impl ClientKeys {
    /// Puts those that are kept in force. When they cannot be read, none is known, and that is said.
    /// `required`: programs of this machine need one too.
    pub async fn start(hub: &Hub, store: Option<Store>, required: bool) -> Self {
        let ring = KeyRing::default();
        ring.set_required(required);
        let keys = match &store {
            Some(store) => store.client_keys().await.unwrap_or_else(|error| {
                hub.report(Report::Trouble(ApiError {
                    message: format!("The keys of client programs are not known. {}", error.message),
                    ..error
                }));
                Vec::new()
            }),
            None => Vec::new(),
        };
        ring.set_keys(keys.iter().cloned());
        let shared = Arc::new(Shared { ring: ring.clone(), store, keys: Mutex::new(keys) });
        let writes = shared.clone();
        let writing = tokio::spawn(async move {
            loop {
                sleep(WRITE_EVERY).await;
                writes.write_uses().await;
            }
        });
        Self { ring, shared, writing: Lock::new(Some(writing)) }
    }

    /// What the gateway looks keys up in.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// See `Call::ClientKeys`.
    pub async fn list(&self) -> Reply {
        let keys = self.shared.keys.lock().await.clone();
        let mut uses = self.ring.uses();
        let view = |(hash, key): (KeyHash, ClientKey)| {
            let used = uses.remove(&hash).unwrap_or_default();
            let last_used_at = used.last_used_at.or(key.last_used_at);
            let key = ClientKey { last_used_at, ..key };
            ClientKeyView { key, under_way: used.under_way, limited: used.limited }
        };
        let keys = keys.into_iter().map(view).collect();
        let WrongKeys { count: wrong, last_at: wrong_at } = self.ring.wrong();
        Reply::ClientKeys { keys, required: self.ring.is_required(), wrong, wrong_at }
    }

    /// See `Call::AddClientKey`.
    pub async fn add(&self, key: ClientKey) -> CallResult {
        let refused = |text: String| ApiError::new(ErrorCode::InvalidCall, text);
        key.check().map_err(refused)?;
        let store = self.store()?;
        let mut keys = self.shared.keys.lock().await;
        if keys.iter().any(|(_, other)| is_named(other, &key.name)) {
            return Err(taken(&key.name));
        }
        if keys.len() >= MOST {
            return Err(refused(format!("There are {MOST} keys, as many as there may be."))
                .hint("“pilothouse keys client revoke NAME” makes room for another one."));
        }
        let secret =
            Secret::new(format!("{PREFIX}{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
        redact::register(&secret);
        let hash = hash_of(secret.expose());
        if !store.add_client_key(&hash, &key).await? {
            return Err(taken(&key.name));
        }
        tracing::info!(name = %key.name, "a client key was made");
        keys.push((hash, key.clone()));
        self.put_in_force(&keys);
        Ok(Reply::ClientKeyMade { key, secret: KeyText(secret.expose().to_owned()) })
    }

    /// See `Call::RevokeClientKey`.
    pub async fn revoke(&self, name: &str) -> CallResult {
        let store = self.store()?;
        let mut keys = self.shared.keys.lock().await;
        let Some(at) = keys.iter().position(|(_, key)| is_named(key, name)) else {
            return Err(ApiError::not_found(format!("There is no client key named {name}."))
                .hint("“pilothouse keys client list” shows those there are."));
        };
        store.remove_client_key(&keys[at].0).await?;
        let (_, key) = keys.remove(at);
        tracing::info!(name = %key.name, "a client key was revoked");
        self.put_in_force(&keys);
        Ok(Reply::Done)
    }

    fn put_in_force(&self, keys: &[(KeyHash, ClientKey)]) {
        self.ring.set_keys(keys.iter().cloned());
    }

    fn store(&self) -> Result<&Store, ApiError> {
        self.shared.store.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::StoreUnavailable,
                "There is no history to keep keys in, so none can be made or revoked.",
            )
            .hint("“pilothouse doctor” says what is wrong with it.")
        })
    }

    /// Writes the last uses. At most a second.
    pub async fn shutdown(&self) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            writing.abort();
        }
        if timeout(END_LIMIT, self.shared.write_uses()).await.is_err() {
            tracing::warn!("when keys were used last was not written: the history takes too long");
        }
    }
}

/// Names are the same in whatever case.
fn is_named(key: &ClientKey, name: &str) -> bool {
    key.name.to_lowercase() == name.trim().to_lowercase()
}

fn taken(name: &str) -> ApiError {
    ApiError::new(ErrorCode::Busy, format!("There is a client key named {name} already."))
        .hint("Choose another name, or revoke that one first.")
}

impl Shared {
    /// Writes what has changed since the last time. What cannot be written is tried again with the next.
    async fn write_uses(&self) {
        let Some(store) = &self.store else { return };
        let mut uses: HashMap<KeyHash, Timestamp> = self
            .ring
            .uses()
            .into_iter()
            .filter_map(|(hash, used)| Some((hash, used.last_used_at?)))
            .collect();
        let mut keys = self.keys.lock().await;
        uses.retain(|hash, at| {
            keys.iter().any(|(known, key)| known == hash && key.last_used_at != Some(*at))
        });
        let changed: Vec<(KeyHash, Timestamp)> = uses.into_iter().collect();
        if changed.is_empty() {
            return;
        }
        match store.note_client_key_uses(&changed).await {
            Ok(()) => {
                for (hash, at) in changed {
                    if let Some((_, key)) = keys.iter_mut().find(|(known, _)| *known == hash) {
                        key.last_used_at = Some(at);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "when keys were used last is not kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::client_key::KeyScope;
    use pilothouse_gateway::{Admits, Gateway};
    use pilothouse_leases::Leases;
    use pilothouse_records::Recorder;
    use std::path::Path;

    fn key(name: &str) -> ClientKey {
        ClientKey {
            name: name.into(),
            scope: KeyScope::Inference,
            models: vec![],
            at_once: None,
            tokens_per_minute: None,
            made_at: Timestamp::now(),
            last_used_at: None,
        }
    }

    async fn start(path: &Path) -> (ClientKeys, Store) {
        let store = Store::open(path).await.unwrap().store;
        let hub = Hub::new(Default::default(), Default::default());
        (ClientKeys::start(&hub, Some(store.clone()), false).await, store)
    }

    async fn make(keys: &ClientKeys, name: &str) -> Result<String, ErrorCode> {
        match keys.add(key(name)).await {
            Ok(Reply::ClientKeyMade { secret, .. }) => Ok(secret.0),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        }
    }

    /// A program looks at the one address which models there are.
    async fn look(keys: &ClientKeys, secret: &str) {
        let (admits, recorder) = (Admits::default(), Recorder::new(0).0);
        let gateway = Gateway::start(0, &admits, Leases::default(), recorder, None, keys.ring().clone());
        let gateway = gateway.await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.get(format!("http://{}/v1/models", gateway.address())).bearer_auth(secret);
        assert_eq!(request.send().await.unwrap().status(), 200);
        gateway.stop().await;
    }

    async fn listed(keys: &ClientKeys) -> Vec<(String, bool)> {
        let Reply::ClientKeys { keys, .. } = keys.list().await else { panic!("another reply") };
        keys.into_iter().map(|view| (view.key.name, view.key.last_used_at.is_some())).collect()
    }

    #[tokio::test]
    async fn a_key_is_made_once_by_its_name_and_its_uses_outlive_us_but_not_its_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        let (keys, store) = start(&path).await;
        let secret = make(&keys, "Küche").await.unwrap();
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + 64);
        assert_ne!(make(&keys, "b").await.unwrap(), secret);
        for (name, code) in [("kÜCHE", ErrorCode::Busy), ("", ErrorCode::InvalidCall)] {
            assert_eq!(make(&keys, name).await, Err(code), "{name}");
        }
        assert_eq!(redact::redact(&format!("x {secret} y")), "x [redacted] y");
        let used = keys.ring().uses();
        assert!(used.contains_key(&hash_of(&secret)), "it is in force");
        assert_eq!(listed(&keys).await, [("Küche".to_owned(), false), ("b".to_owned(), false)]);
        look(&keys, &secret).await;
        keys.shutdown().await;
        store.close().await;
        let (keys, store) = start(&path).await;
        assert_eq!(listed(&keys).await, [("Küche".to_owned(), true), ("b".to_owned(), false)]);
        keys.revoke("B").await.unwrap();
        assert_eq!(keys.revoke("B").await.unwrap_err().code, ErrorCode::NotFound);
        assert_eq!(keys.ring().uses().len(), 1);
        keys.shutdown().await;
        store.close().await;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&secret[PREFIX.len()..]));
        }
    }

    #[tokio::test]
    async fn there_is_an_end_to_keys_and_none_without_a_history() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, _store) = start(&folder.path().join("history.db")).await;
        for number in 0..MOST {
            make(&keys, &format!("k{number}")).await.unwrap();
        }
        assert_eq!(make(&keys, "one more").await, Err(ErrorCode::InvalidCall));
        keys.revoke("k7").await.unwrap();
        make(&keys, "one more").await.unwrap();
        let hub = Hub::new(Default::default(), Default::default());
        let none = ClientKeys::start(&hub, None, true).await;
        assert_eq!(make(&none, "a").await, Err(ErrorCode::StoreUnavailable));
        assert_eq!(none.revoke("a").await.unwrap_err().code, ErrorCode::StoreUnavailable);
        assert!(none.ring().is_required(), "nobody comes in instead");
        none.shutdown().await;
    }
}
