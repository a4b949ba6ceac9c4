use pilothouse_domain::endpoint::Secret;
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// What writes the text.
type Write = dyn Fn() -> Result<String, fmt::Error> + Send + Sync;

/// What scrapers read, behind a token of its own. It can be closed and opened while doors are open; cheap to clone.
#[derive(Clone)]
pub struct MetricsPage {
    /// `None`: closed.
    token: Arc<RwLock<Option<Secret>>>,
    write: Arc<Write>,
}

impl fmt::Debug for MetricsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetricsPage({})", if self.is_open() { "open" } else { "closed" })
    }
}

impl MetricsPage {
    /// The type of the text: OpenMetrics 1.0.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A closed page.
    pub fn new(write: impl Fn() -> Result<String, fmt::Error> + Send + Sync + 'static) -> Self {
        Self { token: Arc::default(), write: Arc::new(write) }
    }

    /// Opens it for whoever shows this token; without one it is closed.
    pub fn set_token(&self, token: Option<Secret>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// A closed page is to be answered as one that is not there.
    pub fn is_open(&self) -> bool {
        self.token.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether these are the token's bytes. The time that it takes tells nothing of how much of it is right.
    pub fn admits(&self, shown: &[u8]) -> bool {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = token.as_ref().map(|token| token.expose().as_bytes()) else { return false };
        let differing = token.iter().zip(shown).fold(0, |all, (one, other)| all | (one ^ other));
        token.len() == shown.len() && differing == 0
    }

    /// The text of now.
    pub fn text(&self) -> Result<String, fmt::Error> {
        (self.write)()
    }
}
