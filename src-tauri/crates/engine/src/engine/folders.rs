//! Looks whether the folders that the settings name are there, for as long as the engine runs: disks come and go.

use crate::{
    hub::{Hub, Report},
    settings::missing_folders,
};
use pilothouse_domain::{error::ErrorCode, settings::Settings};
use pilothouse_system::apart;
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A disk of the network may not answer at all; then nothing is known of it.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Says as a trouble what is missing, until it is there or not named any more. `settings`: those in force.
pub(super) fn watch_folders(hub: Hub, mut settings: watch::Receiver<Settings>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut told = false;
        loop {
            let now = settings.borrow_and_update().clone();
            let look = move || missing_folders(&now);
            match apart::once("the folders of the settings", LOOK_LIMIT, look).await {
                Ok(Some(error)) => {
                    hub.report(Report::Trouble(error));
                    told = true;
                }
                Ok(None) if told => {
                    hub.report(Report::TroubleOver(ErrorCode::FolderMissing));
                    told = false;
                }
                _ => {}
            }
            tokio::select! {
                changed = settings.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    })
}
