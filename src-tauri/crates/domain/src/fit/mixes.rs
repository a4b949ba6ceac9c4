//! Quantisations that whole files come in. A file of one name holds several block types, some tensors in larger ones.

use crate::anatomy::{Anatomy, BlockType, Matrices, Origin};

/// A quantisation of a whole file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mix {
    pub name: &'static str,
    /// Per weight, over the whole file.
    pub bits: f64,
    /// The types of its matrices that llama.cpp may keep in another order, each with its share of the bytes.
    blocks: &'static [(BlockType, f64)],
}

const fn mix(name: &'static str, bits: f64, blocks: &'static [(BlockType, f64)]) -> Mix {
    Mix { name, bits, blocks }
}

/// Llama 3.1 8B in llama.cpp's quantize table (reference: telemetry, section 6.1). Largest first. The shares are
/// reckoned from its shapes and llama.cpp's rules for these mixes; Qwen 2.5 1.5B in Q4_K_M has 64 % in Q4_K.
pub(super) const GGUF: &[Mix] = &[
    mix("F16", 16.0005, &[]),
    mix("Q8_0", 8.5008, &[(BlockType::Q8_0, 1.0)]),
    mix("Q6_K", 6.5633, &[(BlockType::Q6K, 1.0)]),
    mix("Q5_K_M", 5.7036, &[(BlockType::Q5K, 0.76), (BlockType::Q6K, 0.24)]),
    mix("Q5_K_S", 5.5704, &[(BlockType::Q5K, 0.91), (BlockType::Q6K, 0.09)]),
    mix("Q4_K_M", 4.8944, &[(BlockType::Q4K, 0.72), (BlockType::Q6K, 0.28)]),
    mix("Q4_K_S", 4.6672, &[(BlockType::Q4K, 0.86), (BlockType::Q6K, 0.1), (BlockType::Q5K, 0.04)]),
    mix("IQ4_XS", 4.4597, &[(BlockType::Q6K, 0.1)]),
    mix("Q3_K_L", 4.2979, &[(BlockType::Q6K, 0.11), (BlockType::Q5K, 0.34)]),
    mix("Q3_K_M", 3.996, &[(BlockType::Q6K, 0.11), (BlockType::Q4K, 0.34)]),
    mix("Q3_K_S", 3.6429, &[(BlockType::Q6K, 0.12)]),
    mix("Q2_K", 3.1593, &[(BlockType::Q2K, 0.5), (BlockType::Q6K, 0.14)]),
];

/// Affine in groups of 64 with a scale and a bias of 16 bits (same section).
const MLX: &[Mix] =
    &[mix("8-bit", 8.5, &[]), mix("6-bit", 6.5, &[]), mix("4-bit", 4.5, &[]), mix("3-bit", 3.5, &[])];

/// Less than this beside the present bits is no other quantisation: files of one name differ by as much.
const DIFFERENCE: f64 = 0.93;

/// The same model in smaller quantisations, the largest first. What else is loaded beside it stays as it is.
pub(super) fn smaller(anatomy: &Anatomy) -> impl Iterator<Item = (Mix, Anatomy)> {
    let mixes = match anatomy.origin {
        Origin::Gguf | Origin::Reckoned => GGUF,
        Origin::Safetensors => MLX,
        // Its parameters are a rounded name, or not told.
        Origin::Server => &[],
    };
    let bits = anatomy.weights_bytes as f64 * 8.0 / anatomy.parameters.max(1) as f64;
    mixes.iter().filter(move |mix| mix.bits < bits * DIFFERENCE).map(move |mix| {
        let scaled = |bytes: u64| (bytes as f64 * mix.bits / bits) as u64;
        let smaller = Anatomy {
            weights_bytes: scaled(anatomy.weights_bytes),
            lookup_bytes: scaled(anatomy.lookup_bytes),
            expert_bytes: scaled(anatomy.expert_bytes),
            matrices: mix.matrices(scaled(anatomy.weights_bytes.saturating_sub(anatomy.lookup_bytes))),
            ..anatomy.clone()
        };
        (*mix, smaller)
    })
}

impl Mix {
    /// So many bytes of weights in this mix. The rows of real models can be divided by eight.
    pub fn matrices(self, bytes: u64) -> Vec<Matrices> {
        let of = |(block, share): &(BlockType, f64)| Matrices {
            block: *block,
            rows_by: 8,
            bytes: (bytes as f64 * share) as u64,
        };
        self.blocks.iter().map(of).collect()
    }

    /// What answers lose beside a larger one, in words.
    pub fn loss(self) -> &'static str {
        match self.bits {
            bits if bits >= 5.5 => "answers change very little",
            bits if bits >= 4.4 => "answers get a little worse",
            bits if bits >= 3.5 => "answers get worse",
            _ => "answers get much worse",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighing(bits: u64, origin: Origin) -> Anatomy {
        Anatomy { parameters: 8000, weights_bytes: bits * 1000, origin, ..Anatomy::default() }
    }

    #[test]
    fn only_really_smaller_ones_come_and_the_largest_first() {
        let names = |anatomy: &Anatomy| smaller(anatomy).map(|(mix, _)| mix.name).collect::<Vec<_>>();
        assert_eq!(names(&weighing(16, Origin::Gguf))[..2], ["Q8_0", "Q6_K"]);
        assert_eq!(names(&weighing(4, Origin::Gguf)), ["Q3_K_S", "Q2_K"], "not 3.996 beside 4");
        assert_eq!(names(&weighing(3, Origin::Gguf)), <[&str; 0]>::default());
        assert_eq!(names(&weighing(16, Origin::Safetensors)), ["8-bit", "6-bit", "4-bit", "3-bit"]);
        assert_eq!(names(&weighing(16, Origin::Server)), <[&str; 0]>::default());
        let (_, half) = smaller(&weighing(17, Origin::Safetensors)).next().unwrap();
        assert_eq!((half.weights_bytes, half.parameters), (8500, 8000));
    }
}
