//! Which headers travel on. Each side of the gateway is a connection of its own with its own secrets: what belongs to
//! one of them, or to the client's identity elsewhere, ends here. The fuzzer compiles this file by itself.

use http::{HeaderMap, HeaderName, header};

/// What belongs to one connection (RFC 9110 section 7.6.1), with its old spellings, and what is negotiated for one.
fn is_of_the_connection(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 7] = [
        header::CONNECTION,
        header::EXPECT,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    // proxy-connection, proxy-authenticate, proxy-authorization, proxy-authentication-info, proxy-status, …
    NAMES.contains(name) || name.as_str().starts_with("proxy-") || name.as_str().starts_with("http2-")
}

/// Names that a `Connection` header says belong to the connection as well.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// Keys, tokens and cookies: they are the client's, for somewhere else or for us. The server gets the stored key.
fn is_a_credential(name: &str) -> bool {
    const NAMES: [&str; 6] = ["authorization", "cookie", "cookie2", "api-key", "apikey", "dpop"];
    const ENDS: [&str; 9] = [
        "-api-key",
        "-apikey",
        "-access-key",
        "-subscription-key",
        "-auth-key",
        "-authorization",
        "-token",
        "-secret",
        "-password",
    ];
    NAMES.contains(&name) || ENDS.iter().any(|end| name.ends_with(end))
}

/// Where a request came from and through whom: for us to judge, and nobody else's business.
fn tells_the_way(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "host",
        "origin",
        "referer",
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-original-url",
        "x-rewrite-url",
    ];
    const STARTS: [&str; 3] = ["x-forwarded", "sec-fetch-", "x-pilothouse-"];
    NAMES.contains(&name) || STARTS.iter().any(|start| name.starts_with(start))
}

/// The header by which a program that has passed a request on says so (a reverse proxy, `tailscale serve`).
pub fn passed_on_by(headers: &HeaderMap) -> Option<&HeaderName> {
    const NAMES: [&str; 7] = [
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
    ];
    let says_so = |name: &&HeaderName| {
        let name = name.as_str();
        NAMES.contains(&name) || name.starts_with("x-forwarded") || name.starts_with("tailscale-")
    };
    headers.keys().find(says_so)
}

/// What a server says of the origin that a browser thinks it talks to: that is us.
fn speaks_for_the_origin(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "set-cookie",
        "set-cookie2",
        "alt-svc",
        "clear-site-data",
        "strict-transport-security",
        "public-key-pins",
        "nel",
        "report-to",
    ];
    NAMES.contains(&name) || name.starts_with("access-control-") || name.starts_with("x-pilothouse-")
}

/// The headers of a client's request that its server gets. Length and encoding are the new body's matter: it is sent
/// unpacked.
pub fn to_server(client: &HeaderMap) -> HeaderMap {
    let hop = named_by_connection(client);
    let keeps = |name: &HeaderName| {
        let text = name.as_str();
        !is_of_the_connection(name)
            && !hop.contains(name)
            && !is_a_credential(text)
            && !tells_the_way(text)
            && *name != header::CONTENT_LENGTH
            && *name != header::CONTENT_ENCODING
    };
    kept(client, keeps)
}

/// The headers of a server's answer that the client gets.
pub fn to_client(server: &HeaderMap) -> HeaderMap {
    let hop = named_by_connection(server);
    kept(server, |name| {
        !is_of_the_connection(name) && !hop.contains(name) && !speaks_for_the_origin(name.as_str())
    })
}

/// Whether a body is a stream of events.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

fn kept(from: &HeaderMap, keeps: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(from.keys_len());
    for (name, value) in from {
        if keeps(name) {
            to.append(name, value.clone());
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(pair).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn a_clients_secrets_and_its_way_here_stay_here() {
        for name in [
            "authorization",
            "x-api-key",
            "api-key",
            "cookie",
            "x-goog-api-key",
            "proxy-authorization",
            "proxy-connection",
            "x-auth-token",
            "private-token",
            "x-amz-security-token",
            "ocp-apim-subscription-key",
            "x-forwarded-for",
            "x-forwarded-host",
            "forwarded",
            "x-real-ip",
            "via",
            "host",
            "origin",
            "referer",
            "content-length",
            "content-encoding",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "connection",
            "expect",
            "sec-fetch-site",
            "x-pilothouse-server",
        ] {
            assert_eq!(names(&to_server(&headers(&[(name, "x")]))), Vec::<&str>::new(), "{name}");
        }
    }

    #[test]
    fn what_a_dialect_needs_travels() {
        let all = headers(&[
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("accept-encoding", "gzip"),
            ("user-agent", "a"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "a,b"),
            ("openai-organization", "o"),
            ("x-stainless-lang", "python"),
            ("x-claude-code-session-id", "1"),
            ("x-conversation-id", "1"),
            ("x-request-id", "1"),
            ("idempotency-key", "1"),
        ]);
        assert_eq!(to_server(&all), all);
    }

    #[test]
    fn names_in_connection_are_of_the_connection_both_ways() {
        let sent = headers(&[
            ("connection", "close, X-Internal ,, (odd)"),
            ("connection", "x-other"),
            ("x-internal", "1"),
            ("x-other", "2"),
            ("x-mine", "3"),
        ]);
        assert_eq!(names(&to_server(&sent)), ["x-mine"]);
        assert_eq!(names(&to_client(&sent)), ["x-mine"]);
    }

    #[test]
    fn a_server_sets_no_cookies_and_opens_no_doors_for_us() {
        let answer = headers(&[
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("retry-after", "3"),
            ("request-id", "1"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3=\":443\""),
            ("clear-site-data", "\"*\""),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("x-pilothouse-server", "far"),
        ]);
        let mut left = to_client(&answer);
        assert!(left.remove("content-type").is_some() && left.remove("content-length").is_some());
        assert_eq!(names(&left).len(), 2, "{left:?}");
    }

    #[test]
    fn several_values_of_one_name_all_travel() {
        let sent = headers(&[("anthropic-beta", "a"), ("anthropic-beta", "b")]);
        assert_eq!(to_server(&sent).get_all("anthropic-beta").iter().count(), 2);
    }
}
