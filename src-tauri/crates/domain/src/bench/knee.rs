//! From where on more requests at a time gain little.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// From where on more requests at a time gain little.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct Knee {
    pub concurrency: u32,
    /// How it was found, in words: "the fewest with 90 % of the most that was seen".
    pub method: String,
}

/// Share of the most tokens by the second that counts as all of it.
const NEARLY_ALL: f64 = 0.9;
/// Growth over the last step, or over the whole sweep, that counts as growth.
const GROWTH: f64 = 0.1;
/// Levels that a knee wants: one below, itself, one above.
const MIN_LEVELS: usize = 3;
/// Levels that Kneedle wants, to tell a bend from noise.
const MIN_BEND: usize = 5;
/// Levels that the law wants: one more than it has parameters.
const MIN_FIT: usize = 4;

/// The knee of output tokens by the second against requests at a time, or why there is none. `points`: ascending by requests.
///
/// It is the fewest requests at a time that reach 90 % of the most tokens that were seen. The words beside it say where two
/// other methods put it: the sharpest bend (Kneedle: Satopaa and others 2011, Finding a "Kneedle" in a Haystack), and the peak
/// of the universal scalability law (Gunther 2007, Guerrilla Capacity Planning, chapter 4) with how well it fits.
pub(super) fn knee(points: &[(u32, f64)]) -> Result<Knee, String> {
    let points: Vec<(u32, f64)> =
        points.iter().copied().filter(|(n, x)| *n > 0 && x.is_finite() && *x > 0.0).collect();
    if points.len() < MIN_LEVELS {
        return Err(format!(
            "a knee wants {MIN_LEVELS} levels with tokens by the second, and there are {}",
            points.len()
        ));
    }
    let most = points.iter().map(|(_, x)| *x).fold(0.0, f64::max);
    let (first, last) = (points[0], points[points.len() - 1]);
    if most <= first.1 * (1.0 + GROWTH) {
        let method = "more at a time give no more tokens by the second: the server takes one after the other";
        return Ok(Knee { concurrency: first.0, method: method.into() });
    }
    let before = points[..points.len() - 1].iter().map(|(_, x)| *x).fold(0.0, f64::max);
    if last.1 > before * (1.0 + GROWTH) {
        return Err(format!("still growing at {}: the knee is above what was tried", last.0));
    }
    let reaches = |(_, x): &&(u32, f64)| *x >= NEARLY_ALL * most;
    let concurrency = points.iter().find(reaches).map_or(last.0, |(n, _)| *n);
    let mut method = "the fewest with 90 % of the most that was seen".to_owned();
    if let Some(bend) = sharpest_bend(&points) {
        method += &format!("; the sharpest bend (Kneedle) is at {bend}");
    }
    if let Some(law) = ScalabilityLaw::fit(&points) {
        method += &format!("; {}", law.in_words());
    }
    Ok(Knee { concurrency, method })
}

/// Both axes scaled to 0–1, the level that lies highest above the diagonal.
fn sharpest_bend(points: &[(u32, f64)]) -> Option<u32> {
    let (first, last) = (points.first()?, points.last()?);
    let (low, high) =
        points.iter().fold((f64::INFINITY, 0.0f64), |(low, high), (_, x)| (low.min(*x), high.max(*x)));
    if points.len() < MIN_BEND || high <= low {
        return None;
    }
    let above =
        |(n, x): &(u32, f64)| (x - low) / (high - low) - f64::from(n - first.0) / f64::from(last.0 - first.0);
    points.iter().max_by(|x, y| above(x).total_cmp(&above(y))).map(|(n, _)| *n)
}

/// X(N) = g N / (1 + s (N - 1) + k N (N - 1)): `g` tokens by the second of one, `s` the share that waits in line, `k` what each
/// costs each other.
#[derive(Debug, Clone, Copy)]
struct ScalabilityLaw {
    g: f64,
    s: f64,
    k: f64,
    /// Root of the mean square of the relative errors.
    residual: f64,
}

impl ScalabilityLaw {
    /// Least squares of the relative error of N / X, which is linear in 1/g, s/g and k/g. A parameter that comes out below zero
    /// is left out: nothing gets faster by waiting.
    fn fit(points: &[(u32, f64)]) -> Option<Self> {
        if points.len() < MIN_FIT {
            return None;
        }
        let choices = [[true, true, true], [true, true, false], [true, false, true], [true, false, false]];
        let fits = choices.into_iter().filter_map(|used| Self::fit_with(points, used));
        fits.min_by(|x, y| x.residual.total_cmp(&y.residual))
    }

