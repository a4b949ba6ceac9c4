//! What macOS tells of its machine: `sysctl` and `system_profiler` (reference: telemetry, sections 1.3 and 2.1).

use crate::process::{ProcessSpec, run_to_end};
use pilothouse_domain::machine::{Cores, CpuFeatures, Gpu, Machine, MemoryKind, Sourced, apple_chip};
use serde::Deserialize;
use std::{collections::HashMap, time::Duration};

const LIMIT: Duration = Duration::from_secs(10);
const NAMES: [&str; 12] = [
    "hw.model",
    "hw.memsize",
    "machdep.cpu.brand_string",
    "hw.nperflevels",
    "hw.perflevel0.name",
    "hw.perflevel0.physicalcpu",
    "hw.perflevel1.name",
    "hw.perflevel1.physicalcpu",
    "hw.perflevel2.name",
    "hw.perflevel2.physicalcpu",
    "kern.hv_vmm_present",
    LIMIT_OVERRIDE,
];
/// In MiB; 0: nobody has set it.
const LIMIT_OVERRIDE: &str = "iogpu.wired_limit_mb";

/// What was told, before it is joined to the rest.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    values: HashMap<String, String>,
    profiler: Profiler,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Profiler {
    #[serde(rename = "SPHardwareDataType")]
    hardware: Vec<Hardware>,
    #[serde(rename = "SPDisplaysDataType")]
    displays: Vec<Display>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Hardware {
    machine_name: Option<String>,
    machine_model: Option<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Display {
    sppci_model: Option<String>,
    /// A number as text.
    sppci_cores: Option<String>,
    /// "spdisplays_metal4".
    spdisplays_mtlgpufamilysupport: Option<String>,
}

/// The limit that somebody has set for the GPU, as it is now; `Some(None)`: nobody has. `None`: not macOS, or not told.
pub(super) async fn limit_override_bytes() -> Option<Option<u64>> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    parse(&output("/usr/sbin/sysctl", &[LIMIT_OVERRIDE]).await, "").limit_override_bytes()
}

/// `None`: not macOS.
pub(super) async fn ask() -> Option<Told> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let sysctl = output("/usr/sbin/sysctl", &NAMES).await;
    let profiler =
        output("/usr/sbin/system_profiler", &["-json", "SPHardwareDataType", "SPDisplaysDataType"]).await;
    Some(parse(&sysctl, &profiler))
}

/// Nothing where the tool fails: then its figures are absent.
async fn output(program: &str, arguments: &[&str]) -> String {
    let spec = ProcessSpec {
        program: program.into(),
        args: arguments.iter().map(Into::into).collect(),
        env: vec![("LC_ALL".into(), "C".into())],
        env_remove: vec![],
        cwd: None,
    };
    match run_to_end(&spec, LIMIT).await {
        // An unknown name makes sysctl exit with 1; the others are still printed.
        Ok(finished) => finished.stdout,
        Err(error) => {
            tracing::warn!(%error, program, "the hardware profile is incomplete");
            String::new()
        }
    }
}

fn parse(sysctl: &str, profiler: &str) -> Told {
    let pair =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Told {
        values: sysctl.lines().filter_map(pair).collect(),
        profiler: serde_json::from_str(profiler).unwrap_or_default(),
    }
}

