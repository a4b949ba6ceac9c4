//! One arm per call: checks the arguments and hands on to the actor that owns the matter.

use super::{Inner, fitting, trends};
use crate::{
    actors::{residency::Wanted, supervisor::SupervisorHandle},
    api::{Call, CallResult, Reply},
    doctor,
    hub::Report,
    setup::SetupOptions,
    store::{EventFilter, EventPage, RunFilter, Store},
};
use futures_util::future::join_all;
use pilothouse_domain::{
    Timestamp,
    client_key::ClientKey,
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    lifecycle::ServerState,
    server::{KeyText, ServerId},
};
use pilothouse_servers::{discovery::discover, ollama};
use pilothouse_system::{
    hardware::this_machine,
    process::{Identity, Signal, command_line, signal_process},
};
use std::time::Duration;

/// The time from a change of the settings file until it is seen.
const CHANGED_LIMIT: Duration = Duration::from_secs(5);

impl Inner {
    pub(super) async fn call(&self, call: Call) -> CallResult {
        if matches!(call, Call::Snapshot { .. } | Call::Refresh | Call::GaugeHistory { .. }) {
            self.sampler.look();
        }
        if call.is_of_a_page() {
            self.watching.note();
        }
        match call {
            Call::Snapshot { known: Some(known), parts: true, gauges_since_ms } => {
                Ok(self.parts(known, gauges_since_ms).await)
            }
            Call::Snapshot { known, .. } => Ok(self.snapshot(known)),
            Call::Refresh => {
                let supervisors = self.supervisors.all();
                join_all(supervisors.iter().map(SupervisorHandle::refresh)).await;
                Ok(self.snapshot(None))
            }
            Call::Discover => {
                let servers = discover(&self.hub.now()).await;
                self.hub.report(Report::Discovered(servers.clone()));
                Ok(Reply::Discovered { servers })
            }
            Call::StartServer { server } => {
                let supervisor = self.supervisors.get(&server)?;
                if self.hub.now().server(&server).is_some_and(|view| view.state == ServerState::Stopped) {
                    self.renew_settings(&server)?;
                }
                supervisor.ensure_ready().await?;
                self.server(&server)
            }
            Call::StopServer { server } => {
                self.supervisors.get(&server)?.stop().await?;
                self.server(&server)
            }
            Call::RestartServer { server } => {
                let supervisor = self.supervisors.get(&server)?;
                supervisor.stop().await?;
                self.renew_settings(&server)?;
                supervisor.ensure_ready().await?;
                self.server(&server)
            }
            Call::LocateServer { server } => {
                self.supervisors.get(&server)?.locate().await;
                self.server(&server)
            }
            Call::CheckServer { server } => {
                Ok(Reply::Doctor { checks: self.supervisors.get(&server)?.check().await? })
            }
            Call::TakeOver { server } => {
                self.renew_settings(&server)?;
                self.supervisors.get(&server)?.take_over().await?;
                self.server(&server)
            }
            Call::AddServer { server, address, title } => {
                self.settings.add_remote(
                    server.as_str(),
                    address.trim(),
                    title.as_deref().unwrap_or("").trim(),
                )?;
                self.until_known(&server).await
            }
            Call::RemoveServer { server } => {
                self.settings.remove_remote(server.as_str())?;
                // Nobody could name it any more.
                if let Err(error) = self.keys.remove(&server).await
                    && error.code != ErrorCode::NotFound
                {
                    tracing::warn!(%server, %error, "its key stays");
                }
                self.until_forgotten(&server).await;
                Ok(Reply::Done)
            }
            Call::EndOrphans => self.end_orphans(),
            Call::SetKey { server, key } => self.set_key(&server, &key).await,
            Call::RemoveKey { server } => {
                let supervisor = self.keyed(&server)?;
                let removed = self.keys.remove(&server).await;
                // What is left of it in the keyring is not read again before its owner wants that.
                if removed.is_ok() || self.keys.get(&server).await.is_none() {
                    supervisor.key_changed().await;
                }
                removed?;
                Ok(Reply::Done)
            }
            Call::ClientKeys => Ok(self.client_keys.list().await),
            Call::AddClientKey { name, scope, models, at_once, tokens_per_minute } => {
                let key = ClientKey {
                    name: name.trim().to_owned(),
                    scope,
                    models,
                    at_once,
                    tokens_per_minute,
                    made_at: Timestamp::now(),
                    last_used_at: None,
                };
                self.client_keys.add(key).await
            }
            Call::RevokeClientKey { name } => self.client_keys.revoke(&name).await,
            Call::Switch { model, server, dry_run, now, with: Some(with) } => {
                self.switch_with(&model, server.as_ref(), with, now, dry_run).await
            }
            Call::Switch { model, server, dry_run, now, with: None } => {
                let report = self.residency.switch(Wanted { model, server, dry_run, now }).await?;
                Ok(Reply::Switch { report })
            }
            call @ (Call::Unload { .. }
            | Call::UnloadCopy { .. }
            | Call::Deactivate { .. }
            | Call::Undo
            | Call::Pin { .. }
            | Call::ApplyScene { .. }
            | Call::PlanScene { .. }
            | Call::SaveScene { .. }
            | Call::DeleteScene { .. }
            | Call::OrderScenes { .. }
            | Call::SetAlias { .. }) => self.memory_call(call).await,
            call @ (Call::Apps
            | Call::Connect { .. }
            | Call::ConnectWrite { .. }
            | Call::ConnectUndo { .. }
            | Call::ConnectTest { .. }) => self.connect_call(call).await,
            Call::Machine => Ok(Reply::Machine { machine: this_machine().await }),
            Call::Fit { models, server, context, parallel, kv, machine } => {
                let asked = fitting::Asked { models, server, context, parallel, kv, machine };
                Ok(Reply::Fit { report: self.fit(asked).await? })
            }
            Call::FitTogether { context, parallel, kv, machine } => {
                let asked =
                    fitting::Asked { models: Vec::new(), server: None, context, parallel, kv, machine };
                Ok(Reply::Together { together: self.fit_together(asked).await? })
            }
            Call::ModelFacts => Ok(Reply::ModelFacts { models: self.model_facts().await? }),
            Call::CancelSwitch => self.residency.cancel().await.map(|()| Reply::Done),
            Call::Bench(call) => match call.resume {
                Some(run_id) => self.resume_bench(run_id).await,
                None => self.bench(call).await,
            },
            Call::Compare { a, b } => self.compare(a, b).await,
            Call::Trends { model, server, plan, metric, limit, points } => {
                let limit = limit.unwrap_or(u32::MAX);
                let filter = RunFilter { model, server, plan, limit, ..RunFilter::default() };
                self.trends(trends::Asked { filter, metric, points }).await
            }
            Call::AcceptLevel { run_id } => {
                self.store()?.accept_level(run_id).await?;
                Ok(Reply::Done)
            }
            Call::UseParallel { model, server, parallel } => self.use_parallel(model, server, parallel).await,
            Call::UndoParallel => Ok(Reply::Parallel { report: self.tuner.undo().await? }),
            Call::CancelParallel => self.tuner.cancel().map(|()| Reply::Done),
            Call::CancelBench => self.bencher.cancel().await.map(|()| Reply::Done),
            Call::History { model, server, plan, state, since_ms, until_ms, limit, offset } => {
                let (limit, offset) = (limit.unwrap_or(50).clamp(1, 1000), offset.unwrap_or(0));
                let (since, until) = (moment(since_ms)?, moment(until_ms)?);
                self.past_runs(RunFilter { model, server, plan, state, since, until, limit, offset }).await
            }
            Call::Run { run_id } => Ok(Reply::Run { detail: self.store()?.run(run_id).await? }),
            Call::Report { runs, form } => self.report(&runs, form).await,
            Call::Export { runs, form, after } => self.export(&runs, form, after).await,
            Call::Import { text, upload, more } => self.import(text, upload, more).await,
            Call::DeleteRuns { runs } => {
                Ok(Reply::Deleted { deleted: self.store()?.delete_runs(&runs).await? })
            }
            Call::HistorySize => {
                let keep = self.latest.borrow().history;
                Ok(Reply::HistorySize { size: self.store()?.size(&keep).await? })
            }
            Call::Switches { limit } => {
                let limit = limit.unwrap_or(50).clamp(1, 1000);
                Ok(Reply::Switches { switches: self.store()?.past_switches(limit).await? })
            }
            Call::Events { server, level, kind, limit, offset } => {
                let limit = limit.unwrap_or(50).clamp(1, 500);
                let offset = offset.unwrap_or_default();
                self.events(EventFilter { server, level, kind, limit, offset }).await
            }
            Call::Traffic { filter } => self.traffic(filter).await,
            Call::TrafficRecord { id } => self.traffic_record(id).await,
            Call::TrafficTotals { span_s } => self.traffic_totals(span_s).await,
            Call::GaugeHistory { since_ms, span_s } => {
                Ok(Reply::GaugeHistory { history: self.gauge_history(span_s, since_ms).await })
            }
            Call::Logs { server, after, limit } => {
                let limit = limit.unwrap_or(200).clamp(1, 2000) as usize;
                Ok(Reply::Logs { lines: self.supervisors.get(&server)?.log.after(after, limit) })
            }
            Call::SearchLogs { server, text, limit } => {
                let limit = limit.unwrap_or(200).clamp(1, 2000) as usize;
                self.search_logs(&server, text, limit).await
            }
            Call::Ask { prompt, max_tokens } => {
                let max_tokens = max_tokens.unwrap_or(256).clamp(1, 4096);
                Ok(Reply::Asked { answer: self.answers.ask(prompt, max_tokens)? })
            }
            Call::ReadAnswer { answer, offset } => {
                Ok(Reply::Answer { chunk: self.answers.read(answer, offset).await? })
            }
            Call::CancelAnswer { answer } => self.answers.cancel(answer).map(|()| Reply::Done),
            Call::Setup { from_source } => self.setup(from_source).await,
            Call::CancelSetup => self.fetcher.cancel().map(|()| Reply::Done),
            Call::Settings => Ok(Reply::Settings { settings: self.settings_view() }),
            Call::SetSetting { key, value, digest } => self.set_setting(&key, &value, digest.as_deref()),
            Call::Doctor => {
                let off_card = |server: &ServerId| self.bookkeeper.is_off_card(server);
                let wants_bridges = self.latest.borrow().gateway.container_bridges;
                let snapshot = self.hub.now();
                let checks =
                    doctor::examine(&self.paths, &snapshot, &self.keys, off_card, wants_bridges).await;
                Ok(Reply::Doctor { checks })
            }
            Call::DismissNotice { id } => {
                self.hub.report(Report::Dismiss(id));
                Ok(Reply::Done)
            }
        }
    }

