//! Finds the address of a pinned file in a Python package index (PEP 691 JSON, PEP 503 HTML as the older form).

use super::parts::Part;
use pilothouse_domain::error::{ApiError, ErrorCode};
use pilothouse_system::connect::{Made, no_roots};
use reqwest::{Url, header::ACCEPT};
use serde::Deserialize;

const PUBLIC_INDEX: &str = "https://pypi.org/simple";
/// Bytes. The pages of these packages have some kilobytes.
const PAGE_LIMIT: usize = 16 << 20;
pub(super) const OTHER_INDEX: &str = "Set PILOTHOUSE_INDEX_URL to the simple address of a complete package index, or install llama-server yourself.";

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    url: String,
    #[serde(default)]
    hashes: Hashes,
}

#[derive(Deserialize, Default)]
struct Hashes {
    sha256: Option<String>,
}

/// The index to ask: our own variable, pip's, or the public one.
pub(super) fn base() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let base =
        set("PILOTHOUSE_INDEX_URL").or_else(|| set("PIP_INDEX_URL")).unwrap_or_else(|| PUBLIC_INDEX.into());
    base.trim_end_matches('/').to_owned()
}

/// The address of the file with the part's hash. Errors: download_failed.
pub(super) async fn find(made: &Made, base: &str, part: &Part) -> Result<Url, ApiError> {
    if made.rootless && base.starts_with("https:") {
        let host = Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
        return Err(untrusted(host.as_deref()));
    }
    let page = format!("{base}/{}/", part.package);
    let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
    let answer = made.client.get(&page).header(ACCEPT, accept).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed(&error))?;
    let at = answer.url().clone();
    let text = page_text(answer).await?;
    let hit = address(&text, part.sha256).and_then(|address| at.join(&address).ok());
    hit.filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
        let text =
            format!("The package index has no {} {} with the expected hash.", part.package, part.version);
        ApiError::new(ErrorCode::DownloadFailed, text).hint(OTHER_INDEX)
    })
}

/// A host cannot be asked by https, as no issuer of certificates is known here.
pub(super) fn untrusted(host: Option<&str>) -> ApiError {
    ApiError { code: ErrorCode::DownloadFailed, ..no_roots(host.unwrap_or("The package index")) }
}

/// The page, unless it is longer than any page of an index.
async fn page_text(mut answer: reqwest::Response) -> Result<String, ApiError> {
    let mut page = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        page.extend_from_slice(&chunk);
        if page.len() > PAGE_LIMIT {
            let text = "The package index answered with something that is no page of an index.";
            return Err(ApiError::new(ErrorCode::DownloadFailed, text).hint(OTHER_INDEX));
        }
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// The link to the file with this hash, in either form of the page.
fn address(page: &str, sha256: &str) -> Option<String> {
    if let Ok(page) = serde_json::from_str::<Page>(page) {
        let hit = page.files.into_iter().find(|file| file.hashes.sha256.as_deref() == Some(sha256));
        return hit.map(|file| file.url);
    }
    page.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|link| link.ends_with(&format!("#sha256={sha256}")))
        .map(|link| link.split('#').next().unwrap_or_default().replace("&amp;", "&"))
}

/// What went wrong on the way to or from the index, with the innermost cause (a name, a certificate, a proxy).
pub(super) fn failed(error: &reqwest::Error) -> ApiError {
    let host = error.url().and_then(Url::host_str).unwrap_or("the package index");
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    tracing::warn!(%error, %cause, "download");
    match error.status() {
        Some(status) if status.is_client_error() => {
            ApiError::new(ErrorCode::DownloadFailed, format!("{host} answered {status}.")).hint(OTHER_INDEX)
        }
        Some(status) => ApiError::new(ErrorCode::DownloadFailed, format!("{host} answered {status}."))
            .hint("Run setup again later; it goes on where it stopped.")
            .retryable(),
        None => {
            let what = if error.is_connect() { "cannot be reached" } else { "broke the download off" };
            ApiError::new(ErrorCode::DownloadFailed, format!("{host} {what}: {cause}."))
                .hint(
                    "Check the network (behind a proxy, set HTTPS_PROXY), then run setup again; it goes on where it \
                     stopped.",
                )
                .retryable()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_index_page_are_read() {
        let json = r#"{"meta":{"api-version":"1.1"},"name":"a","files":[
            {"filename":"a-1.whl","url":"https://files.example/a-1.whl","hashes":{"sha256":"00"}},
            {"filename":"a-2.whl","url":"https://files.example/a-2.whl","hashes":{"sha256":"ff"},"size":3}]}"#;
        assert_eq!(address(json, "ff").unwrap(), "https://files.example/a-2.whl");
        let html = r#"<html><a href="../../packages/a-1.whl#sha256=00">a-1</a>
            <a href="../../packages/a-2.whl?x=1&amp;y=2#sha256=ff" data-requires-python="&gt;=3">a-2</a>"#;
        assert_eq!(address(html, "ff").unwrap(), "../../packages/a-2.whl?x=1&y=2");
        assert_eq!(address(html, "11"), None);
        assert_eq!(address("", "11"), None);
    }
}
