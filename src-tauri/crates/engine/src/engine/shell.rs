//! What the shell tells the engine besides calls: the keys for the previous model, which are heard while the person looks at
//! any program, and a desktop on which nothing of Pilothouse is to be seen.

use super::EngineHandle;
use crate::{
    api::{Call, CallHandler},
    hub::Report,
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    notice::Happening,
    tray::previous_model,
};

impl EngineHandle {
    /// Makes the model active that was so before the present one. No page shows what comes of it, so that a refusal is told
    /// as a notice. Pressed again while that switch is on its way it changes nothing.
    pub async fn switch_to_previous(&self) {
        let snapshot = self.snapshots().borrow().clone();
        let refused = match previous_model(&snapshot) {
            Ok(model) if snapshot.switching.as_ref().is_some_and(|under_way| under_way.to == model) => return,
            Ok(model) => {
                let (name, server) = (model.id(), Some(model.server));
                // One that was begun and put back has a notice of its own.
                self.call(Call::Switch { model: name, server, dry_run: false, now: false, with: None })
                    .await
                    .err()
            }
            Err(error) => Some(error),
        };
        if let Some(error) = refused.filter(|error| error.code != ErrorCode::Cancelled) {
            tracing::info!(%error, "the switch to the previous model was refused");
            self.0.notifier.tell(Happening::NotSwitched { error });
        }
    }

    /// Says whether the keys of the settings are heard. Errors: why not, and what to do; it stays as a trouble until they are
    /// heard or no longer wanted.
    pub fn shortcut_is(&self, heard: Result<(), ApiError>) {
        self.0.hub.report(match heard {
            Ok(()) => Report::TroubleOver(ErrorCode::ShortcutNotHeard),
            Err(error) => Report::Trouble(error),
        });
    }

    /// The last window was closed, and no tray icon is shown: the person is told how to come back.
    pub fn is_out_of_sight(&self) {
        self.0.notifier.tell(Happening::OutOfSight);
    }
}
