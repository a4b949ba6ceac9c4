use crate::{
    output::{Output, table},
    session::{Session, unexpected},
};
use pilothouse_domain::{
    gauge::{GaugeColumns, GaugeHistory},
    gauge_history::{LONGEST_S, SERIES, Values},
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, Call, Reply};
use serde_json::{Value, json};

/// Seconds of a span as people write it: "15m", "24h", "30d".
pub fn span_s(text: &str) -> Result<u64, String> {
    let allowed = || "a number with m, h or d, from 1m to 30d: 15m, 1h, 24h, 30d".to_owned();
    let unit = text.chars().last().ok_or_else(allowed)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(allowed()),
    };
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(allowed)?;
    count.checked_mul(seconds).filter(|span| (60..=LONGEST_S).contains(span)).ok_or_else(allowed)
}

pub async fn run(span_s: u64, output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let reply = session.call(Call::GaugeHistory { since_ms: None, span_s: Some(span_s) }).await?;
    let Reply::GaugeHistory { history } = reply else {
        return Err(unexpected(&reply));
    };
    output.answer(document(&history, span_s), || text(&history, span_s));
    Ok(0)
}

fn document(history: &GaugeHistory, span_s: u64) -> Value {
    let mut document = serde_json::to_value(history).unwrap_or_default();
    document["span_s"] = json!(span_s);
    document
}

fn text(history: &GaugeHistory, span_s: u64) -> String {
    if history.at_ms.is_empty() {
        return "Nothing was sampled in this time.".into();
    }
    let rows = summaries(history).into_iter().zip(SERIES).filter_map(|(summary, name)| {
        let (low, mean, high) = summary?;
        let (title, unit) = title(name);
        Some(vec![title.to_owned(), written(low, unit), written(mean, unit), written(high, unit)])
    });
    let table = table(&["", "LEAST", "MEAN", "MOST"], rows.collect());
    let sampled = history.at_ms.len();
    let means = if history.low.is_some() { "means over" } else { "samples every" };
    format!("{table}\n\n{}: {sampled} {means} {} s", span(span_s), history.step_ms as f64 / 1000.0)
}

/// Least, mean and greatest value per series; `None`: never known.
fn summaries(history: &GaugeHistory) -> [Option<(f64, f64, f64)>; SERIES.len()] {
    let rows = |columns: &GaugeColumns| -> Vec<Values> {
        (0..history.at_ms.len()).map(|index| columns.row(index)).collect()
    };
    let means = rows(&history.columns);
    let lows = history.low.as_ref().map_or_else(|| means.clone(), rows);
    let highs = history.high.as_ref().map_or_else(|| means.clone(), rows);
    std::array::from_fn(|series| {
        let known = |rows: &[Values]| rows.iter().filter_map(|row| row[series]).collect::<Vec<f64>>();
        let mean = known(&means);
        let low = known(&lows).into_iter().reduce(f64::min)?;
        let high = known(&highs).into_iter().reduce(f64::max)?;
        Some((low, mean.iter().sum::<f64>() / mean.len() as f64, high))
    })
}

#[derive(Clone, Copy)]
enum Unit {
    Percent,
    Bytes,
    Watts,
}

fn title(name: &str) -> (&'static str, Unit) {
    match name {
        "cpu_percent" => ("CPU", Unit::Percent),
        "memory_used_bytes" => ("Memory", Unit::Bytes),
        "swap_used_bytes" => ("Swap", Unit::Bytes),
        "gpu_load_percent" => ("GPU", Unit::Percent),
        "gpu_memory_used_bytes" => ("GPU memory", Unit::Bytes),
        "gpu_power_w" => ("GPU power", Unit::Watts),
        _ => ("Servers", Unit::Bytes),
    }
}

fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Percent => format!("{value:.0} %"),
        Unit::Bytes => gigabytes(value.round() as u64),
        Unit::Watts => format!("{value:.0} W"),
    }
}

fn span(span_s: u64) -> String {
    match span_s {
        span if span % 86_400 == 0 && span > 86_400 => format!("last {} days", span / 86_400),
        span if span % 3600 == 0 => format!("last {} h", span / 3600),
        span => format!("last {} min", span / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let cases = [("15m", 900), ("1h", 3600), ("24h", 86_400), ("1d", 86_400), ("30d", LONGEST_S)];
        for (text, seconds) in cases {
            assert_eq!(span_s(text), Ok(seconds), "{text}");
        }
        for junk in ["", "h", "0m", "31d", "1w", "15", "-1h", "1.5h", "99999999999999999999d", "1ü"] {
            assert!(span_s(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn the_table_has_what_is_known_and_the_peaks_of_the_means() {
        let mut history = GaugeHistory { step_ms: 60_000, at_ms: vec![0, 60_000], ..Default::default() };
        let columns = |cpu: [f64; 2]| {
            let mut columns = GaugeColumns::default();
            for cpu in cpu {
                columns.push(&[Some(cpu), Some(2e9), None, None, None, None, None]);
            }
            columns
        };
        history.columns = columns([10.0, 20.0]);
        history.low = Some(columns([1.0, 5.0]));
        history.high = Some(columns([99.0, 50.0]));
        let text = text(&history, 86_400);
        assert!(
            text.contains("CPU") && text.contains("1 %") && text.contains("15 %") && text.contains("99 %")
        );
        assert!(!text.contains("GPU"), "absent is not zero: {text}");
        assert!(text.ends_with("last 24 h: 2 means over 60 s"), "{text}");
        assert_eq!(document(&history, 86_400)["cpu_percent"], json!([10.0, 20.0]));
        assert_eq!(document(&history, 86_400)["high"]["cpu_percent"], json!([99.0, 50.0]));
    }
}
