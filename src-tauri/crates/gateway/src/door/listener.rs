//! A port on this machine: takes connections, as many as there are seats, and survives a lack of descriptors.

use super::{askers::Askers, caller::Caller, connection, seats::Seats};
use axum::Router;
use pilothouse_domain::error::{ApiError, ErrorCode};
use pilothouse_system::bridges::Bridge;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long open answers may go on once the end is wanted.
const STOP_LIMIT: Duration = Duration::from_millis(700);
/// The pause after a connection that could not be taken, mostly for want of a descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often that is logged while it goes on.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The networks of this machine's containers, as they are now.
pub type Networks = watch::Receiver<Vec<Bridge>>;

/// A port on both loopbacks, or on a bridge of containers, not serving yet.
pub struct Bound {
    v4: TcpListener,
    /// `None`: this machine has no IPv6, somebody else has that port there, or it is no door on loopback.
    v6: Option<TcpListener>,
    address: SocketAddr,
    /// Who finds out which programs connect.
    askers: Option<Askers>,
    /// Where its clients have to be. `None`: on this machine, as it is a door on loopback.
    networks: Option<Networks>,
}

/// A serving port: on 127.0.0.1, and on ::1 where there is IPv6, as `localhost` means either; or on a bridge of containers.
pub struct Listener {
    address: SocketAddr,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Takes a port (0: the system chooses). `setting` is named in the hint. Errors: port_taken, system.
    pub async fn bind(port: u16, setting: &str) -> Result<Bound, ApiError> {
        let bound = async {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let address = v4.local_addr()?;
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await;
            let v6 = v6.inspect_err(|error| match error.kind() {
                // Programs that ask `localhost` may meet that one.
                io::ErrorKind::AddrInUse => tracing::warn!(%address, "another program has this port on ::1"),
                _ => tracing::info!(%error, "nothing listens on ::1"),
            });
            let v6 = v6.ok();
            Ok(Bound { v4, v6, address, askers: None, networks: None })
        };
        bound.await.map_err(|error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                ApiError::new(ErrorCode::PortTaken, format!("Port {port} is held by another program."))
                    .hint(format!("End that program, or set another {setting} in the settings file."))
            }
            _ => ApiError::new(ErrorCode::System, format!("Port {port} cannot be used: {error}."))
                .hint(format!("Set another {setting} in the settings file.")),
        })
    }

    /// Takes a port on a bridge. Who connects from none of `networks` is sent away unheard: the kernel takes what is meant for this
    /// address on any of its interfaces, so a neighbour in the local network could send it here. Errors: port_taken, system.
    pub async fn bind_on(bridge: &Bridge, port: u16, networks: Networks) -> Result<Bound, ApiError> {
        let address = SocketAddr::from((bridge.address, port));
        let v4 = TcpListener::bind(address).await.map_err(|error| {
            let place = format!("{} on the bridge {}", bridge.address, bridge.name);
            match error.kind() {
                io::ErrorKind::AddrInUse => ApiError::new(
                    ErrorCode::PortTaken,
                    format!("Port {port} of {place} is held by another program."),
                )
                .hint("End that program; containers of this bridge find nobody until then."),
                _ => ApiError::new(
                    ErrorCode::System,
                    format!("Port {port} of {place} cannot be used: {error}."),
                )
                .hint("Containers of this bridge find nobody until then."),
            }
        })?;
        Ok(Bound { v4, v6: None, address, askers: None, networks: Some(networks) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; answers that do not end soon are cut.
    pub async fn stop(self) {
        self.end.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(STOP_LIMIT, self.task).await.is_err() {
            abort.abort();
        }
    }
}

impl Bound {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each request carries an [`pilothouse_records::Asker`] from now on.
    pub fn asking_who(mut self) -> Self {
        self.askers = Some(Askers::start(self.address.port()));
        self
    }

    /// Serves at most so many connections at a time; the others wait in the system's queue.
    pub fn serve(self, router: Router, connections: usize) -> Listener {
        let (address, end) = (self.address, CancellationToken::new());
        let task = tokio::spawn(serve(self, router, Seats::new(connections), end.clone()));
        Listener { address, end, task }
    }

    /// Who somebody is that has connected. `None`: nobody who may.
    fn caller(&self, peer: SocketAddr, local: Option<SocketAddr>) -> Option<Caller> {
        let Some(networks) = &self.networks else { return Some(Caller::of(peer, local)) };
        let IpAddr::V4(from) = peer.ip() else { return None };
        networks.borrow().iter().any(|network| network.reaches(from)).then(Caller::elsewhere)
    }

    /// The next connection, on either loopback where it is a door there.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.v6 {
            None => self.v4.accept().await,
            Some(v6) => tokio::select! {
                stream = self.v4.accept() => stream,
                stream = v6.accept() => stream,
            },
        }
    }
}

