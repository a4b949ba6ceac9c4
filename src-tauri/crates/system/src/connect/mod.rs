//! How servers are connected to. Supervisors and the gateway use the same clients, so that what a probe sees of a slow
//! or proxied server is what a request meets.
//!
//! One rule for proxies: this machine and private addresses are asked directly, whatever the environment says; for the rest its
//! word counts (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and NO_PROXY against them).

mod address;
mod failure;
mod redirect;

pub use address::{is_here, is_refused, port_named, port_of};
pub use failure::{causes, closed_unanswered, lacks_descriptors, no_descriptors};
pub use redirect::moved_to;

use address::is_private;
use pilothouse_domain::error::{ApiError, ErrorCode};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A server on this machine accepts a connection at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Look-up of the name, connection and TLS of another machine.
const REMOTE_CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// All of these servers close a silent connection after five seconds; a request must not run into that.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// Which client an address needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    HereWithTls,
    /// Another machine of a private network.
    Near,
    Elsewhere,
}

impl Place {
    fn of(base_url: &str) -> Self {
        match (is_here(base_url), base_url.starts_with("https:")) {
            (true, false) => Self::Here,
            (true, true) => Self::HereWithTls,
            (false, _) if is_private(base_url) => Self::Near,
            (false, _) => Self::Elsewhere,
        }
    }

    fn build(self) -> Made {
        // A key is for the address in the settings, not for where that may point to.
        let usual = |builder: ClientBuilder| builder.redirect(Policy::none()).pool_idle_timeout(IDLE_LIMIT);
        // Proxies of the environment have no business between us and our own machine.
        let local = || usual(Client::builder().no_proxy().connect_timeout(CONNECT_LIMIT));
        match self {
            // Without TLS nobody need be trusted: the system's certificates are read from hundreds of files.
            Self::Here => Made { client: trusting_nobody(local()), rootless: false },
            Self::HereWithTls => Made::with_roots(local),
            // Nor do they know the way into a private network.
            Self::Near => {
                Made::with_roots(|| usual(Client::builder().no_proxy().connect_timeout(REMOTE_CONNECT_LIMIT)))
            }
            Self::Elsewhere => {
                Made::with_roots(|| usual(Client::builder().connect_timeout(REMOTE_CONNECT_LIMIT)))
            }
        }
    }
}

/// A client, and what it can be used for.
#[derive(Clone)]
pub struct Made {
    pub client: Client,
    /// The system has no certificates of issuers, so this client trusts nobody: only `http` works.
    pub rootless: bool,
}

impl Made {
    /// A client that trusts whom the system trusts. Where that is nobody, as on a machine without the package
    /// ca-certificates, it is one for `http` alone.
    pub fn with_roots(builder: impl Fn() -> ClientBuilder) -> Self {
        match builder().build() {
            Ok(client) => Self { client, rootless: false },
            Err(error) => {
                tracing::warn!(causes = ?causes(&error), "https cannot be used");
                Self { client: trusting_nobody(builder()), rootless: true }
            }
        }
    }
}

/// Reads no certificates, which is all that can fail here.
fn trusting_nobody(builder: ClientBuilder) -> Client {
    builder.tls_certs_only([]).build().unwrap_or_default()
}

/// The clients made so far, one for each place.
fn clients() -> MutexGuard<'static, [Option<Made>; 4]> {
    static CLIENTS: Mutex<[Option<Made>; 4]> = Mutex::new([const { None }; 4]);
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client for an address. Clones share connections; there is one for all servers of each kind of place.
pub fn client_for(base_url: &str) -> Client {
    made_for(base_url).client
}

/// The same with what it can be used for.
pub fn made_for(base_url: &str) -> Made {
    let place = Place::of(base_url);
    clients()[place as usize].get_or_insert_with(|| place.build()).clone()
}

/// What is said when an address needs a certificate's issuer and the system knows none.
pub fn no_roots(address: &str) -> ApiError {
    let text = format!("{address} cannot be trusted: this system knows no issuer of certificates at all.");
    ApiError::new(ErrorCode::BadAnswer, text).hint(
        "Install them (Debian, Ubuntu, Fedora: the package ca-certificates), or name a file of them in SSL_CERT_FILE.",
    )
}

/// Whether this system knows issuers of certificates. Reads all of them.
pub fn has_roots() -> bool {
    !Made::with_roots(Client::builder).rootless
}

