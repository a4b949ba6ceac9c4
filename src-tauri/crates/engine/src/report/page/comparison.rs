//! Two runs that were measured in turns: each metric as a ratio with its interval.

use super::{html::escape, plot, plot::Scale};
use crate::report::{
    figures::ABSENT,
    markdown::{model_words, server_words},
};
use pilothouse_domain::{
    bench::comparison::{ComparedMetric, Comparison, Verdict},
    units::{gigabytes, short},
};

const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 24.0;

pub fn section(comparison: &Comparison) -> String {
    let (a, b) = (&comparison.a, &comparison.b);
    let title = match comparison.sentence.trim() {
        "" => format!("{} on {} against {}", model_words(a), b.server, a.server),
        sentence => sentence.trim_end_matches('.').to_owned(),
    };
    let turns = if comparison.paired { "measured in turns" } else { "measured apart" };
    let sub = format!(
        "{} on {} (run {}) against {} on {} (run {}), {turns}",
        model_words(b),
        server_words(b),
        b.run_id,
        model_words(a),
        server_words(a),
        a.run_id
    );
    let mut text = format!("<section><h2>{}</h2><p class=\"quiet\">{}</p>", escape(&title), escape(&sub));
    for one in &comparison.unmatched {
        let words = format!("Not the same {}: {} against {}. {}", one.what, one.b, one.a, one.meaning);
        text.push_str(&format!("<p class=\"remark\">{}</p>", escape(words.trim())));
    }
    for one in &comparison.disturbed {
        text.push_str(&format!("<p class=\"remark\">{}</p>", escape(&format!("Disturbed by {}.", one.name))));
    }
    if !comparison.metrics.is_empty() {
        text.push_str(&table(comparison));
    }
    let noise = &comparison.noise_floor;
    let noise = format!(
        "Differences below {} % are noise on this machine ({}).",
        short(noise.ratio * 100.0),
        noise.source
    );
    text + &format!("<p class=\"quiet\">{}</p></section>", escape(&noise))
}

fn table(comparison: &Comparison) -> String {
    let ratios: Vec<f64> = comparison
        .metrics
        .iter()
        .filter_map(|metric| metric.ratio)
        .flat_map(|ratio| [ratio.low, ratio.high])
        .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
        .collect();
    // Even on both sides of "the same", on a logarithmic scale: twice and half are as far apart.
    let widest = ratios.iter().map(|ratio| ratio.ln().abs()).fold(0.05, f64::max) * 1.1;
    let scale = Scale::new((-widest, widest), (8.0, WIDTH - 8.0));
    let rows: String = comparison.metrics.iter().map(|metric| row(metric, &scale)).collect();
    format!(
        "<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">{}</th><th class=\"n\">{}</th>\
         <th>{} against {}, 95 % interval</th><th>Verdict</th></tr></thead><tbody>{rows}</tbody></table></div>",
        escape(&server_words(&comparison.a)),
        escape(&server_words(&comparison.b)),
        escape(comparison.b.server.as_str()),
        escape(comparison.a.server.as_str()),
    )
}

fn row(metric: &ComparedMetric, scale: &Scale) -> String {
    let figure = |value: Option<f64>| match (value, metric.name.as_str()) {
        (None, _) => ABSENT.to_owned(),
        (Some(bytes), "memory_bytes") => gigabytes(bytes.max(0.0) as u64),
        (Some(value), _) => short(value),
    };
    let (name, unit) = name_of(&metric.name);
    let unit = if unit.is_empty() { String::new() } else { format!("<br><small>{}</small>", escape(unit)) };
    let reason = metric.reason.as_ref().map(|why| format!("<br><small>{}</small>", escape(why)));
    format!(
        "<tr><th scope=\"row\">{}{unit}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td><td>{}{}</td></tr>",
        escape(name),
        figure(metric.a),
        figure(metric.b),
        drawing(metric, scale),
        escape(&verdict(metric)),
        reason.unwrap_or_default()
    )
}

