//! What was written down of models apart from their runs, and their newest runs of certain plans: each by an index, however long
//! the history is.

use super::{
    Store,
    rows::{from_json, json},
};
use pilothouse_domain::{Timestamp, bench::Run, error::ApiError, model::ModelRef, model_facts::ModelPast};
use sqlx::{Row, query, sqlite::SqliteRow};

/// Looks at no more than so many switches for one that was committed.
const LOOKED_AT: i64 = 100;
/// As many loads as are told of a model.
const LOADS: i64 = 10;

/// ?1: `[[server, model], …]`, ?2: switches to look at, ?3: loads to tell.
pub(super) const PASTS: &str = "SELECT \
     (SELECT json_group_array(load_ms) FROM (SELECT load_ms FROM (SELECT id, load_ms, outcome FROM switch \
       WHERE to_server = one.server AND to_model = one.model ORDER BY id DESC LIMIT ?2) \
       WHERE outcome = 'committed' AND load_ms IS NOT NULL ORDER BY id DESC LIMIT ?3)) AS loads, \
     (SELECT max(newest_ms) FROM series WHERE server = one.server AND model = one.model) AS run_ms, \
     (SELECT at_ms FROM load WHERE server = one.server AND model = one.model ORDER BY id DESC LIMIT 1) AS load_at_ms, \
     (SELECT coalesce((SELECT started_ms FROM (SELECT id, started_ms, outcome FROM switch WHERE id > chosen.id \
         ORDER BY id LIMIT ?2) WHERE outcome = 'committed' ORDER BY id LIMIT 1), chosen.started_ms) \
       FROM (SELECT id, started_ms FROM (SELECT id, started_ms, outcome FROM switch \
         WHERE to_server = one.server AND to_model = one.model ORDER BY id DESC LIMIT ?2) \
         WHERE outcome = 'committed' ORDER BY id DESC LIMIT 1) AS chosen) AS active_until_ms \
     FROM (SELECT key, json_extract(value, '$[0]') AS server, json_extract(value, '$[1]') AS model \
       FROM json_each(?1)) AS one ORDER BY one.key";

/// The begin that a series notes leads straight to its newest run. ?1: names of plans, as a JSON array.
pub(super) const NEWEST_OF_PLANS: &str = "SELECT run.* FROM (SELECT (SELECT newest.id FROM run AS newest \
     WHERE newest.server = one.server AND newest.model = one.model AND newest.state = 'done' \
     AND newest.started_ms <= one.newest_ms AND newest.plan_name = one.plan AND newest.machine = one.machine \
     ORDER BY newest.started_ms DESC, newest.id DESC LIMIT 1) AS id FROM series AS one \
     WHERE one.state = 'done' AND one.runs > 0 AND one.plan IN (SELECT value FROM json_each(?1))) AS found \
     CROSS JOIN run ON run.id = found.id ORDER BY run.started_ms DESC, run.id DESC";

impl Store {
    /// What was written down of these models, in their order.
    pub async fn pasts(&self, models: &[ModelRef]) -> Result<Vec<ModelPast>, ApiError> {
        let read = async {
            let asked: Vec<[&str; 2]> =
                models.iter().map(|model| [model.server.as_str(), model.model.as_str()]).collect();
            let rows = query(PASTS).bind(json(&asked)?).bind(LOOKED_AT).bind(LOADS);
            let rows = rows.fetch_all(&self.readers).await?;
            rows.iter().map(past_of).collect::<Result<Vec<_>, sqlx::Error>>()
        };
        read.await.map_err(|e| self.cannot("read", &e))
    }

    /// The newest done run of each model on each server and machine under each of these plans; newest first.
    pub async fn newest_of_plans(&self, plans: &[&str]) -> Result<Vec<Run>, ApiError> {
        let read = async { query(NEWEST_OF_PLANS).bind(json(&plans)?).fetch_all(&self.readers).await };
        let rows = read.await.map_err(|e| self.cannot("read", &e))?;
        self.summaries(rows).await
    }
}

