//! What the gauges showed during a run, on the run's own time.

use super::{plot, plot::Scale};
use pilothouse_domain::{
    bench::{RunDetail, RunTrace, TrialPhase},
    gauge::GaugeHistory,
};

const LANE: f64 = 64.0;
const GAP: f64 = 14.0;
const TOP: f64 = 4.0;
/// More points than these are not to be told apart.
const MOST_POINTS: usize = 480;

struct Lane<'a> {
    title: String,
    unit: &'static str,
    class: &'static str,
    seconds: &'a [f64],
    values: Vec<Option<f64>>,
    /// The end of the axis where that is given by the unit.
    to: Option<f64>,
}

/// Empty where no trace was kept, or nothing is known in it.
pub fn figure(detail: &RunDetail) -> String {
    let start = detail.run.started_at.as_millisecond();
    let machine_s: Vec<f64> = match &detail.trace {
        Some(trace) => trace.at_ms.iter().map(|at| (at - start) as f64 / 1000.0).collect(),
        None => Vec::new(),
    };
    let cards_s: Vec<f64> = match &detail.cards {
        Some(cards) => cards.at_ms.iter().map(|ms| ms / 1000.0).collect(),
        None => Vec::new(),
    };
    let mut lanes = detail.cards.as_ref().map(|cards| of_cards(cards, &cards_s)).unwrap_or_default();
    lanes.retain(is_known);
    let by_card = lanes.iter().any(|lane| lane.class == "one");
    let mut of_machine = detail.trace.as_ref().map(|trace| of_trace(trace, &machine_s)).unwrap_or_default();
    of_machine.retain(|lane| is_known(lane) && !(by_card && lane.title.contains("GPU")));
    lanes.extend(of_machine);
    let last = machine_s.iter().chain(&cards_s).copied().fold(0.0, f64::max);
    if lanes.is_empty() || last <= 0.0 {
        return String::new();
    }
    let x = Scale::new((0.0, last), (plot::LEFT, plot::PAGE - 8.0));
    let height = TOP + lanes.len() as f64 * (LANE + GAP) + 18.0;
    let mut inner = requests(detail, &x, height - 22.0);
    for (index, lane) in lanes.iter().enumerate() {
        inner.push_str(&draw(lane, &x, TOP + index as f64 * (LANE + GAP)));
    }
    for tick in x.ticks(6) {
        inner.push_str(&plot::words(
            "axis",
            (x.at(tick), height - 4.0),
            "middle",
            &(plot::tick(tick) + " s"),
        ));
    }
    let names: Vec<&str> = lanes.iter().map(|lane| lane.title.as_str()).collect();
    let label = format!("{} over the {last:.0} s of the run", names.join(", "));
    let no_gpu = !lanes.iter().any(|lane| lane.class == "one");
    let remark = if no_gpu { " No GPU told its load." } else { "" };
    let many = lanes.iter().any(|lane| lane.seconds.len() > MOST_POINTS);
    let coarse = if many { " Each point is the mean of several samples." } else { "" };
    format!(
        "<figure><figcaption><b>Time line</b> seconds since the run began; requests are shaded, warm-ups faintly.\
         {coarse}{remark}</figcaption>{}</figure>",
        plot::image(plot::PAGE, height, &label, &inner)
    )
}

/// What never was anything is left out, but for loads: a card that does nothing is worth a look.
fn is_known(lane: &Lane<'_>) -> bool {
    lane.values.iter().flatten().any(|value| *value > 0.0 || lane.unit == "%")
}

fn gigabytes(values: &[Option<u64>]) -> Vec<Option<f64>> {
    values.iter().map(|bytes| bytes.map(|bytes| bytes as f64 / 1e9)).collect()
}

fn of_cards<'a>(cards: &RunTrace, seconds: &'a [f64]) -> Vec<Lane<'a>> {
    let lane = |title: String, unit, class, values, to| Lane { title, unit, class, seconds, values, to };
    let mut lanes = Vec::new();
    let several = cards.cards.len() > 1;
    for card in &cards.cards {
        let of = |what: &str| if several { format!("{what}, {}", card.name) } else { what.to_owned() };
        lanes.push(lane(of("GPU load"), "%", "one", card.load_percent.clone(), Some(100.0)));
        lanes.push(lane(of("GPU power"), "W", "two", card.power_w.clone(), None));
        lanes.push(lane(of("Memory of the GPU"), "GB", "three", gigabytes(&card.memory_used_bytes), None));
    }
    let memory = gigabytes(&cards.instance_memory_bytes);
    lanes.push(lane("Memory of the instance".into(), "GB", "three", memory, None));
    lanes
}

fn of_trace<'a>(trace: &GaugeHistory, seconds: &'a [f64]) -> Vec<Lane<'a>> {
    let columns = &trace.columns;
    let lane = |title: &str, unit, class, values, to| {
        let title = title.to_owned();
        Lane { title, unit, class, seconds, values, to }
    };
    vec![
        lane("GPU load", "%", "one", columns.gpu_load_percent.clone(), Some(100.0)),
        lane("GPU power", "W", "two", columns.gpu_power_w.clone(), None),
        lane("Memory of GPUs", "GB", "three", gigabytes(&columns.gpu_memory_used_bytes), None),
        lane("Memory of servers", "GB", "three", gigabytes(&columns.servers_memory_bytes), None),
        lane("Processor", "%", "four", columns.cpu_percent.clone(), Some(100.0)),
        lane("Swap", "GB", "two", gigabytes(&columns.swap_used_bytes), None),
    ]
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

fn draw(lane: &Lane<'_>, x: &Scale, top: f64) -> String {
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
        + &plot::words("lane", (x.start + 4.0, top + 10.0), "start", &lane.title);
    let points: Vec<Option<(f64, f64)>> = thin(lane.seconds, &lane.values)
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
