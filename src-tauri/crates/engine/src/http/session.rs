//! How a browser is known again: a cookie, given to whoever came with the token once. It holds in every tab and over restarts.
//!
//! Browsers send the cookies of 127.0.0.1 to every port of it, and call pages of all these ports the same site. So the cookie
//! alone lets nobody change anything: the browser itself must say that the page came from this very door.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use pilothouse_domain::endpoint::Secret;
use pilothouse_system::{files::write_private, paths::Paths, redact};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Half a year, counted anew at each visit.
const KEPT_FOR_S: u32 = 180 * 86_400;
/// Letters of the name that tell one Pilothouse from another.
const NAME_LETTERS: usize = 12;

/// The cookie of one data directory.
#[derive(Clone)]
pub struct Cookie {
    name: String,
    secret: Secret,
}

/// What the door remembers over restarts, in a file of mode 0600.
pub struct Remembered {
    file: PathBuf,
    name: String,
    kept: Kept,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    secret: String,
    /// That the system chose last.
    port: Option<u16>,
}

impl Remembered {
    /// What is kept in a data directory; a new secret where there is none.
    pub fn open(paths: &Paths) -> Self {
        let file = paths.data.join("web-session.json");
        let kept = read(&file);
        let is_new = kept.is_none();
        let kept = kept.unwrap_or_else(|| Kept { secret: new_secret(), port: None });
        redact::register(&Secret::new(kept.secret.as_str()));
        let remembered = Self { file, name: name_for(&paths.data), kept };
        if is_new {
            remembered.write();
        }
        remembered
    }

    pub fn cookie(&self) -> Cookie {
        Cookie { name: self.name.clone(), secret: Secret::new(self.kept.secret.as_str()) }
    }

    /// The port that the system chose last time.
    pub fn port(&self) -> Option<u16> {
        self.kept.port
    }

    pub fn keep_port(&mut self, port: u16) {
        if self.kept.port != Some(port) {
            self.kept.port = Some(port);
            self.write();
        }
    }

    /// Somebody else sits where browsers look for this door, and may have been shown the cookie: it is worth nothing from now on.
    pub fn renew(&mut self) {
        self.kept.secret = new_secret();
        redact::register(&Secret::new(self.kept.secret.as_str()));
        self.write();
    }

    fn write(&self) {
        let written = serde_json::to_vec(&self.kept)
            .map_err(std::io::Error::other)
            .and_then(|text| write_private(&self.file, &text));
        if let Err(error) = written {
            tracing::warn!(%error, "browsers have to come with the token again after the next start");
        }
    }
}

fn read(file: &Path) -> Option<Kept> {
    let kept: Kept = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let whole = kept.secret.len() == 64 && kept.secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then_some(kept)
}

fn new_secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// Two of them on one machine must not take each other's cookies away, whatever their ports.
fn name_for(data: &Path) -> String {
    let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let letters: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("pilothouse-{}", letters.get(..NAME_LETTERS).unwrap_or_default())
}

impl Cookie {
    #[cfg(test)]
    pub fn of(name: &str, secret: &str) -> Self {
        Self { name: name.into(), secret: Secret::new(secret) }
    }

    /// The header that gives it to a browser. `None`: it cannot be written as one.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = format!(
            "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={KEPT_FOR_S}",
            self.name,
            self.secret.expose()
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether a request comes from a page of this door in a browser that has been given the cookie.
    pub fn admits(&self, method: &Method, headers: &HeaderMap) -> bool {
        is_from_own_page(method, headers) && self.is_in(headers)
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut own = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name);
        // More than one: another program of 127.0.0.1 can set one of the same name with another path.
        own.any(|(_, value)| same(value.as_bytes(), self.secret.expose().as_bytes()))
    }
}

/// As far as the browser tells. Host and Origin have been compared before; an Origin that is there is this door's own.
fn is_from_own_page(method: &Method, headers: &HeaderMap) -> bool {
    let reads = [Method::GET, Method::HEAD].contains(method);
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(b"same-origin") => reads || headers.contains_key(header::ORIGIN),
        // Typed, or from a bookmark.
        Some(b"none") => reads,
        Some(_) => false,
        None => reads || headers.contains_key(header::ORIGIN),
    }
}

/// Compares without telling by its time how much was right.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(method: Method, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Cookie::of("pilothouse-1", "right").admits(&method, &headers)
    }

    #[test]
    fn only_a_page_of_this_door_with_the_right_cookie_comes_in() {
        let good = ("cookie", "pilothouse-1=right");
        let page = ("origin", "http://127.0.0.1:1");
        let own = ("sec-fetch-site", "same-origin");
        for (method, lines, wanted) in [
            (Method::POST, &[good, page, own][..], true),
            (Method::POST, &[good, page], true),
            (Method::POST, &[good, own], false),
            (Method::POST, &[good], false),
            // A page of another port, a link on a foreign page, an address that was typed.
            (Method::POST, &[good, page, ("sec-fetch-site", "same-site")], false),
            (Method::POST, &[good, page, ("sec-fetch-site", "cross-site")], false),
            (Method::POST, &[good, page, ("sec-fetch-site", "none")], false),
            (Method::GET, &[good, own], true),
            (Method::GET, &[good], true),
            (Method::GET, &[good, ("sec-fetch-site", "none")], true),
            (Method::GET, &[good, ("sec-fetch-site", "same-site")], false),
            (Method::GET, &[], false),
            (Method::GET, &[("cookie", "pilothouse-1=wrong")], false),
            (Method::GET, &[("cookie", "pilothouse-2=right")], false),
            (Method::GET, &[("cookie", "pilothouse-1=")], false),
            (Method::GET, &[("cookie", "a=b; pilothouse-1=right; c=d")], true),
            (Method::GET, &[("cookie", "pilothouse-1=other; pilothouse-1=right")], true),
            (Method::GET, &[("cookie", "a=b"), good], true),
        ] {
            assert_eq!(admits(method.clone(), lines), wanted, "{method} {lines:?}");
        }
    }

    fn paths(home: &Path) -> Paths {
        let home = home.as_os_str().to_owned();
        let paths = Paths::resolve(&|name| (name == "PILOTHOUSE_HOME").then(|| home.clone())).unwrap();
        paths.create_all().unwrap();
        paths
    }

    #[test]
    fn secret_and_port_survive_and_each_data_directory_has_its_own() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (paths(one.path()), paths(two.path()));
        let header = |remembered: &Remembered| remembered.cookie().header().unwrap();
        let mut first = Remembered::open(&one);
        assert_eq!(first.port(), None);
        first.keep_port(4711);
        let again = Remembered::open(&one);
        assert_eq!((again.port(), header(&again)), (Some(4711), header(&first)));
        let other = Remembered::open(&two);
        assert_ne!(other.cookie().name, again.cookie().name);
        first.renew();
        assert_ne!(header(&Remembered::open(&one)), header(&again), "the old one is worth nothing");
        assert_eq!(Remembered::open(&one).port(), Some(4711));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&first.file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for damaged in ["", "{}", "{\"secret\":\"short\",\"port\":1}"] {
            std::fs::write(&first.file, damaged).unwrap();
            assert_eq!(Remembered::open(&one).kept.secret.len(), 64, "{damaged}");
        }
    }
}
