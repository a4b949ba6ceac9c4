//! The slow work of a supervisor, as free functions without its state.

use super::{connection::Connection, record::remove_made};
use crate::actors::bounds::apart;
use futures_util::StreamExt;
use pilothouse_domain::{
    endpoint::Endpoint,
    error::{ApiError, ErrorCode},
    hang::is_full,
    model::{Instance, Model},
    runner::RunnerProcess,
    server::Backend,
};
use pilothouse_leases::Lease;
use pilothouse_servers::{
    Found, GenerateRequest, Health, Installation, Launch, ServerAdapter, ServerClient, places::port_taken,
    slots,
};
use pilothouse_system::process::{
    Child, Identity, OwnedProcess, ProcessSpec, Processes, run_to_end, run_until,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The bound of a product's own start or stop command (reference/lmstudio.md section 6: 90 s).
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// How often a product that was asked to start is probed for.
const ANSWER_POLL: Duration = Duration::from_millis(500);

/// What a start led to. The server does not answer yet.
pub(super) enum Started {
    /// Our child.
    Own { process: OwnedProcess, endpoint: Endpoint, program: PathBuf, files: Vec<PathBuf> },
    /// Somebody else's was running already, or the product started itself.
    Adopted(Found),
}

/// Starts a server, unless one runs at its address already: a second one beside another owner would only fight it. It can be
/// called off until a process is started or a product is asked; then there is no result.
pub(super) async fn start(
    adapter: &dyn ServerAdapter,
    run_dir: &Path,
    output: &Path,
    cancel: &CancellationToken,
) -> Result<Option<Started>, ApiError> {
    let prepare = async {
        if let Some(found) = adapter.find_running().await {
            return Ok(Err(found));
        }
        let installation = adapter.locate().await;
        let program = match &installation {
            Installation::Installed { program, .. } => program.clone(),
            Installation::NotInstalled { reason, hint } => {
                return Err(ApiError::new(ErrorCode::NotInstalled, reason.clone()).hint(hint.clone()));
            }
        };
        Ok(Ok((adapter.launch(&installation).await?, program)))
    };
    let Some(prepared) = cancel.run_until_cancelled(prepare).await else { return Ok(None) };
    let (launch, program) = match prepared? {
        Ok(prepared) => prepared,
        Err(found) => return Ok(Some(Started::Adopted(found))),
    };
    match launch {
        Launch::Own { process, endpoint, files } => {
            let spawned = OwnedProcess::spawn(&process, output);
            let process = spawned.inspect_err(|_| remove_made(run_dir, &files))?;
            Ok(Some(Started::Own { process, endpoint, program, files }))
        }
        Launch::Ask { commands } => {
            let mut said = None;
            for command in &commands {
                // Exit codes of these commands lie in both directions, and some never end (lms#44, bt#1720); what
                // answers at the address is what counts.
                match run_until(command, COMMAND_LIMIT, answering(adapter)).await {
                    Ok(Some(finished)) => {
                        tracing::info!(command = ?command.args, exit = %finished.exit, "asked the product to start");
                        said = last_line(&finished.stderr);
                    }
                    Ok(None) => tracing::info!(command = ?command.args, "it answers; its command was ended"),
                    Err(error) => {
                        tracing::warn!(%error, "the command of the product");
                        said = Some(error.message);
                    }
                }
            }
            adapter.find_running().await.map(Started::Adopted).map(Some).ok_or_else(|| {
                let words = said.map(|words| format!(" It said: {words}")).unwrap_or_default();
                ApiError::new(
                    ErrorCode::TimedOut,
                    format!("{} was asked to start but does not answer.{words}", adapter.title()),
                )
                .hint("Start it by hand and look at what it says.")
            })
        }
    }
}

async fn answering(adapter: &dyn ServerAdapter) {
    while adapter.find_running().await.is_none() {
        tokio::time::sleep(ANSWER_POLL).await;
    }
}

fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// What one probe of a server brought.
pub(super) struct Probe {
    pub health: Result<Health, ApiError>,
    pub instances: Option<Vec<Instance>>,
    pub models: Option<Vec<Model>>,
    /// The children of the server that hold models; `None`: not told by the system, or no process known.
    pub runners: Option<Vec<RunnerProcess>>,
    pub backend: Option<Backend>,
    /// What a probe without an answer found instead.
    pub absence: Absence,
    /// What was odd in its lists, a sentence for each.
    pub odd: Vec<String>,
}

/// What is left of a server that gave no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Absence {
    /// Nobody listens at its address.
    pub refused: bool,
    /// The process that it was found with has ended.
    pub ended: bool,
}

impl Probe {
    fn failed(error: ApiError, absence: Absence) -> Self {
        Self {
            health: Err(error),
            instances: None,
            models: None,
            runners: None,
            backend: None,
            absence,
            odd: vec![],
        }
    }
}

/// Looks for whom nobody answers. Blocking.
fn absence(processes: &dyn Processes, base_url: &str, found: Option<Identity>) -> Absence {
    Absence {
        refused: processes.refuses(base_url),
        ended: found.is_some_and(|identity| identity.has_ended()),
    }
}

/// Whom a probe is for.
#[derive(Clone)]
pub(super) struct Probed {
    pub connection: Connection,
    /// Its process.
    pub pid: Option<u32>,
    /// The process of one that is not ours, for sure.
    pub found: Option<Identity>,
    /// One that nobody here has started, on this machine or in front of it: whether it is there at all is a question.
    pub may_be_gone: bool,
}

