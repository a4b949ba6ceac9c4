//! How many connections a door has open at most, and which of them has to go when a newcomer finds no room: the one
//! that has been without a request for longest. One with an answer under way is never asked to go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// A connection without a request is closed after this.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// From the first byte of a request's head to its last.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(20);

/// Files, sockets and pipes of Pilothouse itself: database, logs, servers, gauges.
const RESERVE: u64 = 128;

/// The most connections of each door. A flood at one leaves the other its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub gateway: usize,
    pub web: usize,
    /// Of the gateway on one bridge of containers.
    pub bridge: usize,
}

impl ConnectionLimits {
    /// For a process that may have so many descriptors open. A request through the gateway takes two.
    pub fn of(descriptors: u64) -> Self {
        let web = (descriptors / 8).clamp(16, 256);
        let gateway = (descriptors.saturating_sub(RESERVE + web) / 2).clamp(16, 2048);
        // A few bridges are usual: together they stay within what is kept in reserve.
        let bridge = (gateway / 16).clamp(8, 128);
        let whole = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self { gateway: whole(gateway), web: whole(web), bridge: whole(bridge) }
    }

    /// For this process.
    pub fn own() -> Self {
        Self::of(pilothouse_system::process::descriptor_limit())
    }
}

/// The seats of one door.
pub(super) struct Seats {
    limit: usize,
    room: Mutex<Room>,
    /// Somebody left, or became idle or busy. Only the door waits for it.
    changed: Notify,
}

#[derive(Default)]
struct Room {
    taken: usize,
    next: u64,
    /// Those without a request, longest first, and how to ask them to go.
    idle: BTreeMap<u64, Arc<Notify>>,
    /// Who was asked to go and has not gone yet.
    asked: Option<u64>,
}

impl Room {
    fn ask_oldest(&mut self) {
        if self.asked.is_none()
            && let Some((stamp, leave)) = self.idle.first_key_value()
        {
            self.asked = Some(*stamp);
            leave.notify_one();
        }
    }

    fn forget(&mut self, stamp: u64) {
        self.idle.remove(&stamp);
        if self.asked == Some(stamp) {
            self.asked = None;
        }
    }
}

