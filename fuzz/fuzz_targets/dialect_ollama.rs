//! A question of a client of Ollama, told by its first byte, and behind the first zero byte the answer of a server. What the client
//! is told are lines that it can parse, with one end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_dialects::{
    Question, Telling,
    chat::Speaks,
    ollama::{
        Asked, EmbedAsked, error_document, read_chat, read_embed, read_embeddings, read_generate, read_show,
    },
};
use pilothouse_fuzz::dialects::{KINDS, asked, document, halves, told};

fn answered(question: &Asked, answer: &[u8]) {
    asked(question);
    document(&question.nothing_document(&Telling { id: "a".into(), created_s: 0 }));
    let said = told(question, answer);
    if !question.streams() {
        document(&said);
        return;
    }
    let Some(lines) = said.strip_suffix(b"\n") else { panic!("the last line has no end") };
    let mut ends = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        assert_eq!(ends, 0, "nothing follows the end");
        let line = document(line);
        ends += usize::from(line["done"] == true || line.get("error").is_some());
    }
    assert_eq!(ends, 1);
}

fn embedded(question: &EmbedAsked, answer: &[u8]) {
    for kind in KINDS {
        let body = document(&question.body("m", Speaks::of(kind)));
        assert!(body["model"] == "m" && body.get("keep_alive").is_none());
    }
    document(&question.nothing_document());
    if let Ok(said) = question.embed_document(answer, None) {
        document(&said);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else { return };
    let (body, answer) = halves(rest);
    let refused = match which {
        b'c' => read_chat(body).map(|question| answered(&question, answer)).err(),
        b'g' => read_generate(body).map(|question| answered(&question, answer)).err(),
        b'e' => read_embed(body).map(|question| embedded(&question, answer)).err(),
        b'l' => read_embeddings(body).map(|question| embedded(&question, answer)).err(),
        _ => read_show(body).err(),
    };
    if let Some(why) = refused {
        assert!(document(&error_document(&why))["error"].is_string() && why.status == 400);
    }
});
