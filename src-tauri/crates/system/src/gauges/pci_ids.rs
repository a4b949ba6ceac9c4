//! Names of graphics cards by their numbers on the PCI bus, from the lists that Linux distributions install. amdgpu tells a
//! name of servers' cards only, Intel's drivers tell none.

use super::sysfs;
use std::path::Path;

/// "AMD Radeon RX 7900 XTX", "Intel Arc A770". `share`: `/usr/share`. `None`: there is no list, or the card is not in it.
pub(super) fn name(share: &Path, device: &Path) -> Option<String> {
    let id =
        |file: &str| sysfs::text(&device.join(file)).and_then(|id| id.strip_prefix("0x").map(str::to_owned));
    let (vendor, number) = (id("vendor")?, id("device")?);
    if let (true, Some(revision)) = (vendor == "1002", id("revision"))
        && let Some(name) = of_amd(&list(share, "libdrm/amdgpu.ids"), &number, &revision)
    {
        return Some(name);
    }
    let all = ["hwdata/pci.ids", "misc/pci.ids"].map(|file| list(share, file));
    all.iter().find_map(|list| of_all(list, &vendor, &number))
}

/// Those lists are a megabyte or two; what cannot be read is empty.
fn list(share: &Path, file: &str) -> String {
    std::fs::read(share.join(file))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// libdrm's list of AMD: device, revision and name per line, divided by commas.
fn of_amd(list: &str, device: &str, revision: &str) -> Option<String> {
    let named = |line: &str| {
        let mut fields = line.splitn(3, ',').map(str::trim);
        let (its_device, its_revision, name) = (fields.next()?, fields.next()?, fields.next()?);
        let same = its_device.eq_ignore_ascii_case(device) && its_revision.eq_ignore_ascii_case(revision);
        (same && !name.is_empty()).then(|| name.to_owned())
    };
    list.lines().filter(|line| !line.starts_with('#')).find_map(named)
}

/// The list of all vendors: a vendor at the begin of a line, its devices below it behind one tab. A trade name stands in
/// brackets behind the chip's.
fn of_all(list: &str, vendor: &str, device: &str) -> Option<String> {
    let mut lines = list.lines().skip_while(|line| !line.starts_with(vendor));
    let maker = if lines.next()?.contains("Intel") { "Intel " } else { "AMD " };
    let devices = lines.take_while(|line| line.starts_with(['\t', '#']) || line.is_empty());
    let named = devices.filter_map(|line| line.strip_prefix('\t')?.split_once("  "));
    let (_, name) = named.into_iter().find(|(id, _)| *id == device)?;
    let name = match name.split_once('[') {
        Some((_, trade)) => trade.trim_end_matches(']'),
        None => name,
    };
    Some(format!("{maker}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::sysfs::tests::{add, tree};

    const AMD: &str = "# List of AMDGPU IDs\n#\n1.0.0\n\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n744C,\tCC,\tAMD Radeon RX 7900 XT\n";
    const ALL: &str = "# a comment\n1002  Advanced Micro Devices, Inc. [AMD/ATI]\n\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX]\n\
        \t\t1002 0e3b  A board\n8086  Intel Corporation\n\t56a0  DG2 [Arc A770]\n\t9a49  TigerLake-LP GT2\n\t\t56a1 0001  No device\n\
        9004  Adaptec\n\t56a1  Some other\n";

    fn named(ids: [&str; 3], lists: &[(&str, &str)]) -> Option<String> {
        let folder = tree(lists);
        let [vendor, device, revision] = ids.map(|id| format!("0x{id}\n"));
        add(folder.path(), &[("d/vendor", &vendor), ("d/device", &device), ("d/revision", &revision)]);
        name(&folder.path().join("share"), &folder.path().join("d"))
    }

    #[test]
    fn cards_are_named_as_the_lists_do() {
        let both = [("share/libdrm/amdgpu.ids", AMD), ("share/misc/pci.ids", ALL)];
        for (ids, wanted) in [
            (["1002", "744c", "c8"], Some("AMD Radeon RX 7900 XTX")),
            (["1002", "744c", "cc"], Some("AMD Radeon RX 7900 XT")),
            (["1002", "744c", "01"], Some("AMD Radeon RX 7900 XT/7900 XTX")),
            (["8086", "56a0", "08"], Some("Intel Arc A770")),
            (["8086", "9a49", "01"], Some("Intel TigerLake-LP GT2")),
            (["8086", "56a1", "05"], None),
            (["1002", "0e3b", "00"], None),
            (["1234", "744c", "c8"], None),
        ] {
            assert_eq!(named(ids, &both).as_deref(), wanted, "{ids:?}");
        }
        assert_eq!(named(["1002", "744c", "c8"], &[]), None, "no lists here");
        assert_eq!(
            named(["8086", "56a0", "08"], &[("share/hwdata/pci.ids", ALL)]).as_deref(),
            Some("Intel Arc A770")
        );
        assert_eq!(named(["8086", "56a0", "08"], &[("share/hwdata/pci.ids", "\u{0}\t\n8086\n\t")]), None);
    }
}
