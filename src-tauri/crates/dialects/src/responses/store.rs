//! Answers that are kept, so that a client can go on from one (`previous_response_id`) or ask for it again.

use crate::Refused;
use crate::fields::{Fields, raw, with_fields};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A kept answer and the conversation that it ends.
#[derive(Debug)]
pub struct Stored {
    id: String,
    document: String,
    /// What was sent, answers before included, then this answer. Each has an id.
    items: Vec<Arc<str>>,
    /// How many of them are the answer.
    output: usize,
}

impl Stored {
    /// `sent` is the conversation up to the answer, of which the first `old` were kept before; `output` the answer's items.
    pub fn new(id: &str, document: String, sent: &[Arc<str>], old: usize, output: Vec<Arc<str>>) -> Self {
        let number = output.len();
        let own = id.strip_prefix(ANSWER).unwrap_or(id);
        let with_id =
            |(at, item): (usize, &Arc<str>)| if at < old { item.clone() } else { identified(item, own, at) };
        let items = sent.iter().enumerate().map(with_id).chain(output).collect();
        Self { id: id.into(), document, items, output: number }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The document for `GET /v1/responses/{id}`.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The whole conversation, the answer at its end.
    pub fn items(&self) -> &[Arc<str>] {
        &self.items
    }

    /// The item of this id.
    pub fn item(&self, id: &str) -> Option<&Arc<str>> {
        self.items.iter().find(|item| id_of(item).as_deref() == Some(id))
    }

    /// The document for `GET /v1/responses/{id}/input_items`: what was sent, that of answers before included. Errors: the page
    /// goes on from an item that is not there.
    pub fn input_items(&self, page: &Page) -> Result<String, Refused> {
        let sent = &self.items[..self.items.len() - self.output];
        let mut sent: Vec<&Arc<str>> = sent.iter().collect();
        if !page.oldest_first {
            sent.reverse();
        }
        let from = match &page.after {
            None => 0,
            Some(after) => {
                sent.iter().position(|item| id_of(item).as_ref() == Some(after)).map(|at| at + 1).ok_or_else(
                    || Refused::invalid(format!("There is no item '{after}' to go on from.")).about("after"),
                )?
            }
        };
        let shown: Vec<&Arc<str>> = sent[from..].iter().take(page.limit).copied().collect();
        let end = |item: Option<&&Arc<str>>| raw(item.and_then(|item| id_of(item)));
        let written: Vec<String> = shown.iter().map(|item| listed(item)).collect();
        Ok(format!(
            r#"{{"object":"list","data":[{}],"first_id":{},"last_id":{},"has_more":{}}}"#,
            written.join(","),
            end(shown.first()),
            end(shown.last()),
            from + shown.len() < sent.len(),
        ))
    }

    /// How much memory it may take. Items that answers share count for each of them.
    fn bytes(&self) -> usize {
        const EACH: usize = 64;
        let items: usize = self.items.iter().map(|item| item.len() + EACH).sum();
        items + self.document.len() + self.id.len() + EACH
    }
}

/// Which items of a list are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Those behind the item of this id.
    pub after: Option<String>,
    /// At most so many, 1 to 100.
    pub limit: usize,
    pub oldest_first: bool,
}

impl Page {
    /// Of the query of an address, as pairs. What it does not name, or names strangely, is as OpenAI has it.
    pub fn of<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut page = Self { after: None, limit: 20, oldest_first: false };
        for (name, value) in query {
            match name {
                "after" if !value.is_empty() => page.after = Some(value.into()),
                "limit" => page.limit = value.parse().map_or(page.limit, |limit: usize| limit.clamp(1, 100)),
                "order" => page.oldest_first = value == "asc",
                _ => {}
            }
        }
        page
    }
}

/// The document that says that an answer is kept no longer.
pub fn deleted(id: &str) -> String {
    json!({ "id": id, "object": "response", "deleted": true }).to_string()
}

/// No answer of this id is kept.
pub fn not_found(id: &str) -> Refused {
    Refused::new(404, "response_not_found", format!("Response with id '{id}' not found."))
        .about("response_id")
}

/// Before the id of every answer.
pub const ANSWER: &str = "resp_";

/// The id of an item: of which kind it is, of which answer, which of it.
pub fn item_id(kind: &str, answer: &str, which: impl std::fmt::Display) -> String {
    let prefix = match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        "tool_search_call" => "tsc",
        _ => "item",
    };
    format!("{prefix}_{answer}_{which}")
}

