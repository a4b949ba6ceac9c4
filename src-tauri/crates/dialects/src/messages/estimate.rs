//! How many tokens a prompt has, guessed from its bytes.

use crate::chat::{Body, Content, Message, Part};

const BYTES_OF_TEXT: usize = 4;
const BYTES_OF_JSON: usize = 3;
const TOKENS_OF_MESSAGE: usize = 4;
const TOKENS_OF_IMAGE: usize = 1_600;

/// See [`super::Count::estimate`].
pub(super) fn estimate(body: &Body) -> u64 {
    let messages: usize = body.messages.iter().map(of_message).sum();
    let tools = body.tools.iter().map(|tool| {
        let function = &tool.function;
        let text = function.name.len() + function.description.as_ref().map_or(0, String::len);
        let schema = function.parameters.as_ref().map_or(0, |schema| schema.get().len());
        TOKENS_OF_MESSAGE + text.div_ceil(BYTES_OF_TEXT) + schema.div_ceil(BYTES_OF_JSON)
    });
    let format = body.response_format.as_ref().map_or(0, |format| format.get().len());
    (messages + tools.sum::<usize>() + format.div_ceil(BYTES_OF_JSON)) as u64
}

fn of_message(message: &Message) -> usize {
    let (text, images) = match &message.content {
        Content::Nothing => (0, 0),
        Content::Text(text) => (text.len(), 0),
        Content::Parts(parts) => parts.iter().fold((0, 0), |(text, images), part| match part {
            Part::Text { text: more } => (text + more.len(), images),
            Part::ImageUrl { .. } => (text, images + 1),
        }),
    };
    let thoughts = message.thoughts.as_ref().map_or(0, String::len);
    let calls = message.calls.iter().map(|call| call.name.len() + call.arguments.len()).sum::<usize>();
    TOKENS_OF_MESSAGE
        + (text + thoughts).div_ceil(BYTES_OF_TEXT)
        + calls.div_ceil(BYTES_OF_JSON)
        + images * TOKENS_OF_IMAGE
}
