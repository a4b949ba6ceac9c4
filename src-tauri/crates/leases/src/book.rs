use super::{
    Asked, Lease, Refused, Routes, Target, Wish,
    choose::{Choice, Meaning, choose},
};
use pilothouse_domain::{model::ModelRef, scene::Priority, server::ServerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A copy in memory: server and instance.
type Key = (ServerId, String);

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
    pub(crate) changed: watch::Sender<()>,
    troubles: broadcast::Sender<ServerId>,
}

#[derive(Default)]
pub(crate) struct Book {
    pub limits: Limits,
    pub routes: Arc<Routes>,
    /// Since when roles are held, `active` among them.
    pub held_since: BTreeMap<String, Instant>,
    pub used: BTreeMap<Key, Use>,
    /// When the last lease of an instance ended that somebody used; of those in the routes.
    used_until: BTreeMap<Key, Instant>,
    /// In no order: whose turn it is depends on the routes and on the time.
    pub queue: Vec<Waiter>,
    /// Models that are wished for and that the listener knows of.
    pub told: BTreeSet<ModelRef>,
    pub listener: Option<mpsc::Sender<Wish>>,
    /// Whoever measures on this server wants no question beside it.
    measured: BTreeSet<ServerId>,
    pub numbers: u64,
    /// Of them those that clients asked for.
    pub asked: u64,
    pub closed: bool,
}

#[derive(Default)]
pub(crate) struct Use {
    pub held: BTreeMap<u64, CancellationToken>,
    /// On its way out of memory: no further leases.
    pub closed: bool,
}

pub(crate) struct Waiter {
    /// In the order of coming.
    pub number: u64,
    pub asked: Asked,
    pub since: Instant,
    pub grant: Grant,
    /// The model that it has wished for. It stays while its role is held for the load, so that a refusal of the wish finds it.
    pub wish: Option<ModelRef>,
}

type Grant = oneshot::Sender<Result<Lease, Refused>>;

impl Default for Leases {
    fn default() -> Self {
        Self { book: Arc::default(), changed: watch::Sender::new(()), troubles: broadcast::Sender::new(32) }
    }
}

impl Leases {
    /// A lease beside the queue, for questions of our own to an instance whatever its routes say. It is no use of the model.
    #[must_use]
    pub fn enter(&self, target: &Target) -> Lease {
        self.lease(&mut self.lock(), target.clone(), None, false)
    }

    /// A lease beside the queue for somebody who uses the model, unless the instance is on its way out of memory.
    pub fn try_enter(&self, target: &Target) -> Option<Lease> {
        let mut book = self.lock();
        match book.room(target) {
            Room::Closed => None,
            Room::Free | Room::Full => Some(self.lease(&mut book, target.clone(), None, true)),
        }
    }

    fn lease(&self, book: &mut Book, target: Target, role: Option<String>, counts: bool) -> Lease {
        book.numbers += 1;
        let number = book.numbers;
        let cut = CancellationToken::new();
        let key = (target.server.clone(), target.instance.clone());
        book.used.entry(key).or_default().held.insert(number, cut.clone());
        Lease { target, role, number, cut, counts, owner: self.clone() }
    }

