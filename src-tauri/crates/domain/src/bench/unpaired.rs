//! What two groups of figures say that were measured at different times.

use super::{
    paired::Chance,
    stats::{self, SplitMix64},
};

/// Resamples of each side's median.
const RESAMPLES: usize = 2_000;
/// Up to so many pairs of figures the distribution of their ranks is counted out where no two are equal.
const EXACT_PAIRS: usize = 900;

/// Two-sided p of Mann and Whitney 1947, On a Test of Whether one of Two Random Variables is Stochastically Larger than the
/// Other: counted out where the groups are small and no two figures equal, else by the normal approximation with the correction
/// for ties and for continuity (Lehmann 1975, Nonparametrics, section 1.4). `None` where a side has no figure.
pub(super) fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let half_wins = |x: &f64| b.iter().map(|y| 1 + i64::from(x > y) - i64::from(x < y)).sum::<i64>();
    let twice_u: i64 = a.iter().map(half_wins).sum();
    let pairs = a.len() * b.len();
    let ties = ties(a, b);
    if ties.iter().all(|size| *size == 1) && pairs <= EXACT_PAIRS {
        let fewer = (twice_u / 2).min(pairs as i64 - twice_u / 2) as usize;
        return Some(exact(a.len(), b.len(), fewer));
    }
    let all = (a.len() + b.len()) as f64;
    let tied: f64 = ties.iter().map(|size| (*size as f64).powi(3) - *size as f64).sum();
    let variance = pairs as f64 / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    if variance <= 0.0 {
        return Some(1.0);
    }
    let away = ((twice_u as f64 / 2.0 - pairs as f64 / 2.0).abs() - 0.5).max(0.0);
    Some(2.0 * upper_tail(away / variance.sqrt()))
}

/// How many figures of both sides are equal to each other, group by group.
fn ties(a: &[f64], b: &[f64]) -> Vec<usize> {
    let mut all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.sort_by(f64::total_cmp);
    all.chunk_by(|x, y| x == y).map(<[f64]>::len).collect()
}

/// Twice the share of all orders of both groups with at most so many wins of one over the other, at most 1.
fn exact(n: usize, m: usize, wins: usize) -> f64 {
    // ways[j][u]: orders of i of one group and j of the other with u wins, as shares of all such orders.
    let mut ways: Vec<Vec<f64>> = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=m {
            let mut row = vec![0.0; i * j + 1];
            // The greatest of all belongs to the first group (it wins over all j), or to the second.
            let first = i as f64 / (i + j) as f64;
            ways[j].iter().enumerate().for_each(|(u, share)| row[u + j] += share * first);
            next[j - 1].iter().enumerate().for_each(|(u, share)| row[u] += share * (1.0 - first));
            next.push(row);
        }
        ways = next;
    }
    (2.0 * ways[m].iter().take(wins + 1).sum::<f64>()).min(1.0)
}

/// The share of the standard normal distribution above `z` (Abramowitz and Stegun 1964, formula 7.1.26; error below 1.5e-7).
pub(super) fn upper_tail(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let erfc = series.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-x * x).exp();
    if z >= 0.0 { erfc / 2.0 } else { 1.0 - erfc / 2.0 }
}

/// The ratio of both medians, B by A, of seeded resamples of either side, ascending (Efron and Tibshirani 1993, An Introduction
/// to the Bootstrap, chapters 8 and 13).
pub(super) fn ratios_of_medians(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut random = SplitMix64(stats::SEED ^ 2);
    let (a, b) = (medians(a, &mut random), medians(b, &mut random));
    let mut ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

fn medians(values: &[f64], random: &mut SplitMix64) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Indices rather than figures are sorted: they are drawn from the sorted ones.
    let mut sample = vec![0usize; sorted.len()];
    let mut one = || {
        sample.iter_mut().for_each(|index| *index = random.below(sorted.len()));
        sample.sort_unstable();
        let middle = sample.len() / 2;
        let before = if sample.len() % 2 == 1 { middle } else { middle - 1 };
        (sorted[sample[before]] + sorted[sample[middle]]) / 2.0
    };
    if values.is_empty() { vec![] } else { (0..RESAMPLES).map(|_| one()).collect() }
}

