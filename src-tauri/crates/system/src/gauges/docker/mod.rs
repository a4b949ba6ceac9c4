//! Containers of a Docker engine on this machine, by its API on its Unix socket (Podman speaks it too). Nothing is started or
//! woken up: an engine that only waits for its first question is not asked.
//!
//! The client library writes whole answers to the `log` crate at level debug, and what a container is made of holds
//! passwords. Pilothouse's own log takes events of `tracing` only, so they go nowhere; a test of the faults keeps it so.

mod sockets;
mod transport;
mod wire;

use crate::apart;
use bollard::{
    Docker as Api,
    errors::Error,
    models::ContainerSummary,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, StatsOptionsBuilder},
};
use futures_util::{StreamExt, stream};
use pilothouse_domain::{
    Timestamp,
    container::{ContainerReading, Containers, CpuTime, cpu_percent},
};
use std::{
    collections::HashMap,
    future::Future,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, time::timeout};
use wire::Detail;

/// For one question. An engine that is alive answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(5);
/// For the first questions to an engine, once in its life: who it is. Podman on Debian searches the lists of all packages
/// for that, which takes seconds on a busy machine.
const GREETING_LIMIT: Duration = Duration::from_secs(20);
/// For all questions of one reading together.
const READING_LIMIT: Duration = Duration::from_secs(20);
/// Questions at the same time.
const AT_ONCE: usize = 4;
/// Containers that are asked about one by one; of more only what the list says is known.
const ASKED: usize = 64;
/// States that every version of the API has, by which a list with others in it can still be had.
const OLD_STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Reads the containers of one engine, and finds it again when it went away.
pub struct Docker {
    /// Or why there are none.
    sockets: Result<Vec<PathBuf>, String>,
    user_home: PathBuf,
    engine: Option<Engine>,
    /// By id, of the last reading.
    cpu: HashMap<String, CpuTime>,
}

struct Engine {
    socket: PathBuf,
    api: Api,
    version: Option<String>,
}

/// Why a socket leads to no engine, the most telling last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Absence {
    NotThere(String),
    Asleep(String),
    Refused(String),
    Forbidden(String),
    Broken(String),
}

impl Docker {
    /// The reason when an engine is there and does not answer.
    pub const SILENT: &str = "Docker does not answer";

    /// Looks where this process's environment says, else at the usual places.
    pub fn from_env(user_home: &Path) -> Self {
        Self::new(sockets::sockets(&|name| std::env::var_os(name), user_home), user_home)
    }

    /// Looks at one socket only.
    pub fn at(socket: &Path) -> Self {
        Self::new(Ok(vec![socket.to_owned()]), Path::new("/"))
    }

    fn new(sockets: Result<Vec<PathBuf>, String>, user_home: &Path) -> Self {
        Self { sockets, user_home: user_home.to_owned(), engine: None, cpu: HashMap::new() }
    }

    /// One reading of everything. Errors: why there is none, in words; the next reading looks for the engine anew.
    pub async fn read(&mut self) -> Result<Containers, String> {
        let engine = match self.engine.take() {
            Some(engine) if self.reach(&engine.socket).await.is_ok() => engine,
            // Gone, or another one is there: the sockets tell which, and why.
            _ => self.find().await?,
        };
        let containers = timeout(READING_LIMIT, self.read_from(&engine))
            .await
            .unwrap_or_else(|_| Err(Docker::SILENT.into()))?;
        self.engine = Some(engine);
        Ok(containers)
    }

    async fn find(&self) -> Result<Engine, String> {
        let mut absent: Option<Absence> = None;
        for socket in self.sockets.as_ref().map_err(Clone::clone)? {
            match self.try_at(socket).await {
                Ok(engine) => return Ok(engine),
                Err(why) => absent = absent.max(Some(why)),
            }
        }
        Err(match absent {
            Some(Absence::NotThere(_)) if self.sockets.as_ref().is_ok_and(|sockets| sockets.len() > 1) => {
                "no Docker here: none of its sockets exists".into()
            }
            Some(absence) => absence.words(),
            None => "no Docker here".into(),
        })
    }

    /// Whether somebody who is awake listens there, and we may ask.
    async fn reach(&self, socket: &Path) -> Result<(), Absence> {
        let shown = socket.display().to_string();
        let refused = |error: &std::io::Error| match error.kind() {
            ErrorKind::NotFound => Absence::NotThere(shown.clone()),
            ErrorKind::PermissionDenied => Absence::Forbidden(shown.clone()),
            ErrorKind::ConnectionRefused => Absence::Refused(shown.clone()),
            _ => Absence::Broken(format!("{shown} cannot be asked: {error}")),
        };
        let file = socket.to_owned();
        let there =
            apart::once("the folder of Docker's socket", LIMIT, move || std::fs::metadata(file)).await;
        there.map_err(|_| Absence::Broken(Docker::SILENT.into()))?.map_err(|error| refused(&error))?;
        if self.is_asleep(socket).await {
            return Err(Absence::Asleep(shown));
        }
        match timeout(LIMIT, UnixStream::connect(socket)).await {
            Ok(connected) => connected.map(drop).map_err(|error| refused(&error)),
            Err(_) => Err(Absence::Broken(Docker::SILENT.into())),
        }
    }

