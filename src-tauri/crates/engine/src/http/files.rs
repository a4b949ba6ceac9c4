use axum::{
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

/// The built web UI. Read from the folder in a debug build, embedded in a release build.
#[derive(rust_embed::RustEmbed)]
#[folder = "../../../ui/dist"]
#[allow_missing = true]
struct WebUi;

const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>Pilothouse</title>\
     <p>The web UI was not built into this program. In the source folder: <code>npm ci &amp;&amp; npm run build</code>, \
     then build again.";

pub(super) async fn serve(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let file = if is_plain(path) { WebUi::get(path) } else { None };
    let mut response = match (file, path) {
        (Some(file), _) => {
            let kind = mime_guess::from_path(path).first_or_octet_stream();
            ([(header::CONTENT_TYPE, kind.as_ref())], file.data.into_owned()).into_response()
        }
        (None, "index.html") => {
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/html")], NOT_BUILT).into_response()
        }
        (None, _) => (StatusCode::NOT_FOUND, "There is no such page.").into_response(),
    };
    // Names of built files carry a hash of their content, the page itself does not.
    let keep = if path.starts_with("assets/") { "max-age=31536000, immutable" } else { "no-store" };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, keep),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a path can be the name of a built file: a debug build looks for it in a folder, on whatever system.
fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    path.split('/').all(|part| !part.starts_with('.') && !part.is_empty() && part.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_file_is_plain_and_nothing_outside_is() {
        for name in WebUi::iter() {
            assert!(is_plain(&name), "{name}");
        }
        for path in [
            "../Cargo.toml",
            "assets/../../package.json",
            "..",
            "./index.html",
            "",
            "assets//x.js",
            "/etc/passwd",
            "..\\package.json",
            "C:/Windows/win.ini",
            "%2e%2e/package.json",
            ".env",
            "assets/.hidden",
            "index.html\0",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
