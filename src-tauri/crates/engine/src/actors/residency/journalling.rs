//! The journal with a bound: whoever writes waits a moment and no longer, and what comes too late is written once it can be.
//!
//! One task writes, in the order in which it was asked. A switch that could not be begun in the journal goes on without it; what
//! must be known after our end (what is active, what must leave memory) waits for the journal to be writable again. That it
//! cannot be written is a trouble until a write succeeds.

use crate::{
    hub::{Hub, Report},
    ports::Journal,
};
use async_trait::async_trait;
use pilothouse_domain::{
    Timestamp,
    error::{ApiError, ErrorCode},
    model::ModelRef,
    residency::{CutOffSwitch, Kept},
    switch::{Active, SwitchOutcome, SwitchPhase, SwitchReport},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Longest wait for a write or a read. A database that works answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(1);
/// The time between two tries while it cannot be written.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Writes that wait at most; dozens of switches without a database.
const WAITING: usize = 512;

type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// A write that waits for its turn.
enum Write {
    Begin { from: Option<Active>, to: ModelRef, at: Timestamp, reply: Reply<i64> },
    Mark { id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>, reply: Reply<()> },
    Lasting(Lasting, Reply<()>),
}

/// What must be written, if need be later.
enum Lasting {
    Commit { id: i64, active: Active, clearing: bool },
    End(Box<SwitchReport>),
    CloseCutOff(String),
    Active(Option<Active>),
    Stray(ModelRef, bool),
    Keep(Box<Kept>, Vec<(ModelRef, bool)>),
}

/// See the module's text.
pub(super) struct BoundedJournal {
    journal: Arc<dyn Journal>,
    writes: mpsc::Sender<Write>,
    /// The last write failed: nobody waits for one that is written later anyway.
    broken: Arc<AtomicBool>,
    hub: Hub,
}

impl BoundedJournal {
    pub fn new(journal: Arc<dyn Journal>, hub: Hub) -> Self {
        let (writes, waiting) = mpsc::channel(WAITING);
        let broken = Arc::new(AtomicBool::new(false));
        let writer = Writer { journal: journal.clone(), hub: hub.clone(), broken: broken.clone() };
        tokio::spawn(writer.run(waiting));
        Self { journal, writes, broken, hub }
    }

    async fn write<T>(&self, write: impl FnOnce(Reply<T>) -> Write) -> Result<T, ApiError> {
        let (reply, written) = oneshot::channel();
        self.writes.try_send(write(reply)).map_err(|_| too_late())?;
        match timeout(LIMIT, written).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(too_late()),
            Err(_) => {
                // It hangs in the file system, say.
                tell(&self.hub, &self.broken, &too_late());
                Err(too_late())
            }
        }
    }

    async fn lasting(&self, lasting: Lasting) -> Result<(), ApiError> {
        if self.broken.load(Ordering::Relaxed) {
            let (reply, _) = oneshot::channel();
            let queued = self.writes.try_send(Write::Lasting(lasting, reply));
            if queued.is_err() {
                tracing::error!("the journal has not been written for so long that something of it is lost");
            }
            return Err(too_late());
        }
        self.write(|reply| Write::Lasting(lasting, reply)).await
    }

    async fn read<T>(&self, read: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        timeout(LIMIT, read).await.unwrap_or_else(|_| {
            Err(ApiError::new(ErrorCode::TimedOut, "The journal of switches could not be read in time."))
        })
    }
}

#[async_trait]
impl Journal for BoundedJournal {
    async fn begin(&self, from: Option<&Active>, to: &ModelRef, at: Timestamp) -> Result<i64, ApiError> {
        let (from, to) = (from.cloned(), to.clone());
        self.write(|reply| Write::Begin { from, to, at, reply }).await
    }

    async fn mark(&self, id: i64, phase: SwitchPhase, to_was_loaded: Option<bool>) -> Result<(), ApiError> {
        self.write(|reply| Write::Mark { id, phase, to_was_loaded, reply }).await
    }

    /// Tried at once in any case: it is what the next start goes by.
    async fn commit(&self, id: i64, active: &Active, clearing: bool) -> Result<(), ApiError> {
        let commit = Lasting::Commit { id, active: active.clone(), clearing };
        self.write(|reply| Write::Lasting(commit, reply)).await
    }

    async fn end(&self, report: &SwitchReport) -> Result<(), ApiError> {
        self.lasting(Lasting::End(Box::new(report.clone()))).await
    }

    async fn cut_off(&self) -> Result<Vec<CutOffSwitch>, ApiError> {
        self.read(self.journal.cut_off()).await
    }

    async fn close_cut_off(&self, reason: &str) -> Result<(), ApiError> {
        self.lasting(Lasting::CloseCutOff(reason.to_owned())).await
    }

    async fn set_active(&self, active: Option<&Active>) -> Result<(), ApiError> {
        self.lasting(Lasting::Active(active.cloned())).await
    }

    async fn active(&self) -> Result<Option<Active>, ApiError> {
        self.read(self.journal.active()).await
    }

    async fn has_switches(&self) -> Result<bool, ApiError> {
        self.read(self.journal.has_switches()).await
    }

    async fn load_times(&self, to: &ModelRef) -> Result<Vec<u64>, ApiError> {
        self.read(self.journal.load_times(to)).await
    }

