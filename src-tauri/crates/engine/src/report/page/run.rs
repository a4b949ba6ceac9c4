//! One run: every request, what the gauges showed, and on what it was measured.

use super::{html::escape, plot, plot::Scale, sweep, timeline};
use crate::report::{
    figures::{ABSENT, told},
    markdown::{memory_words, minute, model_words, server_words},
    results::{Results, results, spread},
};
use pilothouse_domain::{
    bench::{Run, RunDetail, RunState, Summary, Trial, TrialPhase, stats::Interval},
    units::short,
};

const HEIGHT: f64 = 150.0;

pub fn section(detail: &RunDetail) -> String {
    let run = &detail.run;
    let mut text = format!(
        "<section id=\"run-{}\" class=\"run\"><h2>{} on {}</h2><p class=\"quiet\">{}</p>",
        run.run_id,
        escape(&model_words(run)),
        escape(&server_words(run)),
        escape(&facts(run))
    );
    for remark in remarks(run) {
        text.push_str(&format!("<p class=\"remark\">{}</p>", escape(&remark)));
    }
    text.push_str(&figures(run));
    if let Some(found) = &run.sweep {
        text.push_str(&sweep::plots(found));
    }
    for found in results(run) {
        text.push_str(&result_table(&found));
    }
    text.push_str(&dots(detail));
    text.push_str(&timeline::figure(detail));
    text.push_str(&fingerprint(run));
    text + "</section>"
}

fn facts(run: &Run) -> String {
    let mut facts = vec![
        format!("run {}", run.run_id),
        run.plan.name.clone(),
        minute(run.started_at),
        format!("{} of {} requests count", run.trials, run.plan.trials.max(run.trials)),
        format!("{} warm-ups", run.warmups),
    ];
    facts.extend(told(run, "context").map(|context| format!("context {context}")));
    facts.extend(told(run, "computes_on").map(|place| format!("computes on the {place}")));
    match run.state {
        RunState::Done => {}
        RunState::Running => facts.push("still under way".into()),
        RunState::CutOff => facts.push("cut off".into()),
        RunState::Cancelled => facts.push("cancelled".into()),
    }
    facts.join(" · ")
}

fn remarks(run: &Run) -> Vec<String> {
    let disturbed = run.disturbed.iter().map(|one| {
        let percent = one.percent.map(|percent| format!(", up to {percent:.0} %")).unwrap_or_default();
        let pid = one.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        format!("Disturbed by {}{pid}{percent}, {:.0} s.", one.name, one.seconds)
    });
    disturbed.chain(run.note.clone()).collect()
}

fn figures(run: &Run) -> String {
    let row = |name: &str, summary: &Option<Summary>, server: &Option<Summary>, unit: &str| {
        let own = server
            .as_ref()
            .map_or_else(|| ABSENT.into(), |summary| format!("{} {unit}", short(summary.median)));
        let Some(summary) = summary else {
            return format!(
                "<tr><th scope=\"row\">{name}</th><td class=\"n\">{ABSENT}</td><td class=\"n\">{ABSENT}</td>\
                 <td>{ABSENT}</td><td class=\"n\">{ABSENT}</td><td class=\"n\">{own}</td></tr>"
            );
        };
        let kind = if summary.interval == Interval::Range { "range" } else { "95 % interval" };
        format!(
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{} {unit}</td><td class=\"n\">{} – {}</td><td>{kind}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{own}</td></tr>",
            short(summary.median),
            short(summary.low),
            short(summary.high),
            summary.n
        )
    };
    let energy =
        run.energy_j_per_token.map_or_else(|| ABSENT.into(), |joules| format!("{} J", short(joules)));
    format!(
        "<div class=\"wide\"><table><thead><tr><th></th><th class=\"n\">Median</th><th class=\"n\">From – to</th>\
         <th>Kind</th><th class=\"n\">Requests</th><th class=\"n\">Server’s own clock</th></tr></thead>\
         <tbody>{}{}{}{}</tbody></table></div><p>Peak memory {} · energy by token {energy}</p>",
        row("Decode", &run.decode_tok_s, &run.server_decode_tok_s, "tok/s"),
        row("Prefill", &run.prefill_tok_s, &run.server_prefill_tok_s, "tok/s"),
        row("First token", &run.ttft_ms, &None, "ms"),
        row("Whole answer", &run.e2e_ms, &None, "ms"),
        escape(&memory_words(run))
    )
}

