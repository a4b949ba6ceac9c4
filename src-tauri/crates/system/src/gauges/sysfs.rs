//! Small files of the kernel: one value each. What is missing or no number is `None`.

use std::{
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Why a device that the system has put to sleep has no readings.
pub(crate) const ASLEEP: &str = "asleep: not read, which would wake it";
/// No file that is read here is longer.
const LONGEST: u64 = 4096;

/// The text of a file, without the line's end; `None`: there is none, or it is empty.
pub(crate) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let trimmed = text.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

pub(crate) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// Whether the system has put the device to sleep. Asking this wakes nothing.
pub(super) fn is_asleep(device: &Path) -> bool {
    text(&device.join("power/runtime_status")).is_some_and(|status| status == "suspended")
}

/// A device of the PCI bus by its place ("0000:01:00.0").
pub(super) fn pci(sys: &Path, slot: &str) -> PathBuf {
    sys.join("bus/pci/devices").join(slot)
}

/// The display devices of one vendor ("0x10de"), by place.
pub(super) fn displays(sys: &Path, vendor: &str) -> Vec<PathBuf> {
    let is_display = |device: &PathBuf| {
        text(&device.join("vendor")).is_some_and(|its| its == vendor)
            && text(&device.join("class")).is_some_and(|class| class.starts_with("0x03"))
    };
    let mut found: Vec<PathBuf> = entries(&sys.join("bus/pci/devices")).filter(is_display).collect();
    found.sort();
    found
}

/// What is in a folder, in no order; nothing where there is no such folder.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// "AMD GPU 1002:744c": the vendor's and the device's number, where nothing tells a name.
pub(super) fn pci_name(device: &Path, vendor: &str) -> String {
    let id = |file: &str| text(&device.join(file)).and_then(|id| id.strip_prefix("0x").map(str::to_owned));
    match id("vendor").zip(id("device")) {
        Some((maker, device)) => format!("{vendor} GPU {maker}:{device}"),
        None => format!("{vendor} GPU"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder with these files.
    pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        add(folder.path(), files);
        folder
    }

    pub(crate) fn add(folder: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        let folder = tree(&[("good", "42\n"), ("word", "N/A\n"), ("empty", ""), ("signed", "-3")]);
        let read = |name: &str| number::<u64>(&folder.path().join(name));
        assert_eq!(read("good"), Some(42));
        for name in ["word", "empty", "signed", "missing"] {
            assert_eq!(read(name), None, "{name}");
        }
        std::fs::write(folder.path().join("bytes"), [0xff, 0xfe, b'1']).unwrap();
        assert_eq!(read("bytes"), None);
    }
}
