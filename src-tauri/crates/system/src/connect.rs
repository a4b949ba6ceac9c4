//! How servers are connected to. Supervisors and the gateway use the same clients, so that what a probe sees of a slow
//! or proxied server is what a request meets.
//!
//! One rule for proxies: this machine and private addresses are asked directly, whatever the environment says; for the rest its
//! word counts (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and NO_PROXY against them).

use pilothouse_domain::{
    endpoint::parsed,
    error::{ApiError, ErrorCode},
};
use reqwest::{Client, ClientBuilder, Response, Url, header::LOCATION, redirect::Policy};
use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
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

    fn build(self) -> Client {
        let builder = match self {
            // Proxies of the environment have no business between us and our own machine. Without TLS nobody is trusted:
            // the system's certificates are read from hundreds of files.
            Self::Here => local().tls_certs_only([]),
            Self::HereWithTls => local(),
            // Nor do they know the way into a private network.
            Self::Near => Client::builder().no_proxy().connect_timeout(REMOTE_CONNECT_LIMIT),
            Self::Elsewhere => Client::builder().connect_timeout(REMOTE_CONNECT_LIMIT),
        };
        // A key is for the address in the settings, not for where that may point to.
        builder.redirect(Policy::none()).pool_idle_timeout(IDLE_LIMIT).build().unwrap_or_default()
    }
}

fn local() -> ClientBuilder {
    Client::builder().no_proxy().connect_timeout(CONNECT_LIMIT)
}

/// The clients made so far, one for each place.
fn clients() -> MutexGuard<'static, [Option<Client>; 4]> {
    static CLIENTS: Mutex<[Option<Client>; 4]> = Mutex::new([const { None }; 4]);
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client for an address. Clones share connections; there is one for all servers of each kind of place.
pub fn client_for(base_url: &str) -> Client {
    let place = Place::of(base_url);
    clients()[place as usize].get_or_insert_with(|| place.build()).clone()
}

/// Makes the next client for this address read the system's certificates anew: one may have been added since.
pub fn forget_certificates(base_url: &str) {
    clients()[Place::of(base_url) as usize] = None;
}

/// The port of an address: the one that it names, else that of its scheme.
pub fn port_of(base_url: &str) -> u16 {
    parsed(base_url).and_then(|url| url.port_or_known_default()).unwrap_or(80)
}

/// The port that an address names itself, also where it is that of its scheme.
pub fn port_named(base_url: &str) -> Option<u16> {
    base_url.parse::<http::Uri>().ok()?.port_u16()
}

/// Whether an address is on this machine: 127.0.0.0/8, `localhost` and `::1`, and no name that only begins so.
pub fn is_here(base_url: &str) -> bool {
    match Whom::of(base_url) {
        Some(Whom::Address(address)) => address.is_loopback(),
        Some(Whom::Name(name)) => name == "localhost",
        None => false,
    }
}

/// Whether an address is of a private network: RFC 1918, link-local, unique local IPv6 (RFC 4193), `.local` names (RFC 6762).
fn is_private(base_url: &str) -> bool {
    match Whom::of(base_url) {
        Some(Whom::Address(IpAddr::V4(v4))) => v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        Some(Whom::Address(IpAddr::V6(v6))) => {
            v6.is_unicast_link_local() || v6.is_unique_local() || v6 == Ipv6Addr::UNSPECIFIED
        }
        Some(Whom::Name(name)) => name.trim_end_matches('.').ends_with(".local"),
        None => false,
    }
}

/// Whom an address names.
enum Whom {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl Whom {
    fn of(base_url: &str) -> Option<Self> {
        let url = parsed(base_url)?;
        let host = url.host_str()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Some(match bare.parse::<IpAddr>() {
            // 10.0.0.1 may be written as ::ffff:10.0.0.1.
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(host.to_ascii_lowercase()),
        })
    }
}

/// Whether connections to an address are refused, by every place that its name stands for: nobody listens there. A connection
/// that is reset later, or that nobody takes in time, is no refusal. Blocking, within seconds.
pub fn is_refused(base_url: &str) -> bool {
    let url = Url::parse(base_url).ok();
    let Some(places) = url.and_then(|url| url.socket_addrs(|| None).ok()) else { return false };
    let limit = if is_here(base_url) { CONNECT_LIMIT } else { REMOTE_CONNECT_LIMIT };
    let refuses = |place: &SocketAddr| {
        let connected = TcpStream::connect_timeout(place, limit);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    !places.is_empty() && places.iter().all(refuses)
}

/// Where a server that answers with a redirect wants to be asked, as an address for the settings. `base_url` is the
/// present one. `None`: the answer is no redirect.
pub fn moved_to(base_url: &str, answer: &Response) -> Option<String> {
    if !answer.status().is_redirection() {
        return None;
    }
    moved_base(base_url, answer.url(), answer.headers().get(LOCATION)?.to_str().ok()?)
}

fn moved_base(base_url: &str, asked: &Url, location: &str) -> Option<String> {
    let base = Url::parse(base_url).ok()?;
    let mut to = asked.join(location).ok().filter(|to| matches!(to.scheme(), "http" | "https"))?;
    to.set_query(None);
    to.set_fragment(None);
    let _ = (to.set_username(""), to.set_password(None));
    let below = asked.path().strip_prefix(base.path().trim_end_matches('/')).unwrap_or_default();
    let front = to.path().trim_end_matches('/').strip_suffix(below).map(str::to_owned);
    if let Some(front) = front {
        to.set_path(&front);
    }
    Some(to.as_str().trim_end_matches('/').to_owned())
}

/// Whether a connection was closed before a byte of the answer came.
pub fn closed_unanswered(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| (*cause).source()).any(|cause| {
        let incomplete =
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let broken = cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        });
        incomplete || broken
    })
}

