//! Wishes: models that are asked for and not in memory. Whoever asks stays in the queue, and residency is told once.

use super::{
    Leases, Refused,
    book::{Book, Granted},
};
use pilothouse_domain::{error::ApiError, model::ModelRef};
use tokio::sync::mpsc;

/// Wishes that nobody has heard yet, at most. One for each model; more are refused.
const UNHEARD: usize = 64;

/// A model that shall come into memory because it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub model: ModelRef,
}

impl Leases {
    /// The wishes from now on, each model once for as long as anybody waits for it: told again only when all who waited have
    /// left and another one comes. For one listener, residency; a second one takes the place of the first and hears at once what
    /// is still wished for. While nobody listens, or it does not keep up, what is not in memory is refused. A wish ends by a
    /// route to the model, or by [`Leases::refuse_wish`].
    pub fn wishes(&self) -> mpsc::Receiver<Wish> {
        let (sender, receiver) = mpsc::channel(UNHEARD);
        self.change(|book| {
            book.listener = Some(sender);
            book.told.clear();
        });
        receiver
    }

    /// Ends a wish: everybody who waits for this model is refused, with the error's message and hint.
    pub fn refuse_wish(&self, model: &ModelRef, error: ApiError) {
        let mut book = self.lock();
        book.told.remove(model);
        let waits = |wish: &Option<ModelRef>| wish.as_ref() == Some(model);
        let refused = book.queue.extract_if(.., |waiter| waits(&waiter.wish));
        let refusal = || Refused::NotLoadable { model: model.clone(), error: error.clone() };
        let granted = Granted(refused.map(|waiter| (waiter.grant, Err(refusal()))).collect());
        drop(book);
        granted.deliver();
        self.changed.send_replace(());
    }

    /// How many wait for a model that is not in memory.
    pub fn wished(&self, model: &ModelRef) -> usize {
        self.lock().queue.iter().filter(|waiter| waiter.wish.as_ref() == Some(model)).count()
    }
}

impl Book {
    /// Wishes for a model, unless that is known already. `false`: nobody hears it.
    pub(super) fn wish(&mut self, model: &ModelRef) -> bool {
        if self.told.contains(model) {
            return true;
        }
        let heard = self.listener.as_ref().is_some_and(|listener| {
            let wish = Wish { model: model.clone() };
            listener.try_send(wish).is_ok()
        });
        if heard {
            self.told.insert(model.clone());
        }
        heard
    }

    /// Forgets the wishes of those who have left.
    pub(super) fn forget_wishes(&mut self) {
        let Self { told, queue, .. } = self;
        told.retain(|model| queue.iter().any(|waiter| waiter.wish.as_ref() == Some(model)));
    }
}
