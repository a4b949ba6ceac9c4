//! Measures models by itself after an update of their server, where the settings want that: one quick run each, while nobody needs
//! the machine. What the run shows goes the way of any run: into the history, and through the watch over it.

use super::bencher::{BenchRequest, BencherHandle};
use crate::{hub::Hub, store::Store};
use async_trait::async_trait;
use pilothouse_domain::{
    bench::{
        BenchPlan,
        after_update::{Checked, Glance, Idle, Watched, due},
        plan::WhenDisturbed,
    },
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    server::ServerId,
    settings::Settings,
};
use pilothouse_leases::Leases;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The time between two looks at the machine.
const LOOK: Duration = Duration::from_secs(30);

/// What the check needs of the engine.
#[async_trait]
pub(crate) trait Around: Send + Sync + 'static {
    /// `at_ms` is put in by the caller.
    fn glance(&self) -> Glance;
    /// Versions of the servers that answer.
    fn versions(&self) -> BTreeMap<ServerId, String>;
    /// Models with an accepted baseline, and what was checked so far.
    async fn known(&self) -> Result<(Vec<Watched>, BTreeSet<Checked>), ApiError>;
    /// Writes that a check was begun, or that it is still to be made.
    async fn note(&self, check: &Checked, made: bool) -> Result<(), ApiError>;
    /// One quick run, to its end.
    async fn measure(&self, check: &Checked) -> Result<(), ApiError>;
}

/// Looks on until the task is aborted.
pub(crate) fn start(around: impl Around, settings: watch::Receiver<Settings>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let begun = Instant::now();
        let mut idle = Idle::default();
        loop {
            sleep(LOOK).await;
            if !settings.borrow().bench.check_after_update {
                idle = Idle::default();
                continue;
            }
            let at_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            if idle.look(&Glance { at_ms, ..around.glance() })
                && let Err(error) = check(&around).await
            {
                tracing::warn!(%error, "no model was measured after an update");
            }
        }
    })
}

/// Measures the next model that is due, if there is one. Errors: store_unavailable.
async fn check(around: &impl Around) -> Result<(), ApiError> {
    let (watched, checked) = around.known().await?;
    let Some(check) = due(&watched, &around.versions(), &checked) else { return Ok(()) };
    // Before it begins: what ends Pilothouse with it is not tried again and again.
    around.note(&check, true).await?;
    let Checked { server, version, model } = &check;
    tracing::info!(%server, version, model, "the server was updated; this model is measured");
    if let Err(error) = around.measure(&check).await {
        tracing::info!(%server, model, %error, "it was not measured");
        let came_between = matches!(error.code, ErrorCode::NotQuiet | ErrorCode::Busy | ErrorCode::Cancelled);
        if came_between {
            around.note(&check, false).await?;
        }
    }
    Ok(())
}

/// The engine as it is.
pub(crate) struct Here {
    pub hub: Hub,
    pub leases: Leases,
    pub store: Store,
    pub bencher: BencherHandle,
}

#[async_trait]
impl Around for Here {
    fn glance(&self) -> Glance {
        let snapshot = self.hub.now();
        let answering = snapshot.servers.iter().any(|server| self.leases.busy(&server.id));
        let gauges = snapshot.gauges.as_ref();
        Glance {
            at_ms: 0,
            asked: self.leases.asked(),
            busy: answering
                || self.leases.waiting() > 0
                || snapshot.switching.is_some()
                || snapshot.bench.is_some(),
            cpu_percent: gauges.and_then(|gauges| gauges.cpu_percent),
            gpu_percent: gauges
                .and_then(|gauges| gauges.gpus.iter().filter_map(|gpu| gpu.load_percent).reduce(f64::max)),
        }
    }

    fn versions(&self) -> BTreeMap<ServerId, String> {
        let snapshot = self.hub.now();
        let ready = snapshot.servers.iter().filter(|server| server.state == ServerState::Ready);
        ready.filter_map(|server| Some((server.id.clone(), server.version.clone()?))).collect()
    }

    async fn known(&self) -> Result<(Vec<Watched>, BTreeSet<Checked>), ApiError> {
        Ok((self.store.watched_models().await?, self.store.update_checks().await?))
    }

    async fn note(&self, check: &Checked, made: bool) -> Result<(), ApiError> {
        self.store.note_update_check(check, made).await
    }

    async fn measure(&self, check: &Checked) -> Result<(), ApiError> {
        let mut plan = BenchPlan::named("quick", None)?;
        // It can wait for a better moment.
        plan.when_disturbed = WhenDisturbed::Stop;
        let request = BenchRequest {
            model: Some(check.model.clone()),
            server: Some(check.server.clone()),
            plan,
            against: None,
            replay: vec![],
            resume: vec![],
            noise: false,
        };
        self.bencher.bench(request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, MutexGuard};

    /// A machine by script.
    #[derive(Default)]
    struct Script {
        asked: u64,
        busy: bool,
        version: String,
        checked: BTreeSet<Checked>,
        measured: Vec<String>,
        /// How the next run ends.
        fails: Option<ErrorCode>,
    }

    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Script>>);

