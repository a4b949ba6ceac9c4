//! A simulator of LM Studio 0.3 and 0.4: the public HTTP server, the internal listener, and a stand-in for `lms`.
//! Every answer follows what is known of the real one; `tests/src/sims/README.md` says how well each is known.

mod answer;
pub mod catalogue;
mod chat_v1;
pub mod control;
mod generate;
pub mod home;
mod listener;
pub mod lms;
mod models_v1;
mod openai;
mod options;
mod public;
mod rows;
mod service;
pub mod state;
mod strange;
mod text;
mod v0;

pub use options::{FailLoad, Faults, LmsQuirks, Options, Profile};
pub use public::TOKEN;

use anyhow::Context;
use listener::Serving;
use service::{Service, now_ms};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Where the internal listener of older versions is looked for.
const FIXED_PORTS: [u16; 5] = [41343, 52993, 16141, 39414, 22931];
const TTL_CHECK: Duration = Duration::from_millis(50);

/// A running simulator. Dropping it cuts its connections; `stop` waits until its ports are free.
#[derive(Debug)]
pub struct LmStudioSim {
    /// Port of the public server at the start; `None` when it was off.
    pub public_port: Option<u16>,
    pub internal_port: u16,
    pub home: PathBuf,
    service: Arc<Service>,
    internal: Option<Serving>,
}

impl LmStudioSim {
    /// Starts both listeners and writes the files in the home folder. Errors: an option that makes no sense, a taken
    /// port, a file that cannot be read or written.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let service = Service::new(options.clone())?;
        let told = options.profile.is_recent();
        let internal = internal_listener(&service, told).await.context("the internal port")?;
        home::write_internal_server(&options.home, internal.port, told)?;
        // From here on, dropping it cleans up.
        let mut sim = Self {
            public_port: None,
            internal_port: internal.port,
            home: options.home.clone(),
            service: service.clone(),
            internal: Some(internal),
        };
        if !options.server_off {
            let port =
                service.start_public(options.port, "127.0.0.1", false).await.context("the public port")?;
            sim.public_port = Some(port);
        }
        tokio::spawn(expire_idle(service));
        Ok(sim)
    }

    /// Address of the public server as it was at the start. `None`: it was off.
    pub fn base_url(&self) -> Option<String> {
        self.public_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Faults) {
        self.service.set_faults(faults);
    }

    /// Reads the state, for assertions.
    pub fn look<R>(&self, read: impl FnOnce(&state::State) -> R) -> R {
        self.service.look(read)
    }

    /// Turns the public server on, as `lms server start` does. Returns its port.
    pub async fn start_server(&self, port: u16) -> anyhow::Result<u16> {
        self.service.start_public(port, "127.0.0.1", false).await
    }

    /// Turns the public server off, as `lms server stop` does. `None`: it was off.
    pub async fn stop_server(&self) -> Option<u16> {
        self.service.stop_public().await
    }

    /// Ends when somebody asks the backend to end, as `lms daemon down` does.
    pub async fn shutdown_asked(&self) {
        self.service.shutdown.cancelled().await;
    }

    /// Ends both listeners, cuts requests under way, removes `http-server.json`.
    pub async fn stop(mut self) {
        self.service.stop_public().await;
        if let Some(internal) = self.internal.take() {
            internal.stop().await;
        }
    }
}

impl Drop for LmStudioSim {
    fn drop(&mut self) {
        home::remove_internal_server(&self.home, self.internal_port);
        self.service.shutdown.cancel();
        self.service.cut_public();
        if let Some(internal) = &self.internal {
            internal.cut();
        }
    }
}

/// One that tells its port takes any; the others must be found at one of the fixed ones.
async fn internal_listener(service: &Arc<Service>, told: bool) -> anyhow::Result<Serving> {
    let ports: &[u16] = if told { &[0] } else { &FIXED_PORTS };
    for port in ports {
        match Serving::start(*port, control::router(service.clone())).await {
            Ok(serving) => return Ok(serving),
            Err(error) if told => return Err(error.into()),
            Err(_) => {}
        }
    }
    anyhow::bail!("all of {FIXED_PORTS:?} are taken")
}

async fn expire_idle(service: Arc<Service>) {
    let mut ticks = tokio::time::interval(TTL_CHECK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = service.shutdown.cancelled() => return,
        }
        let due = service.look(|state| state.instances.iter().any(|instance| instance.ttl_ms.is_some()));
        if due {
            service.with(|state| state.expire(now_ms()));
        }
    }
}
