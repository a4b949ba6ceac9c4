//! What a client asked, and what telling its answer needs of that.

use super::teller::{Teller, Told};
use crate::{
    Answer, Question, Refused, Telling,
    chat::{Body, Speaks},
};
use pilothouse_domain::server::ServerKind;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The format of any JSON object.
pub const ANY_JSON: &str = r#"{"type":"json_object"}"#;

/// A schema that every object keeps to.
const ANY_OBJECT: &str =
    r#"{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}}"#;

/// A request for a response.
#[derive(Debug)]
pub struct Asked {
    pub(super) body: Body,
    /// Where an image is that is an address of the web.
    pub(super) web_image: Option<String>,
    pub(super) dropped: Vec<String>,
    pub(super) told: Arc<Told>,
}

impl Asked {
    /// What was passed over: tools that no local server has, items that say nothing to one. By place and type, for a log.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// Whether the answer is to be kept.
    pub fn stores(&self) -> bool {
        self.told.echo.store
    }

    fn wants_logprobs(&self) -> bool {
        self.body.same.iter().any(|(name, _)| *name == "logprobs")
    }
}

impl Question for Asked {
    fn model(&self) -> Option<&str> {
        self.told.echo.model.as_deref()
    }

    fn streams(&self) -> bool {
        self.told.streams
    }

    fn most_output(&self) -> Option<u64> {
        self.told.echo.max_output_tokens
    }

    fn chat(&self, model: &str, speaks: Speaks) -> Result<Vec<u8>, Refused> {
        if let Some(place) = self.web_image.as_ref().filter(|_| !speaks.fetches_images) {
            let message = format!(
                "{place} is an image by its address, which is not fetched here. Send it as a data URL."
            );
            return Err(Refused::unsupported(message).about(place));
        }
        if self.wants_logprobs() && speaks.kind == ServerKind::LlamaServer && !self.body.tools.is_empty() {
            let message =
                "llama-server tells no logprobs where tools may be called. Ask without one of them.";
            return Err(Refused::unsupported(message).about("top_logprobs"));
        }
        let any_json = self.body.response_format.as_ref().is_some_and(|format| format.get() == ANY_JSON);
        if any_json && speaks.kind == ServerKind::LmStudio {
            // It knows schemas only.
            let response_format = RawValue::from_string(ANY_OBJECT.into()).ok();
            return Ok(Body { response_format, ..self.body.clone() }.written(model, speaks));
        }
        Ok(self.body.written(model, speaks))
    }

    fn answer(&self, telling: Telling) -> Box<dyn Answer> {
        Box::new(Teller::new(self.told.clone(), telling))
    }
}
