//! Where the readings of a Mac come from: IOReport and the sensors by macmon, the I/O registry by `ioreg`.

use super::{Accelerator, Average, Known, Measured, REGISTRY_EVERY, parse_accelerators, pressure, readings};
use crate::{
    gauges::background::Background,
    process::{ProcessSpec, run_blocking},
};
use pilothouse_domain::{
    Timestamp,
    gauge::{GpuReading, MemoryPressure, SilentSource},
};
use std::time::{Duration, Instant};

/// The shortest time that a reading of the counters may span, in ms. Each reading is the average since the one before, so
/// that at one sample a second it is there at once; shorter spans overstate power.
const SPAN_MS: u32 = 500;
const REGISTRY_LIMIT: Duration = Duration::from_secs(2);
const WAITING: &str = "the first reading is under way";
/// macmon asserts what it takes for granted of a chip.
const ENDED: &str = "its reader broke off, as it does on chips that it does not know";

/// What the counters' thread says: the chip's name and the reading.
type Counted = Result<(String, Measured), String>;

/// GPUs of this Mac. Nothing here waits for a reading.
pub(in crate::gauges) struct Apple {
    counters: Result<Background<Counted>, String>,
    registry: Result<Background<Result<Vec<Accelerator>, String>>, String>,
    average: Average,
}

impl Default for Apple {
    fn default() -> Self {
        let failed = |error: std::io::Error| format!("the system has no thread for it: {error}");
        Self {
            counters: Background::start("gpu counters", Duration::ZERO, counters).map_err(failed),
            registry: Background::start("gpu registry", REGISTRY_EVERY, || registry).map_err(failed),
            average: Average::default(),
        }
    }
}

impl Apple {
    /// Which of its readers have not answered for a while.
    pub fn silent(&self, now: Instant) -> Vec<SilentSource> {
        let counters = self.counters.as_ref().ok().and_then(|reader| reader.unanswered(now));
        let registry = self.registry.as_ref().ok().and_then(|reader| reader.unanswered(now));
        let told = [("the GPU's counters", counters), ("the GPU's registry", registry)];
        let silent = |(what, so_long): (&str, Option<Duration>)| {
            let since = Timestamp::now().checked_sub(so_long?).ok()?;
            Some(SilentSource { source: "apple".into(), what: what.into(), since })
        };
        told.into_iter().filter_map(silent).collect()
    }

    /// One reading per GPU. `memory_total`: of the machine. Errors: why there is none.
    pub fn read(&mut self, now: Instant, memory_total: Option<u64>) -> Result<Vec<GpuReading>, String> {
        let registry = latest(&mut self.registry, now);
        let (read_at, accelerators) = match registry {
            Ok((at, Ok(list))) => (at, Ok(list.as_slice())),
            Ok((at, Err(reason))) => (at, Err(reason.as_str())),
            Err(reason) => (now, Err(reason)),
        };
        let counted = latest(&mut self.counters, now).map(|(_, counted)| counted);
        let (chip, measured) = match counted {
            Ok(Ok((chip, measured))) => (Some(chip.as_str()), Ok(*measured)),
            Ok(Err(reason)) => (None, Err(reason.as_str())),
            Err(reason) => (None, Err(reason)),
        };
        let known = Known { accelerators, read_at, measured, chip, memory_total };
        readings(&known, &mut self.average)
    }
}

fn latest<T: Send + 'static>(
    source: &mut Result<Background<T>, String>,
    now: Instant,
) -> Result<(Instant, &T), &str> {
    match source {
        Ok(background) if background.has_ended() => Err(ENDED),
        Ok(background) => background.latest(now).ok_or(WAITING),
        Err(reason) => Err(reason.as_str()),
    }
}

/// Reads the counters on the thread on which this is called: the sampler stays where it was made.
fn counters() -> impl FnMut() -> Counted {
    let mut sampler =
        macmon::Sampler::new().map_err(|error| format!("the GPU's counters cannot be read: {error}"));
    move || {
        let sampler = sampler.as_mut().map_err(|reason| reason.clone())?;
        let read = sampler.get_metrics(SPAN_MS);
        let metrics = read.map_err(|error| format!("the GPU's counters cannot be read: {error}"))?;
        let measured = Measured::of(
            metrics.gpu_scaled_ratio,
            metrics.gpu_active_ratio,
            metrics.gpu_power,
            metrics.temp.gpu_temp_avg,
            metrics.gpu_freq_mhz,
        );
        Ok((sampler.get_soc_info().chip_name.clone(), measured))
    }
}

fn registry() -> Result<Vec<Accelerator>, String> {
    let spec = ProcessSpec {
        program: "/usr/sbin/ioreg".into(),
        args: ["-a", "-r", "-d", "1", "-c", "IOAccelerator"].map(Into::into).to_vec(),
        env: vec![("LC_ALL".into(), "C".into())],
        env_remove: vec![],
        cwd: None,
    };
    let finished = run_blocking(&spec, REGISTRY_LIMIT).map_err(|error| error.message)?;
    parse_accelerators(finished.stdout.as_bytes()).map_err(|reason| format!("ioreg's answer: {reason}"))
}

/// The level that the kernel tells.
#[expect(unsafe_code, reason = "sysctlbyname has no safe wrapper in std")]
pub(in crate::gauges) fn memory_pressure() -> Option<MemoryPressure> {
    let mut level: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>();
    // SAFETY: the name ends with a zero; the place is an integer of the size that is told, and both live through the call.
    let answer = unsafe {
        libc::sysctlbyname(
            c"kern.memorystatus_vm_pressure_level".as_ptr(),
            (&raw mut level).cast(),
            &raw mut size,
            std::ptr::null_mut(),
            0,
        )
    };
    (answer == 0 && size == size_of::<libc::c_int>()).then(|| pressure(u32::try_from(level).ok()?)).flatten()
}
