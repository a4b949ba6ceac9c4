//! Weights that llama.cpp keeps in another order on the processor ("repacks"), so that its vector instructions read several rows
//! at a time.

use crate::{
    anatomy::{BlockType, Matrices},
    machine::CpuFeatures,
};

/// Bytes of the weights that are kept in another order, as large as before. Checked against what llama-server build 10068 logs
/// as `CPU_REPACK`: 0, 12.66, 28.05 and 596.53 MiB with the four models of the tests.
pub fn packed_bytes(matrices: &[Matrices], cpu: CpuFeatures) -> u64 {
    matrices.iter().filter(|one| is_packed(one, cpu)).fold(0, |sum, one| sum.saturating_add(one.bytes))
}

/// The rules of llama.cpp's ggml/src/ggml-cpu/repack.cpp (`ggml_repack_get_optimal_repack_type`), without those for s390x and
/// RISC-V. There "matrix products of bytes" (i8mm) stand beside `dotprod`; no processor has the one without the other.
fn is_packed(matrices: &Matrices, cpu: CpuFeatures) -> bool {
    let (eight, four) = (matrices.rows_by % 8 == 0, matrices.rows_by % 4 == 0);
    let arm = cpu.neon && cpu.dotprod;
    match matrices.block {
        BlockType::Q4_0 | BlockType::Mxfp4 => (cpu.avx2 && eight) || (arm && four),
        BlockType::Iq4Nl => (cpu.avx2 && eight) || (cpu.neon && four),
        BlockType::Q4K => (cpu.avx2 || arm) && eight,
        BlockType::Q2K => cpu.avx512 && eight,
        BlockType::Q5K | BlockType::Q6K => arm && eight,
        BlockType::Q8_0 => arm && four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_depends_on_type_rows_and_instructions() {
        use BlockType as B;
        let none = CpuFeatures::default();
        let avx2 = CpuFeatures { avx2: true, ..none };
        let avx512 = CpuFeatures { avx512: true, ..avx2 };
        let neon = CpuFeatures { neon: true, ..none };
        let arm = CpuFeatures { dotprod: true, ..neon };
        // Of a type with so many rows, on an older x86, x86 with AVX2, with AVX-512, an older Arm and a newer one.
        for (block, rows, wanted) in [
            (B::Q4K, 1536, [false, true, true, false, true]),
            (B::Q4K, 1540, [false; 5]),
            (B::Q4_0, 1536, [false, true, true, false, true]),
            (B::Q4_0, 1540, [false, false, false, false, true]),
            (B::Mxfp4, 2880, [false, true, true, false, true]),
            (B::Iq4Nl, 1540, [false, false, false, true, true]),
            (B::Q2K, 4096, [false, false, true, false, false]),
            (B::Q5K, 4096, [false, false, false, false, true]),
            (B::Q6K, 4096, [false, false, false, false, true]),
            (B::Q8_0, 4100, [false, false, false, false, true]),
            (B::Q8_0, 4098, [false; 5]),
        ] {
            let matrices = [Matrices { block, rows_by: Matrices::rows_by(rows), bytes: 7 }];
            let packed = [none, avx2, avx512, neon, arm].map(|cpu| packed_bytes(&matrices, cpu) == 7);
            assert_eq!(packed, wanted, "{block:?} with {rows} rows");
        }
    }
}
