use super::Fault;
use crate::ports::Journal;
use async_trait::async_trait;
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    model::ModelRef,
    residency::{CutOffSwitch, Kept},
    switch::{Active, SwitchOutcome, SwitchPhase, SwitchReport},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A switch as it is written down.
#[derive(Debug, Clone)]
pub struct Row {
    pub id: i64,
    pub from: Option<Active>,
    pub to: ModelRef,
    pub phase: SwitchPhase,
    pub to_was_loaded: Option<bool>,
    pub outcome: Option<SwitchOutcome>,
    pub clearing: bool,
    pub report: Option<SwitchReport>,
}

#[derive(Default)]
struct Pages {
    rows: Vec<Row>,
    active: Option<Active>,
    strays: Vec<ModelRef>,
    kept: Kept,
    /// How writes go.
    writing: Fault,
}

/// A journal in memory, with the rules of the one in the store. It outlives the engine that writes it.
#[derive(Clone, Default)]
pub struct FakeJournal(Arc<Mutex<Pages>>);

impl FakeJournal {
    pub fn rows(&self) -> Vec<Row> {
        self.lock().rows.clone()
    }

    /// What is held, as it was written last.
    pub fn kept_now(&self) -> Kept {
        self.lock().kept.clone()
    }

    pub fn kept_active(&self) -> Option<Active> {
        self.lock().active.clone()
    }

    /// What an engine before has left.
    pub fn with_active(self, active: Active) -> Self {
        self.lock().active = Some(active);
        self
    }

    /// How writes go from now on. What may pass by itself, as a lock of another program, fails after a second.
    pub fn set_writing(&self, fault: Fault) {
        self.lock().writing = fault;
    }

    async fn writable(&self) -> Result<(), ApiError> {
        let fault = self.lock().writing.clone();
        match fault {
            Fault::None => Ok(()),
            Fault::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Fault::Fail(error) => {
                if error.retry {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error)
            }
            Fault::Until(instant) => {
                tokio::time::sleep_until(instant).await;
                Ok(())
            }
            Fault::Hang => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, id: i64, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.lock().rows.iter_mut().find(|row| row.id == id) {
            change(row);
        }
    }
}

#[async_trait]
impl Journal for FakeJournal {
    async fn begin(&self, from: Option<&Active>, to: &ModelRef, _at: Timestamp) -> Result<i64, ApiError> {
        self.writable().await?;
        let mut pages = self.lock();
        let id = pages.rows.len() as i64 + 1;
        pages.rows.push(Row {
            id,
            from: from.cloned(),
            to: to.clone(),
            phase: SwitchPhase::Preparing,
            to_was_loaded: None,
            outcome: None,
            clearing: false,
            report: None,
        });
        Ok(id)
    }

    async fn mark(&self, id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>) -> Result<(), ApiError> {
        self.writable().await?;
        self.row(id, |row| {
            row.phase = phase;
            row.to_was_loaded = to_was_loaded.or(row.to_was_loaded);
        });
        Ok(())
    }

    async fn commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), ApiError> {
        self.writable().await?;
        self.row(id, |row| {
            row.outcome = Some(SwitchOutcome::Committed);
            row.clearing = clearing;
        });
        self.lock().active = Some(active.clone());
        Ok(())
    }

    async fn end(&self, report: &SwitchReport) -> Result<(), ApiError> {
        self.writable().await?;
        self.row(report.switch_id, |row| {
            row.outcome = row.outcome.or(Some(report.outcome));
            row.clearing = false;
            row.report = Some(report.clone());
        });
        Ok(())
    }

    async fn cut_off(&self) -> Result<Vec<CutOffSwitch>, ApiError> {
        let pages = self.lock();
        let open = pages.rows.iter().filter(|row| row.outcome.is_none() || row.clearing);
        Ok(open
            .map(|row| CutOffSwitch {
                id: row.id,
                from: row.from.clone(),
                to: row.to.clone(),
                committed: row.outcome.is_some(),
                to_was_loaded: row.to_was_loaded,
            })
            .collect())
    }

    async fn close_cut_off(&self, _reason: &str) -> Result<(), ApiError> {
        self.writable().await?;
        for row in &mut self.lock().rows {
            row.outcome = row.outcome.or(Some(SwitchOutcome::RolledBack));
            row.clearing = false;
        }
        Ok(())
    }

    async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError> {
        self.writable().await?;
        self.lock().active = active.cloned();
        Ok(())
    }

    async fn active(&self) -> Result<Option<Active>, ApiError> {
        Ok(self.lock().active.clone())
    }

    async fn has_switches(&self) -> Result<bool, ApiError> {
        Ok(!self.lock().rows.is_empty())
    }

    async fn load_times(&self, to: &ModelRef) -> Result<Vec<u64>, ApiError> {
        let pages = self.lock();
        let committed = pages.rows.iter().filter(|row| row.to == *to).filter_map(|row| row.report.as_ref());
        Ok(committed.filter(|report| report.error.is_none()).filter_map(|report| report.load_ms).collect())
    }

    async fn set_stray(&self, model: &ModelRef, stray: bool) -> Result<(), ApiError> {
        self.writable().await?;
        let mut pages = self.lock();
        pages.strays.retain(|one| one != model);
        if stray {
            pages.strays.push(model.clone());
        }
        Ok(())
    }

    async fn keep(&self, kept: &Kept, strays: &[(ModelRef, bool)]) -> Result<(), ApiError> {
        self.writable().await?;
        let mut pages = self.lock();
        pages.active.clone_from(&kept.arrangement.active);
        pages.kept = kept.clone();
        for (model, stray) in strays {
            pages.strays.retain(|one| one != model);
            if *stray {
                pages.strays.push(model.clone());
            }
        }
        Ok(())
    }

    async fn kept(&self) -> Result<Kept, ApiError> {
        Ok(self.lock().kept.clone())
    }

    async fn try_to_write(&self) -> Result<(), ApiError> {
        self.writable().await
    }

    async fn strays(&self) -> Result<Vec<ModelRef>, ApiError> {
        Ok(self.lock().strays.clone())
    }
}
