use axum::http::{HeaderMap, HeaderName, Uri, header};
use std::net::SocketAddr;

/// Turns away what does not come from this machine's own programs or pages. Binding to loopback is not enough: a web
/// page in the user's browser can reach it too, by its address or by a host name that points here (DNS rebinding).
#[derive(Debug, Clone)]
pub struct Guard {
    /// `host:port` spellings of our own address.
    hosts: [String; 3],
}

impl Guard {
    pub fn new(address: SocketAddr) -> Self {
        Self { hosts: ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{}", address.port())) }
    }

    /// Errors: why the request is refused.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        // A name in the request line takes the place of the header (RFC 9112 section 3.2.2).
        if let Some(host) = uri.authority().filter(|host| !self.is_own(host.as_str())) {
            return Err(format!("Requests for the host {host} are refused."));
        }
        let mut hosts = texts(headers, header::HOST);
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if self.is_own(&host) => {}
            (Some(host), None) => return Err(format!("Requests for the host {host} are refused.")),
            (None, _) => return Err("Requests without a Host header are refused.".into()),
            (Some(_), Some(_)) => return Err("Requests with two Host headers are refused.".into()),
        }
        let foreign = texts(headers, header::ORIGIN)
            .find(|origin| !origin.strip_prefix("http://").is_some_and(|host| self.is_own(host)));
        match foreign {
            None => Ok(()),
            Some(origin) => Err(format!("Web pages of {origin} may not use this address.")),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// All values of a header, as text.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

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
        Guard::new(([127, 0, 0, 1], 1234).into()).check(&Uri::from_static(uri), &headers).is_ok()
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
        assert!(!check(Some("127.0.0.1:99"), None));
        assert!(!check(Some("127.0.0.1:1234"), Some("https://evil.example")));
        assert!(!check(Some("127.0.0.1:1234"), Some("null")));
        assert!(!check(Some("127.0.0.1:1234"), Some("http://127.0.0.1:99")));
    }
}
