//! Our own end: what is under way is put back as far as the time allows.

use super::{
    actor::{Residency, end_of, end_of_rearranging},
    ended,
};
use std::time::Duration;
use tokio::sync::oneshot;

/// The whole shutdown must end within five seconds; what is left is put back at the next start.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1500);

impl Residency {
    pub(super) async fn shutdown(mut self, reply: oneshot::Sender<()>) {
        self.ending.cancel();
        self.replace_next(None);
        for reply in self.available.drain(..) {
            let _ = reply.send(Err(ended()));
        }
        if self.running.is_some() {
            let finished = tokio::time::timeout(SHUTDOWN_LIMIT, end_of(&mut self.running)).await;
            if let Ok(finished) = finished {
                self.on_finished(finished).await;
            }
        }
        if self.rearranging.is_some() {
            let ended = tokio::time::timeout(SHUTDOWN_LIMIT, end_of_rearranging(&mut self.rearranging)).await;
            if let Ok(ended) = ended {
                self.on_rearranged(ended).await;
            }
        }
        let _ = reply.send(());
    }
}
