//! What the past of this machine says of each model: how fast it was, how long its loads took, when it was in use last.

use crate::{
    Timestamp,
    bench::{Run, RunState, Summary, load::LoadSummary},
    forecast::Forecast,
    model::ModelRef,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// The plans that measure one request at a time and nothing else, so that their decode rate is the model's own.
pub const SPEED_PLANS: [&str; 3] = ["quick", "standard", "ab"];
/// The plan that times loads.
pub const LOAD_PLAN: &str = "load";

/// A decode rate that was measured on this machine: the newest run that tells one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MeasuredSpeed {
    pub run_id: i64,
    #[ts(type = "string")]
    pub at: Timestamp,
    /// By its name.
    pub plan: String,
    /// Tokens per second of one request.
    pub decode_tok_s: Summary,
    /// Something else was at work meanwhile, or the run says of itself why it is doubtful.
    pub disturbed: bool,
}

/// Loads that a run timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct MeasuredLoads {
    pub run_id: i64,
    #[ts(type = "string")]
    pub at: Timestamp,
    /// The page cache first.
    pub kinds: Vec<LoadSummary>,
}

/// One model in the past of this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[ts(export)]
pub struct ModelFacts {
    /// `<server>/<name>`.
    pub id: String,
    /// `None`: no run of this machine has measured it.
    pub speed: Option<MeasuredSpeed>,
    /// Where nothing was measured. `None`: there is nothing to reckon it from.
    pub forecast: Option<Forecast>,
    /// What its loads took at switches, in milliseconds: at most ten, newest first.
    pub loads_ms: Vec<u64>,
    pub measured_loads: Option<MeasuredLoads>,
    /// When it was last loaded, measured, made active or replaced through Pilothouse. `None`: never, as far as is known.
    #[ts(type = "string | null")]
    pub last_used_at: Option<Timestamp>,
}

/// What was written down of a model, apart from its runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelPast {
    /// As in [`ModelFacts`].
    pub loads_ms: Vec<u64>,
    /// As in [`ModelFacts`].
    pub last_used_at: Option<Timestamp>,
}

/// Joins what is known. `pasts`: of the models, in their order. `runs`: newest first, of any plan and machine; `chip`: of this
/// machine, as fingerprints name it. `forecasts`: by `<server>/<name>`.
pub fn model_facts(
    models: &[ModelRef],
    pasts: Vec<ModelPast>,
    runs: &[Run],
    chip: &str,
    mut forecasts: BTreeMap<String, Forecast>,
) -> Vec<ModelFacts> {
    let here: Vec<&Run> = runs
        .iter()
        .filter(|run| {
            let chip_of = run.fingerprint.get("chip").map(String::as_str);
            run.state == RunState::Done && chip_of.is_some_and(|of| of == chip)
        })
        .collect();
    let mut pasts = pasts.into_iter();
    let facts = |model: &ModelRef| {
        let past = pasts.next().unwrap_or_default();
        let of_model = |run: &&&Run| run.server == model.server && run.model == model.model;
        let speed = here.iter().filter(of_model).find_map(|run| speed_of(run));
        let measured_loads = here.iter().filter(of_model).find_map(|run| loads_of(run));
        let id = model.id();
        let forecast = forecasts.remove(&id).filter(|_| speed.is_none());
        ModelFacts {
            id,
            speed,
            forecast,
            loads_ms: past.loads_ms,
            measured_loads,
            last_used_at: past.last_used_at,
        }
    };
    models.iter().map(facts).collect()
}

fn speed_of(run: &Run) -> Option<MeasuredSpeed> {
    if !SPEED_PLANS.contains(&run.plan.name.as_str()) {
        return None;
    }
    Some(MeasuredSpeed {
        run_id: run.run_id,
        at: run.started_at,
        plan: run.plan.name.clone(),
        decode_tok_s: run.decode_tok_s.clone()?,
        disturbed: !run.disturbed.is_empty() || run.note.is_some(),
    })
}

