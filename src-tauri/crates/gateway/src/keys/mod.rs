//! The keys of client programs that are in force: whose each is, what it has under way, and when it was shown last. A request looks its
//! key up by its hash, so that how long that takes says nothing about any key.

mod shown;
#[cfg(test)]
mod tests;
mod want;

pub(super) use want::want_key;

use crate::refusal::Refusal;
use axum::http::StatusCode;
use pilothouse_domain::{
    Timestamp,
    client_key::{Allowance, ClientKey, KeyHash, NotAdmitted, Wants, estimate, spent},
    model::ModelRef,
    scene::ACTIVE,
    traffic::RequestRecord,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{
            AtomicBool, AtomicI64, AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// What whoever shows a wrong key waits for the answer.
const SLOWED_FOR: Duration = Duration::from_secs(1);
/// So many wait at a time; all others with a wrong key are refused at once, so that a flood of them holds no more than this.
const SLOWED: usize = 64;
/// When a program that has as many requests under way as its key allows may come again, in seconds: their ends are not known.
const AGAIN_S: u32 = 2;

/// By what a key is kept and found.
pub fn hash_of(key: &str) -> KeyHash {
    KeyHash(Sha256::digest(key.as_bytes()).into())
}

/// The keys in force; cheap to clone, and clones are one.
#[derive(Clone, Default)]
pub struct KeyRing(Arc<Inner>);

#[derive(Default)]
struct Inner {
    keys: RwLock<HashMap<KeyHash, Held>>,
    /// Programs of this machine need one too.
    required: AtomicBool,
    wrong: AtomicU64,
    wrong_at_ms: AtomicI64,
    slowed: Slowed,
}

/// Who waits because of a wrong key.
struct Slowed(Semaphore);

impl Default for Slowed {
    fn default() -> Self {
        Self(Semaphore::new(SLOWED))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({})", self.read().len())
    }
}

/// What is known of the use of a key since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUse {
    /// Requests with it that go on.
    pub under_way: u32,
    /// Requests that were refused because of its limits.
    pub limited: u64,
    pub last_used_at: Option<Timestamp>,
}

/// Wrong keys since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WrongKeys {
    pub count: u64,
    pub last_at: Option<Timestamp>,
}

impl KeyRing {
    /// From now on these are the keys. Requests under way go on; a key that stays keeps its counts.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = (KeyHash, ClientKey)>) {
        let mut held = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::new();
        for (hash, key) in keys {
            next.insert(hash, held.remove(&hash).unwrap_or_else(|| Held::new(key)));
        }
        *held = next;
    }

    /// Whether programs of this machine need a key too.
    pub fn set_required(&self, required: bool) {
        self.0.required.store(required, Relaxed);
    }

    pub fn is_required(&self) -> bool {
        self.0.required.load(Relaxed)
    }

    pub fn wrong(&self) -> WrongKeys {
        WrongKeys { count: self.0.wrong.load(Relaxed), last_at: instant(self.0.wrong_at_ms.load(Relaxed)) }
    }

    /// How each key is used.
    pub fn uses(&self) -> HashMap<KeyHash, KeyUse> {
        self.read().iter().map(|(hash, held)| (*hash, held.use_of())).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<KeyHash, Held>> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of a text, which is noted as used now.
    fn find(&self, text: &[u8]) -> Option<Held> {
        let hash = KeyHash(Sha256::digest(text).into());
        let held = self.read().get(&hash)?.clone();
        held.0.last_used_ms.store(Timestamp::now().as_millisecond(), Relaxed);
        Some(held)
    }

    /// Counts a wrong key, and lets whoever shows it wait as long as there is room for that.
    async fn slow_down(&self) {
        self.0.wrong.fetch_add(1, Relaxed);
        self.0.wrong_at_ms.store(Timestamp::now().as_millisecond(), Relaxed);
        if let Ok(_waits) = self.0.slowed.0.try_acquire() {
            tokio::time::sleep(SLOWED_FOR).await;
        }
    }
}

/// 0: never.
fn instant(ms: i64) -> Option<Timestamp> {
    (ms != 0).then(|| Timestamp::from_millisecond(ms).ok()).flatten()
}

/// One key in force. Who holds it goes on with it after it was revoked.
#[derive(Clone)]
pub(super) struct Held(Arc<OfKey>);

struct OfKey {
    key: ClientKey,
    under_way: AtomicU32,
    limited: AtomicU64,
    /// 0: not since the start.
    last_used_ms: AtomicI64,
    begun: Instant,
    allowance: Option<Mutex<Allowance>>,
}

