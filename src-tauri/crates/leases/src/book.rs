use super::{
    Asked, Refused, Routes, Target,
    choose::{Choice, choose},
};
use pilothouse_domain::server::ServerId;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A copy in memory: server and instance.
type Key = (ServerId, String);

/// How long leases that were cut may take to be given back. Whoever holds one only has to end its stream.
const CUT_LIMIT: Duration = Duration::from_secs(2);

/// The bounds of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that wait at a time.
    pub queue: usize,
    /// For a switch to end.
    pub held: Duration,
    /// For the turn, in all.
    pub turn: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue: 1024, held: Duration::from_secs(30), turn: Duration::from_secs(600) }
    }
}

/// Cheap to clone; every clone is the same book.
#[derive(Clone)]
pub struct Leases {
    book: Arc<Mutex<Book>>,
    changed: watch::Sender<()>,
    troubles: broadcast::Sender<ServerId>,
}

#[derive(Default)]
struct Book {
    limits: Limits,
    routes: Arc<Routes>,
    /// Since when the role `active` is held.
    held_since: Option<Instant>,
    used: BTreeMap<Key, Use>,
    queue: VecDeque<Waiter>,
    /// Whoever measures on this server wants no question beside it.
    measured: BTreeSet<ServerId>,
    numbers: u64,
    /// Of them those that clients asked for.
    asked: u64,
    closed: bool,
}

#[derive(Default)]
struct Use {
    held: BTreeMap<u64, CancellationToken>,
    /// On its way out of memory: no further leases.
    closed: bool,
}

struct Waiter {
    number: u64,
    asked: Asked,
    grant: Grant,
}

type Grant = oneshot::Sender<Result<Lease, Refused>>;

impl Default for Leases {
    fn default() -> Self {
        Self { book: Arc::default(), changed: watch::Sender::new(()), troubles: broadcast::Sender::new(32) }
    }
}

impl Leases {
    /// Waits for the right to one answer of what is asked for. Whoever drops this future leaves the queue.
    /// Errors: why there is none.
    pub async fn take(&self, asked: Asked) -> Result<Lease, Refused> {
        let (grant, mut granted) = oneshot::channel();
        let since = Instant::now();
        let number = self.enqueue(asked.clone(), grant)?;
        let left = Leave { owner: self, number };
        let result = loop {
            let (deadline, refusal) = self.deadline(&asked, since);
            tokio::select! {
                biased;
                granted = &mut granted => break granted.unwrap_or(Err(Refused::ShuttingDown)),
                () = tokio::time::sleep_until(deadline) => if let Some(refusal) = refusal {
                    break Err(refusal);
                },
            }
        };
        drop(left);
        // It may have been granted in the moment of the refusal.
        match (result, granted.try_recv()) {
            (Err(_), Ok(late)) => late,
            (result, _) => result,
        }
    }

    /// When to look again, and with what a wait until then ends.
    fn deadline(&self, asked: &Asked, since: Instant) -> (Instant, Option<Refused>) {
        let book = self.lock();
        let turn = since + book.limits.turn;
        let no_turn = Refused::NoTurn(book.limits.turn.as_secs());
        if *asked != Asked::Active {
            return (turn, Some(no_turn));
        }
        let held = book.limits.held;
        match book.held_since {
            Some(from) if from.max(since) + held <= turn => {
                let end = from.max(since) + held;
                let over = Instant::now() >= end;
                (end, over.then_some(Refused::Switching(held.as_secs())))
            }
            // It may become held meanwhile: look again in time to notice.
            _ if Instant::now() + held < turn => (Instant::now() + held, None),
            _ => (turn, Some(no_turn)),
        }
    }

    fn enqueue(&self, asked: Asked, grant: oneshot::Sender<Result<Lease, Refused>>) -> Result<u64, Refused> {
        let mut book = self.lock();
        if book.closed {
            return Err(Refused::ShuttingDown);
        }
        if book.queue.len() >= book.limits.queue {
            return Err(Refused::QueueFull(book.queue.len()));
        }
        book.numbers += 1;
        book.asked += 1;
        let number = book.numbers;
        book.queue.push_back(Waiter { number, asked, grant });
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
        self.changed.send_replace(());
        Ok(number)
    }

