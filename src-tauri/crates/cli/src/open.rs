use crate::{output::Output, session::Session};
use pilothouse_engine::api::{ApiError, ErrorCode};
use pilothouse_system::{
    files::write_private,
    paths::Paths,
    process::{ProcessSpec, let_go},
};
use serde_json::json;

/// The program that opens what it is given as the person has set it up.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Opens the web UI in the browser of the person. A command line can be read by every user of the machine, so the token is not
/// on one: it stands in a private page that leads on.
pub fn run(output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let address = session.web_url();
    let by_hand = || format!("Open this address in a browser: {address}");
    if cfg!(target_os = "linux")
        && !["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
    {
        let error =
            ApiError::new(ErrorCode::Unsupported, "There is no desktop here that could show a browser.");
        return Err(error.hint(by_hand()));
    }
    let page = Paths::from_env()?.run.join("open.html");
    write_private(&page, leading_to(&address).as_bytes()).map_err(|error| {
        ApiError::new(ErrorCode::System, format!("{} cannot be written: {error}.", page.display()))
            .hint(by_hand())
    })?;
    let opener = ProcessSpec {
        program: OPENER.into(),
        args: vec![page.clone().into()],
        env: vec![],
        env_remove: vec![],
        cwd: None,
    };
    let_go(&opener).map_err(|error| error.hint(by_hand()))?;
    output.answer(json!({ "opened": session.web_address() }), || {
        format!(
            "Opened {} in your browser. If it stays empty, “pilothouse status” says the whole address.",
            session.web_address()
        )
    });
    Ok(0)
}

/// A page that is left at once. The address is one of ours: digits, letters and the signs of a URL.
fn leading_to(address: &str) -> String {
    let address = address.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=utf-8><meta name=referrer content=no-referrer><title>Pilothouse</title>\
         <meta http-equiv=refresh content=\"0; url={address}\"><p><a href=\"{address}\">Pilothouse</a>\n"
    )
}