    async fn try_at(&self, socket: &Path) -> Result<Engine, Absence> {
        self.reach(socket).await?;
        let begin = async {
            let api = transport::client(socket)?.negotiate_version().await?;
            let version = api.version().await?.version;
            Ok(Engine { socket: socket.to_owned(), api, version })
        };
        limited(GREETING_LIMIT, begin).await.map_err(Absence::Broken)
    }

    async fn is_asleep(&self, socket: &Path) -> bool {
        let (socket, home) = (socket.to_owned(), self.user_home.clone());
        let asleep = move || sockets::is_asleep(&socket, &home);
        // Where that cannot be told, its own bounds hold.
        apart::once("the units of Docker's sockets", LIMIT, asleep).await.unwrap_or(false)
    }

    async fn read_from(&mut self, engine: &Engine) -> Result<Containers, String> {
        let (mut summaries, incomplete) = list(&engine.api).await?;
        // Those that are up first: they are what is asked about when there are very many.
        summaries.sort_by_key(|summary| !wire::state(summary).is_up());
        let with_ids = summaries.into_iter().filter_map(|summary| Some((wire::id(&summary)?, summary)));
        let asked = with_ids.enumerate().map(|(place, (id, summary))| async move {
            let detail = match place < ASKED {
                true => detail(&engine.api, &id, wire::state(&summary).is_up()).await,
                false => Detail::default(),
            };
            (wire::cpu_time(&detail), wire::reading(id, summary, &detail))
        });
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        let mut before = std::mem::take(&mut self.cpu);
        let list = answers.into_iter().map(|(cpu, mut reading): (Option<CpuTime>, ContainerReading)| {
            if let Some(now) = cpu {
                reading.cpu_percent = before.remove(&reading.id).and_then(|before| cpu_percent(before, now));
                self.cpu.insert(reading.id.clone(), now);
            }
            reading
        });
        Ok(Containers {
            at: Timestamp::now(),
            engine_version: engine.version.clone(),
            socket: engine.socket.display().to_string(),
            list: list.collect(),
            incomplete,
        })
    }
}

/// All containers, and why that is not all of them.
async fn list(api: &Api) -> Result<(Vec<ContainerSummary>, Option<String>), String> {
    let all = ListContainersOptionsBuilder::new().all(true);
    let whole = match timeout(LIMIT, api.list_containers(Some(all.build()))).await {
        Ok(Err(Error::JsonDataError { .. })) => None,
        Ok(answer) => Some(answer.map_err(|error| reason(&error))?),
        Err(_) => return Err(Docker::SILENT.into()),
    };
    if let Some(whole) = whole {
        return Ok((whole, None));
    }
    // A later engine may have a word that the client does not know; then the others are still worth showing.
    let known = HashMap::from([("status", OLD_STATES.to_vec())]);
    let some = ListContainersOptionsBuilder::new().all(true).filters(&known);
    let some = limited(LIMIT, api.list_containers(Some(some.build()))).await?;
    Ok((some, Some("some are in a state that this version of Pilothouse cannot read".into())))
}

/// What fails here costs this container's details only.
async fn detail(api: &Api, id: &str, is_up: bool) -> Detail {
    let inspected = limited(LIMIT, api.inspect_container(id, None::<InspectContainerOptions>)).await.ok();
    if !is_up {
        return Detail { inspected, stats: None };
    }
    // One-shot: the engine would otherwise wait a second for a second reading.
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let mut answer = Box::pin(api.stats(id, Some(options)));
    let stats = match timeout(LIMIT, answer.next()).await {
        Ok(Some(stats)) => stats.map_err(|error| reason(&error)),
        Ok(None) => Err("the engine does not tell it".into()),
        Err(_) => Err(Docker::SILENT.into()),
    };
    Detail { inspected, stats: Some(stats) }
}

async fn limited<T>(limit: Duration, question: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(limit, question).await {
        Ok(answer) => answer.map_err(|error| reason(&error)),
        Err(_) => Err(Docker::SILENT.into()),
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::RequestTimeoutError => Docker::SILENT.into(),
        Error::DockerResponseServerError { status_code, message } => {
            let message: String = message.chars().take(200).collect();
            format!("Docker refused the question (HTTP {status_code}): {message}")
        }
        error if transport::is_too_long(error) => "Docker's answer is too long to be one".into(),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } | Error::APIVersionParseError {} => {
            "Docker's answer makes no sense".into()
        }
        Error::HyperResponseError { .. } => "Docker's answer broke off or is none".into(),
        error => format!("Docker cannot be asked: {error}"),
    }
}

impl Absence {
    fn words(self) -> String {
        match self {
            Self::NotThere(socket) => format!("no Docker here: its socket {socket} does not exist"),
            Self::Asleep(socket) => {
                format!("Docker does not run, and Pilothouse does not start it ({socket})")
            }
            Self::Refused(socket) => format!("Docker does not run: nobody listens at {socket}"),
            Self::Forbidden(socket) => format!(
                "permission denied: your user may not use {socket}, mostly because it is not in the group docker"
            ),
            Self::Broken(reason) => reason,
        }
    }
}
