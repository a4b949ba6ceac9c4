//! What comes back to residency from work that is done beside it.

use super::{
    SwitchReply, Wanted,
    borrow::{Borrowed, NotReady, Ready},
    server_memory::{Borrowed as BorrowedServer, PutRight},
};
use pilothouse_domain::{
    error::ApiError,
    model::{Model, ModelRef},
};
use tokio::sync::oneshot;

/// Results of work that was done beside the actor.
pub(super) enum Event {
    /// The model of request number `number` is known, or not.
    Resolved { number: u64, wanted: Wanted, result: Result<Model, ApiError>, reply: SwitchReply },
    /// A stray was taken out of memory, or not yet.
    Cleared(ModelRef, Result<(), ApiError>),
    /// A load that nobody waited for is over, well or not.
    Arrived { load: ModelRef, arrived: ModelRef, error: Option<ApiError> },
    /// What was asked for is ready to be lent, or could not be made so.
    Lent(Result<Ready, NotReady>, oneshot::Sender<Result<Borrowed, ApiError>>),
    /// What was lent comes back: what was loaded for it, and who waits until memory is as before.
    Returned(Vec<ModelRef>, Option<oneshot::Sender<()>>),
    /// Memory is as before, but for what could not be taken out.
    LoanOver(Vec<ModelRef>, Option<oneshot::Sender<()>>),
    /// The active model is about to leave memory for a loan: requests for it wait from now on.
    Hold(oneshot::Sender<()>),
    /// A server that was lent comes back, and who waits until its memory is as before.
    ServerReturned(Box<BorrowedServer>, ServerWaits),
    /// Its memory is as before, but for what could not be put right.
    ServerLoanOver(Box<PutRight>, ServerWaits),
}

type ServerWaits = Option<oneshot::Sender<Result<(), ApiError>>>;
