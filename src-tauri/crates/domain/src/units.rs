//! Figures as people read them.

/// Bytes in GB (10^9) with three significant figures, as people read them.
pub fn gigabytes(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    let digits = if gb >= 100.0 {
        0
    } else if gb >= 10.0 {
        1
    } else {
        2
    };
    format!("{gb:.digits$} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gigabytes_have_three_significant_figures() {
        assert_eq!(gigabytes(98_700_000), "0.10 GB");
        assert_eq!(gigabytes(4_683_074_240), "4.68 GB");
        assert_eq!(gigabytes(27_300_000_000), "27.3 GB");
        assert_eq!(gigabytes(128_000_000_000), "128 GB");
    }
}
