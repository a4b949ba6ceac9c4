//! Keys of client programs, by their hashes.

use super::{
    Store,
    rows::{decode, from_json, from_word, json, unsigned, word},
};
use pilothouse_domain::{
    Timestamp,
    client_key::{ClientKey, KeyHash},
    error::ApiError,
};
use sqlx::{Row, query, sqlite::SqliteRow};

impl Store {
    /// All of them, in the order in which they were made. Errors: store_unavailable.
    pub async fn client_keys(&self) -> Result<Vec<(KeyHash, ClientKey)>, ApiError> {
        let rows = query("SELECT * FROM client_key ORDER BY id").fetch_all(&self.readers).await;
        let keys = rows.and_then(|rows| rows.iter().map(key_of).collect());
        keys.map_err(|error| self.cannot("read", &error))
    }

    /// Keeps a new one. False: there is one of that name. Errors: store_unavailable.
    pub async fn add_client_key(&self, hash: &KeyHash, key: &ClientKey) -> Result<bool, ApiError> {
        let write = || async {
            let done = query(
                "INSERT INTO client_key (name, hash, scope, models, at_once, tokens_per_minute, made_at_ms, last_used_at_ms) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
            )
            .bind(&key.name)
            .bind(&hash.0[..])
            .bind(word(&key.scope)?)
            .bind(json(&key.models)?)
            .bind(key.at_once)
            .bind(key.tokens_per_minute)
            .bind(key.made_at.as_millisecond())
            .bind(key.last_used_at.map(Timestamp::as_millisecond))
            .execute(&self.writer)
            .await?;
            Ok(done.rows_affected() > 0)
        };
        self.patiently(write).await
    }

    /// Takes one out. Errors: store_unavailable.
    pub async fn remove_client_key(&self, hash: &KeyHash) -> Result<(), ApiError> {
        let write = || query("DELETE FROM client_key WHERE hash = ?").bind(&hash.0[..]).execute(&self.writer);
        self.patiently(write).await.map(drop)
    }

    /// Notes when keys were used last. Errors: store_unavailable.
    pub async fn note_client_key_uses(&self, uses: &[(KeyHash, Timestamp)]) -> Result<(), ApiError> {
        let write = || async {
            let mut transaction = self.writer.begin().await?;
            for (hash, at) in uses {
                query("UPDATE client_key SET last_used_at_ms = ? WHERE hash = ?")
                    .bind(at.as_millisecond())
                    .bind(&hash.0[..])
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        self.patiently(write).await
    }
}

fn key_of(row: &SqliteRow) -> Result<(KeyHash, ClientKey), sqlx::Error> {
    let hash: Vec<u8> = row.try_get("hash")?;
    let hash = hash.try_into().map_err(|_| decode("hash", "not 32 bytes"))?;
    let instant =
        |ms: i64, column: &str| Timestamp::from_millisecond(ms).map_err(|error| decode(column, error));
    let last_used: Option<i64> = row.try_get("last_used_at_ms")?;
    let key = ClientKey {
        name: row.try_get("name")?,
        scope: from_word(row, "scope")?,
        models: from_json(row, "models")?,
        at_once: unsigned(row, "at_once")?,
        tokens_per_minute: unsigned(row, "tokens_per_minute")?,
        made_at: instant(row.try_get("made_at_ms")?, "made_at_ms")?,
        last_used_at: last_used.map(|ms| instant(ms, "last_used_at_ms")).transpose()?,
    };
    Ok((KeyHash(hash), key))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use pilothouse_domain::client_key::KeyScope;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn key(name: &str) -> ClientKey {
        ClientKey {
            name: name.into(),
            scope: KeyScope::Read,
            models: vec!["active".into(), "qwen*".into()],
            at_once: Some(2),
            tokens_per_minute: None,
            made_at: at(1000),
            last_used_at: None,
        }
    }

    #[tokio::test]
    async fn keys_outlive_a_restart_in_their_order_and_names_are_there_once() {
        let (_folder, path) = folder();
        let store = open(&path).await;
        let (one, two) = (KeyHash([1; 32]), KeyHash([2; 32]));
        assert!(store.add_client_key(&one, &key("Laptop")).await.unwrap());
        assert!(!store.add_client_key(&two, &key("laptop")).await.unwrap(), "in whatever case");
        assert!(store.add_client_key(&two, &key("a")).await.unwrap());
        store.note_client_key_uses(&[(two, at(5000)), (KeyHash([9; 32]), at(1))]).await.unwrap();
        store.close().await;
        let store = open(&path).await;
        let used = ClientKey { last_used_at: Some(at(5000)), ..key("a") };
        assert_eq!(store.client_keys().await.unwrap(), [(one, key("Laptop")), (two, used.clone())]);
        store.remove_client_key(&one).await.unwrap();
        assert_eq!(store.client_keys().await.unwrap(), [(two, used)]);
        assert!(store.add_client_key(&one, &key("laptop")).await.unwrap(), "its name is free again");
    }
}
