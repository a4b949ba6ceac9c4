//! The doors on ports: opened at the start, and tried again as long as another program holds a port.

use super::{EngineHandle, Inner};
use crate::{
    http::{Door, Remembered},
    hub::Report,
    single_engine::{EngineLock, EngineRecord},
};
use pilothouse_domain::{
    Timestamp,
    endpoint::Secret,
    error::{ApiError, ErrorCode},
    settings::{GatewaySettings, Settings},
};
use pilothouse_gateway::{Admits, Gateway};
use pilothouse_system::{
    apart,
    bridges::{Bridge, container_bridges},
    redact,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The pause before the second try doubles with each one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Said of an address that nobody wants.
const SWITCHED_OFF: &str = "switched off in the settings";
/// Bridges of containers come and go with their networks; between two looks at them, and how long one may take.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Both doors, however many of them are open.
pub(super) struct Doors {
    task: JoinHandle<Open>,
    end: CancellationToken,
    /// The address of the web UI with its token, once it has one.
    web_url: watch::Receiver<Option<String>>,
}

/// What is open, and what it is opened with.
struct Open {
    inner: Arc<Inner>,
    lock: EngineLock,
    token: Secret,
    /// `None`: switched off.
    gateway_port: Option<u16>,
    gateway_admits: Admits,
    /// Where it answers in Ollama's words too. `None`: nowhere.
    ollama_port: Option<u16>,
    masks_billing: bool,
    /// 0: the system chooses, and then the same again as long as it is free.
    web_port: u16,
    remembered: Remembered,
    gateway: Option<Gateway>,
    /// Those that the gateway is to listen on; none where the settings do not want it.
    bridges: Vec<Bridge>,
    /// Why they could not be looked for.
    unseen: Option<ApiError>,
    web: Option<Door>,
    started_at: Timestamp,
    web_url: watch::Sender<Option<String>>,
    /// The trouble that is said now.
    told: Option<ApiError>,
}

impl Doors {
    /// Opens what can be opened, and goes on trying the rest.
    pub async fn open(
        settings: &Settings,
        inner: Arc<Inner>,
        lock: EngineLock,
        started_at: Timestamp,
    ) -> Self {
        let token = Secret::new(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
        redact::register(&token);
        let (web_url, seen) = watch::channel(None);
        let remembered = Remembered::open(&inner.paths);
        let mut open = Open {
            inner,
            lock,
            token,
            gateway_port: settings.gateway.enabled.then_some(settings.gateway.port),
            gateway_admits: Admits {
                hosts: settings.gateway.hosts.clone(),
                origins: settings.gateway.origins.clone(),
            },
            ollama_port: None,
            masks_billing: true,
            web_port: settings.web.port,
            remembered,
            gateway: None,
            bridges: vec![],
            unseen: None,
            web: None,
            started_at,
            web_url,
            told: None,
        };
        open.follow(&settings.gateway).await;
        open.try_all().await;
        let end = CancellationToken::new();
        let ended = end.clone();
        let mut latest = open.inner.latest.clone();
        let task = tokio::spawn(async move {
            let mut tries = 0;
            // What is under way is never left: a door that it has just opened would be lost.
            while ended.run_until_cancelled(open.next(&mut latest, tries)).await.is_some() {
                open.try_all().await;
                tries = tries.saturating_add(1);
            }
            open
        });
        Self { task, end, web_url: seen }
    }

    /// The address of the web UI with its token in the fragment.
    pub fn web_url(&self) -> Option<String> {
        self.web_url.borrow().clone()
    }

    /// Ends both within two seconds. The lock is given back with what this returns.
    pub async fn close(self) -> Option<EngineLock> {
        self.end.cancel();
        let Open { gateway, web, lock, .. } = self.task.await.ok()?;
        if let Some(gateway) = gateway {
            gateway.stop().await;
        }
        if let Some(web) = web {
            web.stop().await;
        }
        Some(lock)
    }
}

impl Open {
    fn is_whole(&self) -> bool {
        let gateway = match &self.gateway {
            Some(gateway) => gateway.ollama_address().is_some() || self.ollama_port.is_none(),
            None => self.gateway_port.is_none(),
        };
        self.web.is_some() && gateway
    }

    /// Waits until there may be something to do: a door to try again, other bridges, other settings.
    async fn next(&mut self, latest: &mut watch::Receiver<Settings>, tries: u32) {
        // What changed while doors were opened is not seen yet, and is a change below.
        let wants_bridges = latest.borrow().gateway.container_bridges;
        let due = async {
            match (self.is_whole(), wants_bridges) {
                (false, _) => tokio::time::sleep(pause(tries)).await,
                (true, true) => tokio::time::sleep(LOOK_EVERY).await,
                (true, false) => std::future::pending().await,
            }
        };
        let changed = async {
            if latest.changed().await.is_err() {
                // Nobody reads the settings any more: the end is near.
                std::future::pending().await
            }
        };
        tokio::select! {
            () = due => {}
            () = changed => {}
        }
        let gateway = latest.borrow_and_update().gateway.clone();
        self.follow(&gateway).await;
    }

    /// What need not wait for a start.
    async fn follow(&mut self, settings: &GatewaySettings) {
        self.ollama_port = Some(settings.ollama_port).filter(|port| *port > 0);
        self.masks_billing = settings.mask_billing;
        self.look_for_bridges(settings.container_bridges).await;
    }

    /// Where it cannot be told which there are, those of before count.
    async fn look_for_bridges(&mut self, wanted: bool) {
        self.unseen = None;
        if !wanted {
            self.bridges.clear();
            return;
        }
        let unseen = |why: String| {
            ApiError::new(
                ErrorCode::System,
                format!("The bridges of containers cannot be looked for: {why}."),
            )
        };
        match apart::once("the network interfaces", LOOK_LIMIT, container_bridges).await {
            Ok(Ok(found)) => self.bridges = found,
            Ok(Err(error)) => self.unseen = Some(unseen(error.to_string())),
            // Without the time that it has been silent: the trouble is one, and said once.
            Err(_) => self.unseen = Some(unseen("the system does not answer".into())),
        }
    }

    /// Opens what is not open yet, and tells what came of it.
    async fn try_all(&mut self) {
        let before = (self.gateway.is_some(), self.web.is_some());
        let mut refused = Vec::new();
        if let (None, Some(port)) = (&self.gateway, self.gateway_port) {
            let (leases, recorder) = (self.inner.leases.clone(), self.inner.recording.recorder.clone());
            let metrics = Some(self.inner.metrics.clone());
            let keys = self.inner.client_keys.ring().clone();
            match Gateway::start(port, &self.gateway_admits, leases, recorder, metrics, keys).await {
                Ok(gateway) => self.gateway = Some(gateway),
                Err(error) => refused.push(error),
            }
        }
        let gateway = match (&self.gateway, self.gateway_port) {
            (Some(gateway), _) => Ok(format!("http://{}/v1", gateway.address())),
            (None, Some(_)) => Err(refused.first().map(|error| error.message.clone()).unwrap_or_default()),
            (None, None) => Err(SWITCHED_OFF.to_owned()),
        };
        let (mut bridges, mut ollama_bridges) = (Vec::new(), Vec::new());
        let ollama = match &mut self.gateway {
            Some(gateway) => {
                gateway.mask_billing(self.masks_billing);
                let refusal = gateway.listen_as_ollama(self.ollama_port).await.err();
                let address = gateway.ollama_address().map(|address| format!("http://{address}"));
                let said = refusal.as_ref().map_or(SWITCHED_OFF, |error| error.message.as_str()).to_owned();
                refused.extend(gateway.listen_on_bridges(&self.bridges).await);
                refused.extend(self.unseen.clone());
                refused.extend(refusal);
                bridges.extend(gateway.bridge_addresses().map(|address| format!("http://{address}/v1")));
                ollama_bridges
                    .extend(gateway.ollama_bridge_addresses().map(|address| format!("http://{address}")));
                address.ok_or(said)
            }
            None => Err("the one address is not open".to_owned()),
        };
        if self.web.is_none() {
            match self.open_web().await {
                Ok(door) => self.web = Some(door),
                Err(error) => refused.push(error),
            }
        }
        self.say(refused);
        let web = self.web.as_ref().map(|door| format!("http://{}/", door.address()));
        self.inner.hub.report(Report::Doors { gateway, ollama, bridges, ollama_bridges, web });
        if before != (self.gateway.is_some(), self.web.is_some()) {
            self.publish();
        }
    }

    /// A bookmark shall find it again: where no port is set, that of last time is tried first.
    async fn open_web(&mut self) -> Result<Door, ApiError> {
        if let (0, Some(port)) = (self.web_port, self.remembered.port()) {
            match self.web_at(port).await {
                Err(error) if error.code == ErrorCode::PortTaken => {
                    tracing::info!(port, "the port of last time is held by another program");
                }
                opened => return opened,
            }
        }
        let door = self.web_at(self.web_port).await?;
        if self.web_port == 0 {
            self.remembered.keep_port(door.address().port());
        }
        Ok(door)
    }

    async fn web_at(&mut self, port: u16) -> Result<Door, ApiError> {
        let handler = Arc::new(EngineHandle(self.inner.clone()));
        let opened = Door::start(port, self.token.clone(), self.remembered.cookie(), handler).await;
        if opened.as_ref().is_err_and(|error| error.code == ErrorCode::PortTaken) {
            // Browsers would show the cookie to whoever sits there.
            self.remembered.renew();
        }
        opened
    }

    /// One trouble for both doors, over as soon as they are open.
    fn say(&mut self, refused: Vec<ApiError>) {
        let trouble = trouble(refused);
        if trouble == self.told {
            return;
        }
        if let Some(before) = self.told.take() {
            self.inner.hub.report(Report::TroubleSolved(before));
        }
        if let Some(error) = &trouble {
            self.inner.hub.report(Report::Trouble(error.clone()));
        }
        self.told = trouble;
    }

    /// Tells the command line and a second start where this engine answers.
    fn publish(&self) {
        let Some(door) = &self.web else { return };
        let web_url = format!("http://{}/", door.address());
        self.web_url.send_replace(Some(format!("{web_url}#token={}", self.token.expose())));
        let record = EngineRecord {
            pid: std::process::id(),
            web_url,
            token: self.token.expose().to_owned(),
            gateway_url: self.gateway.as_ref().map(|gateway| format!("http://{}/v1", gateway.address())),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
        };
        if let Err(error) = self.lock.publish(&record) {
            self.inner.hub.report(Report::Trouble(error));
        }
    }
}

/// How long to wait after so many tries in vain.
fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_PAUSE)
}