impl Told {
    fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.values.get(name)?.parse().ok()
    }

    /// `Some(None)`: nobody has set one.
    fn limit_override_bytes(&self) -> Option<Option<u64>> {
        let megabytes = self.number::<u64>(LIMIT_OVERRIDE)?;
        Some((megabytes > 0).then_some(megabytes << 20))
    }

    /// Up to three levels, the fastest first ("Super", "Performance", "Efficiency"); not every chip has each of them.
    /// Virtual machines have one level without a kind, and old systems name none: there the second is the slow one.
    fn cores(&self) -> Cores {
        let levels = self.number::<u32>("hw.nperflevels").unwrap_or(1).min(3);
        let (mut performance, mut efficiency) = (None, None);
        for level in 0..levels {
            let Some(cores) = self.number::<u32>(&format!("hw.perflevel{level}.physicalcpu")) else {
                continue;
            };
            let slow = match self.text(&format!("hw.perflevel{level}.name")) {
                Some(name) => name == "Efficiency",
                None => level > 0,
            };
            let sum = if slow { &mut efficiency } else { &mut performance };
            *sum = Some(sum.unwrap_or(0) + cores);
        }
        Cores { performance, efficiency }
    }

    /// Puts what was told in place of what every system tells.
    pub fn onto(self, plain: Machine) -> Machine {
        let chip = self.text("machdep.cpu.brand_string").unwrap_or(plain.chip);
        let display = self.profiler.displays.first();
        let gpu_cores = display.and_then(|display| display.sppci_cores.as_ref()?.parse::<u32>().ok());
        let known = apple_chip(&chip, gpu_cores);
        let hardware = self.profiler.hardware.first();
        let model = hardware.and_then(|hardware| {
            let id = hardware.machine_model.as_ref().or(hardware.machine_name.as_ref())?;
            Some(match &hardware.machine_name {
                Some(name) if name != id => format!("{name} ({id})"),
                _ => id.clone(),
            })
        });
        let bandwidth =
            known.map(|chip| Sourced { value: chip.bandwidth_gb_s, source: "table of Apple chips".into() });
        let metal = display
            .and_then(|display| display.spdisplays_mtlgpufamilysupport.as_deref())
            .and_then(|text| text.strip_prefix("spdisplays_metal"))
            .filter(|version| !version.is_empty());
        let cores = self.cores();
        let gpu = Gpu {
            name: display.and_then(|display| display.sppci_model.clone()).unwrap_or_else(|| chip.clone()),
            vendor: "apple".into(),
            cores: gpu_cores,
            memory_shared: true,
            ..Gpu::default()
        };
        Machine {
            model: model.or_else(|| self.text("hw.model")),
            cores: if cores.performance.is_some() { cores } else { plain.cores },
            cpu_features: match chip.starts_with("Apple") {
                true => Some(CpuFeatures { neon: true, dotprod: true, ..CpuFeatures::default() }),
                false => plain.cpu_features,
            },
            memory_bytes: self.number("hw.memsize").unwrap_or(plain.memory_bytes),
            memory_kind: MemoryKind::Unified,
            bandwidth_gb_s_absent: match &bandwidth {
                Some(_) => None,
                None => Some(format!("{chip} is not in the table of chips")),
            },
            bandwidth_gb_s: bandwidth,
            gpus: vec![gpu],
            neural_engine: known
                .and_then(|chip| Some((chip.neural_engine_cores(), chip.neural_engine_tops?)))
                .map(|(cores, tops)| format!("{cores} cores, {tops} TOPS; no server uses it")),
            metal: metal.map(str::to_owned),
            gpu_limit_override_bytes: self.limit_override_bytes().flatten(),
            chip,
            ..plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the reference (telemetry, section 1.3).
    const SYSCTL: &str = "hw.model: Mac16,9
hw.memsize: 38654705664
hw.pagesize: 16384
machdep.cpu.brand_string: Apple M4 Max
hw.nperflevels: 2
hw.perflevel0.name: Performance
hw.perflevel0.physicalcpu: 10
hw.perflevel1.name: Efficiency
hw.perflevel1.physicalcpu: 4
kern.hv_vmm_present: 0
iogpu.wired_limit_mb: 0
";
    /// As in the reference (telemetry, section 2.1), shortened.
    const PROFILER: &str = r#"{"SPHardwareDataType":[{"_name":"hardware_overview","chip_type":"Apple M4 Max",
        "machine_model":"Mac16,9","machine_name":"Mac Studio","number_processors":"proc 14:10:4:0"}],
        "SPDisplaysDataType":[{"_name":"Apple M4 Max","spdisplays_mtlgpufamilysupport":"spdisplays_metal4",
        "sppci_cores":"32","sppci_device_type":"spdisplays_gpu","sppci_model":"Apple M4 Max"}]}"#;

    #[test]
    fn the_mac_studio_of_the_reference_is_the_profile_that_comes_with_the_program() {
        let machine = parse(SYSCTL, PROFILER).onto(super::super::unknown());
        let wanted = super::super::profile("m4-max-36").unwrap();
        assert_eq!(machine, wanted);
    }

    #[test]
    fn a_limit_that_somebody_set_is_the_ceiling() {
        let set = SYSCTL.replace("wired_limit_mb: 0", "wired_limit_mb: 32768");
        let machine = parse(&set, PROFILER).onto(super::super::unknown());
        assert_eq!(machine.ceiling().bytes, 32 << 30);
    }

    #[test]
    fn cores_are_counted_by_the_names_of_their_levels() {
        let cores = |levels: &[(&str, u32)]| {
            let mut told = format!("hw.nperflevels: {}\n", levels.len());
            for (level, (name, count)) in levels.iter().enumerate() {
                told +=
                    &format!("hw.perflevel{level}.name: {name}\nhw.perflevel{level}.physicalcpu: {count}\n");
            }
            let cores = parse(&told, "").cores();
            (cores.performance, cores.efficiency)
        };
        assert_eq!(cores(&[("Performance", 10), ("Efficiency", 4)]), (Some(10), Some(4)));
        assert_eq!(cores(&[("Super", 4), ("Efficiency", 6)]), (Some(4), Some(6)));
        assert_eq!(cores(&[("Super", 6), ("Performance", 12)]), (Some(18), None));
        assert_eq!(cores(&[("Super", 2), ("Performance", 4), ("Efficiency", 6)]), (Some(6), Some(6)));
        assert_eq!(cores(&[("Standard", 8)]), (Some(8), None));
        let unnamed = "hw.nperflevels: 2\nhw.perflevel0.physicalcpu: 8\nhw.perflevel1.physicalcpu: 2\n";
        assert_eq!(parse(unnamed, "").cores(), Cores { performance: Some(8), efficiency: Some(2) });
    }

    #[test]
    fn what_is_missing_is_absent() {
        let machine =
            parse("machdep.cpu.brand_string: Apple M4 Max (Virtual)\n", "").onto(super::super::unknown());
        assert_eq!(machine.bandwidth_gb_s, None, "two variants, and the cores are not known");
        assert!(machine.bandwidth_gb_s_absent.is_some());
        assert_eq!((machine.cores, machine.metal), (Cores::default(), None));
    }
}
