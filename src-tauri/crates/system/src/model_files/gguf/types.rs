//! The types of ggml and llama.cpp by their numbers.

use pilothouse_domain::anatomy::BlockType;

/// Elements and bytes of a block of this `ggml_type` (ggml.h; reference: telemetry, section 6.1).
pub(super) fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        9 => (32, 36),
        10 => (256, 84),
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        24 => (1, 1),
        27 | 28 => (1, 8),
        29 => (256, 56),
        34 => (256, 54),
        39 => (32, 17),
        _ => return None,
    })
}

/// Bytes of so many elements in blocks.
pub(super) fn size(elements: u64, (block, bytes): (u64, u64)) -> Option<u64> {
    elements.div_ceil(block).checked_mul(bytes)
}

/// Those that llama.cpp may keep in another order on the processor.
pub(in crate::model_files) fn block_type(kind: u32) -> Option<BlockType> {
    Some(match kind {
        2 => BlockType::Q4_0,
        8 => BlockType::Q8_0,
        10 => BlockType::Q2K,
        12 => BlockType::Q4K,
        13 => BlockType::Q5K,
        14 => BlockType::Q6K,
        20 => BlockType::Iq4Nl,
        39 => BlockType::Mxfp4,
        _ => return None,
    })
}

/// Bytes of so many elements of a type. `None`: a type that is not known.
pub(in crate::model_files) fn bytes_of(kind: u32, elements: u64) -> Option<u64> {
    size(elements, block(kind)?)
}

/// A type by its name in ggml. `None`: one that is not known.
pub(in crate::model_files) fn number_of(kind: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 26] = [
        ("F32", 0),
        ("F16", 1),
        ("Q4_0", 2),
        ("Q4_1", 3),
        ("Q5_0", 6),
        ("Q5_1", 7),
        ("Q8_0", 8),
        ("Q8_1", 9),
        ("Q2_K", 10),
        ("Q3_K", 11),
        ("Q4_K", 12),
        ("Q5_K", 13),
        ("Q6_K", 14),
        ("Q8_K", 15),
        ("IQ2_XXS", 16),
        ("IQ2_XS", 17),
        ("IQ3_XXS", 18),
        ("IQ1_S", 19),
        ("IQ4_NL", 20),
        ("IQ3_S", 21),
        ("IQ2_S", 22),
        ("IQ4_XS", 23),
        ("IQ1_M", 29),
        ("BF16", 30),
        ("I32", 26),
        ("MXFP4", 39),
    ];
    NAMES.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number)
}

/// The names of `llama_ftype` in llama.cpp's llama.h; numbers that are missing there have no name here.
pub(super) fn file_type(number: u64) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

/// "135M", "7.2B".
pub(super) fn short_count(count: u64) -> String {
    match count {
        1_000_000_000.. => format!("{:.1}B", count as f64 / 1e9),
        1_000_000.. => format!("{:.0}M", count as f64 / 1e6),
        _ => count.to_string(),
    }
}
