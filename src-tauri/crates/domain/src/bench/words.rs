//! Shares in words.

use super::compared::Ratio;

/// Below this a figure has a decimal.
const WITH_DECIMAL: f64 = 3.0;

/// "17 %", "1.2 %", from a share.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", figure(share))
}

pub(super) fn figure(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(percent.abs() < WITH_DECIMAL);
    let text = format!("{percent:.digits$}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None if text == "-0" => "0".into(),
        None => text,
    }
}

/// The interval of a ratio less one: "15 to 19 %".
pub(super) fn whole_range(ratio: &Ratio) -> String {
    format!("{} to {} %", figure(ratio.low - 1.0), figure(ratio.high - 1.0))
}

pub(super) fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
