use super::*;
use crate::{
    report::{exchange::Exchanged, seeds},
    store::{
        NewRun,
        tests::{folder, new_run, open},
    },
};
use pilothouse_domain::bench::{RunDetail, series::SeriesRun};
use sqlx::Row;

/// Runs of several kinds, whose numbers say nothing of their begins.
async fn filled(store: &Store, runs: i64) -> Vec<Run> {
    let mut details = vec![];
    for number in 0..runs {
        // Each minute once, in no order.
        let minute = number * 37 % runs;
        let server = if minute % 3 == 0 { "ollama" } else { "lmstudio" };
        let model = if minute % 7 == 0 { "Gemma3:4b" } else { "qwen2.5" };
        let mut detail = seeds::bare(minute, server, model);
        detail.run.run_id = number + 1;
        detail.run.plan.name = (if minute % 2 == 0 { "quick" } else { "standard" }).into();
        detail.run.state = if minute % 11 == 0 { RunState::Cancelled } else { RunState::Done };
        details.push(detail);
    }
    let travelling: Vec<Exchanged> =
        details.iter().map(|detail| Exchanged::new(detail.clone(), 1, None)).collect();
    store.import_runs(&travelling).await.unwrap();
    let mut all: Vec<Run> = details.into_iter().map(|detail| detail.run).collect();
    all.sort_by_key(|run| std::cmp::Reverse((run.started_at, run.run_id)));
    all
}

fn ids(runs: &[Run]) -> Vec<i64> {
    runs.iter().map(|run| run.run_id).collect()
}

#[tokio::test]
async fn each_page_of_each_filter_is_what_going_through_all_of_them_would_give() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let all = filled(&store, 210).await;
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        (None, None, None, None),
        (text("GEMMA"), None, None, None),
        (text("%"), None, None, None),
        (None, Some("ollama"), None, None),
        (None, None, text("standard"), None),
        (None, None, None, Some(RunState::Cancelled)),
        (text("qwen"), Some("lmstudio"), text("quick"), Some(RunState::Done)),
        (text("nothing"), None, None, None),
    ];
    for (model, server, plan, state) in filters {
        for (limit, offset) in [(1, 0), (50, 0), (7, 3), (50, 150), (1000, 0), (5, 205), (5, 1000)] {
            let filter = RunFilter {
                model: model.clone(),
                server: server.map(Into::into),
                plan: plan.clone(),
                state,
                limit,
                offset,
                ..RunFilter::default()
            };
            let matches = |run: &&Run| {
                let model =
                    model.as_ref().is_none_or(|part| run.model.to_lowercase().contains(&part.to_lowercase()));
                let server = server.is_none_or(|server| run.server.as_str() == server);
                let plan = plan.as_ref().is_none_or(|plan| run.plan.name == *plan);
                model && server && plan && state.is_none_or(|state| run.state == state)
            };
            let matching: Vec<i64> = all.iter().filter(matches).map(|run| run.run_id).collect();
            let page = store.runs(&filter).await.unwrap();
            let wanted: Vec<i64> =
                matching.iter().copied().skip(offset as usize).take(limit as usize).collect();
            assert_eq!((ids(&page.runs), page.total), (wanted, matching.len() as u64), "{filter:?}");
        }
    }
}

/// By when they began, whatever else is asked; the end is not in it.
#[tokio::test]
async fn a_page_between_two_moments_is_what_going_through_all_of_them_would_give() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let all = filled(&store, 210).await;
    let at = |minute: i64| Some(seeds::at(minute));
    for (since, until) in [
        (at(50), at(60)),
        (at(50), None),
        (None, at(60)),
        (at(60), at(60)),
        (at(900), None),
        (at(50), at(51)),
    ] {
        for model in [None, Some("GEMMA".to_owned())] {
            for (limit, offset) in [(50, 0), (3, 2), (5, 500)] {
                let filter =
                    RunFilter { model: model.clone(), since, until, limit, offset, ..RunFilter::default() };
                let matches = |run: &&Run| {
                    let named = model.is_none() || run.model == "Gemma3:4b";
                    named
                        && since.is_none_or(|since| run.started_at >= since)
                        && until.is_none_or(|until| run.started_at < until)
                };
                let matching: Vec<i64> = all.iter().filter(matches).map(|run| run.run_id).collect();
                let page = store.runs(&filter).await.unwrap();
                let wanted: Vec<i64> =
                    matching.iter().copied().skip(offset as usize).take(limit as usize).collect();
                assert_eq!((ids(&page.runs), page.total), (wanted, matching.len() as u64), "{filter:?}");
            }
        }
    }
}