    fn snapshot(&self, known: Option<u64>) -> Reply {
        let snapshot = self.hub.now();
        let now = Some(Timestamp::now());
        match known == Some(snapshot.revision) {
            true => Reply::Unchanged { revision: snapshot.revision, now },
            false => Reply::Snapshot { snapshot, now },
        }
    }

    async fn parts(&self, known: u64, gauges_since_ms: Option<i64>) -> Reply {
        let (snapshot, parts) = self.hub.since(known);
        let now = Some(Timestamp::now());
        let Some(parts) = parts else { return Reply::Snapshot { snapshot, now } };
        if parts.is_empty() {
            return Reply::Unchanged { revision: snapshot.revision, now };
        }
        let history = match gauges_since_ms.filter(|_| parts.contains_key("gauges")) {
            Some(since) => Some(self.gauge_history(None, Some(since)).await),
            None => None,
        };
        Reply::Parts { revision: snapshot.revision, at: snapshot.at, parts, history, now }
    }

    /// What Ollama does with a runner of its own: SIGKILL. Each is looked at once more, because pids pass on.
    fn end_orphans(&self) -> CallResult {
        let snapshot = self.hub.now();
        let orphans = snapshot.gauges.as_ref().map(|gauges| &gauges.orphans[..]).unwrap_or_default();
        let still = orphans
            .iter()
            .filter_map(|orphan| Identity::of(orphan.pid))
            .filter(|identity| command_line(identity.pid).is_some_and(|line| ollama::is_runner_line(&line)));
        let still: Vec<Identity> = still.collect();
        if still.is_empty() {
            return Err(ApiError::not_found("No process of an Ollama that died is left."));
        }
        for identity in still {
            tracing::info!(pid = identity.pid, "an orphaned runner is ended");
            signal_process(identity, Signal::Kill);
        }
        Ok(Reply::Done)
    }

