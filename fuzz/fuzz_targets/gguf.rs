//! The head of a GGUF file, as the list of models and the estimate read it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::{
    model_files::{read_anatomy, read_header},
    reckon,
};
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_header(Cursor::new(bytes));
    if let Ok(anatomy) = read_anatomy(Cursor::new(bytes)) {
        reckon(&anatomy);
    }
});
