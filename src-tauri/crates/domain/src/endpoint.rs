//! Where something answers, and the key for it.

use std::fmt;
use url::Url;

/// A key or token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port without a trailing slash: `http://127.0.0.1:11434`.
    pub base_url: String,
    /// Sent as `Authorization: Bearer …` when there is one.
    pub key: Option<Secret>,
}

impl Endpoint {
    /// The same, at another port of the same host. An address without a host stays as it is.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let moved = parsed(&self.base_url).and_then(|mut url| url.set_port(Some(port)).ok().map(|()| url));
        let base_url =
            moved.map_or_else(|| self.base_url.clone(), |url| url.as_str().trim_end_matches('/').to_owned());
        Self { base_url, key: self.key.clone() }
    }
}

/// An address as people write it, also without a scheme: then `http` is meant. `None`: it names no host.
pub fn parsed(address: &str) -> Option<Url> {
    let text = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    // Browsers take `http:///a` for `http://a`; nobody means that.
    Url::parse(&text).ok().filter(|url| url.has_host() && !text.contains(":///"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_of_the_same_host_keeps_path_and_key() {
        let at =
            |base_url: &str| Endpoint { base_url: base_url.into(), key: Some(Secret::new("k")) }.at_port(9);
        for (from, to) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:9"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:9/v1"),
            ("http://localhost", "http://localhost:9"),
            ("https://a.b/x/v1", "https://a.b:9/x/v1"),
            ("http://[::1]:80/v1", "http://[::1]:9/v1"),
            ("http://[::1]/v1", "http://[::1]:9/v1"),
            ("http:///v1", "http:///v1"),
            ("", ""),
            ("127.0.0.1:80/v1", "http://127.0.0.1:9/v1"),
            ("localhost:80", "http://localhost:9"),
            ("http://user:pass:word@a.b:1/v1", "http://user:pass%3Aword@a.b:9/v1"),
            ("https://a.b:443/x:1/v1", "https://a.b:9/x:1/v1"),
            ("http://a.b/x?y=http://c:1", "http://a.b:9/x?y=http://c:1"),
        ] {
            assert_eq!(at(from), Endpoint { base_url: to.into(), key: Some(Secret::new("k")) }, "{from}");
        }
    }
}
