//! The hardware profile of this machine, and profiles of other machines.

mod apple;
mod cpu_features;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "macos"))]
mod nvidia;
mod power;

pub use cpu_features::missing_cpu_feature;
pub use power::{Power, power};

use crate::apart;
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    machine::{Cores, Gpu, Machine, MemoryKind, STRIX_HALO_GB_S, Sourced, is_strix_halo},
};
use std::{path::Path, time::Duration};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::sync::Mutex;

/// Profiles that come with the program, by name.
const PROFILES: &[(&str, &str)] = &[("m4-max-36", include_str!("profiles/m4-max-36.json"))];

/// The first question to NVIDIA's driver may wake all cards; where they take longer, the gauges find them later.
const DRIVER_LIMIT: Duration = Duration::from_secs(5);
/// Small files of the kernel.
const KERNEL_LIMIT: Duration = Duration::from_secs(5);
const KERNEL: &str = "the kernel's list of the hardware";

static THIS: Mutex<Option<Machine>> = Mutex::const_new(None);

/// This machine. Read at the first call, and kept.
pub async fn this_machine() -> Machine {
    let mut this = THIS.lock().await;
    match &*this {
        Some(machine) => machine.clone(),
        None => this.insert(read().await).clone(),
    }
}

/// Reads again what may change while a program runs: limits of memory, the limit of a Mac's GPU, which a person can set, a card
/// that slept when it was looked at, and the GPUs, whose driver may come up after us. `gpus_seen`: by the gauges. `None`: all
/// is as before.
pub async fn look_again(gpus_seen: usize) -> Option<Machine> {
    let known = this_machine().await;
    let now = match apple::limit_override_bytes().await {
        Some(gpu_limit_override_bytes) => Machine { gpu_limit_override_bytes, ..known.clone() },
        None if gpus_seen > known.gpus.len() => read().await,
        None => told_again(known.clone()).await,
    };
    let changed = now != known;
    *THIS.lock().await = Some(now.clone());
    changed.then_some(now)
}

/// What small files of the kernel tell anew, without waking or asking any driver.
async fn told_again(known: Machine) -> Machine {
    #[cfg(target_os = "linux")]
    {
        let before = known.clone();
        let again = move || linux::told_again(known, Path::new("/sys"));
        return apart::once(KERNEL, KERNEL_LIMIT, again).await.unwrap_or(before);
    }
    #[cfg(not(target_os = "linux"))]
    known
}

/// A profile that comes with the program, or a file that `pilothouse machine --json` has written.
/// Errors: not_found, invalid_call.
pub fn profile(name_or_file: &str) -> Result<Machine, ApiError> {
    let inbuilt = PROFILES.iter().find(|(name, _)| *name == name_or_file);
    let text = match inbuilt {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(Path::new(name_or_file)).map_err(|error| {
            let names: Vec<&str> = PROFILES.iter().map(|(name, _)| *name).collect();
            ApiError::not_found(format!("There is no profile {name_or_file}: {error}."))
                .hint(format!("Name a file of “pilothouse machine --json”, or one of: {}.", names.join(", ")))
        })?,
    };
    serde_json::from_str(&text).map_err(|error| {
        ApiError::new(ErrorCode::InvalidCall, format!("{name_or_file} is no hardware profile: {error}."))
            .hint("“pilothouse machine --json” writes one.")
    })
}

async fn read() -> Machine {
    let told = apple::ask().await;
    // Drivers answer in their own time, and one that never does costs its own figures alone.
    let left_out = |error: &apart::Unanswered| tracing::warn!(%error, "a part of the hardware is not known");
    let nvidia = apart::once("the NVIDIA driver", DRIVER_LIMIT, nvidia_gpus).await;
    let nvidia = nvidia.inspect_err(left_out).unwrap_or_default();
    let plain = apart::once(KERNEL, KERNEL_LIMIT, move || plain(nvidia)).await.inspect_err(left_out);
    let plain = plain.unwrap_or_else(|_| unknown());
    match told {
        Some(told) => told.onto(plain),
        None => plain,
    }
}

