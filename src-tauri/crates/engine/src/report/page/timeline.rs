//! What the gauges showed during a run, on the run's own time.

use super::{plot, plot::Scale};
use pilothouse_domain::bench::{RunDetail, TrialPhase};

const LANE: f64 = 64.0;
const GAP: f64 = 14.0;
const TOP: f64 = 4.0;
/// More points than these are not to be told apart.
const MOST_POINTS: usize = 480;

struct Lane {
    title: &'static str,
    unit: &'static str,
    class: &'static str,
    values: Vec<Option<f64>>,
    /// The end of the axis where that is given by the unit.
    to: Option<f64>,
}

/// Empty where no trace was kept, or nothing is known in it.
pub fn figure(detail: &RunDetail) -> String {
    let Some(trace) = &detail.trace else { return String::new() };
    let start = detail.run.started_at.as_millisecond();
    let seconds: Vec<f64> = trace.at_ms.iter().map(|at| (at - start) as f64 / 1000.0).collect();
    let Some(last) = seconds.last().copied().filter(|last| *last > 0.0) else { return String::new() };
    let gigabytes = |values: &[Option<u64>]| -> Vec<Option<f64>> {
        values.iter().map(|bytes| bytes.map(|bytes| bytes as f64 / 1e9)).collect()
    };
    let columns = &trace.columns;
    let lanes = [
        Lane {
            title: "GPU load",
            unit: "%",
            class: "one",
            values: columns.gpu_load_percent.clone(),
            to: Some(100.0),
        },
        Lane { title: "GPU power", unit: "W", class: "two", values: columns.gpu_power_w.clone(), to: None },
        Lane {
            title: "Memory of GPUs",
            unit: "GB",
            class: "three",
            values: gigabytes(&columns.gpu_memory_used_bytes),
            to: None,
        },
        Lane {
            title: "Memory of servers",
            unit: "GB",
            class: "three",
            values: gigabytes(&columns.servers_memory_bytes),
            to: None,
        },
        Lane {
            title: "Processor",
            unit: "%",
            class: "four",
            values: columns.cpu_percent.clone(),
            to: Some(100.0),
        },
        Lane {
            title: "Swap",
            unit: "GB",
            class: "two",
            values: gigabytes(&columns.swap_used_bytes),
            to: None,
        },
    ];
    let known = |lane: &Lane| lane.values.iter().flatten().any(|value| *value > 0.0 || lane.unit == "%");
    let (lanes, absent): (Vec<Lane>, Vec<Lane>) = lanes.into_iter().partition(known);
    if lanes.is_empty() {
        return String::new();
    }
    let x = Scale::new((0.0, last), (plot::LEFT, plot::PAGE - 8.0));
    let height = TOP + lanes.len() as f64 * (LANE + GAP) + 18.0;
    let mut inner = requests(detail, &x, height - 22.0);
    for (index, lane) in lanes.iter().enumerate() {
        inner.push_str(&draw(lane, &seconds, &x, TOP + index as f64 * (LANE + GAP)));
    }
    for tick in x.ticks(6) {
        inner.push_str(&plot::words(
            "axis",
            (x.at(tick), height - 4.0),
            "middle",
            &(plot::tick(tick) + " s"),
        ));
    }
    let names: Vec<&str> = lanes.iter().map(|lane| lane.title).collect();
    let label = format!("{} over the {last:.0} s of the run", names.join(", "));
    let no_gpu = absent.iter().any(|lane| lane.title == "GPU load");
    let remark = if no_gpu { " No GPU told its load." } else { "" };
    let coarse = if seconds.len() > MOST_POINTS { " Each point is the mean of several samples." } else { "" };
    format!(
        "<figure><figcaption><b>Time line</b> seconds since the run began; requests are shaded, warm-ups faintly.\
         {coarse}{remark}</figcaption>{}</figure>",
        plot::image(plot::PAGE, height, &label, &inner)
    )
}

/// When each request was under way, as far as that was kept.
fn requests(detail: &RunDetail, x: &Scale, height: f64) -> String {
    let bands = detail.trials.iter().filter_map(|trial| {
        let begun = trial.begun_ms? / 1000.0;
        let class = if trial.phase == TrialPhase::Warmup { "rest" } else { "busy" };
        let (from, to) = (x.at(begun), x.at(begun + trial.total_ms / 1000.0));
        Some(plot::band(class, (from, TOP), (to - from, height - TOP)))
    });
    bands.collect()
}

fn draw(lane: &Lane, seconds: &[f64], x: &Scale, top: f64) -> String {
    let highest = lane.values.iter().flatten().copied().fold(0.0, f64::max);
    let to = lane.to.unwrap_or_else(|| plot::round_up(highest * 1.05)).max(highest);
    let y = Scale::new((0.0, to), (top + LANE, top + 16.0));
    let ends = plot::line("grid", (x.start, y.start), (x.end, y.start))
        + &plot::words("axis", (plot::LEFT - 8.0, y.start), "end", "0")
        + &plot::words(
            "axis",
            (plot::LEFT - 8.0, y.end + 8.0),
            "end",
            &format!("{} {}", plot::tick(to), lane.unit),
        )
        + &plot::words("lane", (x.start + 4.0, top + 10.0), "start", lane.title);
    let points: Vec<Option<(f64, f64)>> = thin(seconds, &lane.values)
        .into_iter()
        .map(|(second, value)| value.map(|value| (x.at(second), y.at(value))))
        .collect();
    ends + &plot::path(&format!("series {}", lane.class), &points)
}

/// Means of as many neighbours as leave few enough points. Nothing known among them stays nothing.
fn thin(seconds: &[f64], values: &[Option<f64>]) -> Vec<(f64, Option<f64>)> {
    let of_each = seconds.len().div_ceil(MOST_POINTS).max(1);
    seconds
        .chunks(of_each)
        .zip(values.chunks(of_each))
        .map(|(seconds, values)| {
            let known: Vec<f64> = values.iter().flatten().copied().collect();
            let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
            (seconds.first().copied().unwrap_or_default(), mean)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_samples_become_means_and_holes_stay() {
        let seconds: Vec<f64> = (0..1000).map(f64::from).collect();
        let values: Vec<Option<f64>> = (0..1000).map(|at| (at >= 300).then_some(f64::from(at % 2))).collect();
        let thinned = thin(&seconds, &values);
        assert!(thinned.len() <= MOST_POINTS);
        assert_eq!(thinned[0], (0.0, None));
        assert!(thinned.iter().all(|(_, value)| value.is_none_or(|value| (0.0..=1.0).contains(&value))));
        assert_eq!(thin(&seconds[..3], &values[..3]).len(), 3);
    }
}