/// What is few is a question of cost alone: both ways give the same.
#[test]
fn few_are_looked_at_one_by_one() {
    for (matching, every, wanted, few) in [
        (0, 20_000, 50, true),
        (900, 20_000, 50, true),
        (1100, 20_000, 50, false),
        (20_000, 20_000, 50, false),
        (20_000, 20_000, 20_000, false),
        (1100, 20_000, 5000, true),
        (u64::MAX, u64::MAX, 1, false),
    ] {
        assert_eq!(are_few(matching, every, wanted), few, "{matching} of {every}, {wanted} wanted");
    }
}

#[tokio::test]
async fn the_newest_are_those_that_began_last_whatever_their_numbers() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    // Of today, and then one of last week comes from another machine.
    let mut ids = vec![];
    for minute in [500, 100, 300] {
        let run = Exchanged::new(seeds::detail(minute, "ollama", "m", 50.0), 1, None);
        store.import_runs(&[run]).await.unwrap();
        ids.push(ids.len() as i64 + 1);
    }
    let order = [ids[0], ids[2], ids[1]];
    let of = |runs: &[Run]| runs.iter().map(|run| run.run_id).collect::<Vec<_>>();
    assert_eq!(of(&store.runs(&RunFilter::default()).await.unwrap().runs), order);
    let series = async |limit| {
        let series = store.series(&"ollama".into(), "m", "quick", limit).await.unwrap();
        series.runs.iter().map(|run| run.run_id).collect::<Vec<_>>()
    };
    assert_eq!(series(10).await, order, "baseline, trends");
    assert_eq!(of(&store.newest_runs(&"ollama".into(), 2).await.unwrap()), order[..2], "forecast");
    assert_eq!(store.newest_of_each(9).await.unwrap(), [ids[0]], "report");
    assert_eq!(series(1).await, [ids[0]]);
}

/// Only what is watched is read of a run, and that says the same as the whole of it.
#[tokio::test]
async fn a_series_is_what_its_whole_runs_say() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let mut details: Vec<RunDetail> =
        (0..6).map(|minute| seeds::detail(minute, "ollama", "m", 50.0)).collect();
    details[1].run.disturbed = vec![
        serde_json::from_str(r#"{"what":"processor","name":"make","pid":null,"percent":null,"seconds":1.0}"#)
            .unwrap(),
    ];
    details[2].run.fingerprint.insert("chip".into(), "another".into());
    details[3].run.plan.turns = Some(3);
    let travelling: Vec<Exchanged> =
        details.into_iter().map(|detail| Exchanged::new(detail, 1, None)).collect();
    store.import_runs(&travelling).await.unwrap();
    // As runs of an older program are, and those of other formulas.
    for sql in
        ["UPDATE run SET summary = NULL WHERE id = 5", "UPDATE run SET metrics_version = 0 WHERE id = 6"]
    {
        query(sql).execute(&store.writer).await.unwrap();
    }
    let whole = store.runs(&RunFilter::default()).await.unwrap().runs;
    let wanted: Vec<SeriesRun> =
        whole.iter().filter(|run| run.plan.repeats()).filter_map(SeriesRun::of).collect();
    let series = store.series(&"ollama".into(), "m", "quick", 10).await.unwrap();
    assert_eq!(series.runs, wanted);
    assert_eq!(wanted.len(), 4, "one was disturbed, one asks for something else each time");
    assert!(wanted.iter().all(|run| run.figures.decode_tok_s.is_some()));
}

