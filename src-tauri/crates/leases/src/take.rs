//! The wait for a lease.

use super::{
    Asked, Lease, Leases, Refused,
    book::{Book, Waiter},
    choose::{Choice, choose, role_of},
};
use pilothouse_domain::model::ModelRef;
use std::fmt;
use tokio::{sync::oneshot, time::Instant};

/// What somebody waits for, in words behind “waiting for”.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waits {
    /// For the model to come into memory.
    Load(ModelRef),
    Switch,
    Turn,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(model) => write!(f, "{} to be loaded", model.model),
            Self::Switch => f.write_str("a switch to end"),
            Self::Turn => f.write_str("its turn"),
        }
    }
}

impl Leases {
    /// Waits for the right to one answer of what is asked for. Whoever drops this future leaves the queue. A model that is not
    /// in memory is wished for (see [`Leases::wishes`]). The whole wait is bounded by `turn` of the limits, a wait for a switch
    /// by `held`.
    ///
    /// Where several wait for the same instance, those who ask for a critical role come first, then those of normal ones and of
    /// models by their own names, then those of background roles; within one, whoever came first. Whoever has waited for longer
    /// than half of `turn` counts as critical, so that nobody waits in vain behind others who keep coming.
    /// Errors: why there is none.
    pub async fn take(&self, asked: Asked) -> Result<Lease, Refused> {
        let (grant, mut granted) = oneshot::channel();
        let since = Instant::now();
        let number = self.enqueue(asked.clone(), since, grant)?;
        let left = Leave { owner: self, number };
        let result = loop {
            // Most are granted at once.
            if let Ok(granted) = granted.try_recv() {
                break granted;
            }
            let (at, refusal) = self.deadline(number, &asked, since);
            if let Some(refusal) = refusal {
                break Err(refusal);
            }
            tokio::select! {
                biased;
                granted = &mut granted => break granted.unwrap_or(Err(Refused::ShuttingDown)),
                () = tokio::time::sleep_until(at) => {}
            }
        };
        drop(left);
        // It may have been granted in the moment of the refusal.
        match (result, granted.try_recv()) {
            (Err(_), Ok(late)) => late,
            (result, _) => result,
        }
    }

    /// When to look again, and with what a wait until now ends.
    fn deadline(&self, number: u64, asked: &Asked, since: Instant) -> (Instant, Option<Refused>) {
        let book = self.lock();
        let (held, turn) = (book.limits.held, book.limits.turn);
        let (now, end) = (Instant::now(), since + turn);
        let wish = book.queue.iter().find(|waiter| waiter.number == number).and_then(|one| one.wish.clone());
        if now >= end {
            let refusal = match wish {
                Some(model) => Refused::StillLoading(model, turn.as_secs()),
                None => Refused::NoTurn(turn.as_secs()),
            };
            return (end, Some(refusal));
        }
        // The time that a load takes is no time of a switch.
        let role = role_of(&book.routes, asked).filter(|_| wish.is_none());
        let over = role.and_then(|role| book.held_since.get(role)).map(|from| since.max(*from) + held);
        match over {
            Some(over) if over <= now => (now, Some(Refused::Switching(held.as_secs()))),
            Some(over) => (end.min(over), None),
            // It may become held meanwhile: look again in time to notice.
            None => (end.min(now + held), None),
        }
    }

    /// What somebody who asks for this waits for at this moment.
    pub fn waits_for(&self, asked: &Asked) -> Waits {
        let book = self.lock();
        let wished = || book.queue.iter().find_map(|one| one.wish.clone().filter(|_| one.asked == *asked));
        match choose(&book.routes, asked).choice {
            Choice::Wish(model) => Waits::Load(model),
            Choice::Wait => wished().map_or(Waits::Switch, Waits::Load),
            Choice::Use(_) | Choice::Refuse(_) => Waits::Turn,
        }
    }

    /// The role that is asked for, `active` among them, itself or by an alias; `None`: a model, or nothing.
    pub fn role_of(&self, asked: &Asked) -> Option<String> {
        role_of(&self.lock().routes, asked).map(str::to_owned)
    }

    /// The model that would answer what is asked for, as far as that is known at this moment.
    pub fn model_of(&self, asked: &Asked) -> Option<ModelRef> {
        match choose(&self.lock().routes, asked).choice {
            Choice::Use(target) => Some(ModelRef::new(target.server, target.model)),
            Choice::Wish(model) => Some(model),
            Choice::Wait | Choice::Refuse(_) => None,
        }
    }

    fn enqueue(
        &self,
        asked: Asked,
        since: Instant,
        grant: oneshot::Sender<Result<Lease, Refused>>,
    ) -> Result<u64, Refused> {
        let mut number = 0;
        let enter = |book: &mut Book| {
            if book.closed {
                return Err(Refused::ShuttingDown);
            }
            if book.queue.len() >= book.limits.queue {
                return Err(Refused::QueueFull(book.queue.len()));
            }
            book.numbers += 1;
            book.asked += 1;
            number = book.numbers;
            book.queue.push(Waiter { number, asked, since, grant, wish: None });
            Ok(())
        };
        self.change(enter)?;
        self.changed.send_replace(());
        Ok(number)
    }
}

/// Takes a waiter out of the queue when its wait ends, however it ends.
struct Leave<'a> {
    owner: &'a Leases,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut book = self.owner.lock();
        let before = book.queue.len();
        book.queue.retain(|waiter| waiter.number != self.number);
        if book.queue.len() < before {
            book.forget_wishes();
        }
        drop(book);
        self.owner.changed.send_replace(());
    }
}
