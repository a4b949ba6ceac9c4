//! Which sources of readings are silent, of all actors that read: one trouble for all of them.

use crate::hub::{Hub, Report};
use pilothouse_domain::{
    error::ErrorCode,
    gauge::{SilentSource, silence},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Clones share it.
#[derive(Clone)]
pub struct Silences {
    hub: Hub,
    /// By the actor that reads them.
    silent: Arc<Mutex<BTreeMap<&'static str, Vec<SilentSource>>>>,
}

impl Silences {
    pub fn new(hub: Hub) -> Self {
        Self { hub, silent: Arc::default() }
    }

    /// What `actor` hears nothing from now.
    pub fn tell(&self, actor: &'static str, now: &[SilentSource]) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let before = silent.insert(actor, now.to_vec()).unwrap_or_default();
        let names = |list: &[SilentSource]| list.iter().map(|one| one.what.clone()).collect::<Vec<_>>();
        if names(&before) == names(now) {
            return;
        }
        for new in now.iter().filter(|one| !before.iter().any(|other| other.what == one.what)) {
            tracing::warn!(source = %new.what, since = %new.since, "does not answer and is left behind");
        }
        let all: Vec<SilentSource> = silent.values().flatten().cloned().collect();
        self.hub.report(match silence(&all) {
            Some(trouble) => Report::Trouble(trouble),
            None => Report::TroubleOver(ErrorCode::SourceSilent),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::{Timestamp, snapshot::EngineView};

    fn silent(what: &str) -> SilentSource {
        SilentSource { source: "x".into(), what: what.into(), since: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn there_is_one_trouble_for_all_and_none_when_all_answer() {
        let hub = Hub::new(EngineView::default(), pilothouse_leases::Leases::default());
        let silences = Silences::new(hub.clone());
        let said = || hub.now().troubles.iter().map(|trouble| trouble.message.clone()).collect::<Vec<_>>();
        silences.tell("gauges", &[silent("the NVIDIA driver")]);
        silences.tell("containers", &[silent("Docker")]);
        assert_eq!(said().len(), 1);
        assert!(said()[0].starts_with("Docker and the NVIDIA driver do not answer"), "{:?}", said());
        let revision = hub.now().revision;
        silences.tell("gauges", &[silent("the NVIDIA driver")]);
        assert_eq!(hub.now().revision, revision, "nothing new");
        silences.tell("gauges", &[]);
        assert!(said()[0].starts_with("Docker does not answer"), "{:?}", said());
        silences.tell("containers", &[]);
        assert!(said().is_empty());
    }
}
