use super::*;
use pilothouse_domain::{
    endpoint::Secret,
    traffic::{RequestRecord, RequestState, Tokens},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    registry::Registry,
};
use std::fmt;

fn to(model: &str) -> RequestRecord {
    RequestRecord { server: Some("s".into()), model: Some(model.into()), ..RequestRecord::default() }
}

#[derive(Debug)]
struct Shown(Recorder);

impl Collector for Shown {
    fn encode(&self, mut out: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.0.encode(&mut out)
    }
}

fn text(recorder: &Recorder) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(recorder.clone())));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn ids_rise_from_the_last_one_kept() {
    let (recorder, _ended) = Recorder::new(41);
    let (one, two) = (recorder.begin(to("m")), recorder.begin(to("m")));
    assert_eq!((one.id(), two.id()), (42, 43));
}

#[test]
fn a_request_is_seen_in_each_state_and_handed_on_once() {
    let (recorder, mut ended) = Recorder::new(0);
    let open = recorder.begin(to("m"));
    let counts = || {
        let now = recorder.now(10);
        (now.in_flight, now.waiting, now.loading, now.answering)
    };
    assert_eq!(counts(), (1, 1, 0, 0));
    open.update(|record| record.state = RequestState::Loading);
    assert_eq!(counts(), (1, 0, 1, 0));
    open.update(|record| (record.state, record.id) = (RequestState::Done, 99));
    assert_eq!(counts(), (1, 0, 1, 0), "an end is told by end alone");
    open.first_token();
    open.tokens(3);
    assert_eq!(counts(), (1, 0, 0, 1));
    let live = &recorder.now(10).live[0];
    assert_eq!((live.id, live.tokens.output, live.ttft_ms.is_some()), (1, Some(3), true));
    assert!(ended.try_recv().is_err());
    open.end(|record| record.tokens = Tokens { output: Some(5), counted: true, ..Tokens::default() });
    assert_eq!(counts(), (0, 0, 0, 0));
    let kept = ended.try_recv().unwrap();
    assert_eq!((kept.id, kept.state, kept.tokens.output), (1, RequestState::Done, Some(5)));
    assert!(kept.total_ms.is_some() && kept.ttft_ms.is_some());
    assert!(ended.try_recv().is_err());
    assert_eq!(recorder.one(1).as_ref(), Some(&*kept), "found until it can be read from the history");
    assert_eq!(recorder.told(), 3);
}

#[test]
fn every_way_to_end_is_kept_as_what_it_is() {
    for (state, wanted) in [
        (Some(RequestState::Answering), RequestState::Done),
        (Some(RequestState::Failed), RequestState::Failed),
        (Some(RequestState::Cut), RequestState::Cut),
        (Some(RequestState::Cancelled), RequestState::Cancelled),
        // Dropped, as when the client leaves.
        (None, RequestState::Cancelled),
    ] {
        let (recorder, mut ended) = Recorder::new(0);
        let open = recorder.begin(to("m"));
        open.tokens(7);
        match state {
            Some(state) => open.end(|record| record.state = state),
            None => drop(open),
        }
        let kept = ended.try_recv().unwrap();
        assert_eq!((kept.state, kept.tokens.output, kept.tokens.counted), (wanted, Some(7), false));
        assert!(ended.try_recv().is_err(), "{wanted:?}");
        assert!(recorder.is_idle());
    }
}

#[test]
fn a_flood_that_nobody_takes_is_bounded_and_its_loss_is_counted() {
    let (recorder, mut ended) = Recorder::new(0);
    for _ in 0..100_000 {
        drop(recorder.begin(to("m")));
    }
    assert_eq!(recorder.lost(), 100_000 - 4096);
    assert_eq!(recorder.now(5).lost, recorder.lost());
    assert_eq!(recorder.in_memory().len(), 512);
    assert!(text(&recorder).contains("pilothouse_records_lost_total 95904\n"));
    let mut kept = 0;
    while ended.try_recv().is_ok() {
        kept += 1;
    }
    assert_eq!(kept, 4096);
    assert!(
        text(&recorder)
            .contains(r#"pilothouse_requests_total{server="s",model="m",outcome="cancelled"} 100000"#)
    );
}

#[test]
fn more_than_the_table_lists_are_counted_all_the_same() {
    let (recorder, mut ended) = Recorder::new(0);
    let open: Vec<OpenRecord> = (0..10_050).map(|_| recorder.begin(to("m"))).collect();
    let now = recorder.now(20);
    assert_eq!((now.in_flight, now.live.len(), now.left_out), (10_050, 20, 10_030));
    assert_eq!(now.live[0].id, 10_000, "those beyond are not listed");
    drop(open);
    assert!(recorder.is_idle());
    assert!(ended.try_recv().is_ok());
}

#[test]
fn series_are_bounded_and_labels_may_hold_anything() {
    let (recorder, _ended) = Recorder::new(0);
    for number in 0..500 {
        recorder.begin(to(&format!("m{number}"))).end(|record| record.ttft_ms = Some(40));
    }
    recorder.begin(to("m1")).end(|record| record.tokens.input = Some(9));
    recorder.begin(RequestRecord::default()).end(|record| record.state = RequestState::Failed);
    let text = text(&recorder);
    let series = text.lines().filter(|line| line.starts_with("pilothouse_queue_seconds_count")).count();
    assert_eq!(series, 65);
    let has = |line: &str| assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    has(r#"pilothouse_requests_total{server="other",model="other",outcome="done"} 436"#);
    has(r#"pilothouse_requests_total{server="other",model="other",outcome="failed"} 1"#);
    has(r#"pilothouse_tokens_total{server="s",model="m1",kind="input"} 9"#);
    has(r#"pilothouse_time_to_first_token_seconds_bucket{le="0.05",server="s",model="m0"} 1"#);
    has("# TYPE pilothouse_time_to_first_token_seconds histogram");
    assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
}

#[test]
fn the_page_admits_its_token_alone_and_nobody_while_it_is_closed() {
    let page = MetricsPage::new(|| Ok("text".into()));
    assert!(!page.is_open() && !page.admits(b"") && !page.admits(b"token"));
    page.set_token(Some(Secret::new("token")));
    for (shown, wanted) in
        [("token", true), ("toke", false), ("tokenn", false), ("", false), ("Token", false)]
    {
        assert_eq!(page.admits(shown.as_bytes()), wanted, "{shown}");
    }
    assert_eq!((page.is_open(), page.text().unwrap()), (true, "text".into()));
    page.set_token(None);
    assert!(!page.admits(b"token"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_work_hears_of_the_first_request() {
    let (recorder, _ended) = Recorder::new(0);
    let open = recorder.begin(to("m"));
    recorder.stirred().await;
    let more = recorder.begin(to("m"));
    let again = tokio::time::timeout(std::time::Duration::from_secs(1), recorder.stirred()).await;
    assert!(again.is_err(), "it is at work already");
    drop((open, more));
    drop(recorder.begin(to("m")));
    recorder.stirred().await;
}
