//! Fetches the embedded default, one fetch at a time, and tells the hub how far it is.

use crate::{
    hub::{Hub, Report},
    setup::{self, Embedded, SetupOptions, SetupResult},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    snapshot::{SetupProgress, SetupView},
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// The embedded default of one engine.
pub struct Fetcher {
    hub: Hub,
    embedded: Embedded,
    under_way: Mutex<Option<CancellationToken>>,
}

impl Fetcher {
    pub fn new(hub: Hub, embedded: Embedded) -> Self {
        let fetcher = Self { hub, embedded, under_way: Mutex::new(None) };
        fetcher.tell(None, None);
        fetcher
    }

    /// Fetches what is missing. Errors: busy, cancelled, and those of `setup::fetch`.
    pub async fn fetch(&self, options: SetupOptions) -> Result<SetupResult, ApiError> {
        let cancel = CancellationToken::new();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if under_way.is_some() {
                return Err(ApiError::new(ErrorCode::Busy, "A fetch is under way already.").retryable());
            }
            *under_way = Some(cancel.clone());
        }
        let (hub, embedded) = (self.hub.clone(), self.embedded.clone());
        let sink = Arc::new(move |progress: SetupProgress| {
            hub.report(Report::Setup(view(&embedded, Some(progress), None)));
        });
        let result = setup::fetch(&self.embedded, &options, sink, cancel).await;
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let error = result.as_ref().err().filter(|error| error.code != ErrorCode::Cancelled);
        self.tell(None, error.cloned());
        result
    }

    /// Errors: not_found.
    pub fn cancel(&self) -> Result<(), ApiError> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let cancel = under_way.as_ref().ok_or_else(|| ApiError::not_found("No fetch is under way."))?;
        cancel.cancel();
        Ok(())
    }

    fn tell(&self, progress: Option<SetupProgress>, error: Option<ApiError>) {
        self.hub.report(Report::Setup(view(&self.embedded, progress, error)));
    }
}

fn view(embedded: &Embedded, progress: Option<SetupProgress>, error: Option<ApiError>) -> SetupView {
    SetupView {
        server_present: embedded.server_program().is_some(),
        model_present: embedded.has_model(),
        progress,
        error,
    }
}
