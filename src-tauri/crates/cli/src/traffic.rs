use crate::{
    completing, document, gauge_history,
    output::{ABSENT, Output, clock, day_and_second, known, table, words},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{
    server::ServerId,
    traffic::{RequestRecord, RequestState, StateFilter, TallyView, TrafficFilter, TrafficTotals},
    units::{milliseconds, short},
};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

const LOOK: Duration = Duration::from_millis(400);
/// Pages that one look reads at most, of 500 requests each.
const MOST_PAGES: u32 = 10;
const PAGE: u32 = 500;

#[derive(Args)]
pub struct Traffic {
    /// Go on: each request once it has ended.
    #[arg(short, long, conflicts_with_all = ["id", "totals"])]
    follow: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Only requests of this key or program.
    #[arg(long)]
    client: Option<String>,
    /// Only requests that this model answered.
    #[arg(long, add = completing::models())]
    model: Option<String>,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Only those that failed or were cut.
    #[arg(long)]
    failed: bool,
    /// One request, by the number that its answer has in the header x-pilothouse-record.
    #[arg(long, value_name = "ID", conflicts_with = "totals")]
    id: Option<u64>,
    /// What they add up to, by client and by model, over 15m, 1h, 24h, 30d or any span between.
    #[arg(long, value_name = "SPAN", value_parser = gauge_history::span_s)]
    totals: Option<u64>,
}

pub async fn run(arguments: Traffic, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    if let Some(id) = arguments.id {
        let reply = session.call(Call::TrafficRecord { id }).await?;
        let Reply::TrafficRecord { record } = reply else { return Err(unexpected(&reply)) };
        output.answer(document::request(&record), || one(&record));
        return Ok(0);
    }
    if let Some(span_s) = arguments.totals {
        let span_s = Some(u32::try_from(span_s).unwrap_or(u32::MAX));
        let reply = session.call(Call::TrafficTotals { span_s }).await?;
        let Reply::TrafficTotals { totals, .. } = reply else { return Err(unexpected(&reply)) };
        output.answer(document::totals(&totals), || sums(&totals));
        return Ok(0);
    }
    let filter = TrafficFilter {
        client: arguments.client,
        model: arguments.model,
        server: arguments.server.map(ServerId),
        state: arguments.failed.then_some(StateFilter::Failed),
        limit: Some(arguments.limit),
        ..TrafficFilter::default()
    };
    if arguments.follow {
        return follow(&session, filter, output).await;
    }
    let (requests, more) = page(&session, filter).await?;
    let documents: Vec<_> = requests.iter().map(document::request).collect();
    output.answer(json!({ "requests": documents, "more": more }), || {
        if requests.is_empty() {
            return "No program has asked yet.\n\nhint: “pilothouse status” shows the address for programs."
                .into();
        }
        table(&HEADER, requests.iter().map(row).collect())
    });
    Ok(0)
}

async fn page(session: &Session, filter: TrafficFilter) -> Result<(Vec<RequestRecord>, bool), ApiError> {
    let reply = session.call(Call::Traffic { filter }).await?;
    match reply {
        Reply::Traffic { requests, more } => Ok((requests, more)),
        other => Err(unexpected(&other)),
    }
}

/// Prints each request once it has ended, in the order of the ends.
async fn follow(session: &Session, filter: TrafficFilter, output: &Output) -> Result<u8, ApiError> {
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let (mut seen, _) = page(session, filter.clone()).await?;
    let mut follower = Follower::default();
    loop {
        let ended = follower.take(&seen);
        for record in &ended {
            output.answer(document::request(record), || line(record));
        }
        if output.is_lost() {
            return Ok(0);
        }
        tokio::select! {
            heard = &mut interrupt => return heard.map(|()| 130).map_err(|error| {
                ApiError::new(ErrorCode::System, format!("Ctrl-C could not be heard: {error}."))
            }),
            () = tokio::time::sleep(LOOK) => {}
        }
        seen = look(session, &filter, &follower, output).await?;
    }
}

/// What is new, and what has become of those that went on.
async fn look(
    session: &Session,
    filter: &TrafficFilter,
    follower: &Follower,
    output: &Output,
) -> Result<Vec<RequestRecord>, ApiError> {
    let mut all = Vec::new();
    let mut asked = TrafficFilter { limit: Some(PAGE), ..filter.clone() };
    for number in 1..=MOST_PAGES {
        let (requests, more) = match page(session, asked.clone()).await {
            // Its name is known: the last request of it is just not kept any more.
            Err(error) if error.code == ErrorCode::NotFound => break,
            other => other?,
        };
        asked.before = requests.last().map(|last| last.id);
        all.extend(requests);
        if !more || asked.before.is_none_or(|last| last <= follower.newest) {
            break;
        }
        if number == MOST_PAGES {
            output.remark("More requests came than could be listed; some are left out here.");
        }
    }
    // Long answers are behind many younger ones.
    let listed: BTreeSet<u64> = all.iter().map(|record| record.id).collect();
    for id in follower.open.iter().filter(|id| !listed.contains(id)) {
        match session.call(Call::TrafficRecord { id: *id }).await {
            Ok(Reply::TrafficRecord { record }) => all.push(record),
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if error.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Which requests have been printed, told by few numbers.
#[derive(Debug, Default)]
struct Follower {
    /// The greatest number that was seen.
    newest: u64,
    /// Those up to it that went on when they were seen last.
    open: BTreeSet<u64>,
}

impl Follower {
    /// Those that have ended and were not taken before, by their ends.
    fn take(&mut self, seen: &[RequestRecord]) -> Vec<RequestRecord> {
        let is_new = |record: &&RequestRecord| record.id > self.newest || self.open.contains(&record.id);
        let (going_on, mut ended): (Vec<RequestRecord>, Vec<RequestRecord>) =
            seen.iter().filter(is_new).cloned().partition(|record| record.state.is_under_way());
        ended.sort_by_key(|record| {
            (record.at.as_millisecond() + i64::from(record.total_ms.unwrap_or_default()), record.id)
        });
        self.newest = seen.iter().map(|record| record.id).max().unwrap_or_default().max(self.newest);
        // One that is not found any more is over.
        self.open = going_on.iter().map(|record| record.id).collect();
        ended
    }
}

const HEADER: [&str; 11] = [
    "AT (local)",
    "ID",
    "CLIENT",
    "ASKED",
    "ANSWERED BY",
    "QUEUE",
    "FIRST TOKEN",
    "tok/s",
    "IN (cached)",
    "OUT",
    "STATE",
];

fn row(record: &RequestRecord) -> Vec<String> {
    let ms = |ms: Option<u32>| ms.map_or_else(|| ABSENT.into(), |ms| milliseconds(f64::from(ms)));
    vec![
        clock(record.at),
        record.id.to_string(),
        record.client.name().to_owned(),
        record.asked.clone().unwrap_or_else(|| ABSENT.into()),
        answered_by(record),
        ms(record.queued_ms),
        ms(record.ttft_ms),
        known(record.decode_tok_s),
        input(record),
        tokens(record.tokens.output, record.tokens.counted),
        state(record),
    ]
}

fn answered_by(record: &RequestRecord) -> String {
    match (&record.model, &record.server) {
        (Some(model), Some(server)) => format!("{model} · {server}"),
        (Some(model), None) => model.clone(),
        (None, _) => ABSENT.into(),
    }
}

/// Estimates are said to be such.
fn tokens(count: Option<u32>, counted: bool) -> String {
    let about = if counted { "" } else { "~" };
    count.map_or_else(|| ABSENT.into(), |count| format!("{about}{count}"))
}

fn input(record: &RequestRecord) -> String {
    let all = tokens(record.tokens.input, record.tokens.counted);
    record.tokens.cached.map_or_else(|| all.clone(), |cached| format!("{all} ({cached})"))
}

fn state(record: &RequestRecord) -> String {
    let after = record.total_ms.map(|ms| milliseconds(f64::from(ms)));
    let why = record.detail.as_ref().or(record.error.as_ref());
    let said =
        |word: &str, of: Option<&String>| of.map_or_else(|| word.to_owned(), |of| format!("{word}, {of}"));
    match record.state {
        RequestState::Done => said("done", after.as_ref()),
        RequestState::Failed => said("failed", why),
        RequestState::Cut => said("cut", why.or(after.as_ref())),
        RequestState::Cancelled => {
            after.map_or_else(|| "client left".into(), |after| format!("client left after {after}"))
        }
        RequestState::Waiting | RequestState::Loading | RequestState::Answering => words(&record.state),
    }
}

/// A request of its own line, where no table can be drawn up.
fn line(record: &RequestRecord) -> String {
    let first = record.ttft_ms.map(|ms| format!(" · first token {}", milliseconds(f64::from(ms))));
    let rate = record.decode_tok_s.map(|rate| format!(" · {} tok/s", short(rate)));
    let out = tokens(record.tokens.output, record.tokens.counted);
    format!(
        "{} {:<16} {:<36} {} in, {out} out{}{} · {}",
        clock(record.at),
        record.client.name(),
        answered_by(record),
        input(record),
        first.unwrap_or_default(),
        rate.unwrap_or_default(),
        state(record)
    )
}

/// Everything that is known of one.
fn one(record: &RequestRecord) -> String {
    let ms = |ms: Option<u32>| ms.map(|ms| milliseconds(f64::from(ms)));
    let list = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    let program = record.client.program.as_ref().map(|name| match record.client.pid {
        Some(pid) => format!("{name}, process {pid}"),
        None => name.clone(),
    });
    let streamed = if record.streamed { ", streamed" } else { "" };
    let lines = [
        ("Request", Some(record.id.to_string())),
        ("At", Some(day_and_second(record.at))),
        ("State", Some(state(record))),
        ("Key", record.client.key.clone()),
        ("Program", program),
        ("Dialect", Some(format!("{}{streamed}", words(&record.dialect)))),
        ("Asked for", record.asked.clone()),
        ("Answered by", Some(answered_by(record))),
        ("Role", record.role.clone()),
        ("Why", record.why.as_ref().map(words)),
        ("Queue", ms(record.queued_ms)),
        ("Load", ms(record.load_ms)),
        ("First token", ms(record.ttft_ms)),
        ("In all", ms(record.total_ms)),
        ("Tokens in", record.tokens.input.map(|_| input(record))),
        ("Tokens out", record.tokens.output.map(|count| tokens(Some(count), record.tokens.counted))),
        ("tok/s", record.decode_tok_s.map(short)),
        ("Ended by", record.finish.clone()),
        ("Status", record.status.map(|status| status.to_string())),
        ("Error", record.error.clone()),
        ("Left out", list(&record.governed)),
        ("Changed", list(&record.changed)),
    ];
    let told = lines.into_iter().filter_map(|(name, value)| Some(format!("{name:<14}{}\n", value?)));
    told.collect()
}

fn sums(totals: &TrafficTotals) -> String {
    if totals.all.requests == 0 {
        return format!("No request has ended since {}.", day_and_second(totals.since));
    }
    let header = |first: &'static str| {
        [first, "REQUESTS", "FAILED", "IN", "CACHED", "OUT", "FIRST TOKEN", "95 %", "tok/s"]
    };
    let clients = totals.clients.iter().map(|one| sum(one.client.clone(), &one.tally));
    let clients = clients.chain([sum("all".into(), &totals.all)]).collect();
    let models = totals.models.iter().map(|one| sum(format!("{} · {}", one.model, one.server), &one.tally));
    let mut text = format!(
        "Since {}\n\n{}\n\n{}",
        day_and_second(totals.since),
        table(&header("CLIENT"), clients),
        table(&header("MODEL"), models.collect())
    );
    if totals.lost > 0 {
        text.push_str(&format!(
            "\n\n{} records could not be kept: more came than could be written.",
            totals.lost
        ));
    }
    text
}

fn sum(name: String, tally: &TallyView) -> Vec<String> {
    let count = |count: Option<u64>| count.map_or_else(|| ABSENT.into(), |count| count.to_string());
    let ms = |ms: Option<f64>| ms.map_or_else(|| ABSENT.into(), milliseconds);
    let cached = tally.tokens_cached.zip(tally.tokens_in.filter(|all| *all > 0));
    let share = |(cached, all): (u64, u64)| format!("{:.0} %", 100.0 * cached as f64 / all as f64);
    vec![
        name,
        tally.requests.to_string(),
        tally.failed.to_string(),
        count(tally.tokens_in),
        cached.map_or_else(|| ABSENT.into(), share),
        count(tally.tokens_out),
        ms(tally.ttft_ms),
        ms(tally.ttft_p95_ms),
        known(tally.decode_tok_s),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{Timestamp, traffic::Tokens};

    fn record(id: u64, state: RequestState) -> RequestRecord {
        let at = Timestamp::from_millisecond(id as i64 * 1000).unwrap();
        RequestRecord { id, at, state, total_ms: Some(10), ..RequestRecord::default() }
    }

    fn ids(records: &[RequestRecord]) -> Vec<u64> {
        records.iter().map(|record| record.id).collect()
    }

    #[test]
    fn each_request_is_told_once_and_when_it_has_ended() {
        use RequestState::{Answering, Cut, Done, Waiting};
        let mut follower = Follower::default();
        let first = [record(3, Waiting), record(2, Done), record(1, Answering)];
        assert_eq!(ids(&follower.take(&first)), [2]);
        assert_eq!(ids(&follower.take(&first)), [0; 0]);
        // 1 was asked for by its number, because younger ones filled the page.
        let later = [record(5, Answering), record(4, Done), record(3, Cut), record(2, Done), record(1, Done)];
        assert_eq!(ids(&follower.take(&later)), [1, 3, 4]);
        assert_eq!(follower.open, BTreeSet::from([5]));
        assert_eq!(ids(&follower.take(&later)), [0; 0]);
        assert_eq!(ids(&follower.take(&[])), [0; 0]);
        assert!(follower.open.is_empty(), "it is not found any more");
    }

    #[test]
    fn long_answers_are_told_in_the_order_of_their_ends() {
        let long = RequestRecord { total_ms: Some(60_000), ..record(1, RequestState::Done) };
        let seen = [record(2, RequestState::Done), long];
        assert_eq!(ids(&Follower::default().take(&seen)), [2, 1]);
    }

    #[test]
    fn a_line_says_what_is_known_and_marks_estimates() {
        let tokens = Tokens { input: Some(1866), cached: Some(0), output: Some(296), counted: true };
        let done = RequestRecord {
            server: Some("ollama".into()),
            model: Some("qwen".into()),
            tokens,
            total_ms: Some(4630),
            ..record(1, RequestState::Done)
        };
        assert_eq!(row(&done)[4..], ["qwen · ollama", "–", "–", "–", "1866 (0)", "296", "done, 4.63 s"]);
        let guessed =
            RequestRecord { tokens: Tokens { counted: false, cached: None, ..tokens }, ..done.clone() };
        assert_eq!(row(&guessed)[8..10], ["~1866", "~296"]);
        for (state, detail, error, wanted) in [
            (
                RequestState::Failed,
                Some("context is 8192"),
                Some("context_length_exceeded"),
                "failed, context is 8192",
            ),
            (RequestState::Failed, None, Some("server_error"), "failed, server_error"),
            (RequestState::Failed, None, None, "failed"),
            (RequestState::Cut, None, None, "cut, 4.63 s"),
            (RequestState::Cancelled, None, None, "client left after 4.63 s"),
            (RequestState::Loading, None, None, "loading"),
        ] {
            let record = RequestRecord {
                state,
                detail: detail.map(Into::into),
                error: error.map(Into::into),
                ..done.clone()
            };
            assert_eq!(row(&record)[10], wanted);
        }
        assert!(!one(&done).contains("Queue"), "what is not known has no line");
    }
}
