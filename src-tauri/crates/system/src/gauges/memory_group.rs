//! The memory group (cgroup) of this process: what it and its servers may take where that is less than the machine has.
//! Limits are found in our own group and in all above it (kernel: admin-guide/cgroup-v2, cgroup-v1/memory).

use super::sysfs;
use pilothouse_domain::machine::Sourced;
use std::path::Path;

/// No group: an old kernel writes the largest number of whole pages where there is no limit.
const NO_LIMIT: u64 = 1 << 62;
/// Groups above each other; more are a mistake.
const DEEPEST: usize = 64;

/// The tightest limits of a group and those above it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct MemoryLimit {
    /// The smallest limit, and which group has it.
    limit: Option<Sourced<u64>>,
    /// The least that is left under any of the limits.
    free_bytes: Option<u64>,
}

/// How a version of memory groups names its files.
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Parts of `memory.stat` that are given back when memory runs short: files that were read.
    cache: [&'static str; 2],
}

const V2: Names =
    Names { limit: "memory.max", used: "memory.current", cache: ["inactive_file", "active_file"] };
const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};

impl MemoryLimit {
    pub fn of_this_process() -> Self {
        Self::read(Path::new("/proc/self"), Path::new("/"))
    }

    /// `process`: its folder in `/proc`. `root`: stands before the places that its list of mounts names.
    fn read(process: &Path, root: &Path) -> Self {
        let whole = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        let (groups, mounts) = (whole("cgroup"), whole("mountinfo"));
        let mut found = Self::default();
        for (names, own, mount) in places(&groups, &mounts) {
            let top = root.join(mount.at.trim_start_matches('/'));
            // In a container the mount begins at its own group, whose path is told as the machine sees it.
            let below = own.strip_prefix(&mount.begins).unwrap_or(&own).trim_matches('/').to_owned();
            let own = top.join(&below);
            let groups = if own.is_dir() { own } else { top.clone() };
            for group in groups.ancestors().take_while(|group| group.starts_with(&top)).take(DEEPEST) {
                found.take_in(names, group, &top);
            }
        }
        found
    }

    fn take_in(&mut self, names: &Names, group: &Path, top: &Path) {
        let bytes = |file: &str| sysfs::number::<u64>(&group.join(file));
        let Some(limit) = bytes(names.limit).filter(|bytes| *bytes < NO_LIMIT) else { return };
        if self.limit.as_ref().is_none_or(|smallest| limit < smallest.value) {
            let name = group.strip_prefix(top).map(|path| path.display().to_string()).unwrap_or_default();
            let source = format!("limit of the memory group /{name} ({})", names.limit);
            self.limit = Some(Sourced { value: limit, source });
        }
        let Some(used) = bytes(names.used) else { return };
        let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let part = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default()
        };
        let cache = names.cache.into_iter().map(part).fold(0, u64::saturating_add);
        let free = limit.saturating_sub(used.saturating_sub(cache));
        self.free_bytes = Some(self.free_bytes.map_or(free, |least| least.min(free)));
    }

    /// Memory in use and in all with the limit in force: the total is the limit where that is less, and what is left of it is
    /// no more than the machine has left.
    pub fn applied(self, used: u64, total: u64) -> (u64, u64, Option<Sourced<u64>>) {
        let Some(limit) = self.limit.filter(|limit| limit.value < total) else {
            return (used, total, None);
        };
        let free = total.saturating_sub(used).min(self.free_bytes.unwrap_or(limit.value)).min(limit.value);
        (limit.value - free, limit.value, Some(limit))
    }

    /// The limit, where it is less than the machine has.
    pub fn below(self, total: u64) -> Option<Sourced<u64>> {
        self.limit.filter(|limit| limit.value < total)
    }
}

/// Where a hierarchy of groups is mounted, and at which of its groups the mount begins.
struct Mount {
    at: String,
    begins: String,
}

/// The group of this process in each hierarchy that limits memory, with its mount.
fn places<'a>(groups: &'a str, mounts: &'a str) -> Vec<(&'static Names, String, Mount)> {
    let mut places = Vec::new();
    for line in groups.lines() {
        // "0::/user.slice" or "9:memory:/docker/ab"
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let v1 = controllers.split(',').any(|controller| controller == "memory");
        let (names, kind) = match (number, v1) {
            ("0", _) => (&V2, "cgroup2"),
            (_, true) => (&V1, "cgroup"),
            _ => continue,
        };
        let mount = mounts.lines().find_map(|line| mount(line, kind, v1));
        places.extend(mount.map(|mount| (names, path.to_owned(), mount)));
    }
    places
}

