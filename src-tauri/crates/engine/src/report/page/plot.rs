//! The few shapes that the plots are made of. Coordinates are those of a view box; colours are classes of the style sheet.

use super::html::escape;
use pilothouse_domain::{
    bench::{Summary, stats::Interval},
    units::short,
};

/// Width of an interval in a cell of a table.
pub const WIDE_CELL: f64 = 240.0;
/// Width of a plot over the whole page, with room for the figures of its axis on the left.
pub const PAGE: f64 = 960.0;
pub const LEFT: f64 = 64.0;
const CELL_HEIGHT: f64 = 22.0;
const ROOM: f64 = 8.0;

/// From figures to places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub from: f64,
    pub to: f64,
    /// Places of both.
    pub start: f64,
    pub end: f64,
}

impl Scale {
    pub fn new((from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, start, end }
    }

    /// From nothing to a round figure above the highest, over the width of a cell.
    pub fn from_zero(highest: f64, width: f64) -> Self {
        Self::new((0.0, round_up(highest)), (ROOM, width - ROOM))
    }

    pub fn at(&self, value: f64) -> f64 {
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        ((self.start + part * (self.end - self.start)) * 10.0).round() / 10.0
    }

    /// Round figures within the scale, both ends where they are round; about so many.
    pub fn ticks(&self, about: usize) -> Vec<f64> {
        let step = round_step((self.to - self.from) / about.max(1) as f64);
        let first = (self.from / step - 1e-9).ceil();
        (0..32)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|tick| *tick <= self.to * (1.0 + 1e-9))
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least as large.
fn round_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| power * times >= least * (1.0 - 1e-9));
    power * times.unwrap_or(10.0)
}

/// The end of an axis that holds a figure: a fifth of its round step at a time.
pub fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let step = round_step(value / 5.0);
    (value / step - 1e-9).ceil() * step
}

/// A tick in words: "0", "2.5", "120".
pub fn tick(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An image with a text for those who do not see it.
pub fn image(width: f64, height: f64, label: &str, inner: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">{inner}</svg>",
        escape(label)
    )
}

pub fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>")
}

pub fn dot(class: &str, (x, y): (f64, f64), radius: f64, title: &str) -> String {
    let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
    format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\">{title}</circle>")
}

pub fn band(class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{:.1}\" height=\"{:.1}\"/>",
        width.max(0.5),
        height.max(0.5)
    )
}

/// `anchor`: "start", "middle" or "end".
pub fn words(class: &str, (x, y): (f64, f64), anchor: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", escape(text))
}

/// A line through what is known; a hole stays a hole, and a point alone between holes is a dot.
pub fn path(class: &str, points: &[Option<(f64, f64)>]) -> String {
    let mut drawn = String::new();
    let mut path = String::new();
    for part in points.split(Option::is_none) {
        let part: Vec<(f64, f64)> = part.iter().flatten().copied().collect();
        match part[..] {
            [] => {}
            [alone] => drawn.push_str(&dot(&format!("{class} alone"), alone, 1.5, "")),
            _ => {
                for (index, (x, y)) in part.iter().enumerate() {
                    path.push_str(&format!("{}{x} {y}", if index == 0 { "M" } else { "L" }));
                }
            }
        }
    }
    if !path.is_empty() {
        drawn.push_str(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
    }
    drawn
}

/// Lines across a plot with their figures on the left.
pub fn grid(scale: &Scale, unit: &str) -> String {
    let ticks = scale.ticks(3);
    let last = ticks.len().saturating_sub(1);
    ticks
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let y = scale.at(*value);
            let unit = if index == last && !unit.is_empty() { format!(" {unit}") } else { String::new() };
            line("grid", (LEFT, y), (PAGE - ROOM, y))
                + &words("axis", (LEFT - 8.0, y + 4.0), "end", &format!("{}{unit}", tick(*value)))
        })
        .collect()
}

/// The scale of a column of intervals, for its head.
pub fn axis_head(scale: &Scale) -> String {
    let ticks: String = scale
        .ticks(4)
        .into_iter()
        .map(|value| {
            let x = scale.at(value);
            words("axis", (x, 12.0), "middle", &tick(value)) + &line("grid", (x, 16.0), (x, CELL_HEIGHT))
        })
        .collect();
    image(WIDE_CELL, CELL_HEIGHT, "scale of decode in tokens per second", &ticks)
}

/// A median with its interval, in a cell.
pub fn interval(summary: &Summary, scale: &Scale) -> String {
    let middle = CELL_HEIGHT / 2.0;
    let class = if summary.interval == Interval::Range { "range" } else { "interval" };
    let grid: String = scale
        .ticks(4)
        .into_iter()
        .map(|value| line("grid", (scale.at(value), 0.0), (scale.at(value), CELL_HEIGHT)))
        .collect();
    let label =
        format!("{} ({} to {}) tok/s", short(summary.median), short(summary.low), short(summary.high));
    let inner = grid
        + &line(class, (scale.at(summary.low), middle), (scale.at(summary.high), middle))
        + &dot("point", (scale.at(summary.median), middle), 3.5, &label);
    image(WIDE_CELL, CELL_HEIGHT, &label, &inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_figures() {
        for (value, end) in
            [(0.0, 1.0), (0.03, 0.03), (7.0, 8.0), (58.2, 60.0), (250.0, 250.0), (301.0, 400.0)]
        {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}: {}", round_up(value));
        }
        let scale = Scale::new((0.0, 60.0), (10.0, 70.0));
        assert_eq!(scale.ticks(3), [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(
            (scale.at(30.0), scale.at(-5.0), scale.at(1e9)),
            (40.0, 10.0, 70.0),
            "nothing leaves the plot"
        );
        let near = Scale::new((48.2, 52.9), (0.0, 1.0));
        assert_eq!(near.ticks(4), [50.0, 52.0]);
        let point = Scale::new((5.0, 5.0), (0.0, 1.0));
        assert!(point.at(5.0).is_finite());
        assert_eq!((tick(0.0), tick(2.5), tick(120.0)), ("0".into(), "2.5".into(), "120".into()));
    }

    #[test]
    fn a_hole_is_not_drawn_over() {
        let points = [Some((0.0, 1.0)), Some((1.0, 1.0)), None, Some((3.0, 1.0)), None, None];
        assert_eq!(
            path("a", &points),
            "<circle class=\"a alone\" cx=\"3\" cy=\"1\" r=\"1.5\"></circle><path class=\"a\" d=\"M0 1L1 1\"/>"
        );
        assert_eq!(path("a", &[None]), "");
    }
}
