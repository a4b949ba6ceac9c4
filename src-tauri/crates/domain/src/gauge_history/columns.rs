//! From buckets to columns.

use super::{Bucket, Stat, Values, begin_of};
use crate::gauge::{GaugeColumns, GaugeHistory};

/// Minutes of the store that were never written show as holes, too.
const MINUTE_MS: i64 = 60_000;

/// Folds ascending buckets into those of a greater length.
pub fn thin(buckets: &[Bucket], step_ms: i64) -> Vec<Bucket> {
    let mut thinned: Vec<Bucket> = Vec::new();
    for bucket in buckets {
        let at_ms = begin_of(bucket.at_ms, step_ms);
        match thinned.last_mut().filter(|last| last.at_ms == at_ms) {
            Some(last) => last.fold(bucket),
            None => thinned.push(Bucket { at_ms, ..*bucket }),
        }
    }
    thinned
}

/// Ascending buckets as columns. Where nothing was sampled for a while there is a row without values, so that no line leads
/// over the gap. `averaged`: the buckets hold more than one sample each, so that their least and greatest values are told.
pub fn history(buckets: &[Bucket], step_ms: u64, averaged: bool) -> GaugeHistory {
    history_after(None, buckets, step_ms, averaged)
}

/// The same, for a part that follows on a point.
pub(super) fn history_after(
    mut before: Option<i64>,
    buckets: &[Bucket],
    step_ms: u64,
    averaged: bool,
) -> GaugeHistory {
    let mut history = GaugeHistory { step_ms, ..GaugeHistory::default() };
    let (mut low, mut high) = (GaugeColumns::default(), GaugeColumns::default());
    let longest = 2 * MINUTE_MS.max(i64::try_from(step_ms).unwrap_or(i64::MAX / 2));
    let mut row = |history: &mut GaugeHistory, at_ms: i64, bucket: Option<&Bucket>| {
        let figures = |of: fn(&Stat) -> f32| -> Values {
            std::array::from_fn(|series| {
                let stat = bucket.map(|bucket| bucket.stats[series]).filter(Stat::is_known);
                stat.map(|stat| f64::from(of(&stat)))
            })
        };
        history.at_ms.push(at_ms);
        history.columns.push(&figures(|stat| stat.mean));
        low.push(&figures(|stat| stat.low));
        high.push(&figures(|stat| stat.high));
    };
    for bucket in buckets {
        if let Some(before) = before
            && (bucket.after_gap || bucket.at_ms - before > longest)
        {
            row(&mut history, before + 1, None);
        }
        row(&mut history, bucket.at_ms, Some(bucket));
        before = Some(bucket.at_ms);
    }
    if averaged {
        (history.low, history.high) = (Some(low), Some(high));
    }
    history
}

impl GaugeColumns {
    /// Appends a row, in the order of [`super::SERIES`].
    pub fn push(&mut self, row: &Values) {
        let bytes = |value: Option<f64>| value.map(|value| value.round() as u64);
        // Two decimals are more than any source measures.
        let rounded = |value: Option<f64>| value.map(|value| (value * 100.0).round() / 100.0);
        let [cpu, memory, swap, gpu_load, gpu_memory, gpu_power, servers] = *row;
        self.cpu_percent.push(rounded(cpu));
        self.memory_used_bytes.push(bytes(memory));
        self.swap_used_bytes.push(bytes(swap));
        self.gpu_load_percent.push(rounded(gpu_load));
        self.gpu_memory_used_bytes.push(bytes(gpu_memory));
        self.gpu_power_w.push(rounded(gpu_power));
        self.servers_memory_bytes.push(bytes(servers));
    }

    /// A row, in the order of [`super::SERIES`]; beyond the last one nothing is known.
    pub fn row(&self, index: usize) -> Values {
        let bytes = |column: &[Option<u64>]| column.get(index).copied().flatten().map(|bytes| bytes as f64);
        let figure = |column: &[Option<f64>]| column.get(index).copied().flatten();
        [
            figure(&self.cpu_percent),
            bytes(&self.memory_used_bytes),
            bytes(&self.swap_used_bytes),
            figure(&self.gpu_load_percent),
            bytes(&self.gpu_memory_used_bytes),
            figure(&self.gpu_power_w),
            bytes(&self.servers_memory_bytes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(at_ms: i64, after_gap: bool, cpu: Option<f64>) -> Bucket {
        let mut values = Values::default();
        values[0] = cpu;
        Bucket::one(at_ms, 1000, after_gap, &values)
    }

    #[test]
    fn a_gap_is_a_row_without_values_and_absent_is_not_zero() {
        let buckets = [
            bucket(0, true, Some(1.0)),
            bucket(10_000, false, None),
            bucket(20_000, true, Some(3.004)),
            // Nobody noted a gap, but a line over minutes would be a bridge.
            bucket(200_000, false, Some(4.0)),
        ];
        let history = history(&buckets, 10_000, true);
        assert_eq!(history.at_ms, [0, 10_000, 10_001, 20_000, 20_001, 200_000]);
        let cpu = [Some(1.0), None, None, Some(3.0), None, Some(4.0)];
        assert_eq!(history.columns.cpu_percent, cpu);
        assert_eq!(history.high.unwrap().cpu_percent, cpu);
        assert_eq!(history.columns.memory_used_bytes, [None; 6]);
        assert!(super::history(&buckets, 10_000, false).low.is_none());
    }

    #[test]
    fn thinning_keeps_the_gap_at_a_buckets_begin() {
        let buckets = [
            bucket(0, true, Some(1.0)),
            bucket(60_000, true, Some(3.0)),
            bucket(120_000, true, Some(5.0)),
            bucket(180_000, false, None),
        ];
        let thinned = thin(&buckets, 120_000);
        let told: Vec<(i64, u32, bool, f32)> =
            thinned.iter().map(|b| (b.at_ms, b.count, b.after_gap, b.stats[0].mean)).collect();
        assert_eq!(told, [(0, 2, true, 2.0), (120_000, 2, true, 5.0)]);
    }

    #[test]
    fn a_row_comes_back_as_it_was_pushed() {
        let row: Values = [Some(1.25), Some(7e10), None, Some(99.0), Some(0.0), Some(350.5), None];
        let mut columns = GaugeColumns::default();
        columns.push(&row);
        assert_eq!(columns.row(0), row);
        assert_eq!(columns.row(1), Values::default());
    }
}
