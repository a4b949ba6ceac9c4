//! Embeddings: `/api/embed`, and `/api/embeddings` as it was before.

use super::{
    options::{self, Governed, KeepAlive},
    wire::{self, Embed, some},
    written,
};
use crate::{Refused, Took, chat::Speaks};
use pilothouse_domain::server::ServerKind;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;

/// What is to be embedded.
#[derive(Debug)]
pub struct EmbedAsked {
    model: Option<String>,
    /// A text or a list of texts, as it was written. `None`: nothing; its model is to be loaded.
    input: Option<Box<RawValue>>,
    /// How many of them.
    texts: usize,
    /// As `/api/embeddings` asks: one text, one vector.
    is_single: bool,
    dimensions: Option<u32>,
    governed: Vec<Governed>,
}

/// Reads the body of `/api/embed`. `truncate` is passed over: who serves the model says what it does with a text that is too long.
pub fn read_embed(body: &[u8]) -> Result<EmbedAsked, Refused> {
    let wire: Embed<'_> = wire::read(body)?;
    let texts = match wire.input.map(RawValue::get) {
        None => 0,
        Some(text) if text.starts_with('"') => usize::from(text != "\"\""),
        Some(list) => {
            let texts: Vec<String> = serde_json::from_str(list).map_err(|_| {
                Refused::invalid("“input” is neither a text nor a list of texts.").about("input")
            })?;
            texts.len()
        }
    };
    let input = wire.input.filter(|_| texts > 0).map(RawValue::to_owned);
    read(wire, input, texts, false)
}

/// Reads the body of `/api/embeddings`.
pub fn read_embeddings(body: &[u8]) -> Result<EmbedAsked, Refused> {
    let mut wire: Embed<'_> = wire::read(body)?;
    wire.dimensions = None;
    let prompt = some(wire.prompt.take());
    let input = prompt.and_then(|prompt| serde_json::value::to_raw_value(&prompt).ok());
    let texts = usize::from(input.is_some());
    read(wire, input, texts, true)
}

fn read(
    wire: Embed<'_>,
    input: Option<Box<RawValue>>,
    texts: usize,
    is_single: bool,
) -> Result<EmbedAsked, Refused> {
    let (_, governed) = options::read(wire.options.as_ref(), wire.keep_alive)?;
    let dimensions = wire.dimensions.filter(|dimensions| *dimensions > 0);
    Ok(EmbedAsked { model: some(wire.model), input, texts, is_single, dimensions, governed })
}

impl EmbedAsked {
    /// The model, as the client names it. `None`: it names none.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What it says about loading its model; never sent on.
    pub fn governed(&self) -> &[Governed] {
        &self.governed
    }

    /// It only wants its model to be there. Answered with [`EmbedAsked::nothing_document`] once it is.
    pub fn is_load(&self) -> bool {
        self.input.is_none() && !self.is_unload()
    }

    /// Its model may go. Ollama loads it for that and lets it go at once; answered with [`EmbedAsked::nothing_document`].
    pub fn is_unload(&self) -> bool {
        self.input.is_none() && self.governed.contains(&Governed::KeepAlive(KeepAlive::Not))
    }

    /// The body for `POST /v1/embeddings` of a server that `speaks` so, for the instance that it calls `model`.
    pub fn body(&self, model: &str, speaks: Speaks) -> Vec<u8> {
        written(&Body { asked: self, model, speaks })
    }

    /// The answer to a request that says nothing.
    pub fn nothing_document(&self) -> Vec<u8> {
        self.document(&[], None, None)
    }

    /// The answer, of what `/v1/embeddings` replied. Errors: the reply is none (502).
    pub fn embed_document(&self, reply: &[u8], took: Option<Took>) -> Result<Vec<u8>, Refused> {
        let Reply { mut data, usage } = serde_json::from_slice(reply).map_err(|_| no_answer())?;
        data.sort_by_key(|one| one.index.unwrap_or(0));
        if data.len() != self.texts {
            return Err(no_answer());
        }
        let vectors: Vec<Vector<'_>> =
            data.iter().map(|one| Vector::of(one.embedding, self.dimensions)).collect::<Result<_, _>>()?;
        Ok(self.document(&vectors, usage.and_then(|usage| usage.prompt_tokens), took))
    }

