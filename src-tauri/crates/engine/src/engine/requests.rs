//! Requests through the one address: of those in memory and those that are kept, one list.

use super::Inner;
use crate::{
    api::{CallResult, Reply},
    hub::{Hub, Report},
    metrics,
};
use pilothouse_domain::{
    Timestamp,
    error::ApiError,
    settings::Settings,
    traffic::{RequestRecord, TrafficFilter, pieces, totals},
};
use pilothouse_gateway::KeyRing;
use pilothouse_records::{MetricsPage, Recorder};
use pilothouse_system::paths::Paths;
use std::cmp::Reverse;

const DEFAULT_S: u32 = 3600;
const LONGEST_S: u32 = 366 * 86_400;

impl Inner {
    /// See `Call::Traffic`.
    pub(super) async fn traffic(&self, mut filter: TrafficFilter) -> CallResult {
        self.part_server_and_model(&mut filter);
        let page = filter.page();
        let kept = match &self.store {
            Some(store) => store.requests(&filter, page + 1).await?,
            None => Vec::new(),
        };
        let here = self.recording.recorder.in_memory();
        let here = here.into_iter().filter(|record| filter.lets_through(record));
        let (requests, more) = joined(here, kept, page as usize);
        if requests.is_empty() {
            self.want_names_known(&filter).await?;
        }
        Ok(Reply::Traffic { requests, more })
    }

    /// A model may be named as `<server>/<name>` too.
    fn part_server_and_model(&self, filter: &mut TrafficFilter) {
        let snapshot = self.hub.now();
        let whole = snapshot.models.iter().find(|view| Some(&view.id) == filter.model.as_ref());
        if let (None, Some(view)) = (&filter.server, whole) {
            filter.server = Some(view.model.server.clone());
            filter.model = Some(view.model.name.clone());
        }
    }

    /// A name that nobody ever had is an error, not an empty list. Errors: not_found.
    async fn want_names_known(&self, filter: &TrafficFilter) -> Result<(), ApiError> {
        let snapshot = self.hub.now();
        let TrafficFilter { client, server, model, .. } = filter;
        let with = |client: &Option<String>, model: &Option<String>| TrafficFilter {
            client: client.clone(),
            model: model.clone(),
            ..TrafficFilter::default()
        };
        if let Some(name) = client
            && !self.has_any(&with(client, &None)).await?
        {
            let error = ApiError::not_found(format!("No request of {name} is kept."));
            return Err(error.hint("“pilothouse traffic” lists who asked."));
        }
        if let Some(server) = server
            && snapshot.server(server).is_none()
        {
            // It may have been taken out of the settings.
            let of_server = TrafficFilter { server: Some(server.clone()), ..TrafficFilter::default() };
            if !self.has_any(&of_server).await? {
                self.supervisors.get(server)?;
            }
        }
        if let Some(name) = model
            && !snapshot.models.iter().any(|view| view.model.name == *name)
            && !self.has_any(&with(&None, model)).await?
        {
            let error =
                ApiError::not_found(format!("No server has a model {name}, and no request of it is kept."));
            return Err(error.hint("“pilothouse models” lists them."));
        }
        Ok(())
    }

    async fn has_any(&self, filter: &TrafficFilter) -> Result<bool, ApiError> {
        let kept = match &self.store {
            Some(store) => store.requests(filter, 1).await?,
            None => Vec::new(),
        };
        Ok(!kept.is_empty()
            || self.recording.recorder.in_memory().iter().any(|record| filter.lets_through(record)))
    }

    /// See `Call::TrafficRecord`.
    pub(super) async fn traffic_record(&self, id: u64) -> CallResult {
        let here = self.recording.recorder.one(id);
        let record = match (here, &self.store) {
            (None, Some(store)) => store.request(id).await?,
            (here, _) => here,
        };
        let record = record.ok_or_else(|| {
            ApiError::not_found(format!("No request {id} is kept."))
                .hint("“pilothouse traffic” lists those that are.")
        })?;
        Ok(Reply::TrafficRecord { record })
    }

