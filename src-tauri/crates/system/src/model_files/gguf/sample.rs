//! Small GGUF files for tests.

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A head with metadata only.
pub fn header() -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(6u64.to_le_bytes());
    for (key, value) in
        [("general.architecture", "llama"), ("general.name", "Smol LM"), ("general.size_label", "135M")]
    {
        text(&mut out, key);
        out.extend(8u32.to_le_bytes());
        text(&mut out, value);
    }
    text(&mut out, "tokenizer.ggml.tokens");
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    text(&mut out, "a");
    text(&mut out, "bc");
    for (key, number) in [("llama.context_length", 8192u32), ("general.file_type", 3)] {
        text(&mut out, key);
        out.extend(4u32.to_le_bytes());
        out.extend(number.to_le_bytes());
    }
    out
}

fn number(out: &mut Vec<u8>, key: &str, value: u32) {
    text(out, key);
    out.extend(4u32.to_le_bytes());
    out.extend(value.to_le_bytes());
}

fn tensor(out: &mut Vec<u8>, name: &str, dimensions: &[u64], kind: u32) {
    text(out, name);
    out.extend((dimensions.len() as u32).to_le_bytes());
    for length in dimensions {
        out.extend(length.to_le_bytes());
    }
    out.extend(kind.to_le_bytes());
    out.extend(0u64.to_le_bytes());
}

/// A mixture of experts with a window in five of six layers, whose heads differ by layer.
pub fn built() -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    out.extend(8u64.to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "gemma3");
    for (key, value) in [
        ("block_count", 2),
        ("embedding_length", 64),
        ("attention.head_count", 4),
        ("attention.sliding_window", 512),
        ("expert_count", 8),
        ("expert_used_count", 2),
    ] {
        number(&mut out, &format!("gemma3.{key}"), value);
    }
    text(&mut out, "gemma3.attention.head_count_kv");
    out.extend(9u32.to_le_bytes());
    out.extend(5u32.to_le_bytes());
    out.extend(2u64.to_le_bytes());
    for heads in [2i32, 0] {
        out.extend(heads.to_le_bytes());
    }
    tensor(&mut out, "token_embd.weight", &[64, 100], 1);
    tensor(&mut out, "output.weight", &[64, 100], 8);
    tensor(&mut out, "blk.0.ffn_up_exps.weight", &[64, 128, 8], 12);
    tensor(&mut out, "blk.0.attn_norm.weight", &[64], 0);
    out
}

/// A part with one tensor of 256 bytes.
pub fn part(number: u16, count: u16, tensors: i32) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(5u64.to_le_bytes());
    text(&mut out, "general.architecture");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "llama");
    for (key, value) in [("split.no", number), ("split.count", count)] {
        text(&mut out, key);
        out.extend(2u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    text(&mut out, "split.tensors.count");
    out.extend(5u32.to_le_bytes());
    out.extend(tensors.to_le_bytes());
    self::number(&mut out, "llama.block_count", 1);
    tensor(&mut out, &format!("blk.{number}.attn_norm.weight"), &[64], 0);
    out
}

/// A head with so many bytes of tensors behind it.
pub fn with_data(mut head: Vec<u8>, bytes: usize) -> Vec<u8> {
    head.resize(head.len().next_multiple_of(32) + bytes, 0);
    head
}