    /// A lease beside the queue, for questions of our own to an instance whatever its routes say.
    #[must_use]
    pub fn enter(&self, target: &Target) -> Lease {
        let mut book = self.lock();
        self.lease(&mut book, target.clone())
    }

    /// The same, unless the instance is on its way out of memory.
    pub fn try_enter(&self, target: &Target) -> Option<Lease> {
        let mut book = self.lock();
        match book.room(target) {
            Room::Closed => None,
            Room::Free | Room::Full => Some(self.lease(&mut book, target.clone())),
        }
    }

    fn lease(&self, book: &mut Book, target: Target) -> Lease {
        book.numbers += 1;
        let number = book.numbers;
        let cut = CancellationToken::new();
        let key = (target.server.clone(), target.instance.clone());
        book.used.entry(key).or_default().held.insert(number, cut.clone());
        Lease { target, number, cut, owner: self.clone() }
    }

    /// Gives the turn to everybody whose target has room, in the order in which they came.
    fn pump(&self, book: &mut Book) -> Granted {
        let mut granted = Granted(Vec::new());
        let mut choices: BTreeMap<Asked, Choice> = BTreeMap::new();
        let routes = book.routes.clone();
        let mut waiting = VecDeque::with_capacity(book.queue.len());
        while let Some(waiter) = book.queue.pop_front() {
            if waiter.grant.is_closed() {
                continue;
            }
            let choice =
                choices.entry(waiter.asked.clone()).or_insert_with(|| choose(&routes, &waiter.asked)).clone();
            let result = match choice {
                Choice::Wait => None,
                Choice::Refuse(refused) => Some(Err(refused)),
                Choice::Use(target) => match book.room(&target) {
                    Room::Free => Some(Ok(self.lease(book, target))),
                    Room::Full => None,
                    Room::Closed if waiter.asked == Asked::Active => None,
                    Room::Closed => Some(Err(Refused::Leaving(target.model))),
                },
            };
            match result {
                Some(result) => granted.0.push((waiter.grant, result)),
                None => waiting.push_back(waiter),
            }
        }
        book.queue = waiting;
        granted
    }

    /// Puts other routes in force. From the return on, no lease is given by the old ones.
    pub fn set_routes(&self, routes: Arc<Routes>) {
        let mut book = self.lock();
        let held = routes.active == super::ActiveRoute::Held;
        book.held_since = held.then(|| book.held_since.unwrap_or_else(Instant::now));
        book.routes = routes;
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
    }

    pub fn routes(&self) -> Arc<Routes> {
        self.lock().routes.clone()
    }

