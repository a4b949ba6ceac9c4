//! Puts changed settings in force as far as that needs no restart, and tells of mistakes.

use super::{Inner, fleet::Fleet, requests::follow_metrics};
use crate::{
    actors::sampler::Pace,
    hub::{Names, Report},
    settings,
};
use pilothouse_domain::{
    error::ErrorCode,
    settings::{LoadOnRequest, MemorySettings, NotificationSettings, Settings, SwitchingSettings},
};
use pilothouse_leases::Limits;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Who hears of changed settings.
pub(super) struct Told {
    pub notifications: watch::Sender<NotificationSettings>,
    pub switching: watch::Sender<SwitchingSettings>,
    pub memory: watch::Sender<MemorySettings>,
    pub named: watch::Sender<Settings>,
}

/// Scenes and names, for those who draw them and for requests.
pub(super) fn names(settings: &Settings) -> Report {
    Report::Names(Names {
        scenes: settings.scenes.clone(),
        aliases: settings.gateway.aliases.clone(),
        loads_on_request: settings.memory.load_on_request != LoadOnRequest::Never,
    })
}

/// Puts changed settings in force as far as that needs no restart, and tells of mistakes.
pub(super) fn follow_settings(
    inner: Arc<Inner>,
    fleet: Fleet,
    started_with: Settings,
    told: Told,
) -> (Option<settings::WatchGuard>, JoinHandle<()>) {
    let (sender, mut changes) = mpsc::channel(4);
    let guard = settings::watch(inner.settings.path(), sender)
        .inspect_err(|error| tracing::warn!(%error, "changes of the settings file are not seen"))
        .ok();
    let task = tokio::spawn(async move {
        let mut last = started_with;
        while let Some(change) = changes.recv().await {
            match change {
                Ok(mut settings) => {
                    inner.options.apply(&mut settings);
                    tracing::info!("the settings file has changed");
                    inner.hub.report(Report::TroubleOver(ErrorCode::SettingsInvalid));
                    inner.hub.report(Report::Tray(settings.tray.clone()));
                    inner.hub.report(names(&settings));
                    told.notifications.send_replace(settings.notifications.clone());
                    told.switching.send_replace(settings.switching);
                    told.memory.send_replace(settings.memory);
                    told.named.send_replace(settings.clone());
                    follow_metrics(&inner.metrics, &settings, &inner.paths, &inner.hub);
                    inner.client_keys.ring().set_required(settings.gateway.require_key);
                    inner.leases.set_limits(limits(&settings));
                    inner.sampler.set_pace(Pace::from(&settings));
                    inner.containers.set_wanted(settings.gauges.docker);
                    fleet.follow(&inner.in_force.now(), &last, &settings).await;
                    inner.residency.servers_are(inner.supervisors.ids()).await;
                    last = settings;
                }
                Err(error) => inner.hub.report(Report::Trouble(error)),
            }
        }
    });
    (guard, task)
}

/// How long requests wait, and how many.
pub(super) fn limits(settings: &Settings) -> Limits {
    let gateway = &settings.gateway;
    Limits {
        queue: gateway.queue as usize,
        held: Duration::from_secs(gateway.wait_s.into()),
        turn: Duration::from_secs(gateway.queue_wait_s.into()),
    }
}