fn result_table(found: &Results) -> String {
    let heads: String = found
        .heads
        .iter()
        .enumerate()
        .map(|(index, head)| match index {
            0 => format!("<th>{}</th>", escape(head)),
            _ => format!("<th class=\"n\">{}</th>", escape(head)),
        })
        .collect();
    let row = |(index, row): (usize, &Vec<String>)| {
        let class = if found.chosen == Some(index) { " class=\"chosen\"" } else { "" };
        let cells: String = row
            .iter()
            .enumerate()
            .map(|(column, cell)| match column {
                0 => format!("<th scope=\"row\">{}</th>", escape(cell)),
                _ => format!("<td class=\"n\">{}</td>", escape(cell)),
            })
            .collect();
        format!("<tr{class}>{cells}</tr>")
    };
    let rows: String = found.rows.iter().enumerate().map(row).collect();
    format!(
        "<h3>{}</h3><p>{}</p><div class=\"wide\"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>",
        escape(found.title),
        escape(&found.notes.join(" "))
    )
}

/// Every request as a dot, in the order in which they were made; where there are no rates, by their first tokens.
fn dots(detail: &RunDetail) -> String {
    let rate: fn(&Trial) -> Option<f64> = |trial| trial.decode_tok_s;
    let first: fn(&Trial) -> Option<f64> = |trial| trial.ttft_ms;
    let has_rates = detail.trials.iter().any(|trial| rate(trial).is_some());
    let (figure, unit, title, summary) = match has_rates {
        true => (rate, "tok/s", "Decode of every request", &detail.run.decode_tok_s),
        false => (first, "ms", "First token of every request", &detail.run.ttft_ms),
    };
    let drawn: Vec<(usize, &Trial, f64)> = detail
        .trials
        .iter()
        .enumerate()
        .filter_map(|(index, trial)| figure(trial).map(|value| (index, trial, value)))
        .filter(|(_, _, value)| value.is_finite())
        .collect();
    if drawn.is_empty() {
        return String::new();
    }
    let low = drawn.iter().map(|(_, _, value)| *value).fold(f64::INFINITY, f64::min);
    let high = drawn.iter().map(|(_, _, value)| *value).fold(0.0, f64::max);
    // Some air, and never so near that noise looks like a mountain range: at least a tenth of the value is shown.
    let air = (high * 0.05).max((high - low) * 0.1);
    let y = Scale::new(((low - air).max(0.0), high + air), (HEIGHT - 28.0, 8.0));
    let x = Scale::new((-0.5, detail.trials.len() as f64 - 0.5), (plot::LEFT, plot::PAGE - 8.0));
    let mut inner = plot::grid(&y, unit);
    if let Some(summary) = summary {
        let (top, bottom) = (y.at(summary.high), y.at(summary.low));
        inner.push_str(&plot::band("spread", (x.start, top), (x.end - x.start, bottom - top)));
        inner.push_str(&plot::line("middle", (x.start, y.at(summary.median)), (x.end, y.at(summary.median))));
    }
    for (index, trial, value) in &drawn {
        let class = match (trial.phase, &trial.flaw) {
            (TrialPhase::Warmup, _) => "warmup",
            (_, Some(_)) => "flawed",
            _ => "point faint",
        };
        let flaw = trial.flaw.as_ref().map(|flaw| format!(", does not count: {flaw}")).unwrap_or_default();
        let words = format!("request {}: {} {unit}{flaw}", index + 1, short(*value));
        inner.push_str(&plot::dot(class, (x.at(*index as f64), y.at(*value)), 4.0, &words));
    }
    let warmups = drawn.iter().filter(|(_, trial, _)| trial.phase == TrialPhase::Warmup).count();
    let flawed = drawn.iter().filter(|(_, trial, _)| trial.flaw.is_some()).count();
    let base = HEIGHT - 8.0;
    inner.push_str(&plot::words("axis", (x.start, base), "start", "first request"));
    inner.push_str(&plot::words("axis", (x.end, base), "end", "last"));
    let label = format!(
        "{title}: {}",
        summary
            .as_ref()
            .map_or_else(|| "nothing counts".into(), |summary| spread(Some(summary)) + " " + unit)
    );
    let mut legend = String::from("<span class=\"key point\"></span>counts");
    if warmups > 0 {
        legend.push_str("<span class=\"key warmup\"></span>warm-up");
    }
    if flawed > 0 {
        legend.push_str("<span class=\"key flawed\"></span>does not count");
    }
    format!(
        "<figure><figcaption><b>{title}</b> {unit}, with the median and its interval <span class=\"legend\">{legend}</span>\
         </figcaption>{}</figure>",
        plot::image(plot::PAGE, HEIGHT, &label, &inner)
    )
}

fn fingerprint(run: &Run) -> String {
    if run.fingerprint.is_empty() {
        return String::new();
    }
    let rows: String = run
        .fingerprint
        .iter()
        .map(|(key, value)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(&key.replace('_', " ")), escape(value))
        })
        .collect();
    format!("<details><summary>What it was measured on</summary><dl>{rows}</dl></details>")
}