#[tokio::test]
async fn counts_follow_whatever_becomes_of_runs() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let total = async |state| store.runs(&RunFilter { state, ..RunFilter::default() }).await.unwrap().total;
    let changes =
        async || store.all_series(&RunFilter::default()).await.unwrap().first().map(|one| one.changes);
    let id = store.begin_run(&new_run("ollama", "m")).await.unwrap();
    assert_eq!((total(None).await, total(Some(RunState::Running)).await), (1, 1));
    assert_eq!(changes().await, None, "a series has done runs");
    let mut detail = store.run(id).await.unwrap();
    detail.run.state = RunState::Done;
    store.end_run(&detail).await.unwrap();
    assert_eq!((total(None).await, total(Some(RunState::Done)).await), (1, 1));
    let ended = changes().await.unwrap();
    store.accept_level(id).await.unwrap();
    assert!(changes().await.unwrap() > ended, "an accepted level changes what its series says");
    let other = Exchanged::new(RunDetail { trace: None, ..seeds::detail(9, "ollama", "m", 1.0) }, 1, None);
    store.import_runs(&[other]).await.unwrap();
    let both = changes().await.unwrap();
    assert_eq!(total(None).await, 2);
    store.delete_runs(&[id]).await.unwrap();
    assert_eq!((total(None).await, total(Some(RunState::Running)).await), (1, 0));
    assert!(changes().await.unwrap() > both);
    store.close().await;
    let again = open(&path).await;
    assert_eq!(again.runs(&RunFilter::default()).await.unwrap().total, 1);
}

#[tokio::test]
async fn comparisons_with_itself_tell_the_noise_and_others_do_not() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    assert_eq!(store.noise_floor().await.unwrap(), None);
    let runs = seeds::pair(1, "m", (50.0, 55.0)).map(|detail| Exchanged::new(detail, 1, None));
    store.import_runs(&runs).await.unwrap();
    assert_eq!(store.noise_floor().await.unwrap(), None, "of two servers");
    let runs = seeds::pair(11, "m", (50.0, 51.0)).map(|mut detail| {
        detail.run.server = "ollama".into();
        Exchanged::new(detail, 1, None)
    });
    store.import_runs(&runs).await.unwrap();
    assert!(store.noise_floor().await.unwrap().is_some());
    let sides =
        store.runs(&RunFilter { server: Some("ollama".into()), ..RunFilter::default() }).await.unwrap();
    let pair: Vec<&Run> = sides.runs.iter().filter(|run| run.decode_tok_s.is_some()).collect();
    let second = pair.iter().map(|run| run.run_id).max().unwrap();
    store.delete_runs(&[second]).await.unwrap();
    assert_eq!(store.noise_floor().await.unwrap(), None, "a side without its other one");
}

#[tokio::test]
async fn a_comparison_with_itself_is_known_from_its_begin_to_its_end() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    let since = Timestamp::UNIX_EPOCH;
    let first = store.begin_run(&new_run("ollama", "m")).await.unwrap();
    let second = store.begin_run(&NewRun { against: Some(first), ..new_run("ollama", "m") }).await.unwrap();
    let other = store.begin_run(&NewRun { against: Some(first), ..new_run("ollama", "n") }).await.unwrap();
    assert!(
        !store.scattering_was_measured(since).await.unwrap(),
        "under way, and its first side taken over by another"
    );
    for (id, against) in [(first, Some(second)), (second, Some(first)), (other, None)] {
        let mut detail = store.run(id).await.unwrap();
        (detail.run.state, detail.run.against) = (RunState::Done, against);
        store.end_run(&detail).await.unwrap();
    }
    assert!(store.scattering_was_measured(since).await.unwrap());
    store.delete_runs(&[first]).await.unwrap();
    assert!(!store.scattering_was_measured(since).await.unwrap());
}

