//! Where something answers, and the key for it.

use std::fmt;

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
        let (scheme, rest) = self.base_url.split_once("://").unwrap_or(("http", &self.base_url));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // A colon inside brackets belongs to the address.
        let after_brackets = authority.rfind(']').map_or(0, |end| end + 1);
        let host = match authority[after_brackets..].find(':') {
            Some(colon) => &authority[..after_brackets + colon],
            None => authority,
        };
        if host.is_empty() {
            return self.clone();
        }
        Self { base_url: format!("{scheme}://{host}:{port}{path}"), key: self.key.clone() }
    }
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
        ] {
            assert_eq!(at(from), Endpoint { base_url: to.into(), key: Some(Secret::new("k")) }, "{from}");
        }
    }
}