/// Probes health and, when it is well, lists instances and (when asked) models. A list that fails is left out: the
/// old one stays, and the log says why.
pub(super) async fn probe(
    probed: &Probed,
    adapter: &dyn ServerAdapter,
    processes: &Arc<dyn Processes>,
    with_models: bool,
) -> Probe {
    let client = &*probed.connection.client;
    let health = client.health().await;
    if let Err(error) = health {
        // It could not be asked, or it answered in its own way: that is no absence.
        let silent =
            matches!(error.code, ErrorCode::Unreachable | ErrorCode::TimedOut | ErrorCode::BadAnswer);
        let absence = match probed.may_be_gone && silent {
            true => {
                let (processes, probed) = (processes.clone(), probed.clone());
                let look = move || absence(&*processes, &probed.connection.endpoint.base_url, probed.found);
                tokio::task::spawn_blocking(look).await.unwrap_or_default()
            }
            false => Absence::default(),
        };
        return Probe::failed(error, absence);
    }
    let models = if with_models { Some(client.models().await) } else { None };
    let instances = client.instances().await;
    // It answers, but not us: its lists say so before the first question of a person does.
    let refused = models.iter().filter_map(|list| list.as_ref().err()).chain(instances.as_ref().err());
    if let Some(error) = refused.into_iter().find(|error| error.code == ErrorCode::Unauthorized) {
        return Probe::failed(error.clone(), Absence::default());
    }
    let models = models.and_then(|list| kept(list, "models"));
    let instances = kept(instances, "instances");
    // After the list: a process that is gone by now cannot hold what the list still names.
    let children = match probed.pid {
        Some(pid) => {
            let processes = processes.clone();
            let children = move || processes.children(pid);
            apart("the list of processes", super::PROCESSES_LIMIT, children).await
        }
        None => None,
    };
    let runners = match children {
        Some(children) => Some(runners(adapter, &children, instances.as_deref().unwrap_or_default()).await),
        None => None,
    };
    let backend = if with_models { adapter.backend().await } else { None };
    Probe { health, instances, models, runners, backend, absence: Absence::default(), odd: client.oddities() }
}

async fn runners(
    adapter: &dyn ServerAdapter,
    children: &[Child],
    instances: &[Instance],
) -> Vec<RunnerProcess> {
    let mut runners = Vec::new();
    for child in children.iter().filter(|child| adapter.is_runner(&child.command_line)) {
        let mut names = None;
        for instance in instances {
            if names.is_none() && adapter.is_runner_of(&child.command_line, &instance.model).await {
                names = Some(instance.id.clone());
            }
        }
        let (port, slots) = (slots::port_in(&child.command_line), slots::parallel_in(&child.command_line));
        runners.push(RunnerProcess { pid: child.pid, names, port, slots });
    }
    runners
}

/// What became of a question for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Token(Duration),
    /// Every slot is busy, or the model is on its way out: a token that waits in a queue is no muteness.
    Full,
}

/// Asks for one token, unless it would have to wait behind others, or its model leaves memory. `port`: where the process that
/// holds the instance tells its slots. Errors: as `one_token`.
pub(super) async fn speak(
    client: &dyn ServerClient,
    port: Option<u16>,
    lease: &Lease,
    limit: Duration,
) -> Result<Speech, ApiError> {
    let full = async || match port {
        Some(port) => client.slots(port).await.is_some_and(|slots| is_full(&slots)),
        None => false,
    };
    if full().await {
        return Ok(Speech::Full);
    }
    let token = tokio::select! {
        token = one_token(client, &lease.target().instance, limit) => token,
        () = lease.cut().cancelled() => return Ok(Speech::Full),
    };
    match token {
        Ok(took) => Ok(Speech::Token(took)),
        // Somebody came first.
        Err(error) if error.code == ErrorCode::ProofFailed && full().await => {
            tracing::debug!(%error, "no token, behind answers of others");
            Ok(Speech::Full)
        }
        Err(error) => Err(error),
    }
}

/// Waits for one token. Errors: proof_failed, and what the server says.
async fn one_token(client: &dyn ServerClient, instance: &str, limit: Duration) -> Result<Duration, ApiError> {
    let begun = Instant::now();
    let request = GenerateRequest {
        instance: instance.to_owned(),
        prompt: "Hello".into(),
        max_tokens: 1,
        raw: true,
        reuses_prefix: false,
        ends_by_itself: false,
    };
    let token = async {
        let mut answer = client.generate(&request).await?;
        while let Some(event) = answer.next().await {
            let event = event?;
            if !event.text.is_empty() || event.end.is_some() {
                return Ok(begun.elapsed());
            }
        }
        Err(ApiError::new(ErrorCode::ProofFailed, "The answer ended without a token."))
    };
    tokio::time::timeout(limit, token).await.unwrap_or_else(|_| {
        Err(ApiError::new(ErrorCode::ProofFailed, format!("Nothing came within {} s.", limit.as_secs())))
    })
}

/// Returns when a process has ended.
pub(super) async fn end_of(pid: u32) {
    if let Some(process) = Identity::of(pid) {
        process.end().await;
    }
}

/// Who else sits at the address that this server would take, as an error.
pub(super) async fn stranger(adapter: &dyn ServerAdapter) -> Option<ApiError> {
    let (port, setting) = adapter.fixed_port()?;
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).err()?;
    Some(port_taken(&adapter.title(), setting, port).await)
}

fn kept<T>(list: Result<T, ApiError>, what: &str) -> Option<T> {
    list.inspect_err(|error| tracing::warn!(%error, "the list of {what} failed")).ok()
}

/// Runs the product's own stop commands.
pub(super) async fn run_stop_commands(commands: &[ProcessSpec]) -> Result<(), ApiError> {
    for command in commands {
        run_to_end(command, COMMAND_LIMIT).await?;
    }
    Ok(())
}
