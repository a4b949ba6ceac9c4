use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Authority};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Turns away what does not come from this machine's own programs or pages. Binding to loopback is not enough: a web
/// page in the user's browser can reach it too, by its address or by a host name that points here (DNS rebinding).
///
/// A request is let in by the name that it was sent to. The names of loopback are always good, with any port: behind `ssh -L`
/// it is another one than ours, and no page of elsewhere can have its name. Other names must be in a setting. A page may ask only
/// where it came from: its origin must be the very address that it asks.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Further names, in lower case and without a port.
    hosts: Vec<String>,
    /// The setting that they come from; `None`: there are none at this door.
    setting: Option<&'static str>,
    /// Web pages of elsewhere that may ask.
    origins: Vec<String>,
    /// The address that this door listens on, where that is not loopback: a page can bend a name to it, but has no number for a name.
    own: Option<SocketAddrV4>,
}

/// The names that Docker and Podman give this machine inside their containers. Nobody's DNS can give them away: `internal` is
/// reserved for private use (ICANN, 2024).
const OF_CONTAINERS: [&str; 3] =
    ["host.docker.internal", "gateway.docker.internal", "host.containers.internal"];

impl Guard {
    /// Lets in by loopback names only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets in by these names too. `setting`: where they stand, for hints.
    #[must_use]
    pub fn with_hosts(hosts: &[String], setting: &'static str) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase());
        let hosts = hosts.chain(OF_CONTAINERS.map(str::to_owned)).collect();
        Self { hosts, setting: Some(setting), ..Self::default() }
    }

    /// Lets pages of these origins ask too.
    #[must_use]
    pub fn with_origins(self, origins: &[String]) -> Self {
        Self { origins: origins.to_vec(), ..self }
    }

    /// Lets in by this very address too, with its port.
    #[must_use]
    pub fn at(self, own: SocketAddrV4) -> Self {
        Self { own: Some(own), ..self }
    }

    /// The origin of a page of elsewhere that may ask and read the answers. `None`: it is no such page.
    pub fn foreign_page<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers
            .get(header::ORIGIN)
            .filter(|origin| self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()))
    }

    /// Errors: why the request is refused.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        // A name in the request line takes the place of the header (RFC 9112 section 3.2.2).
        if let Some(host) = uri.authority() {
            self.admit(host.as_str())?;
        }
        let mut hosts = texts(headers, header::HOST);
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => self.admit(&host)?,
            (None, _) => return Err("Requests without a Host header are refused.".into()),
            (Some(_), Some(_)) => return Err("Requests with two Host headers are refused.".into()),
        };
        let may_ask = |origin: &String| is_own_page(origin, &host) || self.origins.contains(origin);
        match texts(headers, header::ORIGIN).find(|origin| !may_ask(origin)) {
            None => Ok(()),
            Some(origin) => Err(self.refusal_of_page(&origin)),
        }
    }

    fn admit(&self, host: &str) -> Result<Authority, String> {
        let authority = plain(host);
        let known = |authority: &Authority| {
            is_loopback(authority.host()) || self.is_named(authority.host()) || self.is_own(authority)
        };
        authority.filter(known).ok_or_else(|| self.refusal(host))
    }

    fn is_named(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    fn is_own(&self, authority: &Authority) -> bool {
        let port = authority.port_u16().unwrap_or(80);
        self.own.is_some_and(|own| own.port() == port && authority.host().parse() == Ok(*own.ip()))
    }

    fn refusal_of_page(&self, origin: &str) -> String {
        let text = format!("Web pages of {} may not use this address.", origin.escape_debug());
        let is_plain =
            origin.contains("://") && !origin.contains(['"', '\\']) && !origin.chars().any(char::is_control);
        match self.setting {
            Some(_) if is_plain => {
                format!("{text} If they shall, add \"{origin}\" to gateway.origins in the settings file.")
            }
            _ => text,
        }
    }

    fn refusal(&self, host: &str) -> String {
        let text = format!(
            "Requests for the host {} are refused, as web pages can come by any name.",
            host.escape_debug()
        );
        let name = plain(host).filter(|name| !name.host().contains(['"', '\\']));
        match (self.setting, name) {
            (Some(setting), Some(name)) => format!(
                "{text} Ask for localhost, or, if this is a name that a container or a tunnel of yours has for this machine, \
                 add \"{}\" to {setting} in the settings file.",
                name.host()
            ),
            _ => format!("{text} Ask for localhost, by a tunnel (ssh -L) if need be."),
        }
    }
}