fn past_of(row: &SqliteRow) -> Result<ModelPast, sqlx::Error> {
    let mut last: Option<i64> = None;
    for column in ["run_ms", "load_at_ms", "active_until_ms"] {
        last = last.max(row.try_get::<Option<i64>, _>(column)?);
    }
    let loads_ms: Vec<u64> = from_json(row, "loads")?;
    Ok(ModelPast { loads_ms, last_used_at: last.and_then(|ms| Timestamp::from_millisecond(ms).ok()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::Journal,
        report::{exchange::Exchanged, seeds},
        store::tests::{folder, open},
    };
    use pilothouse_domain::{
        bench::BenchPlan,
        switch::{Active, SwitchOutcome, SwitchReport},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    /// A switch to a model that began in that second.
    async fn switch(store: &Store, to: &str, second: i64, outcome: SwitchOutcome, load_ms: Option<u64>) {
        let to = ModelRef::new("ollama", to);
        let id = store.begin(None, &to, at(second)).await.unwrap();
        if outcome == SwitchOutcome::Committed {
            let active = Active { server: to.server.clone(), model: to.model.clone(), instance: "i".into() };
            store.commit(id, &active, false).await.unwrap();
        }
        let report = SwitchReport {
            switch_id: id,
            from: None,
            to,
            outcome,
            dry_run: false,
            took_ms: 1,
            load_ms,
            first_token_ms: None,
            steps: vec![],
            answers_cut: 0,
            journalled: true,
            reason: None,
            error: None,
        };
        store.end(&report).await.unwrap();
    }

    #[tokio::test]
    async fn loads_are_told_newest_first_and_a_model_was_in_use_until_the_next_one() {
        let (_folder, path) = folder();
        let store = open(&path).await;
        let (committed, rolled_back) = (SwitchOutcome::Committed, SwitchOutcome::RolledBack);
        switch(&store, "a", 1, committed, Some(2400)).await;
        switch(&store, "b", 2, committed, Some(600)).await;
        switch(&store, "a", 3, committed, None).await;
        switch(&store, "a", 4, rolled_back, Some(9999)).await;
        switch(&store, "a", 5, committed, Some(2600)).await;
        switch(&store, "c", 6, rolled_back, None).await;
        let models = ["a", "b", "c", "it's \"d\""].map(|model| ModelRef::new("ollama", model));
        let pasts = store.pasts(&models).await.unwrap();
        let loads: Vec<&[u64]> = pasts.iter().map(|past| past.loads_ms.as_slice()).collect();
        assert_eq!(loads, [&[2600, 2400][..], &[600], &[], &[]]);
        let used: Vec<Option<Timestamp>> = pasts.iter().map(|past| past.last_used_at).collect();
        assert_eq!(used, [Some(at(5)), Some(at(3)), None, None]);
        assert_eq!(store.pasts(&[]).await.unwrap(), []);
    }

    #[tokio::test]
    async fn at_most_ten_loads_are_told() {
        let (_folder, path) = folder();
        let store = open(&path).await;
        for second in 0..14 {
            switch(&store, "a", second, SwitchOutcome::Committed, Some(second.unsigned_abs())).await;
        }
        let pasts = store.pasts(&[ModelRef::new("ollama", "a")]).await.unwrap();
        assert_eq!(pasts[0].loads_ms, (4..14).rev().collect::<Vec<u64>>());
    }

    #[tokio::test]
    async fn the_newest_run_of_each_model_and_plan_is_found_whatever_was_deleted() {
        let (_folder, path) = folder();
        let store = open(&path).await;
        let mut all = vec![];
        for (minute, model, plan) in [
            (1, "a", "quick"),
            (2, "a", "standard"),
            (3, "a", "quick"),
            (4, "b", "quick"),
            (5, "a", "sweep"),
            (6, "a", "quick"),
        ] {
            let mut detail = seeds::detail(minute, "ollama", model, 50.0);
            detail.run.plan = BenchPlan::named(plan, None).unwrap();
            all.push(Exchanged::new(detail, 1, None));
        }
        store.import_runs(&all).await.unwrap();
        let begun = async |plans: &[&str]| {
            let runs = store.newest_of_plans(plans).await.unwrap();
            runs.iter().map(|run| (run.started_at, run.model.clone())).collect::<Vec<_>>()
        };
        let minute = |minute: i64, model: &str| (seeds::at(minute), model.to_owned());
        let plans = ["quick", "standard"];
        assert_eq!(begun(&plans).await, [minute(6, "a"), minute(4, "b"), minute(2, "a")]);
        let newest = store.newest_of_plans(&plans).await.unwrap()[0].run_id;
        store.delete_runs(&[newest]).await.unwrap();
        assert_eq!(begun(&plans).await, [minute(4, "b"), minute(3, "a"), minute(2, "a")]);
        assert_eq!(begun(&[]).await, []);
        // It was used all the same.
        let past = store.pasts(&[ModelRef::new("ollama", "a")]).await.unwrap();
        assert_eq!(past[0].last_used_at, Some(seeds::at(6)));
    }
}
