//! `config.json` of a model for MLX, with the head of a safetensors file behind its first zero byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::{
    model_files::{SafetensorsHead, read_mlx_anatomy},
    reckon,
};

fuzz_target!(|bytes: &[u8]| {
    let (config, head) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    // The fuzzer need not find the length of the head.
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head);
    let heads: Vec<_> = SafetensorsHead::read(&file[..]).into_iter().collect();
    if let Ok(anatomy) = read_mlx_anatomy(config, &heads) {
        reckon(&anatomy);
    }
});