    fn document(&self, vectors: &[Vector<'_>], tokens: Option<u64>, took: Option<Took>) -> Vec<u8> {
        if self.is_single {
            let none = Vector::Cut(vec![]);
            return written(&Single { embedding: vectors.first().unwrap_or(&none) });
        }
        let some = |n: Option<u64>| n.filter(|n| *n > 0);
        written(&Document {
            model: self.model.as_deref().unwrap_or_default(),
            embeddings: vectors,
            total_duration: some(took.map(|took| took.total_ns)),
            load_duration: some(took.and_then(|took| took.loaded_ns)),
            prompt_eval_count: tokens,
        })
    }
}

fn no_answer() -> Refused {
    Refused::new(
        502,
        "server_error",
        "The server answered with something that is not the embeddings asked for.",
    )
}

struct Body<'a> {
    asked: &'a EmbedAsked,
    model: &'a str,
    speaks: Speaks,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { asked, model, speaks } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", model)?;
        if let Some(input) = &asked.input {
            map.serialize_entry("input", input)?;
        }
        // The servers of this machine do not know it or pass over it: the vector is cut when it comes, as Ollama does.
        if let Some(dimensions) = asked.dimensions.filter(|_| speaks.kind == ServerKind::OpenAi) {
            map.serialize_entry("dimensions", &dimensions)?;
        }
        map.serialize_entry("encoding_format", "float")?;
        map.end()
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    data: Vec<One<'a>>,
    usage: Option<Used>,
}

#[derive(Deserialize)]
struct One<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Used {
    prompt_tokens: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    embeddings: &'a [Vector<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u64>,
}

#[derive(Serialize)]
struct Single<'a> {
    embedding: &'a Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    /// As the server wrote it.
    Whole(&'a RawValue),
    Cut(Vec<f32>),
}

