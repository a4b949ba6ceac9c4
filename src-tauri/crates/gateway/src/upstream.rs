//! A client's request as its server gets it, and what went wrong between the two in the client's terms.

use super::{
    headers,
    here::{Answered, Failure, Lines},
    path,
    path::ApiPath,
    pieces::Pieces,
    refusal::Refusal,
    refusal::unknown_path,
};
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response as HttpResponse, StatusCode, Uri, header,
};
use pilothouse_domain::endpoint::Secret;
use pilothouse_leases::Target;
use pilothouse_system::connect::{causes, client_for, lacks_descriptors, moved_to, no_descriptors};
use reqwest::{Response, ResponseBuilderExt};
use std::error::Error;
use url::{Position, Url};

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

    /// To chat, wherever its client asked.
    pub fn chat(headers: &HeaderMap) -> Self {
        Self { path: &path::CHAT, query: None, headers: headers::to_server(headers) }
    }

    /// To the embeddings, in our words.
    pub fn embeddings(headers: &HeaderMap) -> Self {
        let mut onward = Self { path: &path::EMBEDDINGS, ..Self::chat(headers) }.translated();
        onward.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        onward
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Of a request that is said again in other words: its own headers speak of what the client wrote.
    pub fn translated(self) -> Self {
        let keeps = [header::USER_AGENT, HeaderName::from_static("x-request-id")];
        let mut headers: HeaderMap = keeps
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.headers.get(name)?.clone())))
            .collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        Self { headers, ..self }
    }

    pub fn api_path(&self) -> &'static ApiPath {
        self.path
    }

    /// For logs.
    pub fn path(&self) -> String {
        self.path.text()
    }

    /// Sends it to a target and waits for the head of the answer: by a connection of ours where that is on this machine, else by
    /// the client that its supervisor uses as well.
    /// `path`: where a translated request goes; else to the path that its client asked for.
    pub async fn send(
        &self,
        lines: &Lines,
        target: &Target,
        path: Option<&str>,
        body: Pieces,
    ) -> Result<Response, Failure> {
        let base = target.openai.base_url.as_str();
        let url = match path {
            Some(path) => ApiPath::find(path).and_then(|path| path.under(base, None)),
            None => self.path.under(base, self.query.as_deref()),
        };
        let key = target.openai.key.as_ref().map(Secret::expose);
        if let Some(url) = &url
            && let Some(place) = Lines::place(url)
            && let Some(request) = self.plain(url, key, &body)
        {
            let answer = lines.send(place, request).await?;
            return Ok(as_by_the_usual_client(answer, url));
        }
        let client = client_for(base);
        let request = match url {
            Some(url) => client.post(url),
            // No address of the web: reqwest says so when it is sent.
            None => client.post(base),
        };
        let request = request.headers(self.headers.clone()).body(body);
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        request.send().await.map_err(Failure::Far)
    }

    /// `None`: the key, or the address, is nothing that a request can say.
    fn plain(&self, url: &Url, key: Option<&str>, body: &Pieces) -> Option<Request<Pieces>> {
        let target: Uri = url[Position::BeforePath..Position::AfterQuery].parse().ok()?;
        let mut request = Request::new(body.clone());
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, target);
        *request.headers_mut() = self.headers.clone();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}")).ok()?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Some(request)
    }
}

/// An answer as the usual client gives it, so that nobody has to know by which way it came.
fn as_by_the_usual_client(answer: HttpResponse<Answered>, url: &Url) -> Response {
    let (mut parts, body) = answer.into_parts();
    // The one way to tell a response of reqwest's where it comes from.
    let told = HttpResponse::builder().url(url.clone()).body(());
    parts.extensions.extend(told.map(|told| told.into_parts().0.extensions).unwrap_or_default());
    Response::from(HttpResponse::from_parts(parts, reqwest::Body::wrap(body)))
}

/// Whether it is the server that failed, and not ourselves.
pub(super) fn is_its_fault(error: &(dyn Error + 'static)) -> bool {
    !lacks_descriptors(error)
}

/// Why a request could not be sent.
pub(super) fn unsent(target: &Target, error: &(dyn Error + 'static)) -> Refusal {
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