/// What every system tells.
fn plain(nvidia: Vec<Gpu>) -> Machine {
    let kind = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind).ok();
    let brand =
        system.as_ref().and_then(|system| system.cpus().first()).map(|cpu| cpu.brand().trim().to_owned());
    let gpus: Vec<Gpu> = nvidia.into_iter().chain(listed_gpus()).collect();
    let driver = gpus.iter().find_map(|gpu| gpu.driver.clone());
    let unified = !gpus.is_empty() && gpus.iter().all(|gpu| gpu.memory_shared);
    let chip = brand.filter(|brand| !brand.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.into());
    let bandwidth = is_strix_halo(&chip)
        .then(|| Sourced { value: STRIX_HALO_GB_S, source: "table of chips, nominal".into() });
    let memory_bytes = system.map_or(0, |system| system.total_memory());
    Machine {
        model: model(),
        cores: hybrid_cores().unwrap_or_else(|| Cores {
            performance: System::physical_core_count().ok().map(|cores| cores as u32),
            efficiency: None,
        }),
        memory_limit: memory_limit(memory_bytes),
        memory_bytes,
        memory_kind: if unified { MemoryKind::Unified } else { MemoryKind::Separate },
        bandwidth_gb_s_absent: match &bandwidth {
            Some(_) => None,
            None => Some("this system does not tell how its memory is built".into()),
        },
        bandwidth_gb_s: bandwidth,
        cpu_features: Some(cpu_features::vector_instructions()),
        os: System::long_os_version().ok(),
        chip,
        gpus,
        driver,
        neural_engine: None,
        metal: None,
        gpu_limit_override_bytes: None,
    }
}

/// Apple's are told with the rest of a Mac.
fn nvidia_gpus() -> Vec<Gpu> {
    #[cfg(not(target_os = "macos"))]
    return nvidia::built();
    #[cfg(target_os = "macos")]
    Vec::new()
}

/// The GPUs that the kernel reads itself.
fn listed_gpus() -> Vec<Gpu> {
    #[cfg(target_os = "linux")]
    return linux::gpus(Path::new("/sys"));
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// What holds the memory of this program and its servers down.
fn memory_limit(memory_bytes: u64) -> Option<Sourced<u64>> {
    #[cfg(target_os = "linux")]
    return crate::gauges::MemoryLimit::of_this_process().below(memory_bytes);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = memory_bytes;
        None
    }
}

fn model() -> Option<String> {
    #[cfg(target_os = "linux")]
    return linux::model(Path::new("/sys"));
    #[cfg(not(target_os = "linux"))]
    None
}

fn hybrid_cores() -> Option<Cores> {
    #[cfg(target_os = "linux")]
    return linux::hybrid_cores(Path::new("/sys"));
    #[cfg(not(target_os = "linux"))]
    None
}

fn unknown() -> Machine {
    Machine {
        model: None,
        chip: std::env::consts::ARCH.into(),
        cores: Cores::default(),
        cpu_features: Some(cpu_features::vector_instructions()),
        memory_bytes: 0,
        memory_limit: None,
        memory_kind: MemoryKind::Separate,
        bandwidth_gb_s: None,
        bandwidth_gb_s_absent: Some("the hardware could not be read".into()),
        gpus: Vec::new(),
        neural_engine: None,
        metal: None,
        os: None,
        driver: None,
        gpu_limit_override_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_of_the_mac_studio_is_whole() {
        let machine = profile("m4-max-36").unwrap();
        assert_eq!(machine.ceiling().bytes, 30_150_670_000);
        assert_eq!(machine.apple().unwrap().bandwidth_gb_s, machine.bandwidth().unwrap().value);
    }

    #[test]
    fn a_written_profile_is_read_again_and_nonsense_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.json");
        let machine = profile("m4-max-36").unwrap();
        let mut document = serde_json::to_value(&machine).unwrap();
        document["schema"] = 1.into();
        std::fs::write(&file, document.to_string()).unwrap();
        assert_eq!(profile(&file.display().to_string()).unwrap(), machine);
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(profile(&file.display().to_string()).unwrap_err().code, ErrorCode::InvalidCall);
        assert_eq!(profile("m9").unwrap_err().code, ErrorCode::NotFound);
    }

    #[tokio::test]
    async fn this_machine_has_a_chip_and_memory() {
        let machine = this_machine().await;
        assert!(!machine.chip.is_empty() && machine.memory_bytes > 0, "{machine:?}");
        assert_eq!(machine.bandwidth_gb_s.is_none(), machine.bandwidth_gb_s_absent.is_some(), "{machine:?}");
    }
}