/// A view must not grow slower with each request that was ever measured.
#[tokio::test]
async fn no_list_goes_through_requests_or_through_whole_runs() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    filled(&store, 60).await;
    for (sql, parameters) in [
        (COUNTED, 4),
        (COUNTED_BETWEEN, 6),
        (NEWEST_BETWEEN, 8),
        (NEWEST_RUNS, 6),
        (NEWEST_OF_FEW, 6),
        (NEWEST_OF_MODELS, 2),
        (crate::store::series::OF_SERIES, 4),
        (crate::store::series::THESE_RUNS, 1),
        (ALL_SERIES, 4),
        (OF_ITSELF, 1),
        (ITSELF_SINCE, 1),
        (NEWEST_OF_EACH, 1),
        (crate::store::past::PASTS, 3),
        (crate::store::past::NEWEST_OF_PLANS, 1),
        (crate::store::levels::WATCHED, 0),
        (crate::store::runs::ONE_RUN, 1),
        (crate::store::trials::TRIALS, 1),
        (crate::store::trials::GAPS, 1),
        (crate::store::traces::KEPT_SAMPLES, 1),
        (crate::store::traces::KEPT_MINUTES, 1),
        (crate::store::retention::OLD_GAPS, 2),
        (crate::store::retention::OLD_WARMUPS, 2),
        (crate::store::retention::OLD_TRACES, 3),
    ] {
        let mut explain = query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        for _ in 0..parameters {
            explain = explain.bind(None::<String>);
        }
        let steps: Vec<String> = explain
            .fetch_all(&store.readers)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get::<String, _>("detail"))
            .collect();
        assert!(!steps.is_empty());
        for step in &steps {
            let whole = step.starts_with("SCAN") && !step.contains("COVERING INDEX");
            let of = step.split_whitespace().nth(1).unwrap_or_default();
            assert!(
                !whole
                    || ![
                        "run",
                        "switch",
                        "trial",
                        "listed",
                        "newest",
                        "side",
                        "other",
                        "run_gauge",
                        "run_gauge_minute",
                        "trial_gap"
                    ]
                    .contains(&of)
                    || steps.iter().any(|other| other.starts_with(&format!("CO-ROUTINE {of}"))),
                "{sql}\n{steps:#?}"
            );
        }
    }
}

#[tokio::test]
async fn models_with_an_accepted_level_are_known_with_the_version_of_their_newest_run() {
    use pilothouse_domain::bench::after_update::{Checked, Watched};
    let (_folder, path) = folder();
    let store = open(&path).await;
    let versions = [(5, "a", Some("2")), (3, "a", Some("1")), (4, "b", None), (9, "c", Some("1"))];
    let runs: Vec<Exchanged> = versions
        .iter()
        .map(|(minute, model, version)| {
            let mut detail = seeds::bare(*minute, "ollama", model);
            detail.run.server_version = version.map(str::to_owned);
            Exchanged::new(detail, 1, None)
        })
        .collect();
    store.import_runs(&runs).await.unwrap();
    assert_eq!(store.watched_models().await.unwrap(), []);
    for accepted in [1, 2, 3] {
        store.accept_level(accepted).await.unwrap();
    }
    let watched = |model: &str, version: Option<&str>| Watched {
        server: "ollama".into(),
        model: model.into(),
        version: version.map(str::to_owned),
    };
    assert_eq!(store.watched_models().await.unwrap(), [watched("a", Some("2")), watched("b", None)]);
    let check = Checked { server: "ollama".into(), version: "3".into(), model: "a".into() };
    for made in [true, true, false, true] {
        store.note_update_check(&check, made).await.unwrap();
        assert_eq!(store.update_checks().await.unwrap().contains(&check), made);
    }
    store.close().await;
    assert_eq!(open(&path).await.update_checks().await.unwrap().len(), 1, "also after a restart");
}