    /// Changes something in the book, and then gives the turn to everybody who has it by that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.lock();
        let result = change(&mut book);
        let granted = self.pump(&mut book);
        drop(book);
        granted.deliver();
        result
    }

    /// Gives the turn to everybody whose target has room, by priority and then in the order in which they came.
    fn pump(&self, book: &mut Book) -> Granted {
        let mut granted = Granted(Vec::new());
        book.queue.retain(|waiter| !waiter.grant.is_closed());
        if !book.queue.is_empty() {
            let meanings = Meanings::of(book);
            let (now, patience) = (Instant::now(), book.limits.turn / 2);
            let mut queue = std::mem::take(&mut book.queue);
            queue.sort_by_key(|waiter| (meanings.priority(waiter, now, patience), waiter.number));
            for mut waiter in queue {
                match self.verdict(book, &mut waiter, &meanings) {
                    Some(result) => granted.0.push((waiter.grant, result)),
                    None => book.queue.push(waiter),
                }
            }
        }
        book.forget_wishes();
        granted
    }

    /// What becomes of a waiter now; `None`: it waits on.
    fn verdict(
        &self,
        book: &mut Book,
        waiter: &mut Waiter,
        meanings: &Meanings,
    ) -> Option<Result<Lease, Refused>> {
        let meaning = meanings.by_name.get(&waiter.asked)?;
        match &meaning.choice {
            Choice::Wait => {
                let role = meaning.role.as_ref();
                waiter.wish = waiter.wish.take().or_else(|| meanings.loading.get(role?).cloned());
                None
            }
            Choice::Wish(model) if book.wish(model) => {
                waiter.wish = Some(model.clone());
                None
            }
            Choice::Wish(model) => Some(Err(Refused::NotLoaded(model.clone()))),
            Choice::Refuse(refused) => Some(Err(refused.clone())),
            Choice::Use(target) => {
                waiter.wish = None;
                match book.room(target) {
                    Room::Free => Some(Ok(self.lease(book, target.clone(), meaning.role.clone(), true))),
                    Room::Full => None,
                    // The role moves to another model, or the name comes back by a wish.
                    Room::Closed if meaning.role.is_some() || book.routes.loads_on_request => None,
                    Room::Closed => Some(Err(Refused::Leaving(target.model.clone()))),
                }
            }
        }
    }

    /// Puts other routes in force. From the return on, no lease is given by the old ones.
    pub fn set_routes(&self, routes: Arc<Routes>) {
        self.change(|book| {
            let mut since = std::mem::take(&mut book.held_since);
            let mut held = |role: &str| since.remove(role).unwrap_or_else(Instant::now);
            book.held_since = routes.held_roles().map(|role| (role.to_owned(), held(role))).collect();
            book.used_until.retain(|(server, instance), _| routes.has_instance(server, instance));
            book.routes = routes;
        });
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

    /// When the last answer of an instance ended; [`Leases::count`] says whether one is under way. Questions of our own are no
    /// use. `None`: none has ended since the instance came into the routes.
    pub fn last_used(&self, server: &ServerId, instance: &str) -> Option<Instant> {
        self.lock().used_until.get(&(server.clone(), instance.to_owned())).copied()
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
        book.listener = None;
        let waiting = std::mem::take(&mut book.queue);
        drop(book);
        Granted(waiting.into_iter().map(|one| (one.grant, Err(Refused::ShuttingDown))).collect()).deliver();
    }

    pub(crate) fn give_back(&self, lease: &Lease) {
        self.change(|book| {
            let key = (lease.target.server.clone(), lease.target.instance.clone());
            if let Some(used) = book.used.get_mut(&key) {
                used.held.remove(&lease.number);
                if used.held.is_empty() && !used.closed {
                    book.used.remove(&key);
                }
            }
            if lease.counts && book.routes.has_instance(&key.0, &key.1) {
                book.used_until.insert(key, Instant::now());
            }
        });
        self.changed.send_replace(());
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the names of the queue mean by the routes of this moment, each looked up once.
struct Meanings {
    by_name: BTreeMap<Asked, Meaning>,
    /// The models that roles are waited for with: whoever comes while such a role is held waits for the same.
    loading: BTreeMap<String, ModelRef>,
}

impl Meanings {
    fn of(book: &Book) -> Self {
        let mut all = Self { by_name: BTreeMap::new(), loading: BTreeMap::new() };
        for waiter in &book.queue {
            if !all.by_name.contains_key(&waiter.asked) {
                all.by_name.insert(waiter.asked.clone(), choose(&book.routes, &waiter.asked));
            }
            let role = all.by_name.get(&waiter.asked).and_then(|meaning| meaning.role.as_ref());
            if let (Some(role), Some(wish)) = (role, &waiter.wish) {
                all.loading.insert(role.clone(), wish.clone());
            }
        }
        all
    }

    /// Whoever has waited for longer than `patience` comes before all others.
    fn priority(&self, waiter: &Waiter, now: Instant, patience: Duration) -> Priority {
        match self.by_name.get(&waiter.asked) {
            _ if now.duration_since(waiter.since) > patience => Priority::Critical,
            Some(meaning) => meaning.priority,
            None => Priority::Normal,
        }
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
pub(crate) struct Granted(pub Vec<(Grant, Result<Lease, Refused>)>);

impl Granted {
    pub fn deliver(self) {
        for (grant, result) in self.0 {
            drop(grant.send(result));
        }
    }
}