    /// A server that is not in the settings any more may still have its events; one that nobody ever knew has none.
    async fn events(&self, filter: EventFilter) -> CallResult {
        let EventPage { events, total } = self.store()?.events(&filter).await?;
        if let Some(server) = &filter.server
            && total == 0
        {
            self.supervisors.get(server)?;
        }
        Ok(Reply::Events { events, total })
    }

    async fn search_logs(&self, server: &ServerId, text: String, limit: usize) -> CallResult {
        let log = self.supervisors.get(server)?.log;
        if text.trim().is_empty() {
            return Err(ApiError::new(ErrorCode::InvalidCall, "Say what to search for."));
        }
        let search = tokio::task::spawn_blocking(move || log.search(&text, limit));
        let matches =
            search.await.map_err(|error| ApiError::internal(format!("The search ended: {error}.")))?;
        Ok(Reply::LogMatches { matches })
    }

    async fn set_key(&self, server: &ServerId, key: &KeyText) -> CallResult {
        let supervisor = self.keyed(server)?;
        let text = key.0.trim();
        if text.is_empty() || text.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(ApiError::new(ErrorCode::InvalidCall, "A key is one line of plain characters."));
        }
        let place = self.keys.set(server, Secret::new(text)).await?;
        supervisor.key_changed().await;
        Ok(Reply::KeyKept { place })
    }

    /// A server that takes a key.
    fn keyed(&self, id: &ServerId) -> Result<SupervisorHandle, ApiError> {
        let supervisor = self.supervisors.get(id)?;
        if supervisor.takes_key {
            return Ok(supervisor);
        }
        Err(ApiError::new(ErrorCode::Unsupported, format!("{id} takes no key from a person.")))
    }

    /// Waits until a server that was just put into the settings file is in force.
    async fn until_known(&self, id: &ServerId) -> CallResult {
        let mut snapshots = self.hub.snapshots();
        let known = snapshots.wait_for(|snapshot| snapshot.server(id).is_some());
        // A folder that cannot be watched is said as a trouble; the server is used after the next start then.
        let _ = tokio::time::timeout(CHANGED_LIMIT, known).await;
        self.server(id)
    }

    /// Waits until a server that was just taken out of the settings file is not used any more, and nothing of it is active.
    async fn until_forgotten(&self, id: &ServerId) {
        let mut snapshots = self.hub.snapshots();
        let forgotten = snapshots.wait_for(|snapshot| {
            let active = snapshot.active.as_ref().is_some_and(|active| active.server == *id);
            snapshot.server(id).is_none() && !active
        });
        // A folder that cannot be watched is said as a trouble; it is used until the next start then.
        let _ = tokio::time::timeout(CHANGED_LIMIT, forgotten).await;
    }

    fn server(&self, id: &ServerId) -> CallResult {
        let snapshot = self.hub.now();
        let view = snapshot.server(id).cloned();
        view.map(|server| Reply::Server { server }).ok_or_else(|| ApiError::not_found("The server is gone."))
    }

    pub(super) fn store(&self) -> Result<&Store, ApiError> {
        self.store.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::StoreUnavailable,
                "The history cannot be read: the database is not available.",
            )
            .hint("“pilothouse doctor” says why.")
        })
    }

    /// Fetches the embedded default, then starts it and, when nothing was ever active, makes its model active.
    async fn setup(&self, from_source: bool) -> CallResult {
        let result = self.fetcher.fetch(SetupOptions { from_source }).await?;
        if !result.fetched.is_empty() {
            self.activate_first().await;
        }
        Ok(Reply::Setup { fetched: result.fetched, skipped: result.skipped })
    }
}

/// Errors: invalid_call, for a moment that no calendar has.
fn moment(ms: Option<i64>) -> Result<Option<Timestamp>, ApiError> {
    let beyond = |_| ApiError::new(ErrorCode::InvalidCall, "That moment is beyond any calendar.");
    ms.map(Timestamp::from_millisecond).transpose().map_err(beyond)
}