async fn serve(bound: Bound, router: Router, seats: Arc<Seats>, end: CancellationToken) {
    let connections = TaskTracker::new();
    // Also when this task is aborted: no connection outlives its door.
    let cut = CancellationToken::new();
    let _cut_at_end = cut.clone().drop_guard();
    let accepting = async {
        let mut told = None;
        loop {
            let (stream, peer) = accepted(&bound, &seats, &mut told).await;
            let Some(caller) = bound.caller(peer, stream.local_addr().ok()) else {
                tracing::debug!(%peer, "somebody from no network of containers was sent away");
                continue;
            };
            let asker = bound.askers.as_ref().map(|askers| askers.of(peer));
            // A token must not wait for the next one to fill a packet.
            let _ = stream.set_nodelay(true);
            // Behind the newcomer, so that nobody is asked to go for nobody.
            let seat = seats.take().await;
            let who = connection::Who { caller, seat, asker };
            connections.spawn(connection::serve(stream, router.clone(), who, end.clone(), cut.clone()));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = end.cancelled() => {}
    }
    drop(bound);
    connections.close();
    connections.wait().await;
}

/// The next connection. Without a descriptor for it, it waits in the system's queue until one is free. `told`: when that
/// was logged last.
async fn accepted(bound: &Bound, seats: &Seats, told: &mut Option<Instant>) -> (TcpStream, SocketAddr) {
    loop {
        let error = match bound.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        // The client's own doing; the next one may be there already.
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            continue;
        }
        if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%error, "no connection can be taken; closing idle ones and trying again");
        }
        seats.thin_out();
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    #[tokio::test]
    async fn idle_connections_beyond_the_limit_make_room_and_the_end_is_bounded() {
        let bound = Listener::bind(0, "web.port").await.unwrap();
        let address = bound.address();
        let router = Router::new()
            .route("/", get(|| async { "well" }))
            .route("/never", get(std::future::pending::<&'static str>));
        let listener = bound.serve(router, 4);
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("http://{address}/")).send().await.unwrap().text().await.unwrap();
        assert_eq!(answer, "well");
        let waiting = tokio::spawn(http.get(format!("http://{address}/never")).send());
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(60), listener.stop()).await.unwrap();
        assert!(waiting.await.unwrap().is_err(), "an answer that does not end is cut");
        assert!(TcpStream::connect(address).await.is_err(), "the port is free");
    }

    #[tokio::test]
    async fn both_loopbacks_are_one_door_and_ipv6_is_not_needed() {
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_err() {
            eprintln!("no IPv6 on this machine");
            return;
        }
        let router = || Router::new().route("/", get(|| async { "well" }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let ask = async |host: &str, port: u16| {
            http.get(format!("http://{host}:{port}/")).send().await?.text().await
        };
        let bound = Listener::bind(0, "gateway.port").await.unwrap();
        let port = bound.address().port();
        let listener = bound.serve(router(), 4);
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            assert_eq!(ask(host, port).await.unwrap(), "well", "{host}");
        }
        let taken = Listener::bind(port, "gateway.port").await.err().unwrap();
        assert_eq!(taken.code, ErrorCode::PortTaken);
        listener.stop().await;
        assert!(ask("[::1]", port).await.is_err(), "the port is free there too");
        // Somebody else has it on ::1 only, or there is no such address: the door opens all the same.
        let stranger = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let port = stranger.local_addr().unwrap().port();
        let listener = Listener::bind(port, "gateway.port").await.unwrap().serve(router(), 4);
        assert_eq!(ask("127.0.0.1", port).await.unwrap(), "well");
        listener.stop().await;
    }
}
