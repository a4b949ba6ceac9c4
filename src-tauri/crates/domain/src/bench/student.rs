//! Student's t distribution.

/// The chance of a t as far from 0, either way, with so many degrees of freedom (Abramowitz and Stegun 1964, formulas 26.7.3 and
/// 26.7.4, which are exact). 1 without a degree of freedom.
pub(super) fn two_sided(t: f64, free: usize) -> f64 {
    if free == 0 || t.is_nan() {
        return 1.0;
    }
    let angle = (t.abs() / (free as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = free % 2 == 1;
    // Each term is the one before times cos² (i - 1) / i; the sum has free / 2 terms.
    let (mut term, mut sum) = if is_odd { (cosine, 0.0) } else { (1.0, 0.0) };
    for pair in 1..=free / 2 {
        sum += term;
        let i = if is_odd { 2 * pair + 1 } else { 2 * pair };
        term *= cosine * cosine * (i - 1) as f64 / i as f64;
    }
    let within = if is_odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum };
    (1.0 - within).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_those_of_the_tables() {
        for (t, free, wanted) in [
            (12.706, 1, 0.05),
            (4.303, 2, 0.05),
            (3.182, 3, 0.05),
            (2.262, 9, 0.05),
            (2.228, 10, 0.05),
            (4.587, 10, 0.001),
            (-2.009, 50, 0.05),
            (3.291, 100_000, 0.001),
            (0.0, 7, 1.0),
        ] {
            let p = two_sided(t, free);
            assert!((p - wanted).abs() < 0.001 * wanted.max(0.05), "{t} {free}: {p}");
        }
        assert_eq!(two_sided(f64::INFINITY, 5), 0.0);
        assert_eq!(two_sided(1.0, 0), 1.0);
    }
}
