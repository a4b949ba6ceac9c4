//! A client's request as its server gets it, and what went wrong between the two in the client's terms.

use super::{headers, path, path::ApiPath, pieces::Pieces, refusal::Refusal, refusal::unknown_path};
use axum::http::{HeaderMap, StatusCode, Uri};
use pilothouse_leases::Target;
use pilothouse_system::connect::{causes, client_for, lacks_descriptors, moved_to, no_descriptors};
use reqwest::{RequestBuilder, Response};

/// What a client asked for, without its body.
pub(super) struct Onward {
    path: &'static ApiPath,
    query: Option<String>,
    /// Those that travel on.
    headers: HeaderMap,
}

impl Onward {
    /// Refusal: unknown_path (no dialect names it).
    pub fn new(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let path = ApiPath::find(path::below(uri.path())).ok_or_else(|| unknown_path("POST", uri.path()))?;
        Ok(Self { path, query: uri.query().map(str::to_owned), headers: headers::to_server(headers) })
    }

    /// For logs.
    pub fn path(&self) -> String {
        self.path.text()
    }

    /// The request to a target, by the client that its supervisor uses as well.
    pub fn request(&self, target: &Target, body: Pieces) -> RequestBuilder {
        let base = target.openai.base_url.as_str();
        let client = client_for(base);
        let request = match self.path.under(base, self.query.as_deref()) {
            Some(url) => client.post(url),
            // No address of the web: reqwest says so when it is sent.
            None => client.post(base),
        };
        let request = request.headers(self.headers.clone()).body(body);
        match &target.openai.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}

/// Whether it is the server that failed, and not ourselves.
pub(super) fn is_its_fault(error: &reqwest::Error) -> bool {
    !lacks_descriptors(error)
}

/// Why a request could not be sent.
pub(super) fn unsent(target: &Target, error: &reqwest::Error) -> Refusal {
    let causes = causes(error);
    tracing::warn!(server = %target.server, at = %target.openai.base_url, ?causes, "could not be reached");
    if !is_its_fault(error) {
        let text = no_descriptors().message;
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_files", text).retry_after(5);
    }
    let text = format!("{} does not answer. “pilothouse status” says how it is.", target.server);
    Refusal::new(StatusCode::BAD_GATEWAY, "server_unreachable", text)
}

/// A redirect is not followed, by nobody: neither the key nor the prompt goes where a server points to.
pub(super) fn redirected(target: &Target, answer: &Response) -> Option<Refusal> {
    let address = moved_to(&target.openai.base_url, answer)?;
    let text = format!(
        "{} answers with a redirect, which is not followed. If it has moved, put {address} into the settings as its \
         address.",
        target.server
    );
    Some(Refusal::new(StatusCode::BAD_GATEWAY, "server_redirects", text))
}
