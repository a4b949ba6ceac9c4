//! What each program uses of a GPU, as the kernel tells it beside the program's open files (`drm-usage-stats`). Only
//! the programs of this user can be read.

use super::{slow::Slow, sysfs};
use pilothouse_domain::gauge::GpuProcess;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Looking through all files of all programs is dear; a newcomer may wait.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time that one kind of engine of a GPU worked for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Engine {
    /// Nanoseconds; with `of`, cycles.
    busy: u64,
    /// Cycles that went by in all (xe); `None`: `busy` is a time.
    of: Option<u64>,
    /// Engines of this kind.
    capacity: u64,
}

/// One client of a GPU: an open device file. Copies of it in other processes are the same client.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Client {
    pub pid: u32,
    /// Place of the GPU on the PCI bus; `None`: not told.
    slot: Option<String>,
    id: u64,
    /// Bytes in the card's own memory.
    own: Option<u64>,
    /// Bytes in the machine's memory that the GPU can reach.
    shared: Option<u64>,
    engines: BTreeMap<String, Engine>,
}

/// Where the clients are found.
pub(super) struct Clients {
    /// `/proc`.
    proc: PathBuf,
    files: Slow<Vec<(u32, PathBuf)>>,
}

impl Clients {
    pub fn new(proc: PathBuf) -> Self {
        Self { proc, files: Slow::every(LOOK_EVERY) }
    }

    /// Each client once, by the lowest process that has it.
    pub fn read(&mut self, now: Instant) -> Vec<Client> {
        let Self { proc, files } = self;
        let files = files.get(now, || {
            let number = |path: PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
            let mut pids: Vec<u32> = sysfs::entries(proc).filter_map(number).collect();
            pids.sort_unstable();
            pids.into_iter().flat_map(|pid| device_files(proc, pid)).collect()
        });
        let mut seen = HashSet::new();
        let client = |(pid, path): &(u32, PathBuf)| {
            let client = Client { pid: *pid, ..parse(&sysfs::text(path)?)? };
            seen.insert((client.slot.clone(), client.id)).then_some(client)
        };
        files.iter().filter_map(client).collect()
    }
}

/// The open GPU files of a process.
fn device_files(proc: &std::path::Path, pid: u32) -> Vec<(u32, PathBuf)> {
    let folder = proc.join(pid.to_string());
    let mut files: Vec<(u32, PathBuf)> = sysfs::entries(&folder.join("fd"))
        .filter(|path| std::fs::read_link(path).is_ok_and(|target| target.starts_with("/dev/dri")))
        .filter_map(|path| Some((pid, folder.join("fdinfo").join(path.file_name()?))))
        .collect();
    files.sort();
    files
}

/// `None`: no client of a GPU.
fn parse(text: &str) -> Option<Client> {
    let fields: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let id = fields.get("drm-client-id")?.parse().ok()?;
    let mut client =
        Client { id, slot: fields.get("drm-pdev").map(|slot| (*slot).to_owned()), ..Client::default() };
    let mut regions: BTreeMap<&str, (u8, u64)> = BTreeMap::new();
    for (key, value) in &fields {
        if let Some((rank, region)) = region(key)
            && let Some(bytes) = bytes(value)
        {
            let kept = regions.entry(region).or_insert((rank, bytes));
            *kept = (*kept).max((rank, bytes));
        }
    }
    for (region, (_, bytes)) in regions {
        let sum = match region {
            _ if region.starts_with("vram") || region.starts_with("local") => &mut client.own,
            _ if region.starts_with("gtt") || region.starts_with("system") => &mut client.shared,
            // Memory of the processor that the GPU cannot reach at the moment.
            _ => continue,
        };
        *sum = Some(sum.unwrap_or_default().saturating_add(bytes));
    }
    client.engines = engines(&fields);
    Some(client)
}

/// How well a key tells what a client holds in which region: resident before total before the old name.
fn region(key: &str) -> Option<(u8, &str)> {
    let ranks = [(2, "drm-resident-"), (1, "drm-total-"), (0, "drm-memory-")];
    let found = ranks.iter().find_map(|(rank, prefix)| Some((*rank, key.strip_prefix(prefix)?)))?;
    (!found.1.starts_with("cycles-")).then_some(found)
}

