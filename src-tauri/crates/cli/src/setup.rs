use crate::{
    output::Output,
    session::{Session, unexpected},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pilothouse_domain::{
    snapshot::{SetupProgress, Snapshot},
    units::gigabytes,
};
use pilothouse_engine::{
    api::{ApiError, Call, ErrorCode, Fetched, Reply},
    setup::{Embedded, SetupOptions, fetch},
};
use pilothouse_system::paths::Paths;
use serde_json::json;
use std::{
    io::{IsTerminal, Write},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub struct Setup {
    /// Do not ask before fetching.
    #[arg(long)]
    yes: bool,
    /// Build llama-server from source (for processors that the prebuilt one does not suit).
    #[arg(long)]
    from_source: bool,
}

/// Fetches through the running engine, so that it takes the server up at once; without one, directly.
pub async fn run(arguments: Setup, output: &Output) -> Result<u8, ApiError> {
    let paths = Paths::from_env()?;
    paths.create_all()?;
    let embedded = Embedded::new(paths.embedded.clone());
    let complete = embedded.server_program().is_some() && embedded.has_model();
    if !complete && !arguments.yes && !agreed(output)? {
        return Err(ApiError::cancelled("Nothing was fetched."));
    }
    let bar = output.progress();
    let (fetched, skipped) = match Session::connect() {
        Ok(session) => through_engine(&session, arguments.from_source, &bar).await?,
        Err(error) if error.code == ErrorCode::NotRunning => {
            directly(&embedded, arguments.from_source, &bar).await?
        }
        Err(error) => return Err(error),
    };
    bar.finish_and_clear();
    output.answer(json!({ "fetched": fetched, "skipped": skipped }), || {
        let line = |verb: &str, item: &Fetched| {
            format!("{verb} {} {} ({}) in {}", item.what, item.version, gigabytes(item.bytes), item.path)
        };
        let fetched = fetched.iter().map(|item| line("fetched", item));
        let skipped = skipped.iter().map(|item| line("present", item));
        fetched.chain(skipped).collect::<Vec<_>>().join("\n")
    });
    Ok(0)
}

/// Asks on a terminal; without one, silence is no consent.
fn agreed(output: &Output) -> Result<bool, ApiError> {
    if output.is_json() || !std::io::stdin().is_terminal() {
        return Err(ApiError::new(ErrorCode::InvalidCall, "Fetching about 158 MB needs consent.")
            .hint("Say “pilothouse setup --yes”."));
    }
    let mut asked = std::io::stderr();
    let _ = asked.write_all(b"Fetch llama-server and a small model, about 158 MB? [Y/n] ");
    let _ = asked.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok_and(|bytes| bytes > 0) && !answer.trim().to_lowercase().starts_with('n'))
}

type Items = (Vec<Fetched>, Vec<Fetched>);

async fn through_engine(session: &Session, from_source: bool, bar: &ProgressBar) -> Result<Items, ApiError> {
    let watch = |snapshot: &Snapshot| {
        if let Some(progress) = &snapshot.setup.progress {
            show(bar, progress);
        }
    };
    match session.call_and_watch(Call::Setup { from_source }, Call::CancelSetup, watch).await? {
        Reply::Setup { fetched, skipped } => Ok((fetched, skipped)),
        other => Err(unexpected(&other)),
    }
}

async fn directly(embedded: &Embedded, from_source: bool, bar: &ProgressBar) -> Result<Items, ApiError> {
    let cancel = CancellationToken::new();
    let (interrupt, shown) = (cancel.clone(), bar.clone());
    let listener = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupt.cancel();
        }
    });
    let sink = Arc::new(move |progress: SetupProgress| show(&shown, &progress));
    let result = fetch(embedded, &SetupOptions { from_source }, sink, cancel).await;
    listener.abort();
    result.map(|result| (result.fetched, result.skipped))
}

fn show(bar: &ProgressBar, progress: &SetupProgress) {
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    if let Some(total) = progress.total_bytes {
        bar.set_length(total);
    }
    bar.set_position(progress.done_bytes);
    bar.set_message(progress.what.clone());
}