/// What is said of doors that could not be opened.
fn trouble(refused: Vec<ApiError>) -> Option<ApiError> {
    let error = refused.into_iter().reduce(|one, other| ApiError {
        code: if one.code == other.code { one.code } else { ErrorCode::PortTaken },
        message: format!("{} {}", one.message, other.message),
        hint: Some([one.hint, other.hint].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        retry: one.retry && other.retry,
    })?;
    let hint = format!("{} It is tried again by itself.", error.hint.as_deref().unwrap_or_default());
    Some(error.hint(hint.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_stay_bounded() {
        let pauses: Vec<u64> =
            [0, 1, 2, 3, 4, 5, 6, 100, u32::MAX].map(|tries| pause(tries).as_secs()).into();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }

    #[test]
    fn both_doors_are_in_one_trouble() {
        let taken =
            |port: u16| ApiError::new(ErrorCode::PortTaken, format!("Port {port} is held.")).hint("End it.");
        let refused = ApiError::new(ErrorCode::System, "Port 1 cannot be used.");
        assert_eq!(trouble(vec![]), None);
        let one = trouble(vec![taken(5)]).unwrap();
        assert_eq!(one.message, "Port 5 is held.");
        assert_eq!(one.hint.as_deref(), Some("End it. It is tried again by itself."));
        let both = trouble(vec![taken(5), refused.clone()]).unwrap();
        assert_eq!(
            (both.code, both.message.as_str()),
            (ErrorCode::PortTaken, "Port 5 is held. Port 1 cannot be used.")
        );
        let hint = trouble(vec![refused]).unwrap().hint;
        assert_eq!(hint.as_deref(), Some("It is tried again by itself."));
    }
}
