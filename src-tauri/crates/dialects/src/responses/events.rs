//! The events of a response: each has its name twice and a number that rises.

use super::output::Part;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// Writes events one behind the other.
#[derive(Debug)]
pub struct Events {
    out: Vec<u8>,
    next: u64,
    /// An answer that is wanted whole has none.
    are_wanted: bool,
}

impl Events {
    pub fn new(are_wanted: bool) -> Self {
        Self { out: vec![], next: 0, are_wanted }
    }

    /// An event with these fields, which are an object with at least one.
    pub fn say(&mut self, name: &str, fields: &impl Serialize) {
        if !self.are_wanted {
            return;
        }
        let beginning =
            format!("event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{}", self.next);
        self.next += 1;
        self.out.extend_from_slice(beginning.as_bytes());
        let at = self.out.len();
        // Fields of texts, numbers and JSON can always be written into memory.
        let _ = serde_json::to_writer(&mut self.out, fields);
        // What a client wrote may have line ends, between values only: data is one line.
        for byte in self.out.iter_mut().skip(at).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        // Its opening brace becomes the comma behind the number.
        if let Some(brace) = self.out.get_mut(at) {
            *brace = b',';
        }
        self.out.extend_from_slice(b"\n\n");
    }

    /// What was written since the last time.
    pub fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// With the whole response.
#[derive(Serialize)]
pub struct OfResponse<'a> {
    pub response: &'a RawValue,
}

/// With one item of the output.
#[derive(Serialize)]
pub struct OfItem<'a> {
    pub output_index: usize,
    pub item: &'a RawValue,
}

/// Within one item of the output.
#[derive(Serialize, Default)]
pub struct Within<'a> {
    pub item_id: &'a str,
    pub output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<&'a Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a [Value]>,
}

/// An error in both of its forms: OpenAI's own programs read it flat, the Open Responses specification nests it.
#[derive(Serialize)]
pub struct OfError<'a> {
    pub code: &'a str,
    pub message: &'a str,
    pub param: Option<&'a str>,
    pub error: ErrorWithin<'a>,
}

#[derive(Serialize)]
pub struct ErrorWithin<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub code: &'a str,
    pub message: &'a str,
    pub param: Option<&'a str>,
}
