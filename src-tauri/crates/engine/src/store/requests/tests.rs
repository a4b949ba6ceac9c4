use super::*;
use crate::store::{Store, tests::folder, tests::open};
use pilothouse_domain::traffic::{Dialect, Piece, RequestState, Span, Why, pieces, totals};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// A day of UTC begins then.
const BEGIN: i64 = 20_000 * DAY;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// Whole in every field, so that each is seen to come back.
fn record(id: u64, at_ms: i64) -> RequestRecord {
    let odd = !id.is_multiple_of(2);
    RequestRecord {
        id,
        at: at(at_ms),
        client: Client { key: odd.then(|| "notes".into()), program: Some("python3".into()), pid: Some(4711) },
        dialect: Dialect::Messages,
        asked: Some("claude-sonnet".into()),
        server: Some(if odd { "ollama" } else { "lmstudio" }.into()),
        model: Some(if odd { "qwen" } else { "gemma" }.into()),
        role: Some("critical".into()),
        why: Some(Why::Rule),
        state: if id.is_multiple_of(5) { RequestState::Failed } else { RequestState::Done },
        queued_ms: Some(0),
        load_ms: None,
        ttft_ms: Some(100 + id as u32),
        total_ms: Some(900),
        tokens: Tokens { input: Some(10), cached: Some(4), output: Some(3), counted: true },
        most_output: Some(1024),
        decode_tok_s: Some(50.5),
        finish: Some("stop".into()),
        status: Some(200),
        error: None,
        detail: None,
        streamed: true,
        governed: vec!["keep_alive".into()],
        changed: vec![],
        parent: None,
    }
}

fn arcs(records: Vec<RequestRecord>) -> Vec<Arc<RequestRecord>> {
    records.into_iter().map(Arc::new).collect()
}

async fn filled(count: u64) -> (tempfile::TempDir, Store) {
    let (guard, path) = folder();
    let store = open(&path).await;
    let records = (1..=count).map(|id| record(id, BEGIN + id as i64 * 1000)).collect();
    store.add_requests(&arcs(records)).await.unwrap();
    (guard, store)
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_and_numbers_go_on_after_a_restart() {
    let (guard, path) = folder();
    let store = open(&path).await;
    assert_eq!(store.newest_request().await.unwrap(), 0);
    let bare = RequestRecord { id: 7, at: at(BEGIN), ..RequestRecord::default() };
    store.add_requests(&arcs(vec![record(3, BEGIN), bare.clone()])).await.unwrap();
    store.close().await;
    let store = open(&path).await;
    assert_eq!(store.newest_request().await.unwrap(), 7);
    assert_eq!(store.request(3).await.unwrap(), Some(record(3, BEGIN)));
    assert_eq!(store.request(7).await.unwrap(), Some(bare), "absent is not zero");
    assert_eq!(store.request(8).await.unwrap(), None);
    drop(guard);
}

#[tokio::test]
async fn sql_and_the_filter_let_the_same_through() {
    let (_guard, store) = filled(60).await;
    let all: Vec<RequestRecord> = (1..=60).rev().map(|id| record(id, BEGIN + id as i64 * 1000)).collect();
    for text in [
        "{}".to_owned(),
        r#"{"client":"notes"}"#.into(),
        r#"{"client":"nobody"}"#.into(),
        r#"{"server":"ollama","model":"qwen"}"#.into(),
        r#"{"model":"gemma","state":"failed"}"#.into(),
        r#"{"state":"failed"}"#.into(),
        r#"{"state":"done","before":31}"#.into(),
        r#"{"state":"cancelled"}"#.into(),
        r#"{"state":"under_way"}"#.into(),
        r#"{"slower_than_ms":140}"#.into(),
        r#"{"find":"SONNET"}"#.into(),
        r#"{"find":"gem"}"#.into(),
        r#"{"find":"%"}"#.into(),
        r#"{"find":"'; DROP TABLE request; --"}"#.into(),
        format!(r#"{{"since_ms":{},"until_ms":{}}}"#, BEGIN + 10_000, BEGIN + 20_000),
    ] {
        let filter: TrafficFilter = serde_json::from_str(&text).unwrap();
        let wanted: Vec<u64> = all.iter().filter(|one| filter.lets_through(one)).map(|one| one.id).collect();
        let found = store.requests(&filter, 500).await.unwrap();
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), wanted, "{text}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_double() {
    let (_guard, store) = filled(60).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let filter = TrafficFilter { client: Some("notes".into()), before, ..TrafficFilter::default() };
        let page = store.requests(&filter, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|one| one.id));
        assert!(seen.len() <= 60);
    }
    let odd: Vec<u64> = (1..=60_u64).rev().filter(|id| !id.is_multiple_of(2)).collect();
    assert_eq!(seen, odd);
}