    async fn set_stray(&self, model: &ModelRef, stray: bool) -> Result<(), ApiError> {
        self.lasting(Lasting::Stray(model.clone(), stray)).await
    }

    async fn strays(&self) -> Result<Vec<ModelRef>, ApiError> {
        self.read(self.journal.strays()).await
    }

    async fn keep(&self, kept: &Kept, strays: &[(ModelRef, bool)]) -> Result<(), ApiError> {
        self.lasting(Lasting::Keep(Box::new(kept.clone()), strays.to_vec())).await
    }

    async fn kept(&self) -> Result<Kept, ApiError> {
        self.read(self.journal.kept()).await
    }

    async fn try_to_write(&self) -> Result<(), ApiError> {
        self.journal.try_to_write().await
    }
}

struct Writer {
    journal: Arc<dyn Journal>,
    hub: Hub,
    broken: Arc<AtomicBool>,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Write>) {
        loop {
            // While it cannot be written it is tried, also when nobody wants to write.
            let next = match self.broken.load(Ordering::Relaxed) {
                true => timeout(TRY_EVERY, waiting.recv()).await,
                false => Ok(waiting.recv().await),
            };
            match next {
                Ok(Some(write)) => self.write(write, &waiting).await,
                Ok(None) => return,
                Err(_) => self.note(&self.journal.try_to_write().await),
            }
        }
    }

    async fn write(&self, write: Write, waiting: &mpsc::Receiver<Write>) {
        match write {
            // Whoever asked has gone on without it.
            Write::Begin { reply, .. } if reply.is_closed() => {}
            Write::Mark { reply, .. } if reply.is_closed() => {}
            Write::Begin { from, to, at, reply } => {
                let begun = self.journal.begin(from.as_ref(), &to, at).await;
                self.note(&begun);
                // That it was begun is not known to the switch, so nothing would ever end it.
                if let Err(Ok(id)) = reply.send(begun) {
                    let report = too_late_report(id, from.as_ref(), &to);
                    self.until_written(&Lasting::End(Box::new(report)), waiting).await;
                }
            }
            Write::Mark { id, phase, to_was_loaded, reply } => {
                let marked = self.journal.mark(id, phase, to_was_loaded).await;
                self.note(&marked);
                let _ = reply.send(marked);
            }
            Write::Lasting(lasting, reply) => {
                let written = self.once(&lasting).await;
                let failed = written.is_err();
                self.note(&written);
                let _ = reply.send(written);
                if failed {
                    self.until_written(&lasting, waiting).await;
                }
            }
        }
    }

    async fn once(&self, lasting: &Lasting) -> Result<(), ApiError> {
        match lasting {
            Lasting::Commit { id, active, clearing } => self.journal.commit(*id, active, *clearing).await,
            Lasting::End(report) => self.journal.end(report).await,
            Lasting::CloseCutOff(reason) => self.journal.close_cut_off(reason).await,
            Lasting::Active(active) => self.journal.set_active(active.as_ref()).await,
            Lasting::Stray(model, stray) => self.journal.set_stray(model, *stray).await,
            Lasting::Keep(kept, strays) => self.journal.keep(kept, strays).await,
        }
    }

    /// Everything else waits meanwhile, so that what is written is always what was true at some moment. Our own end does not
    /// wait for it.
    async fn until_written(&self, lasting: &Lasting, waiting: &mpsc::Receiver<Write>) {
        while !waiting.is_closed() {
            tokio::time::sleep(TRY_EVERY).await;
            let written = self.once(lasting).await;
            self.note(&written);
            if written.is_ok() {
                return;
            }
        }
    }

    fn note<T>(&self, written: &Result<T, ApiError>) {
        match written {
            Err(error) => tell(&self.hub, &self.broken, error),
            Ok(_) if self.broken.swap(false, Ordering::Relaxed) => {
                tracing::info!("the journal of switches is written again");
                self.hub.report(Report::TroubleOver(ErrorCode::NotJournalled));
            }
            Ok(_) => {}
        }
    }
}

/// Says that nothing is journalled, once.
fn tell(hub: &Hub, broken: &AtomicBool, error: &ApiError) {
    if broken.swap(true, Ordering::Relaxed) {
        return;
    }
    tracing::warn!(%error, "switches are not journalled");
    let text = "Switches cannot be written down for the time being; they go on without.";
    let trouble = ApiError::new(ErrorCode::NotJournalled, text).hint(format!(
        "{} Until it is, a start after a crash may bring back the model before.",
        error
            .hint
            .as_deref()
            .unwrap_or("Close other programs that have the history open; it is tried again.")
    ));
    hub.report(Report::Trouble(trouble));
}

fn too_late() -> ApiError {
    ApiError::new(ErrorCode::StoreUnavailable, "The journal of switches could not be written in time.")
        .hint("Another program may hold the history, or its disk does not answer.")
}

fn too_late_report(id: i64, from: Option<&Active>, to: &ModelRef) -> SwitchReport {
    SwitchReport {
        switch_id: id,
        from: from.map(Active::reference),
        to: to.clone(),
        outcome: SwitchOutcome::Cancelled,
        dry_run: false,
        took_ms: 0,
        load_ms: None,
        first_token_ms: None,
        steps: Vec::new(),
        answers_cut: 0,
        journalled: false,
        reason: Some("The switch went on without the journal, which took too long.".into()),
        error: None,
    }
}
