use super::*;
use proptest::prelude::*;

fn record(id: u64) -> RequestRecord {
    RequestRecord {
        id,
        at: Timestamp::from_millisecond(id as i64 * 1000).unwrap(),
        ..RequestRecord::default()
    }
}

#[test]
fn a_client_is_counted_under_what_is_known_best() {
    let client = |key: Option<&str>, program: Option<&str>| Client {
        key: key.map(Into::into),
        program: program.map(Into::into),
        pid: Some(7),
    };
    for (key, program, wanted) in [
        (Some("notes"), Some("python3"), "notes"),
        (None, Some("python3"), "python3"),
        (Some("notes"), None, "notes"),
        (None, None, "unknown"),
        (Some(""), Some("python3"), ""),
    ] {
        assert_eq!(client(key, program).name(), wanted, "{key:?} {program:?}");
    }
}

#[test]
fn what_anybody_may_choose_freely_is_cut() {
    let long = || Some("ü".repeat(10_000));
    let fields = || vec!["f".repeat(1000); 1000];
    let mut record = RequestRecord {
        client: Client { key: long(), program: long(), pid: None },
        asked: long(),
        model: long(),
        role: long(),
        finish: long(),
        error: long(),
        detail: long(),
        governed: fields(),
        changed: fields(),
        ..record(1)
    };
    record.close(None, 5.0);
    let text = serde_json::to_string(&record).unwrap();
    assert!(text.len() < 10_000, "{}", text.len());
    assert_eq!(record.asked.unwrap().chars().count(), LONGEST_NAME);
    let mut short = "as it is".to_owned();
    shorten(&mut short, 8);
    assert_eq!(short, "as it is");
}

#[test]
fn an_end_adds_only_what_is_not_known() {
    let counted = |output| Tokens { output: Some(output), counted: true, ..Tokens::default() };
    let ended = |record: RequestRecord, ttft: Option<f64>, total| {
        let mut record = record;
        record.close(ttft, total);
        record
    };
    let streamed = RequestRecord { streamed: true, tokens: counted(296), ..record(1) };
    let done = ended(streamed.clone(), Some(508.4), 4630.0);
    assert_eq!((done.state, done.ttft_ms, done.total_ms), (RequestState::Done, Some(508), Some(4630)));
    assert!((done.decode_tok_s.unwrap() - 295.0 / 4.1216).abs() < 1e-9, "{done:?}");
    for (what, record) in [
        ("estimates", RequestRecord { tokens: Tokens { counted: false, ..counted(9) }, ..streamed.clone() }),
        ("one piece", RequestRecord { streamed: false, ..streamed.clone() }),
        ("one token", RequestRecord { tokens: counted(1), ..streamed.clone() }),
        ("none told", RequestRecord { tokens: Tokens::default(), ..streamed.clone() }),
    ] {
        assert_eq!(ended(record, Some(10.0), 20.0).decode_tok_s, None, "{what}");
    }
    assert_eq!(ended(streamed.clone(), Some(20.0), 20.0).decode_tok_s, None, "no time between");
    let told = RequestRecord { decode_tok_s: Some(71.9), ttft_ms: Some(5), ..streamed };
    let told = ended(told, Some(508.0), 4630.0);
    assert_eq!((told.decode_tok_s, told.ttft_ms), (Some(71.9), Some(5)));
    for state in [RequestState::Failed, RequestState::Cancelled, RequestState::Cut] {
        let ended = ended(RequestRecord { state, ..record(1) }, None, f64::INFINITY);
        assert_eq!((ended.state, ended.ttft_ms, ended.total_ms), (state, None, Some(u32::MAX)));
    }
}