/// A host with or without a port, and nothing else: what goes by `Authority` may hold a user, or a name behind brackets.
fn plain(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let port = text.strip_prefix(authority.host())?;
    (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
        .then_some(authority)
}

/// Whether a page of this origin was served by what it asks now: by the same port of loopback.
fn is_own_page(origin: &str, asked: &Authority) -> bool {
    let page = origin.strip_prefix("http://").and_then(plain);
    let port = |authority: &Authority| authority.port_u16().unwrap_or(80);
    page.is_some_and(|page| {
        is_loopback(page.host()) && is_loopback(asked.host()) && port(&page) == port(asked)
    })
}

/// Names that are this machine's own for every program on it, and that nobody's DNS can give away.
fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.is_some_and(|host| host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()))
}

/// All values of a header, as text.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::with_hosts(&["Box.example".into()], "gateway.hosts")
            .with_origins(&["app://obsidian.md".into()])
    }

    #[test]
    fn pages_of_elsewhere_may_ask_by_their_exact_origin_and_containers_by_their_names() {
        let own = Some("127.0.0.1:1234");
        assert!(check(own, Some("app://obsidian.md")));
        for origin in [
            "app://obsidian.md.evil.example",
            "app://obsidian",
            "http://obsidian.md",
            "APP://obsidian.md",
            "app://obsidian.md/",
        ] {
            assert!(!check(own, Some(origin)), "{origin}");
        }
        assert!(!check(Some("evil.example"), Some("app://obsidian.md")), "by a foreign name all the same");
        for host in OF_CONTAINERS {
            assert!(check(Some(&format!("{host}:11480")), None), "{host}");
            assert!(!check(Some(host), Some(&format!("http://{host}"))), "no page comes from there");
        }
        let refused = guard().check(
            &Uri::from_static("/"),
            &[(header::HOST, "localhost"), (header::ORIGIN, "https://a.example")]
                .into_iter()
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect(),
        );
        assert!(refused.unwrap_err().contains("\"https://a.example\" to gateway.origins"));
    }

    fn check(host: Option<&str>, origin: Option<&str>) -> bool {
        let lines = [("host", host), ("origin", origin)];
        let lines: Vec<_> = lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        check_all("/", &lines)
    }

    fn check_all(uri: &'static str, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        guard().check(&Uri::from_static(uri), &headers).is_ok()
    }

    #[test]
    fn a_second_host_or_origin_or_one_in_the_request_line_hides_nothing() {
        let own = ("host", "127.0.0.1:1234");
        assert!(check_all("http://localhost:1234/v1/models", &[own]));
        assert!(!check_all("http://evil.example/v1/models", &[own]), "a foreign host in the request line");
        assert!(!check_all("http://127.0.0.1:1234@evil.example/", &[own]));
        assert!(!check_all("http://localhost:1234/", &[("host", "evil.example")]));
        assert!(!check_all("/", &[own, ("host", "evil.example")]));
        assert!(!check_all("/", &[own, own]));
        let page = ("origin", "http://localhost:1234");
        assert!(check_all("/", &[own, page]));
        for foreign in ["https://evil.example", "null", "", "http://localhost:1234.evil.example", "\u{ff}"] {
            assert!(!check_all("/", &[own, page, ("origin", foreign)]), "{foreign}");
            assert!(!check_all("/", &[own, ("origin", foreign)]), "{foreign}");
        }
    }

    #[test]
    fn only_our_own_host_and_origin_pass() {
        assert!(check(Some("127.0.0.1:1234"), None));
        assert!(check(Some("LOCALHOST:1234"), Some("http://127.0.0.1:1234")));
        assert!(!check(None, None));
        assert!(!check(Some("evil.example:1234"), None), "DNS rebinding");
        assert!(!check(Some("127.0.0.1:1234"), Some("https://evil.example")));
        assert!(!check(Some("127.0.0.1:1234"), Some("null")));
        assert!(!check(Some("127.0.0.1:1234"), Some("http://127.0.0.1:99")));
    }

    #[test]
    fn loopback_is_good_with_any_port_and_other_names_only_by_the_setting() {
        for host in [
            "localhost",
            "localhost:9000",
            "LocalHost:1",
            "127.0.0.1:99",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]:9000",
            "[::1]",
            "[0:0:0:0:0:0:0:1]:80",
            "box.example:5",
            "BOX.example",
        ] {
            assert!(check(Some(host), None), "{host}");
        }
        for host in [
            "",
            ":1234",
            "docker.example:11480",
            "docker.internal",
            "host.docker.internal.evil.example",
            "localhost.evil.example:1234",
            "evil.localhost:1234",
            "127.0.0.1.evil.example",
            "127.1:1234",
            "2130706433:1234",
            "0x7f.0.0.1",
            "localhost:80@evil.example",
            "evil.example@localhost:1234",
            "::1",
            "[::1].evil.example",
            "[::2]:80",
            "[::ffff:127.0.0.1]:80",
            "a.box.example",
            "box.example.evil.example",
            "0.0.0.0:1234",
            "localhost:x",
            "localhost localhost",
            "192.168.1.5:1234",
        ] {
            assert!(!check(Some(host), None), "{host}");
        }
    }

    #[test]
    fn a_door_on_a_bridge_knows_its_own_number_with_its_port_and_no_page_of_it() {
        let guard = guard().at("172.17.0.1:11480".parse().unwrap());
        let passes = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            guard.check(&Uri::from_static("/"), &headers).is_ok()
        };
        for host in
            ["172.17.0.1:11480", "host.docker.internal:11480", "host.containers.internal", "box.example"]
        {
            assert!(passes(host, None), "{host}");
        }
        for host in [
            "172.17.0.1",
            "172.17.0.1:80",
            "172.17.0.2:11480",
            "172.17.1:11480",
            "2886795265:11480",
            "[::ffff:172.17.0.1]:11480",
            "172.17.0.1.evil.example:11480",
            "evil.example:11480",
            "x@172.17.0.1:11480",
        ] {
            assert!(!passes(host, None), "{host}");
        }
        assert!(!passes("172.17.0.1:11480", Some("http://172.17.0.1:11480")), "nothing here serves pages");
        assert!(!passes("172.17.0.1:11480", Some("https://evil.example")));
        assert!(!check(Some("172.17.0.1:11480"), None), "another door does not know it");
    }

    #[test]
    fn a_page_may_only_ask_the_port_that_it_came_from() {
        for (host, origin) in [
            ("localhost:9000", "http://localhost:9000"),
            ("127.0.0.1:9000", "http://localhost:9000"),
            ("[::1]:9000", "http://127.0.0.1:9000"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
        ] {
            assert!(check(Some(host), Some(origin)), "{origin} at {host}");
        }
        for (host, origin) in [
            ("localhost:1234", "http://localhost:3000"),
            ("localhost:1234", "http://localhost"),
            ("localhost:1234", "https://localhost:1234"),
            ("localhost:1234", "http://evil.localhost:1234"),
            ("localhost:1234", "http://localhost:1234.evil.example"),
            ("localhost:1234", "http://x@localhost:1234"),
            ("localhost:1234", "http://localhost:1234/path"),
            // Whoever has the name in the setting may not get pages in by it.
            ("box.example:1234", "http://box.example:1234"),
            ("box.example:1234", "http://localhost:1234"),
        ] {
            assert!(!check(Some(host), Some(origin)), "{origin} at {host}");
        }
    }

    #[test]
    fn a_refusal_names_the_setting_that_would_let_it_in() {
        let refused = |guard: &Guard, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            guard.check(&Uri::from_static("/"), &headers).unwrap_err()
        };
        for name in ["docker.example", "host.lima.internal", "192.168.1.5"] {
            let words = refused(&guard(), &format!("{name}:11480"));
            assert!(words.contains(&format!("add \"{name}\" to gateway.hosts")), "{words}");
            let words = refused(&Guard::new(), &format!("{name}:11480"));
            assert!(words.contains("ssh -L") && !words.contains("gateway.hosts"), "{words}");
        }
        assert!(!refused(&guard(), "x@docker.example").contains("add"));
    }
}
