//! Figures as people read them.

/// Bytes in GB (10^9) with three significant figures, as people read them.
pub fn gigabytes(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    format!("{} GB", short(gb))
}

/// Bytes of memory as machines are sold with it, in powers of two ("36 GB" of 38,654,705,664 bytes); `None`: it is no such size,
/// because the system keeps a part to itself.
pub fn as_sold(bytes: u64) -> Option<String> {
    const GIB: u64 = 1 << 30;
    (bytes >= GIB && bytes.is_multiple_of(GIB)).then(|| format!("{} GB", bytes / GIB))
}

/// Bytes with their thousands apart: "38,654,705,664".
pub fn exact_bytes(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with three significant digits, as far as those stand before the second decimal: "812", "49.7", "0.71".
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Milliseconds as people read them: "320 ms", "1.82 s", "42.3 s".
pub fn milliseconds(ms: f64) -> String {
    if ms < 999.5 { format!("{ms:.0} ms") } else { format!("{} s", short(ms / 1000.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        for (value, words) in [
            (812.4, "812"),
            (99.96, "100"),
            (49.66, "49.7"),
            (9.996, "10.0"),
            (5.554, "5.55"),
            (0.714, "0.71"),
            (-49.66, "-49.7"),
            (12_345.6, "12346"),
        ] {
            assert_eq!(short(value), words);
        }
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        for (ms, words) in
            [(0.4, "0 ms"), (320.0, "320 ms"), (999.6, "1.00 s"), (1820.0, "1.82 s"), (42_333.0, "42.3 s")]
        {
            assert_eq!(milliseconds(ms), words);
        }
    }

    #[test]
    fn memory_is_said_as_it_was_sold_where_it_was_sold_so() {
        assert_eq!(as_sold(38_654_705_664).as_deref(), Some("36 GB"));
        assert_eq!(as_sold(128 << 30).as_deref(), Some("128 GB"));
        assert_eq!((as_sold(25_185_116_160), as_sold(0), as_sold(512 << 20)), (None, None, None));
        assert_eq!(exact_bytes(38_654_705_664), "38,654,705,664");
        assert_eq!(
            (exact_bytes(0), exact_bytes(999), exact_bytes(1000)),
            ("0".into(), "999".into(), "1,000".into())
        );
    }

    #[test]
    fn gigabytes_have_three_significant_figures() {
        assert_eq!(gigabytes(98_700_000), "0.10 GB");
        assert_eq!(gigabytes(4_683_074_240), "4.68 GB");
        assert_eq!(gigabytes(27_300_000_000), "27.3 GB");
        assert_eq!(gigabytes(128_000_000_000), "128 GB");
    }
}
