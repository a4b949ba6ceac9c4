//! The small gauge in the tray icon.

use crate::{settings::TrayGauge, snapshot::Snapshot};

/// Steps of a bar: finer ones could not be seen, and every other picture costs the tray host a redraw.
pub const BAR_STEPS: u8 = 16;

/// Filled steps of each bar, 0 to [`BAR_STEPS`]; `None`: it is not wanted, or not known, and not drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TrayBars {
    pub memory: Option<u8>,
    pub gpu: Option<u8>,
}

impl TrayBars {
    /// Memory where models are placed, and the busiest GPU.
    pub fn of(snapshot: &Snapshot) -> Self {
        let wanted = snapshot.engine.tray.gauge;
        let memory = matches!(wanted, TrayGauge::Memory | TrayGauge::Both);
        let gpu = matches!(wanted, TrayGauge::Gpu | TrayGauge::Both);
        Self {
            memory: memory.then(|| used_share(snapshot)).flatten().map(steps),
            gpu: gpu.then(|| gpu_share(snapshot)).flatten().map(steps),
        }
    }
}

/// What the bar may show beside the icon: short, and in steps that do not flicker.
pub(super) fn beside(snapshot: &Snapshot) -> Option<String> {
    if !snapshot.engine.tray.text {
        return None;
    }
    let percent = |share: f64| format!("{:.0} %", (share * 20.0).round() * 5.0);
    let parts: Vec<String> =
        [used_share(snapshot), gpu_share(snapshot)].into_iter().flatten().map(percent).collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

fn used_share(snapshot: &Snapshot) -> Option<f64> {
    let pool = snapshot.ledger.as_ref()?.pools.first()?;
    (pool.total_bytes > 0).then(|| pool.used_bytes as f64 / pool.total_bytes as f64)
}

fn gpu_share(snapshot: &Snapshot) -> Option<f64> {
    let loads = snapshot.gauges.as_ref()?.gpus.iter().filter_map(|gpu| gpu.load_percent);
    loads.reduce(f64::max).map(|percent| percent / 100.0)
}

fn steps(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * f64::from(BAR_STEPS)).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_drawn_in_sixteen_steps() {
        assert_eq!([0.0, 0.02, 0.5, 0.99, 1.0, 7.0, -1.0].map(steps), [0, 0, 8, 16, 16, 16, 0]);
    }
}