/// The middle share of ascending values.
pub(super) fn middle_share(sorted: &[f64], level: f64) -> Option<(f64, f64)> {
    let outside = ((1.0 - level) / 2.0 * sorted.len() as f64) as usize;
    Some((*sorted.get(outside)?, *sorted.get(sorted.len().checked_sub(1 + outside)?)?))
}

/// Corrects for all p that were looked at, each with its share of the error that may be made (Holm 1979, A Simple Sequentially
/// Rejective Multiple Test Procedure, section 4).
pub(super) fn holm(weighted: &[(f64, f64)]) -> Vec<Chance> {
    let mut order: Vec<usize> = (0..weighted.len()).collect();
    let by_weight = |at: usize| weighted[at].0 / weighted[at].1;
    order.sort_by(|x, y| by_weight(*x).total_cmp(&by_weight(*y)));
    let mut left: f64 = weighted.iter().map(|(_, weight)| weight).sum();
    let mut chances: Vec<Chance> = weighted.iter().map(|(p, _)| Chance { p: *p, corrected: 1.0 }).collect();
    let mut largest: f64 = 0.0;
    for at in order {
        largest = largest.max(by_weight(at) * left).min(1.0);
        chances[at].corrected = largest;
        left -= weighted[at].1;
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_ranks_are_those_of_the_tables() {
        // Smallest two-sided p of n against n: 3: 0.1, 4: 0.0286, 5: 0.0079, 8: 0.00016.
        for (n, wanted) in [(3, 0.1), (4, 2.0 / 70.0), (5, 2.0 / 252.0), (8, 2.0 / 12_870.0)] {
            let low: Vec<f64> = (0..n).map(f64::from).collect();
            let high: Vec<f64> = (0..n).map(|i| 100.0 + f64::from(i)).collect();
            for (a, b) in [(&low, &high), (&high, &low)] {
                let p = mann_whitney(a, b).unwrap();
                assert!((p - wanted).abs() < 1e-12, "{n}: {p}");
            }
        }
        // Of 5 against 5 there are 2, 3, 4 … orders of 252 with at most 2 wins: 1 + 1 + 2.
        let p = mann_whitney(&[1.0, 2.0, 3.0, 4.0, 7.0], &[5.0, 6.0, 8.0, 9.0, 10.0]).unwrap();
        assert!((p - 2.0 * 4.0 / 252.0).abs() < 1e-12, "{p}");
    }

    #[test]
    fn ties_and_large_groups_go_by_the_normal_distribution() {
        assert_eq!(mann_whitney(&[1.0; 8], &[1.0; 8]), Some(1.0), "all equal");
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        let a: Vec<f64> = (0..40).map(|i| f64::from(i / 2)).collect();
        let b: Vec<f64> = a.iter().map(|x| x + 10.0).collect();
        assert!(mann_whitney(&a, &b).unwrap() < 0.001);
        assert!(mann_whitney(&a, &a).unwrap() > 0.9);
        for (z, wanted) in
            [(0.0, 0.5), (1.0, 0.158_655), (1.959_964, 0.025), (-1.0, 0.841_345), (3.0, 0.001_350)]
        {
            assert!((upper_tail(z) - wanted).abs() < 1e-6, "{z}");
        }
    }

    #[test]
    fn holm_spends_what_is_left() {
        let of = |p: &[f64]| -> Vec<f64> {
            let equal: Vec<(f64, f64)> = p.iter().map(|p| (*p, 1.0)).collect();
            holm(&equal).iter().map(|one| one.corrected).collect()
        };
        let close = |p: &[f64], wanted: &[f64]| {
            let all = of(p).iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-12);
            assert!(all, "{:?} {wanted:?}", of(p));
        };
        close(&[0.01, 0.04, 0.03], &[0.03, 0.06, 0.06]);
        close(&[0.5, 0.9], &[1.0, 1.0]);
        close(&[], &[]);
        let weighted = holm(&[(0.04, 0.9), (0.04, 0.1)]);
        assert!(
            weighted[0].corrected < 0.05 && weighted[1].corrected < 0.05,
            "the first leaves all of it: {weighted:?}"
        );
    }
}
