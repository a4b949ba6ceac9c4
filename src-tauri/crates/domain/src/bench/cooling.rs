//! Whether the cards have cooled down enough for the next block: a warm card is a slow one, and blocks are compared.

use super::quiet::{Disturbance, DisturbedBy};
use crate::gauge::GpuReading;
use std::time::Duration;

/// A card may be so much warmer than before the first block. Kelvin.
const WARMER_MAX: f64 = 3.0;
/// The longest that it is waited before one block. A card whose fan does not keep up stays warm.
pub const BLOCK_LIMIT: Duration = Duration::from_secs(60);
/// The longest that it is waited in one run altogether.
pub const RUN_LIMIT: Duration = Duration::from_secs(300);

/// The temperature of each card, in their order. `None`: not told.
pub type Warmth = Vec<Option<f64>>;

pub fn warmth(gpus: &[GpuReading]) -> Warmth {
    gpus.iter().map(|gpu| gpu.temperature_c).collect()
}

/// The cards that are still too warm, `waited` after their last block. What does not tell its temperature is not waited for.
pub fn too_warm(first: &Warmth, now: &[GpuReading], waited: Duration) -> Vec<Disturbance> {
    let warmer = |(gpu, first): (&GpuReading, &Option<f64>)| {
        let (first, now) = first.zip(gpu.temperature_c)?;
        (now > first + WARMER_MAX).then(|| Disturbance {
            what: DisturbedBy::Heat,
            name: format!("{} is more than {WARMER_MAX:.0} °C warmer than before the first block", gpu.name),
            pid: None,
            percent: None,
            seconds: waited.as_secs_f64(),
        })
    };
    now.iter().zip(first).filter_map(warmer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cards(temperatures: &[Option<f64>]) -> Vec<GpuReading> {
        let card = |temperature_c: &Option<f64>| GpuReading {
            name: "RTX".into(),
            temperature_c: *temperature_c,
            ..GpuReading::default()
        };
        temperatures.iter().map(card).collect()
    }

    #[test]
    fn a_card_that_is_warmer_than_before_the_first_block_is_waited_for() {
        for (first, now, warm) in [
            (vec![Some(60.0)], vec![Some(60.0)], 0),
            (vec![Some(60.0)], vec![Some(63.0)], 0),
            (vec![Some(60.0)], vec![Some(64.0)], 1),
            (vec![Some(60.0)], vec![Some(40.0)], 0),
            (vec![Some(60.0)], vec![None], 0),
            (vec![None], vec![Some(90.0)], 0),
            (vec![Some(60.0), Some(50.0)], vec![Some(80.0), Some(80.0)], 2),
            (vec![Some(60.0), Some(50.0)], vec![Some(80.0)], 1),
            (vec![], vec![Some(90.0)], 0),
            (vec![Some(60.0)], vec![], 0),
            (vec![Some(f64::NAN)], vec![Some(90.0)], 0),
        ] {
            let found = too_warm(&first, &cards(&now), Duration::from_secs(7));
            assert_eq!(found.len(), warm, "{first:?} {now:?}");
            assert!(found.iter().all(|one| one.what == DisturbedBy::Heat && one.seconds == 7.0));
        }
        assert_eq!(warmth(&cards(&[Some(1.0), None])), [Some(1.0), None]);
    }
}
