//! A request to the gateway: path and query in the first line, headers below. Whatever it is, what is asked of the server is
//! one of the listed paths under its base, and no secret of the client travels on.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pilothouse_fuzz::{
    gateway_headers::{to_client, to_server},
    gateway_path::{ApiPath, PATHS, model_id, shown},
};

const BASE: &str = "http://127.0.0.1:8080/openai/v1";
const NEVER: [&str; 10] = [
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "host",
    "origin",
    "connection",
    "transfer-encoding",
    "content-length",
    "x-forwarded-for",
];

fn address(line: &str) {
    let (path, query) = line.split_once('?').map_or((line, None), |(path, query)| (path, Some(query)));
    assert!(shown(path).chars().count() <= 1000 && !shown(path).contains(char::is_control));
    let _ = model_id(path);
    let Some(entry) = ApiPath::find(path) else { return };
    let Some(url) = entry.under(BASE, query) else { panic!("{BASE} is an address") };
    let below = url.path().strip_prefix("/openai/v1/").unwrap_or_else(|| panic!("{path:?} led to {url}"));
    assert!(PATHS.iter().any(|known| known.text() == below), "{path:?} led to {url}");
    assert_eq!((url.scheme(), url.host_str(), url.port()), ("http", Some("127.0.0.1"), Some(8080)));
    assert_eq!((url.fragment(), url.username(), url.password()), (None, "", None));
}

fn headers(lines: &str) {
    let mut sent = HeaderMap::new();
    for line in lines.lines().take(200) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.trim()));
        if let (Ok(name), Ok(value)) = parsed {
            sent.append(name, value);
        }
    }
    let (up, down) = (to_server(&sent), to_client(&sent));
    assert!(NEVER.iter().all(|name| !up.contains_key(*name)), "{up:?}");
    for name in ["set-cookie", "connection", "transfer-encoding", "access-control-allow-origin"] {
        assert!(!down.contains_key(name), "{down:?}");
    }
    let listed = sent.get_all("connection").iter().filter_map(|value| value.to_str().ok());
    for name in listed.flat_map(|value| value.split(',')).map(str::trim) {
        assert!(!up.contains_key(name) && !down.contains_key(name), "{name} belongs to the connection");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (line, lines) = text.split_once('\n').unwrap_or((&text, ""));
    address(line);
    headers(lines);
});
