//! Which records are asked for.

use super::{RequestRecord, RequestState};
use crate::server::ServerId;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Groups of states, as people look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[ts(export)]
pub enum StateFilter {
    UnderWay,
    Done,
    /// Failed or cut.
    Failed,
    /// The client left.
    Cancelled,
}

impl StateFilter {
    /// The states that it stands for.
    pub fn states(self) -> &'static [RequestState] {
        use RequestState::{Answering, Cancelled, Cut, Done, Failed, Loading, Waiting};
        match self {
            Self::UnderWay => &[Waiting, Loading, Answering],
            Self::Done => &[Done],
            Self::Failed => &[Failed, Cut],
            Self::Cancelled => &[Cancelled],
        }
    }
}

/// Which records are asked for; a field that is not set lets everything through. Default: all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
#[ts(export)]
pub struct TrafficFilter {
    /// By what clients are counted under: a key's or a program's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub server: Option<ServerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub state: Option<StateFilter>,
    /// Only those whose first token took so many milliseconds or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub slower_than_ms: Option<u32>,
    /// Only those with this text in the name of client, program, model or what was asked for; in whatever case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub find: Option<String>,
    /// Only those that came then or later, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub since_ms: Option<i64>,
    /// Only those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub until_ms: Option<i64>,
    /// Only those with a lesser number: the next page behind the last record of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub before: Option<u64>,
    /// 1 to 500; default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub limit: Option<u32>,
}

impl TrafficFilter {
    /// How many records a page has at most.
    pub fn page(&self) -> u32 {
        self.limit.unwrap_or(50).clamp(1, 500)
    }

    /// Whether a record is one of those; the store asks the same in SQL.
    pub fn lets_through(&self, record: &RequestRecord) -> bool {
        let at = record.at.as_millisecond();
        self.client.as_ref().is_none_or(|client| record.client.name() == client)
            && (self.server.is_none() || self.server == record.server)
            && (self.model.is_none() || self.model == record.model)
            && self.state.is_none_or(|state| state.states().contains(&record.state))
            && self.slower_than_ms.is_none_or(|ms| record.ttft_ms.is_some_and(|ttft| ttft >= ms))
            && self.find.as_ref().is_none_or(|text| is_found(record, text))
            && self.since_ms.is_none_or(|since| at >= since)
            && self.until_ms.is_none_or(|until| at < until)
            && self.before.is_none_or(|before| record.id < before)
    }
}

/// As SQLite's LIKE: letters of ASCII are the same in both cases.
fn is_found(record: &RequestRecord, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let RequestRecord { client, asked, model, .. } = record;
    let names = [Some(client.name()), client.program.as_deref(), asked.as_deref(), model.as_deref()];
    names.into_iter().flatten().any(|name| name.to_ascii_lowercase().contains(&text))
}