fn drawing(metric: &ComparedMetric, scale: &Scale) -> String {
    let middle = HEIGHT / 2.0;
    let same = scale.at(0.0);
    let mut inner = plot::line("limit", (same, 0.0), (same, HEIGHT));
    let Some(ratio) = metric.ratio.filter(|ratio| ratio.low > 0.0 && ratio.high.is_finite()) else {
        return plot::image(WIDTH, HEIGHT, "no interval", &inner);
    };
    let different = matches!(metric.verdict, Verdict::AFaster | Verdict::BFaster);
    let (bar, point) = if different { ("interval", "point") } else { ("interval same", "point same") };
    inner.push_str(&plot::line(bar, (scale.at(ratio.low.ln()), middle), (scale.at(ratio.high.ln()), middle)));
    inner.push_str(&plot::dot(point, (scale.at(ratio.median.ln()), middle), 5.0, ""));
    let label = format!("ratio {:.3} ({:.3} to {:.3})", ratio.median, ratio.low, ratio.high);
    plot::image(WIDTH, HEIGHT, &label, &inner)
}

fn name_of(name: &str) -> (&str, &str) {
    match name {
        "decode_tok_s" => ("Decode", "tok/s, client clock"),
        "prefill_tok_s" => ("Prefill", "tok/s, client clock"),
        "ttft_ms" => ("First token", "ms"),
        "e2e_ms" => ("Whole answer", "ms"),
        "memory_bytes" => ("Peak memory", ""),
        "energy_j_per_token" => ("Energy", "J per token"),
        other => (other, ""),
    }
}

/// "17 % faster (15 to 19)", as the second side is.
fn verdict(metric: &ComparedMetric) -> String {
    let (more, less) = match metric.name.as_str() {
        "ttft_ms" | "e2e_ms" => ("later", "sooner"),
        "memory_bytes" | "energy_j_per_token" => ("more", "less"),
        _ => ("faster", "slower"),
    };
    let Some(ratio) = metric.ratio.filter(|_| metric.verdict != Verdict::NotComparable) else {
        return "not comparable".into();
    };
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let (low, high) = (percent(ratio.low), percent(ratio.high));
    let single = ratio.low == ratio.high;
    match metric.verdict {
        Verdict::NoDifference if single => "no difference".into(),
        Verdict::NoDifference => format!("no difference ({low:+.1} to {high:+.1} %)").replace('-', "−"),
        _ => {
            let middle = percent(ratio.median);
            let word = if middle >= 0.0 { more } else { less };
            if single {
                return format!("{:.1} % {word}, no interval", middle.abs());
            }
            let (near, far) = if middle >= 0.0 { (low, high) } else { (-high, -low) };
            format!("{:.1} % {word} ({near:.1} to {far:.1})", middle.abs()).replace('-', "−")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::bench::comparison::Ratio;

    #[test]
    fn verdicts_are_said_of_the_second_side() {
        let metric = |name: &str, ratio: Option<(f64, f64, f64)>, verdict| ComparedMetric {
            name: name.into(),
            a: None,
            b: None,
            ratio: ratio.map(|(low, median, high)| Ratio { median, low, high, level: 0.95 }),
            p: None,
            n: 10,
            verdict,
            reason: None,
        };
        for (name, ratio, verdict, words) in [
            ("decode_tok_s", Some((1.15, 1.17, 1.19)), Verdict::BFaster, "17.0 % faster (15.0 to 19.0)"),
            ("decode_tok_s", Some((0.81, 0.83, 0.85)), Verdict::AFaster, "17.0 % slower (15.0 to 19.0)"),
            ("ttft_ms", Some((0.86, 0.89, 0.92)), Verdict::BFaster, "11.0 % sooner (8.0 to 14.0)"),
            ("memory_bytes", Some((1.1, 1.2, 1.3)), Verdict::AFaster, "20.0 % more (10.0 to 30.0)"),
            (
                "prefill_tok_s",
                Some((0.96, 0.99, 1.01)),
                Verdict::NoDifference,
                "no difference (−4.0 to +1.0 %)",
            ),
            ("decode_tok_s", Some((1.1, 1.2, 1.3)), Verdict::NotComparable, "not comparable"),
            ("memory_bytes", Some((0.8, 0.8, 0.8)), Verdict::BFaster, "20.0 % less, no interval"),
            ("memory_bytes", Some((1.0, 1.0, 1.0)), Verdict::NoDifference, "no difference"),
            ("decode_tok_s", None, Verdict::NotComparable, "not comparable"),
        ] {
            assert_eq!(super::verdict(&metric(name, ratio, verdict)), words);
        }
    }
}