/// A line of `mountinfo` (proc_pid_mountinfo(5)) where it is the hierarchy that is meant.
fn mount(line: &str, kind: &str, of_memory: bool) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let (its_kind, options) = (after.next()?, after.nth(1)?);
    let fits = its_kind == kind && (!of_memory || options.split(',').any(|option| option == "memory"));
    let mut fields = before.split(' ').skip(3);
    let (begins, at) = (fields.next()?, fields.next()?);
    fits.then(|| Mount { at: at.into(), begins: if begins == "/" { String::new() } else { begins.into() } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::sysfs::tests::{add, tree};

    const GIB: u64 = 1 << 30;
    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNT: &str = "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                            36 25 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";

    fn read(groups: &str, mounts: &str, files: &[(&str, String)]) -> MemoryLimit {
        let root = tree(&[("proc/cgroup", groups), ("proc/mountinfo", mounts)]);
        for (name, content) in files {
            add(root.path(), &[(&format!("sys/fs/cgroup/{name}"), content)]);
        }
        MemoryLimit::read(&root.path().join("proc"), root.path())
    }

    /// Total and free bytes of a machine with 64 GiB, half of it free.
    fn on_64(limit: MemoryLimit) -> (u64, u64, String) {
        let (used, total, limit) = limit.applied(32 * GIB, 64 * GIB);
        (total / GIB, (total - used) / GIB, limit.map(|limit| limit.source).unwrap_or_default())
    }

    fn v2(group: &str, max: &str, current: u64, cache: u64) -> Vec<(String, String)> {
        vec![
            (format!("{group}memory.max"), format!("{max}\n")),
            (format!("{group}memory.current"), format!("{current}\n")),
            (format!("{group}memory.stat"), format!("anon 5\ninactive_file {cache}\nactive_file 0\n")),
        ]
    }

    fn files(parts: Vec<Vec<(String, String)>>) -> Vec<(&'static str, String)> {
        let leak = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
        parts.into_iter().flatten().map(|(name, text)| (leak(name), text)).collect()
    }

    #[test]
    fn the_smallest_limit_of_the_group_and_those_above_it_counts() {
        let none = || "max".to_owned();
        let two = (2 * GIB).to_string();
        let eight = (8 * GIB).to_string();
        let huge = (200 * GIB).to_string();
        let max = |own: &str, parent: &str| {
            files(vec![v2("a/b/", own, GIB, 0), v2("a/", parent, 7 * GIB, 4 * GIB)])
        };
        let own = "limit of the memory group /a/b (memory.max)".to_owned();
        let parent = "limit of the memory group /a (memory.max)".to_owned();
        let cases = [
            (max(&two, &none()), (2, 1, own.clone())),
            // Of the 7 GiB in the parent 4 are files that were read.
            (max(&none(), &eight), (8, 5, parent)),
            (max(&two, &eight), (2, 1, own)),
            (max(&none(), &none()), (64, 32, String::new())),
            (max(&huge, &none()), (64, 32, String::new())),
            (vec![], (64, 32, String::new())),
        ];
        for (files, expected) in cases {
            assert_eq!(on_64(read("0::/a/b\n", V2_MOUNT, &files)), expected, "{files:?}");
        }
    }

    #[test]
    fn a_parent_with_more_inside_leaves_less_than_our_own_limit_says() {
        let files = files(vec![
            v2("a/b/", &(2 * GIB).to_string(), 0, 0),
            v2("a/", &(8 * GIB).to_string(), 7 * GIB, 0),
        ]);
        assert_eq!(on_64(read("0::/a/b\n", V2_MOUNT, &files)).1, 1);
    }

    #[test]
    fn version_1_and_containers_are_understood() {
        let v1 = |group: &str, limit: u64| {
            vec![
                (format!("memory{group}/memory.limit_in_bytes"), limit.to_string()),
                (format!("memory{group}/memory.usage_in_bytes"), (3 * GIB).to_string()),
                (format!("memory{group}/memory.stat"), format!("total_inactive_file {GIB}\n")),
            ]
        };
        let groups = "9:memory:/x\n4:cpu,cpuacct:/y\n";
        let limited = read(groups, V1_MOUNT, &files(vec![v1("/x", 4 * GIB)]));
        assert_eq!(on_64(limited), (4, 2, "limit of the memory group /x (memory.limit_in_bytes)".into()));
        let unlimited = read(groups, V1_MOUNT, &files(vec![v1("/x", 9_223_372_036_854_771_712)]));
        assert_eq!(on_64(unlimited).0, 64);
        // The machine's path, while the mount begins at the container's own group.
        let inside = V1_MOUNT.replace("0:30 / ", "0:30 /docker/ab ");
        let container = read("9:memory:/docker/ab\n", &inside, &files(vec![v1("", 4 * GIB)]));
        assert_eq!(on_64(container).2, "limit of the memory group / (memory.limit_in_bytes)");
        let own_view = read("0::/\n", V2_MOUNT, &files(vec![v2("", &(2 * GIB).to_string(), GIB, 0)]));
        assert_eq!(on_64(own_view).0, 2, "a namespace of its own");
        for junk in ["", "0", "0::", ":::\n", "9:memory\n"] {
            assert_eq!(read(junk, "nonsense - x", &[]), MemoryLimit::default(), "{junk:?}");
        }
    }
}
