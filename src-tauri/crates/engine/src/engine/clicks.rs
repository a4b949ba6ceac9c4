//! What a click on a notification of the desktop does: the same as anywhere else.

use super::Inner;
use crate::api::Call;
use pilothouse_domain::notice::NoticeAct;
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinHandle};

/// Does what is clicked, until nobody can click any more.
pub(super) fn follow(inner: Arc<Inner>, mut clicks: mpsc::Receiver<NoticeAct>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(act) = clicks.recv().await {
            match act {
                NoticeAct::Undo { .. } => undo(&inner),
                NoticeAct::ShowLog { server } => {
                    if let Some(panel) = &inner.options.panel {
                        panel.show_log(&server);
                    }
                }
                NoticeAct::StartAgain { .. } | NoticeAct::ShowRun { .. } | NoticeAct::ShowContainers => {
                    tracing::warn!(?act, "no notification has this button");
                }
            }
        }
    })
}

/// In a task of its own: it may load a model, and the next click shall not wait for that.
fn undo(inner: &Arc<Inner>) {
    let inner = inner.clone();
    tokio::spawn(async move {
        // Failures reach people as notices; the log keeps what was refused at once.
        if let Err(error) = inner.call(Call::Undo).await {
            tracing::info!(%error, "a click was refused");
        }
    });
}