    pub fn set_limits(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Whether requests may still go to a copy: it is in the routes and not on its way out.
    pub fn is_current(&self, target: &Target) -> bool {
        let book = self.lock();
        let key = (target.server.clone(), target.instance.clone());
        book.routes.has(target) && !book.used.get(&key).is_some_and(|used| used.closed)
    }

    /// Gives no more leases on an instance, because it shall leave memory.
    pub fn close(&self, server: &ServerId, instance: &str) {
        let mut book = self.lock();
        book.used.entry((server.clone(), instance.to_owned())).or_default().closed = true;
        // Whoever waits for it by its name is told now.
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
    }

    /// It stays after all, or it is gone and its name may mean another copy.
    pub fn reopen(&self, server: &ServerId, instance: &str) {
        let mut book = self.lock();
        let key = (server.clone(), instance.to_owned());
        if let Some(used) = book.used.get_mut(&key) {
            used.closed = false;
        }
        book.used.retain(|_, used| used.closed || !used.held.is_empty());
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
    }

    /// Waits until no lease of an instance is left, and cuts those that are left after `limit` or once `now` is cancelled.
    /// Returns how many were cut.
    pub async fn drain(
        &self,
        server: &ServerId,
        instance: &str,
        limit: Duration,
        now: &CancellationToken,
    ) -> u32 {
        let mut changed = self.changed.subscribe();
        let until_empty = async |changed: &mut watch::Receiver<()>| {
            let _ = changed.wait_for(|()| self.count(server, instance) == 0).await;
        };
        let patient = async {
            tokio::select! {
                () = until_empty(&mut changed) => true,
                () = now.cancelled() => false,
            }
        };
        if tokio::time::timeout(limit, patient).await == Ok(true) {
            return 0;
        }
        let cut = {
            let book = self.lock();
            let used = book.used.get(&(server.clone(), instance.to_owned()));
            let held = used.map(|used| used.held.values().collect::<Vec<_>>()).unwrap_or_default();
            held.iter().for_each(|cut| cut.cancel());
            held.len()
        };
        let _ = tokio::time::timeout(CUT_LIMIT, until_empty(&mut self.changed.subscribe())).await;
        u32::try_from(cut).unwrap_or(u32::MAX)
    }

    /// Wants no question of health beside a measurement on these servers; none: it is over.
    pub fn set_measured(&self, servers: BTreeSet<ServerId>) {
        self.lock().measured = servers;
    }

    /// Whether any answer of this server is under way, or something is measured there.
    pub fn busy(&self, server: &ServerId) -> bool {
        let book = self.lock();
        let used = book.used.iter().any(|((one, _), used)| one == server && !used.held.is_empty());
        used || book.measured.contains(server)
    }

    /// Answers under way at any instance of a server.
    pub fn under_way(&self, server: &ServerId) -> usize {
        let book = self.lock();
        book.used.iter().filter(|((one, _), _)| one == server).map(|(_, used)| used.held.len()).sum()
    }

    pub fn count(&self, server: &ServerId, instance: &str) -> usize {
        self.lock().used.get(&(server.clone(), instance.to_owned())).map_or(0, |used| used.held.len())
    }

    /// Marks every change of what is under way and of who waits.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Answers that clients have asked for so far, whatever became of them. Questions of our own are none.
    pub fn asked(&self) -> u64 {
        self.lock().asked
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// Tells that an answer of this server failed, broke off, or never began.
    pub fn trouble(&self, server: &ServerId) {
        // Nobody listens only while the engine ends.
        let _ = self.troubles.send(server.clone());
    }

    /// The servers whose answers go wrong from now on.
    pub fn troubles(&self) -> broadcast::Receiver<ServerId> {
        self.troubles.subscribe()
    }

    /// Sends everybody away who waits, and gives no more leases: the engine ends.
    pub fn shutdown(&self) {
        let mut book = self.lock();
        book.closed = true;
        let waiting = std::mem::take(&mut book.queue);
        drop(book);
        for waiter in waiting {
            let _ = waiter.grant.send(Err(Refused::ShuttingDown));
        }
    }

    fn give_back(&self, lease: &Lease) {
        let mut book = self.lock();
        let key = (lease.target.server.clone(), lease.target.instance.clone());
        if let Some(used) = book.used.get_mut(&key) {
            used.held.remove(&lease.number);
            if used.held.is_empty() && !used.closed {
                book.used.remove(&key);
            }
        }
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Room {
    Free,
    Full,
    Closed,
}

impl Book {
    fn room(&self, target: &Target) -> Room {
        let key = (target.server.clone(), target.instance.clone());
        let used = self.used.get(&key);
        match used.map_or(0, |used| used.held.len()) {
            _ if used.is_some_and(|used| used.closed) => Room::Closed,
            held if held >= target.slots => Room::Full,
            _ => Room::Free,
        }
    }
}

/// Turns that were given under the lock. They are handed out after it: a lease whose taker has left comes back at once.
struct Granted(Vec<(Grant, Result<Lease, Refused>)>);

impl Granted {
    fn deliver(self) {
        for (grant, result) in self.0 {
            drop(grant.send(result));
        }
    }
}

/// Takes a waiter out of the queue when its wait ends, however it ends.
struct Leave<'a> {
    owner: &'a Leases,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.owner.lock().queue.retain(|waiter| waiter.number != self.number);
        self.owner.changed.send_replace(());
    }
}

/// The right to one answer of an instance, for as long as it lives.
pub struct Lease {
    target: Target,
    number: u64,
    cut: CancellationToken,
    owner: Leases,
}

impl Lease {
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Cancelled when the answer must end now, because its model leaves memory.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let owner = self.owner.clone();
        owner.give_back(self);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).field("target", &self.target).finish()
    }
}