fn loads_of(run: &Run) -> Option<MeasuredLoads> {
    let kinds = run.loads.as_ref()?.kinds.clone();
    let told = kinds.iter().any(|kind| kind.load_s.is_some());
    told.then_some(MeasuredLoads { run_id: run.run_id, at: run.started_at, kinds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{BenchPlan, Disturbance, stats::summarize};

    fn run(id: i64, model: &str, plan: &str, chip: &str, rate: Option<f64>) -> Run {
        let at = Timestamp::from_second(1_795_165_200 + id).unwrap();
        let mut run = Run::begun(id, at, BenchPlan::named(plan, None).unwrap(), "ollama".into(), model);
        run.state = RunState::Done;
        run.decode_tok_s = rate.and_then(|rate| summarize(&[rate, rate, rate], "client"));
        run.fingerprint.insert("chip".into(), chip.into());
        run
    }

    fn forecast() -> Forecast {
        Forecast {
            decode_tok_s: 29.0,
            error_percent: 20.0,
            prefill_tok_s: None,
            prefill_tok_s_absent: None,
            prefill_error_percent: None,
            measured: false,
            source: "reckoned".into(),
        }
    }

    fn of(runs: &[Run]) -> ModelFacts {
        let model = ModelRef::new("ollama", "m");
        let forecasts = BTreeMap::from([(model.id(), forecast())]);
        model_facts(&[model], vec![ModelPast::default()], runs, "M4", forecasts).pop().unwrap()
    }

    #[test]
    fn the_newest_run_of_this_machine_that_tells_the_models_own_rate_is_its_speed() {
        for (runs, speed) in [
            (vec![], None),
            (vec![run(2, "m", "quick", "M4", Some(60.0)), run(1, "m", "quick", "M4", Some(50.0))], Some(2)),
            (vec![run(2, "m", "quick", "M4", None), run(1, "m", "standard", "M4", Some(50.0))], Some(1)),
            // Of another machine, another model, many requests at a time, or not ended.
            (vec![run(2, "m", "quick", "M3", Some(60.0)), run(1, "m", "ab", "M4", Some(50.0))], Some(1)),
            (vec![run(2, "n", "quick", "M4", Some(60.0))], None),
            (vec![run(2, "m", "sweep", "M4", Some(60.0))], None),
            (vec![Run { state: RunState::CutOff, ..run(2, "m", "quick", "M4", Some(60.0)) }], None),
        ] {
            let facts = of(&runs);
            assert_eq!(facts.speed.as_ref().map(|speed| speed.run_id), speed, "{runs:#?}");
            assert_eq!(
                facts.forecast.is_some(),
                speed.is_none(),
                "a forecast stands where nothing was measured"
            );
        }
    }

    #[test]
    fn a_disturbed_or_doubtful_run_says_so() {
        let quiet = run(1, "m", "quick", "M4", Some(50.0));
        let by = Disturbance {
            what: crate::bench::quiet::DisturbedBy::Processor,
            name: "cc1plus".into(),
            pid: None,
            percent: Some(96.0),
            seconds: 14.0,
        };
        let busy = Run { disturbed: vec![by], ..quiet.clone() };
        let doubtful = Run { note: Some("two trials were cut short".into()), ..quiet.clone() };
        for (run, disturbed) in [(quiet, false), (busy, true), (doubtful, true)] {
            assert_eq!(of(&[run]).speed.map(|speed| speed.disturbed), Some(disturbed));
        }
    }

    #[test]
    fn each_model_gets_its_own_past() {
        let models = [ModelRef::new("ollama", "a"), ModelRef::new("ollama", "b")];
        let past = |ms| ModelPast { loads_ms: vec![ms], last_used_at: None };
        let facts = model_facts(&models, vec![past(1), past(2)], &[], "M4", BTreeMap::new());
        let told: Vec<(&str, &[u64])> =
            facts.iter().map(|one| (one.id.as_str(), one.loads_ms.as_slice())).collect();
        assert_eq!(told, [("ollama/a", &[1][..]), ("ollama/b", &[2][..])]);
    }
}