/// Whether an error, or what led to it, is our own lack of file descriptors: that says nothing about a server.
pub fn lacks_descriptors(error: &(dyn Error + 'static)) -> bool {
    // EMFILE (this process) and ENFILE (the whole system), the same numbers on Linux and macOS.
    const NONE_LEFT: [i32; 2] = [24, 23];
    let mut chain = std::iter::successors(Some(error), |cause| (*cause).source());
    cfg!(unix)
        && chain.any(|cause| {
            let code = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            code.is_some_and(|code| NONE_LEFT.contains(&code))
        })
}

/// What is said then.
pub fn no_descriptors() -> ApiError {
    ApiError::new(ErrorCode::System, "Pilothouse has too many open files.")
        .hint("Close programs that keep many connections to it, or raise its limit of open files (`ulimit -n`).")
        .retryable()
}

/// What led to an error, from near to far.
pub fn causes(error: &reqwest::Error) -> Vec<String> {
    std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_port_that_nobody_listens_on_is_refused() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = listening.local_addr().unwrap();
        let resetting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let resets = resetting.local_addr().unwrap();
        // Takes connections and drops them with what they said unread, which resets them.
        std::thread::spawn(move || resetting.incoming().for_each(drop));
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        for (address, wanted) in [
            (format!("http://{closed}"), true),
            (format!("http://{closed}/v1"), true),
            (format!("http://localhost:{}", closed.port()), true),
            (format!("http://{silent}"), false),
            (format!("http://{resets}"), false),
            ("http://no-such-machine.invalid:1".into(), false),
            ("nonsense".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_refused(&address), wanted, "{address}");
        }
    }

    #[test]
    fn only_this_machine_is_here() {
        for here in [
            "http://127.0.0.1:11434",
            "http://127.8.9.1/v1",
            "http://localhost:1234/v1",
            "https://LOCALHOST",
            "http://[::1]:8080",
            "127.0.0.1:11434",
            "localhost:11434",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "http://localhost.evil/",
            "http://localhost.evil:1234/v1",
            "http://127.evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://localhost:80@evil.example/",
            "http://[::1].evil.example/",
            "http://[::2]/",
            "http://192.168.0.7:11434",
            "http://evil.example/127.0.0.1",
            "http://evil.example#@localhost",
            "",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_port_is_the_named_one_else_that_of_the_scheme() {
        for (address, port, named) in [
            ("http://127.0.0.1:11434", 11434, Some(11434)),
            ("http://127.0.0.1", 80, None),
            ("http://127.0.0.1:80/v1", 80, Some(80)),
            ("https://studio.local/openai:9/v1", 443, None),
            ("http://[::1]:8080/v1", 8080, Some(8080)),
            ("http://[fd00::9]/v1", 80, None),
            ("127.0.0.1:1234", 1234, Some(1234)),
            ("", 80, None),
        ] {
            assert_eq!((port_of(address), port_named(address)), (port, named), "{address}");
        }
    }

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

    #[test]
    fn a_redirect_names_the_address_for_the_settings() {
        let moved = |base: &str, below: &str, location: &str| {
            moved_base(base, &Url::parse(&format!("{base}{below}")).unwrap(), location)
        };
        let base = "http://studio.local/v1";
        assert_eq!(
            moved(base, "/models", "https://studio.local/v1/models").as_deref(),
            Some("https://studio.local/v1")
        );
        assert_eq!(
            moved(base, "/chat/completions", "/openai/v1/chat/completions?a=b").as_deref(),
            Some("http://studio.local/openai/v1")
        );
        assert_eq!(
            moved("http://studio.local:8080", "/api/version", "https://studio.local/api/version/").as_deref(),
            Some("https://studio.local")
        );
        assert_eq!(
            moved(base, "/models", "https://user:secret@sso.local/login?to=x#y").as_deref(),
            Some("https://sso.local/login")
        );
        assert_eq!(moved(base, "/models", "javascript:alert(1)"), None);
    }

    #[test]
    fn a_lack_of_descriptors_is_told_from_other_errors_however_deep() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("outer")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        for (code, lacks) in [(24, true), (23, true), (111, false), (104, false), (12, false)] {
            assert_eq!(lacks_descriptors(&Outer(io::Error::from_raw_os_error(code))), lacks, "{code}");
        }
        assert!(!lacks_descriptors(&io::Error::other("too many open files")));
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
