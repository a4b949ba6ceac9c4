//! The time that a line of a server's own log begins with.

use jiff::{civil::DateTime, tz::TimeZone};
use pilothouse_domain::Timestamp;

/// Ollama writes `time=2026-09-29T12:00:00.123+02:00 level=…` and `[GIN] 2026/09/29 - 12:00:00 | …`, LM Studio
/// `[2026-09-29 12:00:00][INFO]…` (Ollama: logutil/logutil.go; LM Studio: as its files showed it). The last two are
/// local time. `None`: another line.
pub(super) fn stamp(line: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(rest) = line.strip_prefix("time=") {
        return rest.split_whitespace().next()?.parse().ok();
    }
    let (text, format) = match line.strip_prefix("[GIN] ") {
        Some(rest) => (rest.get(..21)?, "%Y/%m/%d - %H:%M:%S"),
        None => (line.strip_prefix('[')?.get(..19)?, "%Y-%m-%d %H:%M:%S"),
    };
    let local = DateTime::strptime(format, text).ok()?;
    Some(local.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read_and_nothing_else() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let noon: Timestamp = "2026-09-29T10:00:00Z".parse().unwrap();
        for line in [
            "time=2026-09-29T12:00:00.000+02:00 level=INFO msg=x",
            "[GIN] 2026/09/29 - 12:00:00 | 200 | 1ms | 127.0.0.1 | GET \"/\"",
            "[2026-09-29 12:00:00][INFO][model] Running",
        ] {
            assert_eq!(stamp(line, &zone), Some(noon), "{line}");
        }
        for line in [
            "",
            "[",
            "[GIN] ü",
            "time=soon",
            "[2026-09-29 12:00][INFO]",
            "llama_model_load: x",
            "[ü2026-09-29 12:00:0",
        ] {
            assert_eq!(stamp(line, &zone), None, "{line}");
        }
    }
}
