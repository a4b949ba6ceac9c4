//! An answer to a chat: the first byte says whether it comes as events and where it is cut, the rest is the answer. Cut anyhow, it
//! says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_dialects::chat::{Chunk, Reader};

fn read(is_stream: bool, pieces: &[&[u8]]) -> (Option<Vec<Chunk>>, bool) {
    let mut reader = Reader::new(is_stream);
    let mut chunks = vec![];
    for piece in pieces {
        match reader.take(piece) {
            Ok(more) => chunks.extend(more),
            Err(_) => return (None, false),
        }
    }
    match reader.finish() {
        Ok(more) => chunks.extend(more),
        Err(_) => return (None, false),
    }
    (Some(chunks), reader.is_finished())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, answer)) = bytes.split_first() else { return };
    let is_stream = first % 2 == 0;
    let at = usize::from(first / 2).min(answer.len());
    let whole = read(is_stream, &[answer]);
    assert_eq!(read(is_stream, &[&answer[..at], &answer[at..]]), whole);
    let single: Vec<&[u8]> = answer.chunks(1).collect();
    assert_eq!(read(is_stream, &single), whole);
});
