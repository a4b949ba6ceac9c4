use axum::http::{HeaderMap, header};
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
    pub fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let text =
            |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match text(header::HOST) {
            Some(host) if self.is_own(&host) => {}
            Some(host) => return Err(format!("Requests for the host {host} are refused.")),
            None => return Err("Requests without a Host header are refused.".into()),
        }
        match text(header::ORIGIN) {
            None => Ok(()),
            Some(origin) if origin.strip_prefix("http://").is_some_and(|host| self.is_own(host)) => Ok(()),
            Some(origin) => Err(format!("Web pages of {origin} may not use this address.")),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn check(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Guard::new(([127, 0, 0, 1], 1234).into()).check(&headers).is_ok()
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
