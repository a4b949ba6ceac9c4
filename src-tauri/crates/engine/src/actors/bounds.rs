//! The bounds of a piece of work: a time, and somebody who cancels it.

use pilothouse_domain::error::{ApiError, ErrorCode};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs a piece of work unless it takes longer than `limit`. `what` takes too long then, as the begin of a sentence. Errors:
/// timed_out, and that of the work.
pub(super) async fn within<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("{what} took longer than {} s.", limit.as_secs());
        Err(ApiError::new(ErrorCode::TimedOut, text))
    })
}

/// Runs a piece of work unless `cancel` comes first; `why` is said then. Errors: cancelled, and that of the work.
pub(super) async fn until_cancelled<T>(
    cancel: &CancellationToken,
    why: &str,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(ApiError::cancelled(why)),
    }
}

/// Asks the system something that may never be answered, on a thread of its own. `None`: not told within `limit`.
#[cfg(not(test))]
pub(super) async fn apart<T: Send + 'static>(
    what: &str,
    limit: Duration,
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    pilothouse_system::apart::once(what, limit, work).await.ok().flatten()
}

/// The same of a fake, which answers. A paused clock stands still for work of the runtime; while a thread is waited for it would
/// run on to the limit.
#[cfg(test)]
pub(super) async fn apart<T: Send + 'static>(
    _what: &str,
    _limit: Duration,
    work: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_ends_by_itself_by_its_limit_or_by_who_cancels_it() {
        let second = Duration::from_secs(1);
        // How long it works, its limit, when it is cancelled; what comes of it.
        let table: [(u32, u32, u32, Result<u32, &str>); 4] = [
            (1, 5, 9, Ok(7)),
            (6, 5, 9, Err("It took longer than 5 s.")),
            (6, 9, 3, Err("Somebody left.")),
            (0, 5, 9, Ok(7)),
        ];
        for (works, limit, cancelled, result) in table {
            let cancel = CancellationToken::new();
            let token = cancel.clone();
            tokio::spawn(async move {
                tokio::time::sleep(cancelled * second).await;
                token.cancel();
            });
            let work = async {
                tokio::time::sleep(works * second).await;
                Ok(7)
            };
            let ended = until_cancelled(&cancel, "Somebody left.", within("It", limit * second, work)).await;
            assert_eq!(
                ended.map_err(|error| error.message),
                result.map_err(str::to_owned),
                "{works} s of work"
            );
        }
    }
}