impl Held {
    fn new(key: ClientKey) -> Self {
        let allowance =
            key.tokens_per_minute.map(|tokens| Mutex::new(Allowance::new(tokens, Duration::ZERO)));
        Self(Arc::new(OfKey {
            key,
            under_way: AtomicU32::new(0),
            limited: AtomicU64::new(0),
            last_used_ms: AtomicI64::new(0),
            begun: Instant::now(),
            allowance,
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.key.name
    }

    fn use_of(&self) -> KeyUse {
        KeyUse {
            under_way: self.0.under_way.load(Relaxed),
            limited: self.0.limited.load(Relaxed),
            last_used_at: instant(self.0.last_used_ms.load(Relaxed)),
        }
    }

    /// Refusal: it does not open that.
    pub fn admit(&self, wants: Wants) -> Result<(), Refusal> {
        let name = self.name();
        let refused =
            |code: &'static str, text: String| Refusal::new(StatusCode::FORBIDDEN, code, text).lasting();
        match self.0.key.admits(wants) {
            Ok(()) => Ok(()),
            Err(NotAdmitted::Scope) => {
                let text = format!(
                    "The key “{name}” may see which models there are, and not ask them: its scope is “read”. For answers it takes \
                     one with the scope “inference”."
                );
                Err(refused("scope_missing", text))
            }
            Err(NotAdmitted::Model) => {
                let models = self.0.key.models.join(", ");
                let text = format!(
                    "The key “{name}” may not use this model. It may use: {models}. GET /v1/models lists what there is of these."
                );
                Err(refused("model_not_allowed", text).about("model"))
            }
        }
    }

    /// Whether it may use what a name leads to. `asked`: as the client wrote it; `None`: it named nothing.
    pub fn admit_model(&self, asked: Option<&str>, model: Option<&ModelRef>) -> Result<(), Refusal> {
        let names = names(asked, model);
        self.admit(Wants::AnswerBy(&names.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// Whether its models are such that this is one of them.
    pub fn may_use(&self, asked: Option<&str>, model: Option<&ModelRef>) -> bool {
        self.0.key.may_use(names(asked, model).iter().map(String::as_str))
    }

    /// A request of so many bytes begins with it, and goes on for as long as what this returns is there. Refusal: its limits.
    pub fn enter(&self, bytes: usize) -> Result<UnderWay, Refusal> {
        let limited = |refusal: Refusal| {
            self.0.limited.fetch_add(1, Relaxed);
            refusal
        };
        let most = self.0.key.at_once.unwrap_or(u32::MAX);
        let one_more = |count: u32| (count < most).then(|| count + 1);
        if self.0.under_way.fetch_update(AcqRel, Acquire, one_more).is_err() {
            let text = format!(
                "The key “{}” has {most} requests under way, as many as its limit allows. Try again once one of them has ended.",
                self.name()
            );
            return Err(limited(too_many(text, AGAIN_S)));
        }
        let mut under_way = UnderWay { held: self.clone(), taken: 0, spent: 0 };
        let tokens = estimate(bytes);
        if let Some(Err(wait)) = self.spend(|allowance, now| allowance.take(tokens, now)) {
            let seconds = u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1);
            let most = self.0.key.tokens_per_minute.unwrap_or_default();
            let text = format!(
                "The key “{}” has spent its {most} tokens by the minute. Please try again in {seconds}s.",
                self.name()
            );
            return Err(limited(too_many(text, seconds)));
        }
        (under_way.taken, under_way.spent) = (tokens, tokens);
        Ok(under_way)
    }

    fn spend<T>(&self, act: impl FnOnce(&mut Allowance, Duration) -> T) -> Option<T> {
        let allowance = self.0.allowance.as_ref()?;
        Some(act(&mut allowance.lock().unwrap_or_else(PoisonError::into_inner), self.0.begun.elapsed()))
    }
}

/// By what a model may stand among those of a key: as it was asked for, by its own name, and by that behind its server's.
fn names(asked: Option<&str>, model: Option<&ModelRef>) -> Vec<String> {
    let mut names = vec![asked.unwrap_or(ACTIVE).to_owned()];
    names.extend(model.into_iter().flat_map(|model| [model.model.clone(), model.id()]));
    names
}

fn too_many(text: String, seconds: u32) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", text).retry_after(seconds)
}

/// One request of a key, until it is dropped.
pub(super) struct UnderWay {
    held: Held,
    /// Tokens that it took at its begin.
    taken: u32,
    spent: u32,
}

impl UnderWay {
    /// It has ended so.
    pub fn end(mut self, record: &RequestRecord) {
        self.spent = spent(record, self.taken);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.held.0.under_way.fetch_sub(1, AcqRel);
        self.held.spend(|allowance, now| allowance.settle(self.taken, self.spent, now));
    }
}
