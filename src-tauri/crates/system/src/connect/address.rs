//! What an address says of itself: its port, and whether it is of this machine or of a private network.

use super::{CONNECT_LIMIT, REMOTE_CONNECT_LIMIT};
use pilothouse_domain::endpoint::parsed;
use reqwest::Url;
use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
};

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
pub(super) fn is_private(base_url: &str) -> bool {
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
}
