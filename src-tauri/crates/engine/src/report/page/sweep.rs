//! A sweep: what more requests at a time give, and what they cost.

use super::{plot, plot::Scale};
use pilothouse_domain::{
    bench::sweep::{Sweep, SweepPoint},
    units::short,
};

const HEIGHT: f64 = 130.0;

pub fn plots(sweep: &Sweep) -> String {
    [
        ("All answers together", "tok/s", "tok/s", all as Figure, Mark::Knee),
        ("First token", "95 of 100 come sooner, ms", "ms", first_token as Figure, Mark::Limit),
        ("Each answer", "tok/s", "tok/s", each as Figure, Mark::None),
    ]
    .into_iter()
    .map(|(title, sub, unit, figure, mark)| plot_of(sweep, title, sub, unit, figure, mark))
    .collect()
}

type Figure = fn(&SweepPoint) -> Option<f64>;

#[derive(PartialEq)]
enum Mark {
    Knee,
    /// The bound of a query.
    Limit,
    None,
}

fn all(point: &SweepPoint) -> Option<f64> {
    point.out_tok_s
}

fn first_token(point: &SweepPoint) -> Option<f64> {
    point.ttft_ms.map(|spread| spread.p95)
}

fn each(point: &SweepPoint) -> Option<f64> {
    point.decode_tok_s
}

fn plot_of(sweep: &Sweep, title: &str, sub: &str, unit: &str, figure: Figure, mark: Mark) -> String {
    let known: Vec<(f64, f64)> = sweep
        .points
        .iter()
        .filter_map(|point| figure(point).map(|value| (f64::from(point.concurrency), value)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    let (Some(most), Some(last)) = (
        known.iter().map(|(_, value)| *value).reduce(f64::max),
        sweep.points.iter().map(|point| point.concurrency).max(),
    ) else {
        return String::new();
    };
    let y = Scale::new((0.0, plot::round_up(most * 1.1)), (HEIGHT - 24.0, 8.0));
    let x = Scale::new((0.0, f64::from(last) + 0.5), (plot::LEFT, plot::PAGE - 8.0));
    let mut inner = String::new();
    if let Some(knee) = &sweep.knee {
        let at = f64::from(knee.concurrency);
        let (from, to) = (x.at(at - 0.25), x.at(at + 0.25));
        inner.push_str(&plot::band("busy", (from, y.end), (to - from, y.start - y.end)));
    }
    inner.push_str(&plot::grid(&y, unit));
    let slo = f64::from(sweep.slo_ms);
    let level = match mark {
        Mark::Knee => Some((most * 0.9, "90 % of the most".to_owned())),
        Mark::Limit if slo <= y.to => Some((slo, format!("{slo:.0} ms"))),
        _ => None,
    };
    if let Some((value, words)) = level {
        inner.push_str(&plot::line("limit", (x.start, y.at(value)), (x.end, y.at(value))));
        // On the side where the line through the dots is not.
        let side = if mark == Mark::Knee { (x.start + 4.0, "start") } else { (x.end - 4.0, "end") };
        inner.push_str(&plot::words("axis", (side.0, y.at(value) - 5.0), side.1, &words));
    }
    let points: Vec<Option<(f64, f64)>> =
        known.iter().map(|(at, value)| Some((x.at(*at), y.at(*value)))).collect();
    inner.push_str(&plot::path("series one", &points));
    for (at, value) in &known {
        let words = format!("{} {unit} at {at}", short(*value));
        inner.push_str(&plot::dot("point", (x.at(*at), y.at(*value)), 4.0, &words));
        inner.push_str(&plot::words("axis", (x.at(*at), HEIGHT - 6.0), "middle", &plot::tick(*at)));
    }
    let label: Vec<String> = known.iter().map(|(at, value)| format!("{} at {at}", short(*value))).collect();
    format!(
        "<figure><figcaption><b>{title}</b> {sub}, by requests at a time</figcaption>{}</figure>",
        plot::image(plot::PAGE, HEIGHT, &format!("{title}: {}", label.join(", ")), &inner)
    )
}
