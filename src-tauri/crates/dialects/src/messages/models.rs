//! `GET /v1/models`, in Anthropic's form.

use serde::Serialize;

/// A model that may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    /// As a request names it.
    pub id: String,
    /// As people read it.
    pub display_name: String,
    /// When it was made, in seconds since 1970. `None`: not known; Anthropic's form then has the year 1970.
    pub created_s: Option<i64>,
    /// Tokens of its context, as loaded. `None`: not known.
    pub context: Option<u64>,
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: String,
    max_input_tokens: Option<u64>,
    max_tokens: (),
    capabilities: (),
    lifecycle: &'static str,
}

impl<'a> Written<'a> {
    fn of(model: &'a Model) -> Self {
        let created = jiff::Timestamp::from_second(model.created_s.unwrap_or(0)).unwrap_or_default();
        Self {
            kind: "model",
            id: &model.id,
            display_name: if model.display_name.is_empty() { &model.id } else { &model.display_name },
            created_at: created.to_string(),
            max_input_tokens: model.context,
            max_tokens: (),
            capabilities: (),
            lifecycle: "active",
        }
    }
}

#[derive(Serialize)]
struct List<'a> {
    data: Vec<Written<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// All of them, on one page.
pub fn models_document(models: &[Model]) -> Vec<u8> {
    let list = List {
        data: models.iter().map(Written::of).collect(),
        has_more: false,
        first_id: models.first().map(|model| model.id.as_str()),
        last_id: models.last().map(|model| model.id.as_str()),
    };
    serde_json::to_vec(&list).unwrap_or_default()
}

/// One of them: `GET /v1/models/{id}`.
pub fn model_document(model: &Model) -> Vec<u8> {
    serde_json::to_vec(&Written::of(model)).unwrap_or_default()
}
