//! What is noted of each request while it goes its way. Nothing here waits, and nothing is kept of what was asked or answered.

use super::{
    keys::{Held, UnderWay},
    path::ApiPath,
    refusal::Refusal,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pilothouse_dialects::chat::{Chunk, Finish, Usage};
use pilothouse_domain::{
    Timestamp,
    scene::alias_of,
    traffic::{Client, Dialect, RequestRecord, RequestState, Tokens, TraceParent, Why},
};
use pilothouse_leases::{Lease, Leases, Waits};
use pilothouse_records::{Asker, OpenRecord, Recorder};
use std::{sync::Arc, time::Duration};

const RECORD: HeaderName = HeaderName::from_static("x-pilothouse-record");

/// The record of one request. Clones write the same one; when the last is dropped before its end, the client has left.
#[derive(Clone)]
pub(super) struct Record(Arc<OpenRecord>);

impl Record {
    /// `key`: the one that it shows. `asker`: the program, which may be known later.
    pub fn begin(
        recorder: &Recorder,
        path: &ApiPath,
        headers: &HeaderMap,
        key: Option<&Held>,
        asker: Asker,
    ) -> Self {
        let dialect = match path.text().as_str() {
            "chat/completions" => Dialect::Chat,
            "completions" => Dialect::Completions,
            "embeddings" => Dialect::Embeddings,
            "responses" => Dialect::Responses,
            "messages" => Dialect::Messages,
            _ => Dialect::Other,
        };
        Self::in_dialect(recorder, dialect, headers, key, asker)
    }

    pub fn in_dialect(
        recorder: &Recorder,
        dialect: Dialect,
        headers: &HeaderMap,
        key: Option<&Held>,
        asker: Asker,
    ) -> Self {
        let client = Client { key: key.map(|key| key.name().to_owned()), ..Client::default() };
        let (at, parent) = (Timestamp::now(), parent(headers));
        let record = RequestRecord { at, dialect, client, parent, ..RequestRecord::default() };
        Self(Arc::new(recorder.begin_by(record, asker)))
    }

    /// What the body says.
    pub fn asks(&self, name: Option<&str>, streams: bool, most_output: Option<u64>) {
        self.0.update(|record| {
            record.asked = name.map(str::to_owned);
            record.streamed = streams;
            record.most_output = most_output.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        });
    }

    /// It counts among the requests of its key until it has ended, and what it took is counted then.
    pub fn counts(&self, under_way: UnderWay) {
        self.0.when_ended(|record| under_way.end(record));
    }

    /// It is not its turn at once.
    pub fn waits(&self, waits: &Waits) {
        let (state, loads) = match waits {
            Waits::Load(model) => (RequestState::Loading, Some(model)),
            Waits::Switch | Waits::Turn => (RequestState::Waiting, None),
        };
        self.0.update(|record| {
            record.state = state;
            if let Some(model) = loads {
                (record.server, record.model) = (Some(model.server.clone()), Some(model.model.clone()));
            }
        });
    }

    /// It has a lease, after this wait.
    pub fn leased(&self, leases: &Leases, lease: &Lease, waited: Duration, governed: Option<&str>) {
        let target = lease.target();
        let ms = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
        self.0.update(|record| {
            if record.state == RequestState::Loading {
                record.load_ms = Some(ms);
            } else {
                record.queued_ms = Some(ms);
            }
            record.state = RequestState::Answering;
            (record.server, record.model) = (Some(target.server.clone()), Some(target.model.clone()));
            record.role = lease.role().map(str::to_owned);
            record.why = Some(why(leases, record.asked.as_deref(), lease.role()));
            record.governed =
                governed.iter().flat_map(|names| names.split(", ")).map(str::to_owned).collect();
        });
    }

    /// The head of the answer is on its way to the client.
    pub fn answers(&self, status: StatusCode) {
        self.0.update(|record| record.status = Some(status.as_u16()));
    }

    /// The name by which it is found later, for the client.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(RECORD, HeaderValue::from(self.0.id()));
    }

    /// Events of an answer that goes on in its server's own words.
    pub fn passed(&self, events: usize) {
        self.0.first_token();
        self.0.tokens(u32::try_from(events).unwrap_or(u32::MAX));
    }

    /// Pieces of an answer that is told in other words.
    pub fn told(&self, chunks: &[Chunk]) {
        let tokens = chunks.iter().filter(|chunk| chunk.says_something()).count();
        if tokens > 0 {
            self.passed(tokens);
        }
    }

    /// It ended well, or with what the server said instead.
    pub fn done(&self, usage: Option<Usage>, finish: Option<String>) {
        self.0.end(|record| {
            if record.status.is_some_and(|status| status >= 400) {
                record.state = RequestState::Failed;
            }
            if let Some(usage) = usage {
                let tokens = |count: Option<u64>| count.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                record.tokens = Tokens {
                    input: tokens(usage.prompt),
                    cached: tokens(usage.cached),
                    output: tokens(usage.output),
                    counted: usage.output.is_some(),
                };
            }
            record.finish = finish;
        });
    }

    /// It was refused, or failed after its beginning.
    pub fn failed(&self, why: &Refusal) {
        self.0.end(|record| {
            record.state = if &*why.code == "switched" { RequestState::Cut } else { RequestState::Failed };
            record.status = record.status.or(Some(why.status.as_u16()));
            record.error = Some(why.code.clone().into_owned());
        });
    }
}

/// How a name led to its model.
fn why(leases: &Leases, asked: Option<&str>, role: Option<&str>) -> Why {
    match (asked, role) {
        (None, _) => Why::Role,
        (Some(asked), _) if leases.routes().aliases.contains_key(asked) => Why::Alias,
        (Some(asked), Some(role)) if asked == role => Why::Role,
        (Some(asked), _)
            if alias_of(&leases.routes().aliases, asked)
                .is_some_and(|(_, to)| role.is_none_or(|role| to == role)) =>
        {
            Why::Rule
        }
        (Some(_), Some(_)) => Why::Role,
        (Some(_), None) => Why::OwnName,
    }
}

/// A server's word for why an answer ended.
pub(super) fn word(finish: &Finish) -> String {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Other(word) => word,
    }
    .to_owned()
}

/// Whose trace it belongs to. Who names two names none.
fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut all = headers.get_all("traceparent").iter();
    let one = all.next().filter(|_| all.next().is_none())?;
    TraceParent::parse(one.to_str().ok()?)
}
