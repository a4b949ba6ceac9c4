//! GGUF files in parts: `name-00001-of-00003.gguf` and so on (llama.cpp's gguf-split). The first part has the metadata; each
//! has its own tensors.

use super::{
    anatomy, bad,
    gguf::{self, Header},
    open,
};
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

fn named(file: &Path, error: &io::Error) -> io::Error {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// What a file says of itself, or the first of its parts; and why it cannot be loaded, when bytes or parts of it are missing.
/// Errors: it cannot be read, or is not understood.
pub fn look_at(first: &Path) -> io::Result<(Header, Option<String>)> {
    let read = || -> io::Result<Header> {
        let (metadata, _) = gguf::read_complete(&open(first)?)?;
        for file in parts_of(first).iter().skip(1) {
            gguf::read_complete(&open(file)?).map_err(|error| named(file, &error))?;
        }
        Ok(metadata.header())
    };
    match read() {
        Ok(header) => Ok((header, None)),
        Err(error) if is_damage(&error) => {
            // What its head says is worth knowing although the rest is missing.
            let header = open(first).and_then(gguf::read).unwrap_or_default();
            Ok((header, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Whether an error means that bytes or files are missing, so that nothing can load the model.
pub fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound)
}

/// The build of a model from all its parts.
pub(super) fn read(first: &Path) -> io::Result<Anatomy> {
    let (metadata, mut tensors) = gguf::read_complete(&open(first)?)?;
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
            let (_, more) = gguf::read_complete(&open(file)?).map_err(|error| named(file, &error))?;
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
        let part = |number, count, tensors| sample::with_data(sample::part(number, count, tensors), 256);
        std::fs::write(name(1), part(0, 2, 2)).unwrap();
        assert_eq!(read(&name(1)).unwrap_err().to_string(), "m-00002-of-00002.gguf is missing");
        std::fs::write(name(2), part(1, 2, 2)).unwrap();
        assert_eq!(read(&name(1)).unwrap().weights_bytes, 2 * 256);
        assert!(read(&name(2)).is_err(), "the second part describes nothing");
        std::fs::write(name(1), part(0, 2, 3)).unwrap();
        assert!(read(&name(1)).unwrap_err().to_string().contains("2 tensors"));
        let renamed = folder.path().join("whole.gguf");
        std::fs::write(&renamed, part(0, 2, 2)).unwrap();
        assert!(read(&renamed).unwrap_err().to_string().contains("2 parts"));
    }

    #[test]
    fn missing_bytes_are_seen_in_the_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let head = sample::part(0, 1, 1).len();
        let whole = sample::with_data(sample::part(0, 1, 1), 256);
        let looked = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            look_at(&path).map(|(header, damage)| (header.architecture, damage))
        };
        let llama = || Some("llama".to_owned());
        assert_eq!(looked(&whole).unwrap(), (llama(), None));
        let longer = [&whole[..], &[0; 7]].concat();
        assert_eq!(looked(&longer).unwrap(), (llama(), None), "bytes behind the last tensor harm nobody");
        for length in [0, 3, 20, head / 2, head - 1, head, head + 1, whole.len() - 256, whole.len() - 1] {
            let (architecture, damage) = looked(&whole[..length]).unwrap();
            let damage = damage.unwrap_or_else(|| panic!("cut at {length}"));
            assert!(damage.starts_with("it is cut off, "), "{damage}");
            assert!(architecture.is_some() || length < head, "what the head says is still told");
            assert!(
                length < head || damage.contains(&format!("{length} bytes of {}", whole.len())),
                "{damage}"
            );
            assert!(is_damage(&read(&path).unwrap_err()), "cut at {length}");
        }
        let other = looked(b"not a model at all, but a text that is long enough").unwrap_err();
        assert!(!is_damage(&other), "nothing is known to be missing: {other}");
    }

    #[test]
    fn a_part_that_is_cut_or_missing_is_damage_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let name = |number| folder.path().join(format!("m-0000{number}-of-00002.gguf"));
        let part = |number| sample::with_data(sample::part(number, 2, 2), 256);
        std::fs::write(name(1), part(0)).unwrap();
        let damage = || look_at(&name(1)).unwrap().1;
        assert_eq!(damage().unwrap(), "m-00002-of-00002.gguf is missing");
        let second = part(1);
        std::fs::write(name(2), &second[..second.len() - 1]).unwrap();
        assert!(damage().unwrap().starts_with("m-00002-of-00002.gguf: it is cut off"), "{:?}", damage());
        std::fs::write(name(2), &second).unwrap();
        assert_eq!(damage(), None);
    }
}
