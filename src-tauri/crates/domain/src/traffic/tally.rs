//! What requests add up to, by client and by model.

use super::{RequestRecord, RequestState, spread::Spread};
use crate::{Timestamp, server::ServerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// Clients, and models, that are listed at most; the rest is in the sum of all.
const LISTED: usize = 100;
/// What clients are counted under once there are too many of them.
pub const OTHERS: &str = "others";

/// What requests add up to. Sums of tokens are `None` where no request told any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    pub requests: u64,
    /// Failed or cut.
    pub failed: u64,
    /// The client left.
    pub cancelled: u64,
    pub tokens_in: Option<u64>,
    pub tokens_cached: Option<u64>,
    pub tokens_out: Option<u64>,
    /// Requests whose tokens are not the server's figures.
    pub estimated: u64,
    /// Times to the first token, in milliseconds.
    pub ttft: Spread,
    /// Output tokens per second.
    pub decode: Spread,
}

/// Whose requests a tally is of. Empty texts: no server or model was reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CellKey {
    pub client: String,
    pub server: String,
    pub model: String,
}

impl CellKey {
    /// What a record is counted under.
    pub fn of(record: &RequestRecord) -> Self {
        Self {
            client: record.client.name().to_owned(),
            server: record.server.as_ref().map(|server| server.0.clone()).unwrap_or_default(),
            model: record.model.clone().unwrap_or_default(),
        }
    }
}

/// The requests of one client to one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    pub key: CellKey,
    pub tally: Tally,
}

impl Tally {
    /// Counts a request that has ended.
    pub fn add(&mut self, record: &RequestRecord) {
        self.requests += 1;
        self.failed += u64::from(record.state.is_failure());
        self.cancelled += u64::from(record.state == RequestState::Cancelled);
        let tokens = record.tokens;
        let told = [tokens.input, tokens.cached, tokens.output];
        self.estimated += u64::from(!tokens.counted && told.iter().any(Option::is_some));
        let sums = [&mut self.tokens_in, &mut self.tokens_cached, &mut self.tokens_out];
        for (sum, tokens) in sums.into_iter().zip(told) {
            *sum = plus(*sum, tokens.map(u64::from));
        }
        record.ttft_ms.iter().for_each(|ms| self.ttft.add(f64::from(*ms)));
        record.decode_tok_s.iter().for_each(|rate| self.decode.add(*rate));
    }

    /// Counts what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.tokens_in = plus(self.tokens_in, other.tokens_in);
        self.tokens_cached = plus(self.tokens_cached, other.tokens_cached);
        self.tokens_out = plus(self.tokens_out, other.tokens_out);
        self.estimated += other.estimated;
        self.ttft.merge(&other.ttft);
        self.decode.merge(&other.decode);
    }

    /// As views show it.
    pub fn view(&self) -> TallyView {
        TallyView {
            requests: self.requests,
            failed: self.failed,
            cancelled: self.cancelled,
            tokens_in: self.tokens_in,
            tokens_cached: self.tokens_cached,
            tokens_out: self.tokens_out,
            estimated: self.estimated,
            ttft_ms: self.ttft.quantile(0.5),
            ttft_p95_ms: self.ttft.quantile(0.95),
            decode_tok_s: self.decode.quantile(0.5),
        }
    }
}

/// A sum to which what is absent adds nothing.
fn plus(sum: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (sum, more) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or_default().saturating_add(other.unwrap_or_default())),
    }
}

/// What requests add up to, as views show it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TallyView {
    pub requests: u64,
    /// Failed or cut.
    pub failed: u64,
    /// The client left.
    pub cancelled: u64,
    /// `None`: no request told any; so with the others.
    pub tokens_in: Option<u64>,
    pub tokens_cached: Option<u64>,
    pub tokens_out: Option<u64>,
    /// Requests whose tokens are estimates, not the server's figures.
    pub estimated: u64,
    /// Median time to the first token, within 2.2 %.
    pub ttft_ms: Option<f64>,
    /// 95 of 100 are not above it, within 2.2 %.
    pub ttft_p95_ms: Option<f64>,
    /// Median of the rates after the first token, within 2.2 %.
    pub decode_tok_s: Option<f64>,
}

/// The requests of one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ClientTally {
    /// A key's or a program's name, "unknown", or "others" for what is beyond the bound of names.
    pub client: String,
    #[serde(flatten)]
    pub tally: TallyView,
}

/// The requests that one model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ModelTally {
    pub server: ServerId,
    pub model: String,
    #[serde(flatten)]
    pub tally: TallyView,
}

/// Requests of a period that have ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct TrafficTotals {
    /// The begin of the period: a whole minute, and beyond two days back a whole hour.
    #[ts(type = "string")]
    pub since: Timestamp,
    #[ts(type = "string")]
    pub until: Timestamp,
    pub all: TallyView,
    /// The most requests first, 100 at most.
    pub clients: Vec<ClientTally>,
    /// The most requests first, 100 at most. Those that reached no model are in none.
    pub models: Vec<ModelTally>,
    /// Records that could not be kept since Pilothouse started; they are in none of these.
    pub lost: u64,
}

/// Adds up cells of a period.
pub fn totals(cells: &[Cell], since: Timestamp, until: Timestamp, lost: u64) -> TrafficTotals {
    let mut all = Tally::default();
    let mut clients: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut models: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for Cell { key, tally } in cells {
        all.merge(tally);
        clients.entry(&key.client).or_default().merge(tally);
        if !key.model.is_empty() {
            models.entry((&key.server, &key.model)).or_default().merge(tally);
        }
    }
    let mut clients: Vec<ClientTally> = clients
        .into_iter()
        .map(|(client, tally)| ClientTally { client: client.to_owned(), tally: tally.view() })
        .collect();
    let mut models: Vec<ModelTally> = models
        .into_iter()
        .map(|((server, model), tally)| ModelTally {
            server: server.into(),
            model: model.to_owned(),
            tally: tally.view(),
        })
        .collect();
    // Of equals, the order of their names stays.
    clients.sort_by_key(|client| std::cmp::Reverse(client.tally.requests));
    models.sort_by_key(|model| std::cmp::Reverse(model.tally.requests));
    clients.truncate(LISTED);
    models.truncate(LISTED);
    TrafficTotals { since, until, all: all.view(), clients, models, lost }
}