    fn fit_with(points: &[(u32, f64)], used: [bool; 3]) -> Option<Self> {
        let mut normal = [[0.0; 4]; 3];
        for (n, x) in points {
            let (n, wanted) = (f64::from(*n), f64::from(*n) / x);
            let terms = [1.0, n - 1.0, n * (n - 1.0)];
            // Divided by what is wanted, so that errors are relative.
            let terms: [f64; 3] = std::array::from_fn(|i| if used[i] { terms[i] / wanted } else { 0.0 });
            for (row, term) in normal.iter_mut().zip(terms) {
                row.iter_mut().zip(terms).for_each(|(cell, other)| *cell += term * other);
                row[3] += term;
            }
        }
        for (i, row) in normal.iter_mut().enumerate().filter(|(i, _)| !used[*i]) {
            row[i] = 1.0;
        }
        let [one, waits, costs] = solve(normal)?;
        if one <= 0.0 || waits < 0.0 || costs < 0.0 {
            return None;
        }
        let mut law = Self { g: 1.0 / one, s: waits / one, k: costs / one, residual: 0.0 };
        let squares = points.iter().map(|(n, x)| (law.at(f64::from(*n)) / x - 1.0).powi(2));
        law.residual = (squares.sum::<f64>() / points.len() as f64).sqrt();
        Some(law)
    }

    fn at(&self, n: f64) -> f64 {
        self.g * n / (1.0 + self.s * (n - 1.0) + self.k * n * (n - 1.0))
    }

    /// Requests at a time that give the most; `None`: it never falls.
    fn peak(&self) -> Option<f64> {
        (self.k > 0.0 && self.s < 1.0).then(|| ((1.0 - self.s) / self.k).sqrt())
    }

    fn in_words(&self) -> String {
        let fits = format!("it is off by {:.0} %", self.residual * 100.0);
        match self.peak() {
            Some(peak) => format!("the scalability law has its peak at {peak:.0}, and {fits}"),
            None => format!("the scalability law has no peak, and {fits}"),
        }
    }
}

/// Gauss's elimination of three equations, the largest pivot first; `None`: they do not determine one solution.
fn solve(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|x, y| rows[*x][column].abs().total_cmp(&rows[*y][column].abs()))?;
        rows.swap(column, pivot);
        let of = rows[column];
        if of[column].abs() < 1e-12 {
            return None;
        }
        for (_, row) in rows.iter_mut().enumerate().filter(|(at, _)| *at != column) {
            let factor = row[column] / of[column];
            row.iter_mut().zip(of).for_each(|(cell, by)| *cell -= factor * by);
        }
    }
    Some(std::array::from_fn(|i| rows[i][3] / rows[i][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [u32; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

    fn of(shape: impl Fn(f64) -> f64) -> Result<Knee, String> {
        let points: Vec<(u32, f64)> = LEVELS.iter().map(|n| (*n, shape(f64::from(*n)))).collect();
        knee(&points)
    }

    #[test]
    fn shapes_have_the_knee_that_is_seen_in_them() {
        let law = |s: f64, k: f64| move |n: f64| 50.0 * n / (1.0 + s * (n - 1.0) + k * n * (n - 1.0));
        assert_eq!(of(|n| 50.0 * n.min(4.0)).unwrap().concurrency, 4);
        assert_eq!(of(|n| 50.0 * n.min(8.0)).unwrap().concurrency, 8);
        assert_eq!(of(|n| 50.0 * n.min(4.0) - n).unwrap().concurrency, 4, "it falls after");
        let flat = of(|n| 50.0 - 0.1 * n).unwrap();
        assert_eq!(flat.concurrency, 1);
        assert!(flat.method.contains("one after the other"), "{}", flat.method);
        assert_eq!(of(|n| 50.0 * n).unwrap_err(), "still growing at 16: the knee is above what was tried");
        assert!(of(law(0.05, 0.0)).is_err(), "12 to 16 still gives 18 %");
        let peaked = of(law(0.02, 0.02)).unwrap();
        assert_eq!(peaked.concurrency, 6, "{}", peaked.method);
        assert!(
            peaked.method.ends_with("the scalability law has its peak at 7, and it is off by 0 %"),
            "{}",
            peaked.method
        );
    }

    #[test]
    fn too_few_levels_have_none() {
        assert_eq!(
            knee(&[(1, 50.0), (2, f64::NAN), (4, 90.0)]).unwrap_err(),
            "a knee wants 3 levels with tokens by the second, and there are 2"
        );
        assert!(knee(&[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn the_law_is_found_again(s in 0.0f64..0.4, k in 0.0f64..0.05, g in 1.0f64..1e4) {
            let law = ScalabilityLaw { g, s, k, residual: 0.0 };
            let points: Vec<(u32, f64)> = LEVELS.iter().map(|n| (*n, law.at(f64::from(*n)))).collect();
            let found = ScalabilityLaw::fit(&points).unwrap();
            proptest::prop_assert!(found.residual < 1e-6, "{found:?}");
            proptest::prop_assert!((found.s - s).abs() < 1e-3 && (found.k - k).abs() < 1e-3, "{found:?}");
        }

        #[test]
        fn the_knee_is_one_of_the_levels(rates in proptest::collection::vec(0.1f64..1e4, 0..12)) {
            let points: Vec<(u32, f64)> = (1..).zip(rates).collect();
            if let Ok(knee) = knee(&points) {
                proptest::prop_assert!(points.iter().any(|(n, _)| *n == knee.concurrency));
            }
        }
    }
}
