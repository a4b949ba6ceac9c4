//! The freedesktop Secret Service (GNOME's keyring, KWallet, KeePassXC) on the session's bus.
//!
//! Spoken to without the crate `keyring`: that one unlocks whatever it meets, blocks a thread until a person has answered,
//! and keeps the one connection of its start, so that a keyring that starts later or again would never be found. Here
//! every question has a connection of its own, which ends with it. The attributes are the ones that `keyring` wrote.

use super::keyring::{Answer, Fault, Keyring, SERVICE};
use secret_service::{EncryptionType, Error, Item, SearchItemsResult, SecretService as Session};
use std::collections::HashMap;

const CONTENT_TYPE: &str = "text/plain";

pub(super) struct SecretService;

impl Keyring for SecretService {
    fn read(&self, user: String) -> Answer<Option<String>> {
        Box::pin(async move {
            let session = session().await?;
            let found = search(&session, &user).await?;
            let Some(item) = found.unlocked.first() else { return nothing(&session, &found, None).await };
            let secret = item.get_secret().await.map_err(fault)?;
            let unreadable = |_| Fault::Broken("the keyring's entry is no text".into());
            String::from_utf8(secret).map(Some).map_err(unreadable)
        })
    }

    fn write(&self, user: String, key: String) -> Answer<()> {
        Box::pin(async move {
            let session = session().await?;
            let found = search(&session, &user).await?;
            if let Some(item) = found.unlocked.first() {
                return item.set_secret(key.as_bytes(), CONTENT_TYPE).await.map_err(fault);
            }
            nothing(&session, &found, ()).await?;
            let collection = session.get_default_collection().await.map_err(fault)?;
            let label = format!("keyring:{user}@{SERVICE}");
            let made = collection.create_item(&label, attributes(&user), key.as_bytes(), true, CONTENT_TYPE);
            made.await.map(drop).map_err(fault)
        })
    }

    fn remove(&self, user: String) -> Answer<bool> {
        Box::pin(async move {
            let session = session().await?;
            let found = search(&session, &user).await?;
            for item in &found.unlocked {
                item.delete().await.map_err(fault)?;
            }
            match found.unlocked.is_empty() {
                true => nothing(&session, &found, false).await,
                false if found.locked.is_empty() => Ok(true),
                false => Err(Fault::Locked { holds: true }),
            }
        })
    }

    fn unlock(&self, user: String) -> Answer<()> {
        Box::pin(async move {
            let session = session().await?;
            let found = search(&session, &user).await?;
            let locked: Vec<&Item<'_>> = found.locked.iter().collect();
            if !locked.is_empty() {
                return session.unlock_all(&locked).await.map_err(fault);
            }
            let collection = session.get_default_collection().await.map_err(fault)?;
            match collection.is_locked().await.map_err(fault)? {
                true => collection.unlock().await.map_err(fault),
                false => Ok(()),
            }
        })
    }
}

async fn session() -> Result<Session<'static>, Fault> {
    Session::connect(EncryptionType::Dh).await.map_err(fault)
}

fn attributes(user: &str) -> HashMap<&str, &str> {
    HashMap::from([("service", SERVICE), ("username", user)])
}

async fn search<'a>(session: &'a Session<'_>, user: &str) -> Result<SearchItemsResult<Item<'a>>, Fault> {
    session.search_items(attributes(user)).await.map_err(fault)
}

/// What it means that nothing readable was found. A locked keyring need not tell what it holds.
async fn nothing<T>(
    session: &Session<'_>,
    found: &SearchItemsResult<Item<'_>>,
    absent: T,
) -> Result<T, Fault> {
    if !found.locked.is_empty() {
        return Err(Fault::Locked { holds: true });
    }
    let collection = match session.get_default_collection().await {
        Ok(collection) => collection,
        // A keyring that nobody has stored anything in has none.
        Err(Error::NoResult) => return Ok(absent),
        Err(error) => return Err(fault(error)),
    };
    match collection.is_locked().await.map_err(fault)? {
        true => Err(Fault::Locked { holds: false }),
        false => Ok(absent),
    }
}

/// The bus's errors have names in their words, and no types that this crate knows.
fn fault(error: Error) -> Fault {
    let words = error.to_string();
    let says = |names: &[&str]| names.iter().any(|name| words.contains(name));
    match error {
        Error::Unavailable => Fault::Absent,
        Error::Locked | Error::Prompt | Error::PromptDisconnected => Fault::Locked { holds: true },
        Error::NoResult => Fault::Broken("the keyring has no place for new entries".into()),
        _ if says(&["ServiceUnknown", "NameHasNoOwner", "Connection refused", "No such file"]) => {
            Fault::Absent
        }
        _ if says(&["IsLocked"]) => Fault::Locked { holds: true },
        _ => Fault::Broken(format!("the keyring failed ({words})")),
    }
}