impl<'a> Vector<'a> {
    fn of(raw: &'a RawValue, dimensions: Option<u32>) -> Result<Self, Refused> {
        let mut numbers: Vec<f32> = serde_json::from_str(raw.get()).map_err(|_| no_answer())?;
        let most = dimensions.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        if numbers.len() <= most {
            return Ok(Self::Whole(raw));
        }
        numbers.truncate(most);
        // To the length of one again, and never divided by zero (Ollama's `normalize` in `server/routes.go`).
        let length = numbers.iter().map(|n| n * n).sum::<f32>().sqrt().max(1e-12);
        numbers.iter_mut().for_each(|n| *n /= length);
        Ok(Self::Cut(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(asked: &EmbedAsked, kind: ServerKind) -> String {
        String::from_utf8(asked.body("m", Speaks::of(kind))).unwrap()
    }

    fn document(asked: &EmbedAsked, reply: &str, took: Option<Took>) -> Result<String, u16> {
        asked
            .embed_document(reply.as_bytes(), took)
            .map(|document| String::from_utf8(document).unwrap())
            .map_err(|refused| refused.status)
    }

    #[test]
    fn texts_go_as_they_were_written() {
        for (input, wanted) in [
            (r#""a\u00fc""#, r#"{"model":"m","input":"a\u00fc","encoding_format":"float"}"#),
            (r#"[ "a", "" ]"#, r#"{"model":"m","input":[ "a", "" ],"encoding_format":"float"}"#),
        ] {
            let asked = format!(
                r#"{{"model":"x","input":{input},"truncate":true,"dimensions":0,"options":{{"num_ctx":512}}}}"#
            );
            let asked = read_embed(asked.as_bytes()).unwrap();
            assert_eq!(body(&asked, ServerKind::LlamaServer), wanted);
            assert_eq!((asked.is_load(), asked.governed()), (false, [Governed::Context(512)].as_slice()));
        }
        let asked = read_embeddings(br#"{"model":"x","prompt":"a\"b","input":7}"#).unwrap();
        assert_eq!(
            body(&asked, ServerKind::Ollama),
            r#"{"model":"m","input":"a\"b","encoding_format":"float"}"#
        );
        let asked = read_embed(br#"{"input":"a","dimensions":2}"#).unwrap();
        assert!(body(&asked, ServerKind::OpenAi).contains("\"dimensions\":2"));
        assert!(!body(&asked, ServerKind::LmStudio).contains("dimensions"));
        for wrong in [r#"{"input":7}"#, r#"{"input":[7]}"#, r#"{"input":{}}"#, r#"{"input":["a",null]}"#] {
            assert_eq!(read_embed(wrong.as_bytes()).unwrap_err().param.as_deref(), Some("input"), "{wrong}");
        }
    }

    #[test]
    fn nothing_to_embed_is_about_the_model_alone() {
        for (text, loads, document) in [
            (r#"{"model":"x","input":""}"#, true, r#"{"model":"x","embeddings":[]}"#),
            (r#"{"model":"x","input":[],"keep_alive":"5m"}"#, true, r#"{"model":"x","embeddings":[]}"#),
            (r#"{"model":"x"}"#, true, r#"{"model":"x","embeddings":[]}"#),
            (r#"{"model":"x","input":[],"keep_alive":0}"#, false, r#"{"model":"x","embeddings":[]}"#),
        ] {
            let asked = read_embed(text.as_bytes()).unwrap();
            assert_eq!((asked.is_load(), asked.is_unload()), (loads, !loads), "{text}");
            assert_eq!(String::from_utf8(asked.nothing_document()).unwrap(), document);
        }
        let asked = read_embeddings(br#"{"model":"x","prompt":""}"#).unwrap();
        assert!(asked.is_load());
        assert_eq!(asked.nothing_document(), br#"{"embedding":[]}"#);
    }

    #[test]
    fn vectors_come_as_the_server_wrote_them_in_the_order_of_the_texts() {
        let asked = read_embed(br#"{"model":"x","input":["a","b"]}"#).unwrap();
        let reply = r#"{"object":"list","data":[{"index":1,"embedding":[3.0e-1,1]},{"index":0,"embedding":[0.10,2]}],
            "model":"y","usage":{"prompt_tokens":7,"total_tokens":7}}"#;
        assert_eq!(
            document(&asked, reply, Some(Took { total_ns: 9, loaded_ns: Some(0), first_ns: None }))
                .as_deref(),
            Ok(
                r#"{"model":"x","embeddings":[[0.10,2],[3.0e-1,1]],"total_duration":9,"prompt_eval_count":7}"#
            )
        );
        let single = read_embeddings(br#"{"model":"x","prompt":"a"}"#).unwrap();
        let reply = r#"{"data":[{"embedding":[1,2]}]}"#;
        assert_eq!(document(&single, reply, None).as_deref(), Ok(r#"{"embedding":[1,2]}"#));
        for wrong in [
            r#"{"data":[{"embedding":[1]}]}"#,
            r#"{"data":[]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":"AAAA"}]}"#,
            r#"{"data":[{"embedding":[1]},{"embedding":[null]}]}"#,
            r#"{"error":"x"}"#,
            "<html>",
            "",
        ] {
            assert_eq!(document(&asked, wrong, None), Err(502), "{wrong}");
        }
    }

    #[test]
    fn a_vector_that_is_too_long_is_cut_to_the_length_of_one() {
        for (dimensions, numbers, wanted) in [
            (2, "[3.0,4.0,12.0]", "[0.6,0.8]"),
            (3, "[3.0,4.0,12.0]", "[3.0,4.0,12.0]"),
            (9, "[3.0,4.0,12.0]", "[3.0,4.0,12.0]"),
            (1, "[-2,4]", "[-1.0]"),
            (2, "[0,0,1]", "[0.0,0.0]"),
        ] {
            let asked = format!(r#"{{"input":"a","dimensions":{dimensions}}}"#);
            let asked = read_embed(asked.as_bytes()).unwrap();
            let reply = format!(r#"{{"data":[{{"index":0,"embedding":{numbers}}}]}}"#);
            let said = document(&asked, &reply, None).unwrap();
            assert_eq!(said, format!(r#"{{"model":"","embeddings":[{wanted}]}}"#));
        }
    }
}
