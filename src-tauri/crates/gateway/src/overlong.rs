//! Prompts that a server would cut to its context without a word: Ollama's way (ollama/ollama: server/prompt.go, `chatPrompt`).
//!
//! No tokenizer is asked: a word is a token at least. So what is refused is surely too long; what is longer by less than the difference
//! of words and tokens goes through.

use super::refusal::Refusal;
use pilothouse_dialects::messages;
use pilothouse_domain::{model::ModelRef, server::ServerKind};
use pilothouse_leases::{Routes, Target};
use serde::Deserialize;
use std::borrow::Cow;

/// What of a request becomes the prompt, of a chat or a completion. What has another shape counts nothing.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Prompt<'a> {
    #[serde(default)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    prompt: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Message<'a> {
    #[serde(default)]
    content: Content<'a>,
}

#[derive(Deserialize, Default)]
#[serde(untagged, bound(deserialize = "'de: 'a"))]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
    #[default]
    Nothing,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Part<'a> {
    #[serde(default)]
    text: Option<Cow<'a, str>>,
}

/// Why a request is not sent to a server that would answer only a part of it. `body`: as the server would get it.
pub(super) fn refused(routes: &Routes, target: &Target, body: &[u8]) -> Option<Refusal> {
    if routes.kind(&target.server) != ServerKind::Ollama {
        return None;
    }
    let model = ModelRef::new(target.server.clone(), target.model.clone());
    let context = routes.about.get(&model)?.context?;
    // A word and what parts it from the next one take two bytes.
    if body.len() as u64 / 2 < context {
        return None;
    }
    let words = words(&serde_json::from_slice(body).ok()?);
    (words > context).then(|| {
        let mut refused = messages::too_long(words, context);
        refused.message += " The prompt is counted by its words, so it has more tokens than these.";
        refused.into()
    })
}

fn words(asked: &Prompt<'_>) -> u64 {
    let of = |text: &str| text.split_whitespace().count() as u64;
    let said = asked.messages.iter().map(|message| match &message.content {
        Content::Text(text) => of(text),
        Content::Parts(parts) => parts.iter().filter_map(|part| part.text.as_deref()).map(of).sum(),
        Content::Nothing => 0,
    });
    said.sum::<u64>() + asked.prompt.as_deref().map_or(0, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{endpoint::Endpoint, server::ServerId};
    use pilothouse_leases::About;
    use serde_json::{Value, json};

    fn told(kind: ServerKind, context: Option<u64>, body: &Value) -> Option<String> {
        let server = ServerId::new("s");
        let endpoint = Endpoint { base_url: "http://127.0.0.1:1/v1".into(), key: None };
        let target = Target {
            server: server.clone(),
            model: "m".into(),
            instance: "m".into(),
            openai: endpoint,
            slots: 1,
        };
        let about = About { context, ..About::default() };
        let routes = Routes {
            kinds: [(server.clone(), kind)].into(),
            about: [(ModelRef::new(server, "m"), about)].into(),
            ..Routes::default()
        };
        refused(&routes, &target, body.to_string().as_bytes()).map(|refusal| {
            assert_eq!((refusal.status.as_u16(), &*refusal.code), (400, "context_length_exceeded"));
            refusal.message
        })
    }

    #[test]
    fn what_is_surely_longer_than_its_context_is_refused_with_both_figures() {
        let of = |words: usize| "word ".repeat(words);
        let chat =
            |content: Value| json!({ "model": "m", "messages": [{ "role": "user", "content": content }] });
        let ollama = |body: &Value| told(ServerKind::Ollama, Some(1000), body);
        for (long, body) in [
            (true, chat(of(1001).into())),
            (false, chat(of(1000).into())),
            (true, chat(json!([{ "type": "text", "text": of(600) }, { "type": "text", "text": of(401) }]))),
            (
                true,
                json!({ "messages": [{ "content": of(501) }, { "content": null }, {}, { "content": of(500) }] }),
            ),
            (true, json!({ "prompt": of(1001) })),
            (true, chat("one\n\ttwo ".repeat(501).into())),
            // One word, however long: a picture, or a language without spaces.
            (false, chat("a".repeat(100_000).into())),
            (false, chat(json!([{ "type": "image_url", "image_url": { "url": "data:a b ".repeat(5000) } }]))),
            // What is no prompt, and what nobody understands.
            (false, json!({ "metadata": of(5000), "messages": [] })),
            (false, json!({ "prompt": [of(5000)] })),
            (false, json!({ "messages": of(5000) })),
            (false, json!([of(5000)])),
        ] {
            let told = ollama(&body);
            assert_eq!(told.is_some(), long, "{}", &body.to_string()[..80.min(body.to_string().len())]);
            if let Some(told) = told {
                assert!(
                    told.starts_with("prompt is too long: 100") && told.contains("> 1000 maximum"),
                    "{told}"
                );
            }
        }
        let long = chat(of(5000).into());
        for (kind, context) in [
            (ServerKind::Ollama, None),
            (ServerKind::LlamaServer, Some(1000)),
            (ServerKind::OpenAi, Some(1000)),
        ] {
            assert_eq!(told(kind, context, &long), None, "{kind:?}: it says so itself, or nobody knows");
        }
    }
}
