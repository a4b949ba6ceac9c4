//! Whether two files hold the same weights, told by pieces of them: reading 40 GB before each measurement would be too much.

use super::ModelFiles;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Pieces that are read of each file, spread evenly from its begin to its end.
const PIECES: u64 = 64;
const PIECE: u64 = 64 << 10;

/// A digest over the length and 64 pieces of a model's weights; equal for equal files wherever they lie. `None`: its server alone
/// may read them. Errors: the files cannot be read.
pub fn sampled_digest(files: &ModelFiles) -> io::Result<Option<String>> {
    let mut digest = Sha256::new();
    match files {
        ModelFiles::Gguf { model, .. } => sample(model, &mut digest)?,
        ModelFiles::Safetensors { weights, .. } => {
            weights.iter().try_for_each(|file| sample(file, &mut digest))?;
        }
        ModelFiles::Folder(folder) => {
            let mut weights: Vec<_> = std::fs::read_dir(folder)?
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
                .collect();
            weights.sort();
            weights.iter().try_for_each(|file| sample(file, &mut digest))?;
        }
        ModelFiles::Told(_) => return Ok(None),
    }
    let hex: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(hex))
}

fn sample(path: &Path, digest: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    digest.update(length.to_le_bytes());
    let last = length.saturating_sub(PIECE);
    let mut piece = Vec::with_capacity(PIECE as usize);
    for number in 0..PIECES {
        let from = (u128::from(last) * u128::from(number) / u128::from(PIECES - 1)) as u64;
        file.seek(SeekFrom::Start(from))?;
        piece.clear();
        (&mut file).take(PIECE).read_to_end(&mut piece)?;
        digest.update(&piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_are_equal_and_a_changed_byte_of_a_small_one_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            sampled_digest(&ModelFiles::gguf(path)).unwrap().unwrap()
        };
        let weights: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let one = of("one", &weights);
        assert_eq!(one.len(), 16);
        assert_eq!(of("two", &weights), one);
        for at in [0, 1000, 150_000, 299_999] {
            let mut other = weights.clone();
            other[at] ^= 1;
            assert_ne!(of("other", &other), one, "{at}");
        }
        assert_ne!(of("longer", &[&weights[..], &[0]].concat()), one);
        assert_ne!(of("empty", &[]), one);
        assert!(sampled_digest(&ModelFiles::gguf(folder.path().join("none"))).is_err());
    }
}
