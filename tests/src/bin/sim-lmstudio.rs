//! The LM Studio simulator as a program. Prints one line of JSON when it is ready, and ends on SIGTERM.

use clap::Parser;
use pilothouse_tests::sims::lmstudio::{LmStudioSim, Options};
use std::io::Write;
use tokio::signal::unix::{SignalKind, signal};

/// Simulates LM Studio: its HTTP server and the service behind it. No model takes part in the answers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sim = LmStudioSim::start(arguments.options).await?;
    let ready = serde_json::json!({
        "public_port": sim.public_port,
        "internal_port": sim.internal_port,
        "pid": std::process::id(),
        "simulated": true,
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = sim.shutdown_asked() => {}
    }
    sim.stop().await;
    Ok(())
}
