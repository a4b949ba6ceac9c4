//! Looks at the containers of this machine now and then, and tells once of each that gets into trouble.

use crate::{
    actors::notifier::NotifierHandle,
    hub::{Hub, Report},
};
use pilothouse_domain::container::Watch;
use pilothouse_system::gauges::Docker;
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

/// Time between two looks.
#[derive(Debug, Clone, Copy)]
pub struct Intervals {
    pub with_engine: Duration,
    /// While there is none.
    pub without: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { with_engine: Duration::from_secs(10), without: Duration::from_secs(60) }
    }
}

/// The actor's switch. It ends when this is dropped.
pub struct ContainerWatch {
    wanted: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ContainerWatch {
    pub fn start(
        hub: &Hub,
        notifier: &NotifierHandle,
        docker: Docker,
        wanted: bool,
        every: Intervals,
    ) -> Self {
        let (sender, wanted) = watch::channel(wanted);
        let task = tokio::spawn(run(hub.clone(), notifier.clone(), docker, wanted, every));
        Self { wanted: sender, task }
    }

    /// Whether containers are wanted at all.
    pub fn set_wanted(&self, wanted: bool) {
        self.wanted.send_if_modified(|old| std::mem::replace(old, wanted) != wanted);
    }
}

impl Drop for ContainerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    hub: Hub,
    notifier: NotifierHandle,
    mut docker: Docker,
    mut wanted: watch::Receiver<bool>,
    every: Intervals,
) {
    let mut seen = Watch::default();
    let mut was_there = false;
    loop {
        let is_wanted = *wanted.borrow_and_update();
        let reading = match is_wanted {
            true => docker.read().await,
            false => Err("switched off in the settings (gauges.docker)".into()),
        };
        // One that has just gone may be on its way back.
        let soon = reading.is_ok() || was_there;
        was_there = reading.is_ok();
        match reading {
            Ok(mut containers) => {
                let news = seen.judge(&mut containers);
                hub.report(Report::Containers(Ok(containers)));
                news.into_iter().for_each(|happening| notifier.tell(happening));
            }
            Err(reason) => {
                seen.lost_sight();
                hub.report(Report::Containers(Err(reason)));
            }
        }
        let wait = if soon { every.with_engine } else { every.without };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}