#[test]
fn a_filter_lets_through_what_it_names() {
    let mut one = RequestRecord {
        client: Client { key: Some("notes".into()), program: Some("python3".into()), pid: None },
        asked: Some("GPT-4o".into()),
        server: Some("ollama".into()),
        model: Some("qwen".into()),
        state: RequestState::Done,
        ttft_ms: Some(300),
        ..record(5)
    };
    let filter = |text: &str| serde_json::from_str::<TrafficFilter>(text).unwrap();
    for (text, wanted) in [
        ("{}", true),
        (r#"{"client":"notes"}"#, true),
        (r#"{"client":"python3"}"#, false),
        (r#"{"server":"ollama","model":"qwen"}"#, true),
        (r#"{"server":"lmstudio"}"#, false),
        (r#"{"state":"done"}"#, true),
        (r#"{"state":"failed"}"#, false),
        (r#"{"slower_than_ms":300}"#, true),
        (r#"{"slower_than_ms":301}"#, false),
        (r#"{"find":"PYTHON"}"#, true),
        (r#"{"find":"gpt-4"}"#, true),
        (r#"{"find":"nothing"}"#, false),
        (r#"{"since_ms":5000}"#, true),
        (r#"{"until_ms":5000}"#, false),
        (r#"{"before":5}"#, false),
        (r#"{"before":6}"#, true),
    ] {
        assert_eq!(filter(text).lets_through(&one), wanted, "{text}");
    }
    (one.state, one.ttft_ms) = (RequestState::Cut, None);
    assert!(filter(r#"{"state":"failed"}"#).lets_through(&one));
    assert!(!filter(r#"{"slower_than_ms":0}"#).lets_through(&one), "that it was slow is not known");
    assert_eq!((filter("{}").page(), filter(r#"{"limit":9000}"#).page()), (50, 500));
    assert!(serde_json::from_str::<TrafficFilter>(r#"{"modle":"x"}"#).is_err());
}

#[test]
fn absent_tokens_add_nothing_and_are_no_zero() {
    let mut tally = Tally::default();
    tally.add(&record(1));
    assert_eq!((tally.tokens_in, tally.view().ttft_ms, tally.estimated), (None, None, 0));
    let tokens = Tokens { input: Some(10), cached: None, output: Some(0), counted: true };
    tally.add(&RequestRecord { tokens, ttft_ms: Some(40), ..record(2) });
    tally.add(&RequestRecord { tokens: Tokens { counted: false, ..tokens }, ..record(3) });
    tally.add(&RequestRecord { state: RequestState::Cut, ..record(4) });
    tally.add(&RequestRecord { state: RequestState::Cancelled, ..record(5) });
    assert_eq!((tally.tokens_in, tally.tokens_cached, tally.tokens_out), (Some(20), None, Some(0)));
    assert_eq!((tally.requests, tally.failed, tally.cancelled, tally.estimated), (5, 1, 1, 1));
}

#[test]
fn totals_are_by_client_and_by_model_with_the_most_first() {
    let cell = |client: &str, model: &str, requests: u64| Cell {
        key: CellKey { client: client.into(), server: "s".into(), model: model.into() },
        tally: Tally { requests, failed: 1, ..Tally::default() },
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    let cells = [cell("b", "m", 2), cell("a", "m", 3), cell("b", "n", 4), cell("c", "", 1)];
    let totals = totals(&cells, at(60), at(100), 7);
    assert_eq!((totals.all.requests, totals.all.failed, totals.lost), (10, 4, 7));
    let clients: Vec<_> = totals.clients.iter().map(|one| (&*one.client, one.tally.requests)).collect();
    assert_eq!(clients, [("b", 6), ("a", 3), ("c", 1)]);
    let models: Vec<_> = totals.models.iter().map(|one| (&*one.model, one.tally.requests)).collect();
    assert_eq!(models, [("m", 5), ("n", 4)]);
    let many: Vec<Cell> = (0..500).map(|n| cell(&format!("c{n}"), &format!("m{n}"), 1)).collect();
    let many = super::totals(&many, at(0), at(1), 0);
    assert_eq!((many.clients.len(), many.models.len(), many.all.requests), (100, 100, 500));
}

#[test]
fn a_period_is_made_of_few_sums() {
    let day = 86_400_000;
    let now = 20_000 * day + 14 * 3_600_000 + 32 * 60_000 + 8_000;
    let made = |back: i64| {
        let pieces = pieces(now - back, now);
        let sums = pieces.iter().map(|piece| (piece.to_ms - piece.from_ms) / piece.span.ms()).sum::<i64>();
        (pieces.first().unwrap().from_ms, pieces.last().unwrap().to_ms, sums)
    };
    let end = now - 8_000 + 60_000;
    // The last hour is 61 minutes where it begins within one.
    assert_eq!(made(3_600_000), (end - 3_660_000, end, 61));
    assert_eq!(made(0), (end - 60_000, end, 1));
    let (from, to, sums) = made(30 * day);
    assert_eq!((from % 3_600_000, to), (0, end), "by hours: single minutes of then are gone");
    assert!(sums < 30 + 24 + 24 + 60, "{sums}");
}

proptest! {
    #[test]
    fn each_moment_of_a_period_is_in_one_piece(now in 0_i64..4_000_000_000_000, back in 0_i64..4_000_000_000) {
        let pieces = pieces(now - back, now);
        for pair in pieces.windows(2) {
            prop_assert_eq!(pair[0].to_ms, pair[1].from_ms);
        }
        let first = pieces[0];
        prop_assert!(first.from_ms <= now - back && now - back - first.from_ms < 3_600_000);
        prop_assert!(pieces[pieces.len() - 1].to_ms > now);
        for piece in pieces {
            prop_assert_eq!((piece.from_ms.rem_euclid(piece.span.ms()), piece.to_ms.rem_euclid(piece.span.ms())), (0, 0));
            // What is no longer kept is not asked for.
            prop_assert!(piece.span != Span::Minute || piece.from_ms >= now - MINUTES_KEPT_MS);
        }
    }

    #[test]
    fn a_quantile_is_within_its_bound_and_parts_add_up(
        figures in prop::collection::vec(0.01_f64..100_000.0, 1..300), share in 0.0_f64..1.0, cut in 0_usize..300,
    ) {
        let spread = |figures: &[f64]| {
            let mut spread = Spread::default();
            figures.iter().for_each(|figure| spread.add(*figure));
            spread
        };
        let whole = spread(&figures);
        let (one, other) = figures.split_at(cut.min(figures.len()));
        let mut parts = spread(one);
        parts.merge(&spread(other));
        prop_assert_eq!(&parts, &whole);
        let mut sorted = figures.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
        let (found, exact) = (whole.quantile(share).unwrap(), sorted[rank - 1]);
        prop_assert!((found / exact).log2().abs() <= 1.0 / 32.0 + 1e-9, "{} {}", found, exact);
        let text = serde_json::to_string(&whole).unwrap();
        prop_assert_eq!(serde_json::from_str::<Spread>(&text).unwrap(), whole);
    }
}

#[test]
fn figures_beyond_all_bounds_are_counted_at_them() {
    let mut spread = Spread::default();
    for figure in [0.0, -5.0, f64::INFINITY, f64::NAN, 1e300] {
        spread.add(figure);
    }
    assert_eq!(spread.count(), 4, "what is no number is none");
    assert!(spread.quantile(0.0).unwrap() < 0.01);
    assert!(spread.quantile(1.0).unwrap() > 1e7);
    assert_eq!(Spread::default().quantile(0.5), None);
}
