//! Looks at the containers of this machine now and then, and tells once of each that gets into trouble.

use crate::{
    actors::{notifier::NotifierHandle, silences::Silences},
    hub::{Hub, Report},
};
use pilothouse_domain::{Timestamp, container::Watch, gauge::SilentSource};
use pilothouse_system::gauges::Docker;
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

/// For one reading of all containers, whatever holds it up.
const READING_LIMIT: Duration = Duration::from_secs(30);

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
        silences: &Silences,
        wanted: bool,
        every: Intervals,
    ) -> Self {
        let (sender, wanted) = watch::channel(wanted);
        let to = (hub.clone(), notifier.clone(), silences.clone());
        let task = tokio::spawn(run(to, docker, wanted, every));
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
    (hub, notifier, silences): (Hub, NotifierHandle, Silences),
    mut docker: Docker,
    mut wanted: watch::Receiver<bool>,
    every: Intervals,
) {
    let mut seen = Watch::default();
    let mut was_there = false;
    let mut silent_since = None;
    loop {
        let is_wanted = *wanted.borrow_and_update();
        let asked = Timestamp::now();
        let reading = match is_wanted {
            // Each question has a bound of its own; this one is for what nobody has thought of.
            true => match tokio::time::timeout(READING_LIMIT, docker.read()).await {
                Ok(Err(reason)) if reason == Docker::SILENT => Err(None),
                Ok(reading) => reading.map_err(Some),
                Err(_) => Err(None),
            },
            false => Err(Some("switched off in the settings (gauges.docker)".into())),
        };
        let reading = match reading {
            Err(None) => {
                let since = silent_since.get_or_insert(asked);
                let silent = SilentSource { source: "docker".into(), what: "Docker".into(), since: *since };
                silences.tell("containers", &[silent]);
                Err(Docker::SILENT.to_owned())
            }
            Ok(containers) => Ok(containers),
            Err(Some(reason)) => Err(reason),
        };
        if reading.is_ok() || !is_wanted {
            silent_since = None;
            silences.tell("containers", &[]);
        }
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
