use axum::{Router, serve::ListenerExt};
use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// How long open answers may go on once the end is wanted.
const STOP_LIMIT: Duration = Duration::from_millis(700);

/// A port on 127.0.0.1, not serving yet.
pub struct Bound(TcpListener, SocketAddr);

/// A serving port on 127.0.0.1.
pub struct Listener {
    address: SocketAddr,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// Takes a port (0: the system chooses). `setting` is named in the hint. Errors: port_taken, system.
    pub async fn bind(port: u16, setting: &str) -> Result<Bound, ApiError> {
        let bound = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
            let address = listener.local_addr()?;
            Ok(Bound(listener, address))
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
        self.1
    }

    pub fn serve(self, router: Router) -> Listener {
        let Self(listener, address) = self;
        let end = CancellationToken::new();
        let wanted = end.clone();
        let listener = listener.tap_io(|stream| {
            // A token must not wait for the next one to fill a packet.
            let _ = stream.set_nodelay(true);
        });
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(wanted.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%address, %error, "the listener ended");
            }
        });
        Listener { address, end, task }
    }
}
