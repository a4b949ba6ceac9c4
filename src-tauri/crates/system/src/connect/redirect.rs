//! Where a server that has moved wants to be asked.

use reqwest::{Response, Url, header::LOCATION};

/// Where a server that answers with a redirect wants to be asked, as an address for the settings. `base_url` is the
/// present one. `None`: the answer is no redirect.
pub fn moved_to(base_url: &str, answer: &Response) -> Option<String> {
    if !answer.status().is_redirection() {
        return None;
    }
    moved_base(base_url, answer.url(), answer.headers().get(LOCATION)?.to_str().ok()?)
}

fn moved_base(base_url: &str, asked: &Url, location: &str) -> Option<String> {
    let base = Url::parse(base_url).ok()?;
    let mut to = asked.join(location).ok().filter(|to| matches!(to.scheme(), "http" | "https"))?;
    to.set_query(None);
    to.set_fragment(None);
    let _ = (to.set_username(""), to.set_password(None));
    let below = asked.path().strip_prefix(base.path().trim_end_matches('/')).unwrap_or_default();
    let front = to.path().trim_end_matches('/').strip_suffix(below).map(str::to_owned);
    if let Some(front) = front {
        to.set_path(&front);
    }
    Some(to.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_the_address_for_the_settings() {
        let moved = |base: &str, below: &str, location: &str| {
            moved_base(base, &Url::parse(&format!("{base}{below}")).unwrap(), location)
        };
        let base = "http://studio.local/v1";
        assert_eq!(
            moved(base, "/models", "https://studio.local/v1/models").as_deref(),
            Some("https://studio.local/v1")
        );
        assert_eq!(
            moved(base, "/chat/completions", "/openai/v1/chat/completions?a=b").as_deref(),
            Some("http://studio.local/openai/v1")
        );
        assert_eq!(
            moved("http://studio.local:8080", "/api/version", "https://studio.local/api/version/").as_deref(),
            Some("https://studio.local")
        );
        assert_eq!(
            moved(base, "/models", "https://user:secret@sso.local/login?to=x#y").as_deref(),
            Some("https://sso.local/login")
        );
        assert_eq!(moved(base, "/models", "javascript:alert(1)"), None);
    }
}