impl Seats {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: limit.max(1), room: Mutex::default(), changed: Notify::new() })
    }

    /// A seat, as soon as there is one. To be called by one task at a time.
    pub async fn take(self: &Arc<Self>) -> Arc<Seat> {
        loop {
            {
                let mut room = self.room();
                if room.taken < self.limit {
                    room.taken += 1;
                    break;
                }
                room.ask_oldest();
            }
            self.changed.notified().await;
        }
        let seat = Seat { seats: self.clone(), leave: Arc::default(), doing: Mutex::new(Doing::new()) };
        seat.settle(&mut seat.doing());
        Arc::new(seat)
    }

    /// Asks the one that has been idle for longest to go, whether or not somebody waits for its seat.
    pub fn thin_out(&self) {
        self.room().ask_oldest();
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection does.
struct Doing {
    /// Requests from head to the last byte of the answer.
    requests: usize,
    /// Its client does not take what is written.
    blocked: bool,
    since: Instant,
    /// When the first byte of a head came.
    head: Option<Instant>,
    /// Its place among the idle ones.
    stamp: Option<u64>,
}

impl Doing {
    fn new() -> Self {
        Self { requests: 0, blocked: false, since: Instant::now(), head: None, stamp: None }
    }

    fn is_idle(&self) -> bool {
        self.requests == 0 && !self.blocked
    }
}

/// The seat of one connection; free again when the last holder drops it.
pub(super) struct Seat {
    seats: Arc<Seats>,
    leave: Arc<Notify>,
    doing: Mutex<Doing>,
}

impl Seat {
    /// Ready when it may have to go; `may_go` tells.
    pub async fn asked_to_go(&self) {
        self.leave.notified().await;
    }

    /// Whether it is to go, and is still idle. Nobody else is asked until it is gone.
    pub fn may_go(&self) -> bool {
        let doing = self.doing();
        let asked = self.seats.room().asked;
        doing.stamp.is_some() && doing.stamp == asked
    }

    /// When it has been idle, or has sent a head, for too long; to be asked again then. `Err`: it is too late already.
    pub fn due(&self) -> Result<Instant, ()> {
        let doing = self.doing();
        let now = Instant::now();
        if !doing.is_idle() {
            return Ok(now + HEAD_LIMIT);
        }
        let idle = doing.since + IDLE_LIMIT;
        let due = doing.head.map_or(idle, |head| idle.min(head + HEAD_LIMIT));
        // A head may begin meanwhile.
        if due <= now { Err(()) } else { Ok(due.min(now + HEAD_LIMIT)) }
    }

    /// Bytes came in.
    pub fn heard(&self) {
        let mut doing = self.doing();
        if doing.requests == 0 {
            doing.head.get_or_insert_with(Instant::now);
        }
    }

    /// Its client does, or does not, take what is written.
    pub fn blocked(&self, blocked: bool) {
        let mut doing = self.doing();
        if doing.blocked != blocked {
            doing.blocked = blocked;
            self.settle(&mut doing);
        }
    }

    /// A request: busy until the guard is dropped.
    #[must_use]
    pub fn request(self: &Arc<Self>) -> RequestGuard {
        let mut doing = self.doing();
        doing.requests += 1;
        doing.head = None;
        self.settle(&mut doing);
        RequestGuard(self.clone())
    }

    fn settle(&self, doing: &mut Doing) {
        let mut room = self.seats.room();
        match (doing.is_idle(), doing.stamp) {
            (true, None) => {
                let stamp = room.next;
                room.next += 1;
                room.idle.insert(stamp, self.leave.clone());
                doing.stamp = Some(stamp);
                doing.since = Instant::now();
                doing.head = None;
            }
            (false, Some(stamp)) => {
                room.forget(stamp);
                doing.stamp = None;
            }
            _ => return,
        }
        self.seats.changed.notify_one();
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let stamp = self.doing().stamp;
        let mut room = self.seats.room();
        room.taken -= 1;
        if let Some(stamp) = stamp {
            room.forget(stamp);
        }
        self.seats.changed.notify_one();
    }
}

/// One request under way.
pub(super) struct RequestGuard(Arc<Seat>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        doing.requests -= 1;
        self.0.settle(&mut doing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn every_door_has_its_own_share_of_the_descriptors() {
        let of = |descriptors| {
            let limits = ConnectionLimits::of(descriptors);
            (limits.gateway, limits.web, limits.bridge)
        };
        assert_eq!(of(0), (16, 16, 8));
        assert_eq!(of(256), (48, 32, 8));
        assert_eq!(of(1024), (384, 128, 24));
        assert_eq!(of(65_536), (2048, 256, 128));
        for descriptors in 256..4096 {
            let (gateway, web, _) = of(descriptors);
            assert!(2 * gateway as u64 + web as u64 + RESERVE <= descriptors, "{descriptors}");
        }
    }

    #[tokio::test]
    async fn the_longest_idle_one_makes_room_and_a_busy_one_never() {
        let seats = Seats::new(3);
        let (first, second, third) = (seats.take().await, seats.take().await, seats.take().await);
        let answer = first.request();
        let mut newcomer = Box::pin(seats.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(second.asked_to_go().now_or_never().is_some() && second.may_go());
        assert!(!first.may_go() && !third.may_go(), "one is enough");
        assert!(newcomer.as_mut().now_or_never().is_none(), "it is not gone yet");
        drop(second);
        let fourth = newcomer.now_or_never().unwrap();

        // Asked to go, it takes a request instead: the next one goes.
        let mut newcomer = Box::pin(seats.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(third.may_go());
        let other = third.request();
        assert!(!third.may_go());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(fourth.may_go());
        let last = fourth.request();
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!fourth.may_go(), "all are busy: the newcomer waits");
        drop(answer);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(first.may_go(), "idle by now");
        drop(first);
        assert!(newcomer.now_or_never().is_some());
        drop((other, last));
    }

    #[tokio::test]
    async fn one_whose_answer_is_not_read_yet_is_not_idle() {
        let seats = Seats::new(1);
        let only = seats.take().await;
        let answer = only.request();
        only.blocked(true);
        drop(answer);
        let mut newcomer = Box::pin(seats.take());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!only.may_go());
        only.blocked(false);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(only.may_go());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_and_slow_heads_are_due_and_answers_are_not() {
        let seats = Seats::new(9);
        let seat = seats.take().await;
        let pass = |limit: Duration| tokio::time::advance(limit);
        let answer = seat.request();
        pass(Duration::from_secs(3600)).await;
        assert!(seat.due().is_ok(), "an answer of an hour");
        drop(answer);
        pass(IDLE_LIMIT - Duration::from_secs(1)).await;
        assert_eq!(seat.due(), Ok(Instant::now() + Duration::from_secs(1)));
        pass(Duration::from_secs(1)).await;
        assert_eq!(seat.due(), Err(()));

        let slow = seats.take().await;
        slow.heard();
        pass(HEAD_LIMIT / 2).await;
        slow.heard();
        assert!(slow.due().is_ok());
        pass(HEAD_LIMIT / 2).await;
        assert_eq!(slow.due(), Err(()), "a byte now and then helps nothing");
    }
}
