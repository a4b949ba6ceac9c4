//! What the past says of each model that is listed now. Asked for by the page that shows it, never part of the snapshot.

use super::{Inner, fitting::comparable};
use crate::store::Store;
use pilothouse_domain::{
    anatomy::Anatomy,
    bench::Run,
    error::ApiError,
    fit::place,
    forecast::{Forecast, History, Measured, forecast},
    machine::Machine,
    model::{Model, ModelPurpose, ModelRef},
    model_facts::{LOAD_PLAN, ModelFacts, SPEED_PLANS, model_facts},
    server::ServerId,
    snapshot::{ServerView, Snapshot},
};
use pilothouse_system::hardware::this_machine;
use std::collections::BTreeMap;

/// Runs of each model that a forecast looks at.
const RUNS: u32 = 5;

impl Inner {
    /// Errors: store_unavailable.
    pub(super) async fn model_facts(&self) -> Result<Vec<ModelFacts>, ApiError> {
        let store = self.store()?;
        let snapshot = self.hub.now();
        let models: Vec<ModelRef> = snapshot.models.iter().map(|view| view.model.reference()).collect();
        let pasts = store.pasts(&models).await?;
        let [quick, standard, ab] = SPEED_PLANS;
        let runs = store.newest_of_plans(&[quick, standard, ab, LOAD_PLAN]).await?;
        let machine = this_machine().await;
        let forecasts = self.forecasts(&snapshot, store, &machine).await;
        Ok(model_facts(&models, pasts, &runs, &machine.chip, forecasts))
    }

    /// By `<server>/<name>`, of the models whose builds are known already: no file is read for it. A forecast is no reason to
    /// fail.
    async fn forecasts(
        &self,
        snapshot: &Snapshot,
        store: &Store,
        machine: &Machine,
    ) -> BTreeMap<String, Forecast> {
        let builds = self.bookkeeper.builds();
        let mut forecasts = BTreeMap::new();
        for server in snapshot.servers.iter().filter(|server| !snapshot.is_remote(&server.id)) {
            let models: Vec<(&Model, &Anatomy)> = snapshot
                .models
                .iter()
                .map(|view| &view.model)
                .filter(|model| model.server == server.id && model.purpose == ModelPurpose::Llm)
                .filter_map(|model| Some((model, builds.get(&model.reference().id())?)))
                .collect();
            if models.is_empty() {
                continue;
            }
            let runs = self.runs_of(store, &server.id).await;
            for (model, anatomy) in &models {
                if let Some(forecast) = self.forecast_of(server, model, anatomy, &models, &runs, machine) {
                    forecasts.insert(model.reference().id(), forecast);
                }
            }
        }
        forecasts
    }

    async fn runs_of(&self, store: &Store, server: &ServerId) -> Vec<Run> {
        store.newest_runs(server, RUNS).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what was measured is not in the forecasts");
            Vec::new()
        })
    }

    fn forecast_of(
        &self,
        server: &ServerView,
        model: &Model,
        anatomy: &Anatomy,
        models: &[(&Model, &Anatomy)],
        runs: &[Run],
        machine: &Machine,
    ) -> Option<Forecast> {
        let off_card = self.bookkeeper.is_off_card(&server.id);
        let place = place(&self.in_force.now(), server.kind, &model.name, machine, off_card);
        let counting = comparable(runs, server.version.as_deref(), machine, place);
        let of = |name: &str| {
            let runs: Vec<Run> = counting.iter().filter(|run| run.model == name).cloned().collect();
            Measured::of(&runs)
        };
        let others = models
            .iter()
            .filter(|(other, _)| other.name != model.name)
            .filter_map(|(other, anatomy)| Some(((*anatomy).clone(), of(&other.name)?)))
            .collect();
        let history = History { of_model: None, others };
        forecast(anatomy, machine, machine.ceiling().on_gpu && !place.on_gpu(), &history).ok()
    }
}