/// The answer that an item with an id of ours belongs to.
pub fn answer_of(item: &str) -> Option<String> {
    let mut parts = item.split('_');
    let answer = parts.nth(1)?;
    (parts.next().is_some() && parts.next().is_none()).then(|| format!("{ANSWER}{answer}"))
}

fn id_of(item: &str) -> Option<String> {
    Fields::read(item)?.text("id")
}

/// An item that was sent, with an id of ours where it has none.
fn identified(item: &Arc<str>, answer: &str, at: usize) -> Arc<str> {
    let Some(fields) = Fields::read(item) else { return item.clone() };
    if fields.text("id").is_some() {
        return item.clone();
    }
    let kind = fields.text("type").unwrap_or_else(|| "message".into());
    let id = raw(item_id(&kind, answer, format_args!("i{at}")));
    with_fields(item, &format!("\"id\":{id}")).into()
}

/// An item as lists have it: a message has a type, and parts.
fn listed(item: &str) -> String {
    let Some(fields) = Fields::read(item) else { return item.to_owned() };
    let kind = fields.text("type");
    if !matches!(kind.as_deref(), None | Some("message")) {
        return item.to_owned();
    }
    let mut more = vec![];
    if kind.is_none() {
        more.push(r#""type":"message""#.to_owned());
    }
    if !fields.has("status") {
        more.push(r#""status":"completed""#.to_owned());
    }
    if let Some(content) = fields.get("content").filter(|content| content.get().starts_with('"')) {
        let part = if fields.text("role").as_deref() == Some("assistant") {
            r#""output_text","annotations":[],"logprobs":[]"#
        } else {
            r#""input_text""#
        };
        let text = content.get();
        let without = fields.without("content");
        more.push(format!(r#""content":[{{"type":{part},"text":{text}}}]"#));
        return with_fields(&without, &more.join(","));
    }
    with_fields(item, &more.join(","))
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Answers.
    pub number: usize,
    /// Memory of all together.
    pub bytes: usize,
    /// Seconds since an answer was kept.
    pub age_s: i64,
}

/// The answers that are kept. Beyond a limit the one that was not used for longest goes first.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    kept: HashMap<String, Kept>,
    /// By when it was used last, counted in uses.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    stored: Arc<Stored>,
    since_s: i64,
    used: u64,
    bytes: usize,
}

impl Store {
    pub fn new(limits: Limits) -> Self {
        Self { limits, kept: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 }
    }

    /// Keeps an answer. One that is larger than all that may be kept is not.
    pub fn keep(&mut self, stored: Stored, now_s: i64) {
        self.forget_old(now_s);
        self.delete(stored.id());
        let bytes = stored.bytes();
        if bytes > self.limits.bytes || self.limits.number == 0 {
            return;
        }
        self.uses += 1;
        self.bytes += bytes;
        let id = stored.id().to_owned();
        self.by_use.insert(self.uses, id.clone());
        self.kept.insert(id, Kept { stored: Arc::new(stored), since_s: now_s, used: self.uses, bytes });
        while self.kept.len() > self.limits.number || self.bytes > self.limits.bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.delete(&oldest);
        }
    }

    /// The answer of this id, which is thereby used.
    pub fn get(&mut self, id: &str, now_s: i64) -> Option<Arc<Stored>> {
        let is_old = now_s.saturating_sub(self.kept.get(id)?.since_s) > self.limits.age_s;
        if is_old {
            self.delete(id);
            return None;
        }
        self.uses += 1;
        let kept = self.kept.get_mut(id)?;
        self.by_use.remove(&kept.used);
        kept.used = self.uses;
        self.by_use.insert(self.uses, id.to_owned());
        Some(kept.stored.clone())
    }

    /// Keeps it no longer. Whether it was kept.
    pub fn delete(&mut self, id: &str) -> bool {
        let Some(kept) = self.kept.remove(id) else { return false };
        self.by_use.remove(&kept.used);
        self.bytes -= kept.bytes;
        true
    }

    /// Lets go what is too old.
    pub fn forget_old(&mut self, now_s: i64) {
        let age_s = self.limits.age_s;
        let is_old = |kept: &Kept| now_s.saturating_sub(kept.since_s) > age_s;
        let old: Vec<String> =
            self.kept.iter().filter(|(_, kept)| is_old(kept)).map(|(id, _)| id.clone()).collect();
        old.iter().for_each(|id| {
            self.delete(id);
        });
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Memory that is counted for all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
