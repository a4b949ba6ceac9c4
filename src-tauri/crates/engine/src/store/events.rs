//! What was told in notices.

use super::{
    Store,
    rows::{decode, from_json, from_word, integer, json, unsigned, word},
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    notice::{Notice, NoticeKind, NoticeLevel},
    server::ServerId,
};
use sqlx::{Row, query, query_scalar, sqlite::SqliteRow};

/// So many are kept, the newest.
pub const EVENTS_KEPT: u64 = 2000;

/// Which events are asked for. Default: all, the newest 50.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    pub server: Option<ServerId>,
    pub level: Option<NoticeLevel>,
    pub kind: Option<NoticeKind>,
    pub limit: u32,
    /// Passes over so many newer ones.
    pub offset: u32,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self { server: None, level: None, kind: None, limit: 50, offset: 0 }
    }
}

/// A piece of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// Newest first.
    pub events: Vec<Notice>,
    /// How many the filter lets through altogether.
    pub total: u64,
}

/// The table holds no more than [`EVENTS_KEPT`] rows, so that going through it has a bound.
const WANTED: &str = "FROM event WHERE (?1 IS NULL OR server = ?1) AND (?2 IS NULL OR level = ?2) \
     AND (?3 IS NULL OR kind = ?3)";

impl Store {
    /// Keeps a notice under its number, and lets go of what is too old. Errors: store_unavailable.
    pub async fn keep_event(&self, notice: &Notice) -> Result<(), ApiError> {
        self.patiently(|| self.insert_event(notice)).await
    }

    async fn insert_event(&self, notice: &Notice) -> Result<(), sqlx::Error> {
        let mut transaction = self.writer.begin().await?;
        query(
            "INSERT OR REPLACE INTO event (id, at_ms, level, kind, server, title, body, hint, acts, own) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(integer(notice.id))
        .bind(notice.at.as_millisecond())
        .bind(word(&notice.level)?)
        .bind(word(&notice.kind)?)
        .bind(notice.server.as_ref().map(ServerId::as_str))
        .bind(&notice.title)
        .bind(&notice.body)
        .bind(&notice.hint)
        .bind(json(&notice.acts)?)
        .bind(notice.own)
        .execute(&mut *transaction)
        .await?;
        query("DELETE FROM event WHERE id <= ?1 - ?2")
            .bind(integer(notice.id))
            .bind(integer(EVENTS_KEPT))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Errors: store_unavailable.
    pub async fn events(&self, filter: &EventFilter) -> Result<EventPage, ApiError> {
        self.read_events(filter).await.map_err(|error| self.cannot("read", &error))
    }

    async fn read_events(&self, filter: &EventFilter) -> Result<EventPage, sqlx::Error> {
        let server = filter.server.as_ref().map(ServerId::as_str);
        let level = filter.level.as_ref().map(word).transpose()?;
        let kind = filter.kind.as_ref().map(word).transpose()?;
        // The text is our own.
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) {WANTED}"));
        let total: i64 =
            query_scalar(count).bind(server).bind(&level).bind(&kind).fetch_one(&self.readers).await?;
        let list = sqlx::AssertSqlSafe(format!("SELECT * {WANTED} ORDER BY id DESC LIMIT ?4 OFFSET ?5"));
        let rows = query(list)
            .bind(server)
            .bind(&level)
            .bind(&kind)
            .bind(filter.limit)
            .bind(filter.offset)
            .fetch_all(&self.readers)
            .await?;
        let events = rows.iter().map(event_of).collect::<Result<_, _>>()?;
        Ok(EventPage { events, total: u64::try_from(total).unwrap_or_default() })
    }

    /// The number of the newest event; 0: there is none. Errors: store_unavailable.
    pub async fn newest_event(&self) -> Result<u64, ApiError> {
        let newest =
            query_scalar::<_, Option<i64>>("SELECT max(id) FROM event").fetch_one(&self.readers).await;
        let newest = newest.map_err(|error| self.cannot("read", &error))?;
        Ok(newest.and_then(|id| u64::try_from(id).ok()).unwrap_or_default())
    }
}

fn event_of(row: &SqliteRow) -> Result<Notice, sqlx::Error> {
    let at = Timestamp::from_millisecond(row.try_get("at_ms")?);
    Ok(Notice {
        id: unsigned(row, "id")?.unwrap_or_default(),
        at: at.map_err(|error| decode("at_ms", error))?,
        level: from_word(row, "level")?,
        kind: from_word(row, "kind")?,
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        hint: row.try_get("hint")?,
        server: row.try_get::<Option<String>, _>("server")?.map(ServerId::new),
        acts: from_json(row, "acts")?,
        own: row.try_get("own")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::notice::NoticeAct;

    fn notice(id: u64) -> Notice {
        let server = if id.is_multiple_of(2) { "ollama" } else { "llama-server" };
        Notice {
            id,
            at: Timestamp::from_millisecond(id as i64 * 1000).unwrap(),
            level: if id.is_multiple_of(3) { NoticeLevel::Problem } else { NoticeLevel::Info },
            kind: if id.is_multiple_of(5) { NoticeKind::Benchmark } else { NoticeKind::Server },
            title: format!("Event {id}"),
            body: "Because.".into(),
            hint: None,
            server: Some(server.into()),
            acts: vec![NoticeAct::ShowLog { server: server.into() }],
            own: id.is_multiple_of(7),
        }
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("history.db")).await.unwrap().store;
        (folder, store)
    }

    #[tokio::test]
    async fn events_outlive_a_restart_and_are_found_by_server_level_and_kind() {
        let (folder, store) = store().await;
        assert_eq!(store.newest_event().await.unwrap(), 0);
        for id in 1..=30 {
            store.keep_event(&notice(id)).await.unwrap();
        }
        store.close().await;
        let store = Store::open(&folder.path().join("history.db")).await.unwrap().store;
        assert_eq!(store.newest_event().await.unwrap(), 30);
        let ids = async |filter: EventFilter| {
            let page = store.events(&filter).await.unwrap();
            (page.events.iter().map(|event| event.id).collect::<Vec<_>>(), page.total)
        };
        let filter = EventFilter { limit: 3, ..EventFilter::default() };
        assert_eq!(ids(filter.clone()).await, (vec![30, 29, 28], 30));
        assert_eq!(ids(EventFilter { offset: 28, ..filter.clone() }).await, (vec![2, 1], 30));
        let of = |server: &str| EventFilter { server: Some(server.into()), ..filter.clone() };
        assert_eq!(ids(of("ollama")).await, (vec![30, 28, 26], 15));
        assert_eq!(ids(of("nobody")).await, (vec![], 0));
        let problems = EventFilter { level: Some(NoticeLevel::Problem), ..of("ollama") };
        assert_eq!(ids(problems).await, (vec![30, 24, 18], 5));
        let runs = EventFilter { kind: Some(NoticeKind::Benchmark), ..filter };
        assert_eq!(ids(runs).await, (vec![30, 25, 20], 6));
        let newest = store.events(&EventFilter::default()).await.unwrap().events;
        assert_eq!(newest[0], notice(30), "it comes back as it was told");
    }

    #[tokio::test]
    async fn only_the_newest_are_kept() {
        let (_folder, store) = store().await;
        for id in [1, 2, EVENTS_KEPT, EVENTS_KEPT + 1] {
            store.keep_event(&notice(id)).await.unwrap();
        }
        let page = store.events(&EventFilter::default()).await.unwrap();
        assert_eq!(
            page.events.iter().map(|event| event.id).collect::<Vec<_>>(),
            [EVENTS_KEPT + 1, EVENTS_KEPT, 2]
        );
    }
}
