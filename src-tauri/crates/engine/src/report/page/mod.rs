//! One page of HTML that holds all it needs: it opens without a network, runs no script, follows the reader's light or dark,
//! and prints.

mod comparison;
mod html;
mod plot;
mod run;
mod sweep;
mod timeline;

use super::{
    Made,
    figures::{ABSENT, machine_of},
    markdown::{footnotes, memory_words, minute, model_words, server_words},
};
use html::escape;
use pilothouse_domain::{
    bench::{
        Run, RunDetail,
        comparison::{Comparison, NoiseFloor, compare},
    },
    units::short,
};
use plot::Scale;
use std::collections::BTreeSet;

const STYLE: &str = include_str!("style.css");

/// The runs as a page.
pub fn page(details: &[RunDetail], noise: &NoiseFloor, made: &Made) -> String {
    let machines: BTreeSet<String> = details.iter().map(|detail| machine_of(&detail.run).title()).collect();
    let machines: Vec<String> = machines.into_iter().collect();
    let mut body = header(details, &machines, made);
    if details.is_empty() {
        body.push_str("<p>No finished benchmark run is in the history.</p>");
    } else {
        body.push_str(&overview(details));
    }
    for pair in pairs(details, noise) {
        body.push_str(&comparison::section(&pair));
    }
    for detail in details {
        body.push_str(&run::section(detail));
    }
    body.push_str("<section><h2>How to read this</h2><ul class=\"notes\">");
    for note in footnotes(details, made) {
        body.push_str(&format!("<li>{}</li>", escape(&note)));
    }
    body.push_str("</ul></section>");
    // Nothing may be loaded or run, whatever a name smuggles in.
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Pilothouse benchmark report</title>\
         <style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
}

fn header(details: &[RunDetail], machines: &[String], made: &Made) -> String {
    let title = match machines {
        [machine] => format!("Benchmarks of {machine}"),
        _ => "Benchmarks".into(),
    };
    let days: BTreeSet<String> =
        details.iter().map(|detail| detail.run.started_at.strftime("%Y-%m-%d").to_string()).collect();
    let days = match (days.first(), days.last()) {
        (Some(first), Some(last)) if first == last => format!(", measured on {first}"),
        (Some(first), Some(last)) => format!(", measured from {first} to {last}"),
        _ => String::new(),
    };
    let runs = if details.len() == 1 { "1 run".into() } else { format!("{} runs", details.len()) };
    let sub = format!("{runs}{days} · Pilothouse {} · made {}", made.version, minute(made.at));
    format!("<header><h1>{}</h1><p class=\"quiet\">{}</p></header>", escape(&title), escape(&sub))
}

/// Both sides of what was measured in turns, once each.
fn pairs(details: &[RunDetail], noise: &NoiseFloor) -> Vec<Comparison> {
    let mut pairs = Vec::new();
    for (index, a) in details.iter().enumerate() {
        for b in &details[index + 1..] {
            if a.run.against == Some(b.run.run_id) || b.run.against == Some(a.run.run_id) {
                let (first, second) = if a.run.run_id < b.run.run_id { (a, b) } else { (b, a) };
                pairs.push(compare(first, second, noise.clone()));
            }
        }
    }
    pairs
}

/// All runs beside each other, decode with its interval on one scale.
fn overview(details: &[RunDetail]) -> String {
    let highest = details
        .iter()
        .filter_map(|detail| detail.run.decode_tok_s.as_ref())
        .map(|summary| summary.high)
        .fold(0.0, f64::max);
    let scale = Scale::from_zero(highest, plot::WIDE_CELL);
    let several = details.iter().map(|detail| machine_of(&detail.run)).collect::<BTreeSet<_>>().len() > 1;
    let rows: String = details.iter().map(|detail| overview_row(&detail.run, &scale, several)).collect();
    format!(
        "<section><h2>Decode, first token and memory</h2>\
         <div class=\"wide\"><table><thead><tr><th>Model</th><th>Server</th><th>Plan</th>\
         <th class=\"n\">Decode tok/s</th><th>{}</th><th class=\"n\">Prefill tok/s</th>\
         <th class=\"n\">First token ms</th><th class=\"n\">Peak memory</th><th class=\"n\">Run</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>\
         <p class=\"quiet\">Medians; the bar is the 95 % interval of the median, or a thin line the range of too few \
         requests for one.</p></section>",
        plot::axis_head(&scale)
    )
}

fn overview_row(run: &Run, scale: &Scale, several: bool) -> String {
    let median = |summary: &Option<pilothouse_domain::bench::Summary>| {
        summary.as_ref().map_or_else(|| ABSENT.into(), |summary| short(summary.median))
    };
    let interval = match &run.decode_tok_s {
        Some(summary) => plot::interval(summary, scale),
        None => format!("<span class=\"quiet\">{}</span>", "no rate"),
    };
    let machine = match several {
        true => format!("<br><small>{}</small>", escape(&machine_of(run).title())),
        false => String::new(),
    };
    let disturbed = if run.disturbed.is_empty() { "" } else { " <span class=\"mark\">disturbed</span>" };
    format!(
        "<tr><th scope=\"row\">{}{machine}{disturbed}</th><td>{}</td><td class=\"whole\">{}</td><td class=\"n\">{}</td>\
         <td>{interval}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\"><a href=\"#run-{}\">{}</a></td></tr>",
        escape(&model_words(run)),
        escape(&server_words(run)),
        escape(&run.plan.name),
        median(&run.decode_tok_s),
        median(&run.prefill_tok_s),
        median(&run.ttft_ms),
        escape(&memory_words(run)),
        run.run_id,
        run.run_id,
    )
}

#[cfg(test)]
mod tests;