/// A value without a unit is bytes.
fn bytes(value: &str) -> Option<u64> {
    let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
    let factor = match unit.trim() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn engines(fields: &HashMap<&str, &str>) -> BTreeMap<String, Engine> {
    let number = |key: &str| fields.get(key)?.split(' ').next()?.parse::<u64>().ok();
    let engine = |key: &&str| {
        let (name, of) = match key.strip_prefix("drm-engine-") {
            Some(name) if name.starts_with("capacity-") => return None,
            Some(name) => (name, None),
            None => {
                let name = key.strip_prefix("drm-cycles-")?;
                (name, Some(number(&format!("drm-total-cycles-{name}"))?))
            }
        };
        let capacity = number(&format!("drm-engine-capacity-{name}")).unwrap_or(1).max(1);
        Some((name.to_owned(), Engine { busy: number(key)?, of, capacity }))
    };
    fields.keys().filter_map(engine).collect()
}

/// Processes of one GPU with what they hold. `shared`: the GPU has no memory of its own.
pub(super) fn processes(clients: &[Client], slot: Option<&str>, shared: bool) -> Vec<GpuProcess> {
    let mut all: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    for client in clients.iter().filter(|client| client.is_of(slot)) {
        let bytes = match (client.own, client.shared) {
            (Some(own), Some(gtt)) if shared => Some(own.saturating_add(gtt)),
            (own, gtt) if shared => own.or(gtt),
            (own, _) => own,
        };
        let sum = all.entry(client.pid).or_default();
        *sum = sum.map_or(bytes, |before| Some(before.saturating_add(bytes.unwrap_or_default())));
    }
    all.into_iter().map(|(pid, memory_bytes)| GpuProcess { pid, memory_bytes }).collect()
}

impl Client {
    fn is_of(&self, slot: Option<&str>) -> bool {
        slot.is_some() && self.slot.as_deref() == slot
    }
}

/// Remembers what rates are taken from.
#[derive(Default)]
pub(super) struct BusyMeter {
    at: Option<Instant>,
    before: HashMap<(u64, String), Engine>,
}

impl BusyMeter {
    /// Share of time in which the busiest kind of engine worked for these clients, 0–100. `None`: no client, or the
    /// first reading.
    pub fn percent(&mut self, now: Instant, clients: &[Client], slot: Option<&str>) -> Option<f64> {
        let nanoseconds = self.at.replace(now).map(|at| now.saturating_duration_since(at).as_nanos() as f64);
        let mut kept = HashMap::new();
        let mut kinds: HashMap<&str, f64> = HashMap::new();
        for client in clients.iter().filter(|client| client.is_of(slot)) {
            for (name, engine) in &client.engines {
                let key = (client.id, name.clone());
                let before = self.before.get(&key).copied();
                if let Some(share) = before.zip(nanoseconds).and_then(|(before, ns)| engine.share(before, ns))
                {
                    *kinds.entry(name).or_default() += share;
                }
                // The kernel's rule: a counter that falls is to be taken as standing still until it passes its old value.
                let highest = before.filter(|before| before.busy > engine.busy).map(|before| before.busy);
                kept.insert(key, Engine { busy: highest.unwrap_or(engine.busy), ..*engine });
            }
        }
        self.before = kept;
        kinds.into_values().reduce(f64::max).map(|share| (share * 100.0).min(100.0))
    }
}

impl Engine {
    /// 0–1 per engine of its kind. `None`: no time went by.
    fn share(self, before: Self, nanoseconds: f64) -> Option<f64> {
        let busy = self.busy.saturating_sub(before.busy) as f64;
        let of = match (self.of, before.of) {
            (Some(now), Some(before)) => now.saturating_sub(before) as f64,
            _ => nanoseconds,
        };
        (of > 0.0).then(|| (busy / of / self.capacity as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::sysfs::tests::{add, tree};

    /// As in the reference (telemetry, section 4.2).
    const XE: &str = "pos:\t0
drm-driver:     xe
drm-client-id:  3
drm-pdev:       0000:03:00.0
drm-total-system:       0
drm-total-gtt:  192 KiB
drm-resident-gtt:       192 KiB
drm-total-vram0:        23992 KiB
drm-resident-vram0:     23992 KiB
drm-cycles-rcs: 28257900
drm-total-cycles-rcs:   7655183225
drm-cycles-ccs: 0
drm-total-cycles-ccs:   7655183225
drm-engine-capacity-ccs:        4
";
    const SLOT: Option<&str> = Some("0000:03:00.0");

    #[test]
    fn the_client_of_the_reference_is_read() {
        let client = parse(XE).unwrap();
        assert_eq!((client.id, client.slot.as_deref()), (3, SLOT));
        assert_eq!((client.own, client.shared), (Some(23_992 << 10), Some(192 << 10)));
        assert_eq!(client.engines["rcs"], Engine { busy: 28_257_900, of: Some(7_655_183_225), capacity: 1 });
        assert_eq!(client.engines["ccs"].capacity, 4);
        assert_eq!(client.engines.len(), 2);
    }

    #[test]
    fn older_names_and_garbage_are_taken_as_they_are() {
        let old = parse(
            "drm-client-id: 5\ndrm-pdev: 0000:03:00.0\ndrm-memory-vram: 100 KiB\ndrm-memory-cpu: 9 KiB\n",
        );
        assert_eq!((old.clone().unwrap().own, old.unwrap().shared), (Some(100 << 10), None));
        let odd = parse(
            "drm-client-id: 5\ndrm-memory-vram: many KiB\ndrm-resident-vram: 3 GB\ndrm-engine-gfx: x ns\n",
        );
        assert_eq!(odd, Some(Client { id: 5, ..Client::default() }));
        for junk in ["", "pos: 0", "drm-client-id: x", "drm-client-id", ":::"] {
            assert_eq!(parse(junk), None, "{junk:?}");
        }
    }

    fn at(busy: u64, total: u64) -> Vec<Client> {
        let text = XE
            .replace("drm-cycles-rcs: 28257900", &format!("drm-cycles-rcs: {busy}"))
            .replace("7655183225", &total.to_string());
        vec![parse(&text).unwrap()]
    }

    #[test]
    fn load_is_the_difference_of_two_readings() {
        let mut meter = BusyMeter::default();
        let start = Instant::now();
        let s = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(meter.percent(s(0), &at(1000, 10_000), SLOT), None, "one reading has no rate");
        assert_eq!(meter.percent(s(1), &at(1500, 12_000), SLOT), Some(25.0));
        assert_eq!(meter.percent(s(2), &at(1200, 14_000), SLOT), Some(0.0), "the counter fell");
        assert_eq!(meter.percent(s(3), &at(1400, 16_000), SLOT), Some(0.0), "and is below where it was");
        assert_eq!(meter.percent(s(4), &at(2500, 18_000), SLOT), Some(50.0));
        assert_eq!(meter.percent(s(5), &at(2500, 18_000), SLOT), None, "no cycle went by");
        assert_eq!(meter.percent(s(6), &at(9500, 20_000), Some("0000:00:02.0")), None, "another GPU");
    }

    #[test]
    fn nanoseconds_of_several_engines_are_a_share_of_all_of_them() {
        let client = |busy: u64| {
            let text = format!(
                "drm-client-id: 7\ndrm-pdev: 0000:03:00.0\ndrm-engine-render: {busy} ns\ndrm-engine-video: 5 ns\n\
                 drm-engine-capacity-render: 2\n"
            );
            vec![parse(&text).unwrap()]
        };
        let mut meter = BusyMeter::default();
        let start = Instant::now();
        meter.percent(start, &client(0), SLOT);
        let percent = meter.percent(start + Duration::from_secs(2), &client(1_000_000_000), SLOT);
        assert_eq!(percent, Some(25.0), "one of two engines, half of the time");
    }

    #[cfg(unix)]
    #[test]
    fn a_client_in_two_processes_counts_once() {
        let link = |proc: &tempfile::TempDir, pid: u32, fd: u32, to: &str| {
            let folder = proc.path().join(format!("{pid}/fd"));
            std::fs::create_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink(to, folder.join(fd.to_string())).unwrap();
        };
        let other = XE.replace("drm-client-id:  3", "drm-client-id:  4");
        let proc = tree(&[
            ("40/fdinfo/5", XE),
            ("40/fdinfo/6", &other),
            ("41/fdinfo/5", XE),
            ("41/fdinfo/9", "pos: 0"),
        ]);
        add(proc.path(), &[("42/stat", "no files to be seen")]);
        for (pid, fd) in [(40, 5), (40, 6), (41, 5)] {
            link(&proc, pid, fd, "/dev/dri/renderD128");
        }
        link(&proc, 41, 9, "/tmp/somewhere");
        let mut clients = Clients::new(proc.path().into());
        let found = clients.read(Instant::now());
        let pids: Vec<(u32, u64)> = found.iter().map(|client| (client.pid, client.id)).collect();
        assert_eq!(pids, [(40, 3), (40, 4)]);
        let held = |shared| processes(&found, SLOT, shared);
        assert_eq!(held(false), [GpuProcess { pid: 40, memory_bytes: Some((2 * 23_992) << 10) }]);
        assert_eq!(held(true), [GpuProcess { pid: 40, memory_bytes: Some((2 * 24_184) << 10) }]);
        assert_eq!(processes(&found, Some("0000:00:02.0"), false), []);
    }
}