#[tokio::test]
async fn totals_are_those_of_all_records_of_the_period() {
    let (_guard, store) = filled(60).await;
    let more = (61..=70).map(|id| record(id, BEGIN - 30 * DAY + id as i64)).collect();
    store.add_requests(&arcs(more)).await.unwrap();
    let of = async |since: i64, now: i64| {
        let cells = store.request_cells(&pieces(since, now)).await.unwrap();
        totals(&cells, at(since), at(now), 0)
    };
    let hour = of(BEGIN, BEGIN + 2 * MINUTE).await;
    assert_eq!((hour.all.requests, hour.all.failed, hour.all.tokens_in), (60, 12, Some(600)));
    let clients: Vec<_> = hour.clients.iter().map(|one| (&*one.client, one.tally.requests)).collect();
    assert_eq!(clients, [("notes", 30), ("python3", 30)]);
    let models: Vec<_> = hour.models.iter().map(|one| (&*one.model, one.tally.tokens_out)).collect();
    assert_eq!(models, [("gemma", Some(90)), ("qwen", Some(90))]);
    let median = hour.all.ttft_ms.unwrap();
    assert!((median / 130.0).log2().abs() < 1.0 / 32.0 + 1e-9, "{median}");
    // By days, hours and minutes alike.
    assert_eq!(of(BEGIN - 31 * DAY, BEGIN + 2 * MINUTE).await.all.requests, 70);
    assert_eq!(of(BEGIN - 31 * DAY, BEGIN + 5 * DAY).await.all.requests, 70);
    assert_eq!(of(BEGIN - DAY, BEGIN - 1).await.all.requests, 0);
    assert_eq!(of(BEGIN + MINUTE, BEGIN + 2 * MINUTE).await.all.requests, 1, "the last of them");
}

#[tokio::test]
async fn a_crowd_of_clients_is_counted_as_others() {
    let (_guard, path) = folder();
    let store = open(&path).await;
    let crowd: Vec<RequestRecord> = (1..=450)
        .map(|id| {
            let client = Client { key: None, program: Some(format!("p{id}")), pid: None };
            RequestRecord { client, ..record(id, BEGIN) }
        })
        .collect();
    for batch in arcs(crowd).chunks(100) {
        store.add_requests(batch).await.unwrap();
    }
    let minute = Piece { span: Span::Minute, from_ms: BEGIN, to_ms: BEGIN + MINUTE };
    let cells = store.request_cells(&[minute]).await.unwrap();
    assert!(cells.len() <= 202, "{}", cells.len());
    assert_eq!(cells.iter().map(|cell| cell.tally.requests).sum::<u64>(), 450);
    let others = cells.iter().filter(|cell| cell.key.client == "others");
    assert_eq!(others.map(|cell| cell.tally.requests).sum::<u64>(), 250);
}

#[tokio::test]
async fn the_newest_are_kept_however_many_come() {
    let (_guard, path) = folder();
    let store = open(&path).await;
    store.add_requests(&arcs((1..=50).map(|id| record(id, BEGIN)).collect())).await.unwrap();
    // As if nearly all between had been lost in a flood.
    let late = REQUESTS_KEPT + 30;
    store.add_requests(&arcs(vec![record(late, BEGIN)])).await.unwrap();
    let kept = store.requests(&TrafficFilter::default(), 500).await.unwrap();
    assert_eq!(kept.iter().map(|one| one.id).collect::<Vec<_>>()[..2], [late, 50]);
    assert_eq!(kept.last().unwrap().id, 31);
}

#[tokio::test]
async fn what_is_too_old_goes_with_its_sums() {
    let (_guard, store) = filled(60).await;
    let old = arcs((100..=160).map(|id| record(id, BEGIN - 40 * DAY)).collect());
    store.add_requests(&old).await.unwrap();
    let now = BEGIN + DAY;
    let mut steps = 0;
    while store.take_old_requests(Some(now - 30 * DAY), now).await.unwrap() {
        steps += 1;
        assert!(steps < 20);
    }
    let kept = store.requests(&TrafficFilter::default(), 500).await.unwrap();
    assert_eq!((kept.len(), kept[0].id), (60, 60));
    let of = async |span: Span| {
        let piece = Piece { span, from_ms: 0, to_ms: i64::MAX };
        let cells = store.request_cells(&[piece]).await.unwrap();
        cells.iter().map(|cell| cell.tally.requests).sum::<u64>()
    };
    assert_eq!((of(Span::Minute).await, of(Span::Hour).await, of(Span::Day).await), (60, 60, 60));
    let later = now + 30 * DAY;
    while store.take_old_requests(None, later).await.unwrap() {}
    assert_eq!((of(Span::Minute).await, of(Span::Hour).await), (0, 60), "for ever, but by the hour");
}

#[tokio::test]
async fn a_batch_is_kept_whole_or_not_at_all() {
    let (_guard, store) = filled(3).await;
    let refused = RequestRecord { at: at(BEGIN + 5 * MINUTE), ..record(10, BEGIN) };
    // A failure in the middle of a batch, as the end of the process would be: its transaction is never committed.
    let mut transaction = store.writer.begin().await.unwrap();
    insert(&mut transaction, &refused).await.unwrap();
    crate::store::tallies::add(&mut transaction, &arcs(vec![refused])).await.unwrap();
    drop(transaction);
    assert_eq!(store.request(10).await.unwrap(), None);
    let cells = store.request_cells(&pieces(BEGIN, BEGIN + 10 * MINUTE)).await.unwrap();
    assert_eq!(cells.iter().map(|cell| cell.tally.requests).sum::<u64>(), 3, "rows and sums go together");
    store.add_requests(&arcs(vec![record(11, BEGIN)])).await.unwrap();
    assert_eq!(store.newest_request().await.unwrap(), 11);
}
