//! The items of an answer.

use crate::fields::raw;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// One item.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item<'a> {
    Message {
        id: &'a str,
        status: &'static str,
        role: &'static str,
        content: &'a [Part],
    },
    Reasoning {
        id: &'a str,
        summary: &'a [Part],
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<&'a [Part]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
    FunctionCall {
        id: &'a str,
        call_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        name: &'a str,
        arguments: &'a str,
        status: &'static str,
    },
    CustomToolCall {
        id: &'a str,
        call_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<&'a str>,
        name: &'a str,
        input: &'a str,
        status: &'static str,
    },
    ToolSearchCall {
        id: &'a str,
        call_id: &'a str,
        execution: &'static str,
        arguments: &'a RawValue,
        status: &'static str,
    },
}

impl Item<'_> {
    pub fn written(&self) -> Box<RawValue> {
        raw(self)
    }
}

/// A part of a message or of thoughts.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: Vec<Value> },
    Refusal { refusal: String },
    ReasoningText { text: String },
    SummaryText { text: String },
}

/// What a part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Text,
    Refusal,
    Thoughts,
    Summary,
}

impl Said {
    /// A part of this kind; `logprobs` of the tokens of a text, if they were asked for.
    pub fn part(self, text: &str, logprobs: Vec<Value>) -> Part {
        let text = text.to_owned();
        match self {
            Self::Text => Part::OutputText { text, annotations: [], logprobs },
            Self::Refusal => Part::Refusal { refusal: text },
            Self::Thoughts => Part::ReasoningText { text },
            Self::Summary => Part::SummaryText { text },
        }
    }

    /// Whether both are parts of the same kind of item.
    pub fn goes_with(self, other: Self) -> bool {
        self.is_thoughts() == other.is_thoughts()
    }

    pub fn is_thoughts(self) -> bool {
        matches!(self, Self::Thoughts | Self::Summary)
    }
}