    impl Fake {
        fn script(&self) -> MutexGuard<'_, Script> {
            self.0.lock().unwrap()
        }

        fn measured(&self) -> Vec<String> {
            self.script().measured.clone()
        }
    }

    #[async_trait]
    impl Around for Fake {
        fn glance(&self) -> Glance {
            let script = self.script();
            Glance {
                at_ms: 0,
                asked: script.asked,
                busy: script.busy,
                cpu_percent: Some(1.0),
                gpu_percent: None,
            }
        }

        fn versions(&self) -> BTreeMap<ServerId, String> {
            [("ollama".into(), self.script().version.clone())].into()
        }

        async fn known(&self) -> Result<(Vec<Watched>, BTreeSet<Checked>), ApiError> {
            let watched = ["a", "b"].map(|model| Watched {
                server: "ollama".into(),
                model: model.into(),
                version: Some("1".into()),
            });
            Ok((watched.into(), self.script().checked.clone()))
        }

        async fn note(&self, check: &Checked, made: bool) -> Result<(), ApiError> {
            let mut script = self.script();
            if made {
                script.checked.insert(check.clone());
            } else {
                script.checked.remove(check);
            }
            Ok(())
        }

        async fn measure(&self, check: &Checked) -> Result<(), ApiError> {
            sleep(Duration::from_secs(60)).await;
            let mut script = self.script();
            script.measured.push(format!("{} {}", check.model, check.version));
            match script.fails.take() {
                Some(code) => Err(ApiError::new(code, "It failed.")),
                None => Ok(()),
            }
        }
    }

    fn started(wanted: bool) -> (Fake, watch::Sender<Settings>, JoinHandle<()>) {
        let mut settings = Settings::default();
        settings.bench.check_after_update = wanted;
        let (sender, receiver) = watch::channel(settings);
        let fake = Fake::default();
        fake.script().version = "1".into();
        let task = start(fake.clone(), receiver);
        (fake, sender, task)
    }

    async fn minutes(minutes: u64) {
        sleep(Duration::from_secs(60 * minutes)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_update_each_model_is_measured_once_while_nobody_needs_the_machine() {
        let (fake, _settings, _task) = started(true);
        minutes(60).await;
        assert_eq!(fake.measured(), [""; 0], "nothing was updated");
        fake.script().version = "2".into();
        minutes(5).await;
        assert_eq!(fake.measured(), ["a 2", "b 2"], "it has idled for an hour already");
        minutes(600).await;
        assert_eq!(fake.measured().len(), 2);
        fake.script().version = "3".into();
        fake.script().asked += 1;
        minutes(9).await;
        assert_eq!(fake.measured().len(), 2, "somebody has asked for an answer");
        minutes(5).await;
        assert_eq!(fake.measured()[2..], ["a 3", "b 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_being_wanted_nothing_is_measured() {
        let (fake, settings, _task) = started(false);
        fake.script().version = "2".into();
        minutes(600).await;
        assert_eq!(fake.measured(), [""; 0]);
        settings.send_modify(|settings| settings.bench.check_after_update = true);
        minutes(9).await;
        assert_eq!(fake.measured(), [""; 0], "rest counts from then on");
        minutes(4).await;
        assert_eq!(fake.measured(), ["a 2", "b 2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_between_is_made_up_for_and_what_failed_is_not_tried_again() {
        for (code, wanted) in [
            (ErrorCode::NotQuiet, &["a 2", "a 2", "b 2"][..]),
            (ErrorCode::Busy, &["a 2", "a 2", "b 2"]),
            (ErrorCode::Cancelled, &["a 2", "a 2", "b 2"]),
            (ErrorCode::ServerError, &["a 2", "b 2"]),
            (ErrorCode::DoesNotFit, &["a 2", "b 2"]),
        ] {
            let (fake, _settings, task) = started(true);
            fake.script().version = "2".into();
            fake.script().fails = Some(code);
            minutes(60).await;
            assert_eq!(fake.measured(), wanted, "{code:?}");
            task.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beside_work_nothing_is_measured() {
        let (fake, _settings, _task) = started(true);
        fake.script().version = "2".into();
        fake.script().busy = true;
        minutes(120).await;
        assert_eq!(fake.measured(), [""; 0]);
        fake.script().busy = false;
        minutes(13).await;
        assert_eq!(fake.measured(), ["a 2", "b 2"]);
    }
}
