//! GGUF files in parts: `name-00001-of-00003.gguf` and so on (llama.cpp's gguf-split). The first part has the metadata; each
//! has its own tensors.

use super::{anatomy, bad, gguf, open};
use pilothouse_domain::anatomy::Anatomy;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The largest models come in some hundred parts.
const MAX_PARTS: u32 = 1000;

/// What a file's stem says: what comes before, the number of the part, and of how many. `None`: not a part.
fn part(stem: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (before, number) = rest.rsplit_once('-')?;
    let five = |digits: &str| digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !five(number) || !five(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count).contains(&number).then_some((before, number, count))
}

/// Whether a file is a part, but not the first: no model of its own.
pub fn is_later_part(path: &Path) -> bool {
    path.file_stem().and_then(|stem| part(stem.to_str()?)).is_some_and(|(_, number, _)| number > 1)
}

/// All parts by the name of the first, whether they are there or not; a file that is no part is the only one.
pub fn parts_of(first: &Path) -> Vec<PathBuf> {
    match first.file_stem().and_then(|stem| part(stem.to_str()?)) {
        Some((before, 1, count)) if count <= MAX_PARTS => {
            let ending = first.extension().and_then(|ending| ending.to_str()).unwrap_or("gguf");
            let name = |number| first.with_file_name(format!("{before}-{number:05}-of-{count:05}.{ending}"));
            (1..=count).map(name).collect()
        }
        _ => vec![first.to_owned()],
    }
}

/// The build of a model from all its parts.
pub(super) fn read(first: &Path) -> io::Result<Anatomy> {
    let (metadata, mut tensors) = gguf::read_whole(open(first)?)?;
    let files = parts_of(first);
    let told = metadata.number("split.count").unwrap_or(1).max(1);
    if metadata.number("split.no").unwrap_or(0) > 0 {
        return Err(bad("it is a later part of a file; the first part describes the model"));
    }
    if told > 1 && told != files.len() as u64 {
        return Err(bad(format!("it says that it has {told} parts, its name says {}", files.len())));
    }
    if told > 1 {
        for file in &files[1..] {
            let (_, more) = gguf::read_whole(open(file)?)?;
            tensors.extend(more);
        }
    }
    if let Some(count) = metadata.number("split.tensors.count").filter(|count| *count != tensors.len() as u64)
    {
        return Err(bad(format!("its parts hold {} tensors, the first says {count}", tensors.len())));
    }
    anatomy::of(&metadata, &tensors).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_files::gguf::sample;

    #[test]
    fn names_say_which_part_a_file_is() {
        for (stem, wanted) in [
            ("big-Q4_K_M-00002-of-00003", Some(("big-Q4_K_M", 2, 3))),
            ("big-00004-of-00003", None),
            ("big-00000-of-00003", None),
            ("big-1-of-3", None),
            ("made-of-gold", None),
            ("big-+0001-of-00003", None),
        ] {
            assert_eq!(part(stem), wanted, "{stem}");
        }
        assert_eq!(parts_of(Path::new("/m/a-00001-of-00002.gguf")).len(), 2);
        assert_eq!(parts_of(Path::new("/m/A-00001-of-00002.GGUF"))[1], Path::new("/m/A-00002-of-00002.GGUF"));
        assert_eq!(parts_of(Path::new("/m/a-00002-of-00002.gguf")).len(), 1);
        assert_eq!(parts_of(Path::new("/m/a-00001-of-99999.gguf")).len(), 1);
        assert!(is_later_part(Path::new("a-00002-of-00002.gguf")));
        assert!(!is_later_part(Path::new("a-00001-of-00002.gguf")));
    }

    #[test]
    fn the_parts_make_one_model_and_a_missing_one_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let name = |number| folder.path().join(format!("m-0000{number}-of-00002.gguf"));
        std::fs::write(name(1), sample::part(0, 2, 2)).unwrap();
        assert_eq!(read(&name(1)).unwrap_err().to_string(), "m-00002-of-00002.gguf is missing");
        std::fs::write(name(2), sample::part(1, 2, 2)).unwrap();
        assert_eq!(read(&name(1)).unwrap().weights_bytes, 2 * 256);
        assert!(read(&name(2)).is_err(), "the second part describes nothing");
        std::fs::write(name(1), sample::part(0, 2, 3)).unwrap();
        assert!(read(&name(1)).unwrap_err().to_string().contains("2 tensors"));
        let renamed = folder.path().join("whole.gguf");
        std::fs::write(&renamed, sample::part(0, 2, 2)).unwrap();
        assert!(read(&renamed).unwrap_err().to_string().contains("2 parts"));
    }
}