/// Makes the next client for this address read the system's certificates anew: one may have been added since.
pub fn forget_certificates(base_url: &str) {
    clients()[Place::of(base_url) as usize] = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_are_asked_directly() {
        for (address, place) in [
            ("http://127.0.0.1:1", Place::Here),
            ("https://localhost", Place::HereWithTls),
            ("http://10.1.2.3:11434/v1", Place::Near),
            ("http://172.16.0.1", Place::Near),
            ("http://172.31.255.255", Place::Near),
            ("https://192.168.0.7:8443/v1", Place::Near),
            ("http://169.254.7.7", Place::Near),
            ("http://[fe80::1]:80", Place::Near),
            ("http://[fd12::1]/v1", Place::Near),
            ("http://[::ffff:10.0.0.1]/", Place::Near),
            ("http://Studio.LOCAL:1234", Place::Near),
            ("http://studio.local.", Place::Near),
            ("192.168.0.7:1234", Place::Near),
            ("http://172.32.0.1", Place::Elsewhere),
            ("http://11.0.0.1", Place::Elsewhere),
            ("http://192.169.0.1", Place::Elsewhere),
            ("http://8.8.8.8", Place::Elsewhere),
            ("http://[2001:db8::1]", Place::Elsewhere),
            ("http://10.0.0.1.example", Place::Elsewhere),
            ("http://studio.local.example", Place::Elsewhere),
            ("http://notlocal", Place::Elsewhere),
            ("http://10.0.0.1@models.example", Place::Elsewhere),
            ("https://api.example/10.0.0.1", Place::Elsewhere),
        ] {
            assert_eq!(Place::of(address), place, "{address}");
        }
    }

    /// What stands in `ASK`, asked by a process with an environment of its own: clients read it when they are built.
    #[tokio::test]
    #[ignore = "only as a child of the next test"]
    async fn asks_what_it_is_told() {
        let Ok(addresses) = std::env::var("ASK") else { return };
        let asked = addresses.split(' ').map(|address| client_for(address).get(address).send());
        futures_util::future::join_all(asked).await;
    }

    #[tokio::test]
    async fn the_environments_proxy_is_asked_for_the_rest_and_for_nobody_else() {
        use crate::process::{ProcessSpec, run_to_end};
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = proxy.local_addr().unwrap().port();
        let (heard, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = proxy.accept().await.unwrap();
                let heard = heard.clone();
                tokio::spawn(async move {
                    let mut line = String::new();
                    let _ = BufReader::new(&mut stream).read_line(&mut line).await;
                    let _ = stream.write_all(b"HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n").await;
                    let _ = heard.send(line.split(' ').take(2).collect::<Vec<_>>().join(" "));
                });
            }
        });
        let asked = [
            "http://models.example/v1".to_owned(),
            "https://secure.example/v1".into(),
            "http://spared.example/v1".into(),
            "http://studio.local/v1".into(),
            "http://192.168.255.254:9/v1".into(),
            "http://[fd00::1]:9/v1".into(),
            format!("http://127.0.0.1:{port}/direct"),
        ];
        let at = format!("http://127.0.0.1:{port}");
        let set = [
            ("HTTP_PROXY", at.as_str()),
            ("HTTPS_PROXY", &at),
            ("NO_PROXY", "spared.example"),
            ("ASK", &asked.join(" ")),
        ];
        let child = ProcessSpec {
            program: std::env::current_exe().unwrap(),
            args: ["--exact", "connect::tests::asks_what_it_is_told", "--ignored"].map(Into::into).to_vec(),
            env: set
                .iter()
                .flat_map(|(name, value)| [(name.to_string(), value), (name.to_lowercase(), value)])
                .map(|(name, value)| (name.into(), (*value).into()))
                .collect(),
            env_remove: vec!["REQUEST_METHOD".into()],
            cwd: None,
        };
        let ended = run_to_end(&child, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended.exit.code, Some(0), "{}", ended.stderr);
        serving.abort();
        let mut told = Vec::new();
        while let Ok(line) = lines.try_recv() {
            told.push(line);
        }
        told.sort();
        assert_eq!(told, ["CONNECT secure.example:443", "GET /direct", "GET http://models.example/v1"]);
    }

    /// The system's certificates are read anew by each client; see `tests/faults/remotes.rs` for a system without any.
    #[test]
    fn a_client_that_cannot_be_built_with_certificates_is_one_without() {
        let mends = std::cell::Cell::new(0);
        let made = Made::with_roots(|| {
            mends.set(mends.get() + 1);
            // The first one cannot be built: a user agent with a line break is none.
            match mends.get() {
                1 => Client::builder().user_agent("a\nb"),
                _ => Client::builder(),
            }
        });
        assert!(made.rootless && mends.get() == 2);
    }

    #[tokio::test]
    async fn clients_of_one_place_share_their_connections() {
        use axum::{Router, extract::ConnectInfo, routing::get};
        use std::net::SocketAddr;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let who = get(|ConnectInfo(from): ConnectInfo<SocketAddr>| async move { from.to_string() });
        let router = Router::new().route("/", who).into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let ask = async || client_for(&base).get(&base).send().await.unwrap().text().await.unwrap();
        let (first, second) = (ask().await, ask().await);
        assert_eq!(first, second, "supervisor and gateway come by one connection");
        serving.abort();
    }
}