    /// See `Call::TrafficTotals`.
    pub(super) async fn traffic_totals(&self, span_s: Option<u32>) -> CallResult {
        let now = Timestamp::now();
        let span_s = span_s.unwrap_or(DEFAULT_S).clamp(60, LONGEST_S);
        let pieces = pieces(now.as_millisecond() - i64::from(span_s) * 1000, now.as_millisecond());
        let cells = self.store()?.request_cells(&pieces).await?;
        let begin = pieces.first().and_then(|first| Timestamp::from_millisecond(first.from_ms).ok());
        let totals = totals(&cells, begin.unwrap_or(now), now, self.recording.recorder.lost());
        Ok(Reply::TrafficTotals { totals, rates: self.recording.rates() })
    }
}

/// Both in one, newest first and each once: what is in memory is the younger truth.
fn joined(
    here: impl Iterator<Item = RequestRecord>,
    kept: Vec<RequestRecord>,
    page: usize,
) -> (Vec<RequestRecord>, bool) {
    let mut all: Vec<RequestRecord> = here.chain(kept).collect();
    // A stable order: of two with one number, the one of memory comes first.
    all.sort_by_key(|record| Reverse(record.id));
    all.dedup_by_key(|record| record.id);
    let more = all.len() > page;
    all.truncate(page);
    (all, more)
}

/// The page of figures, closed.
pub(super) fn metrics_page(hub: Hub, recorder: Recorder, keys: KeyRing) -> MetricsPage {
    MetricsPage::new(move || metrics::text(hub.now(), recorder.clone(), hub.switches(), keys.wrong().count))
}

/// Opens or closes it, as the settings say.
pub(super) fn follow_metrics(page: &MetricsPage, settings: &Settings, paths: &Paths, hub: &Hub) {
    if !settings.gateway.metrics {
        page.set_token(None);
    } else if !page.is_open() {
        match metrics::metrics_token(paths) {
            Ok(token) => page.set_token(Some(token)),
            Err(error) => hub.report(Report::Trouble(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilothouse_domain::traffic::RequestState;

    fn record(id: u64, state: RequestState) -> RequestRecord {
        RequestRecord { id, state, ..RequestRecord::default() }
    }

    #[test]
    fn memory_and_history_are_one_list_with_each_request_once() {
        let done = |id| record(id, RequestState::Done);
        let here = [record(9, RequestState::Answering), done(8), done(7)];
        let kept = vec![record(9, RequestState::Cut), done(7), done(6), done(5)];
        let (all, more) = joined(here.clone().into_iter(), kept.clone(), 3);
        assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [9, 8, 7]);
        assert_eq!((all[0].state, more), (RequestState::Answering, true));
        let (all, more) = joined(here.into_iter(), kept, 5);
        assert_eq!((all.len(), more), (5, false));
    }

    #[test]
    fn the_page_of_figures_is_there_as_long_as_the_settings_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let asked = |name: &str| (name == "PILOTHOUSE_HOME").then(|| folder.path().as_os_str().to_owned());
        let paths = Paths::resolve(&asked).unwrap();
        paths.create_all().unwrap();
        let hub = Hub::new(Default::default(), Default::default());
        let (recorder, _ended) = Recorder::new(0);
        let page = metrics_page(hub.clone(), recorder, KeyRing::default());
        let mut settings = Settings::default();
        let file = paths.data.join("metrics-token");
        follow_metrics(&page, &settings, &paths, &hub);
        assert!(!page.is_open() && !file.exists(), "off: no token is made");
        settings.gateway.metrics = true;
        follow_metrics(&page, &settings, &paths, &hub);
        let token = std::fs::read(&file).unwrap();
        assert!(page.admits(&token) && page.text().unwrap().contains("pilothouse_requests_in_flight"));
        settings.gateway.metrics = false;
        follow_metrics(&page, &settings, &paths, &hub);
        assert!(!page.admits(&token));
        settings.gateway.metrics = true;
        follow_metrics(&page, &settings, &paths, &hub);
        assert!(page.admits(&token), "the same as before");
        settings.gateway.metrics = false;
        follow_metrics(&page, &settings, &paths, &hub);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        settings.gateway.metrics = true;
        follow_metrics(&page, &settings, &paths, &hub);
        assert!(!page.is_open() && hub.now().troubles.len() == 1, "it is said");
    }
}
