//! The Ollama simulator as a program, for servers of Pilothouse's own: `sim-ollama serve`, at OLLAMA_HOST.

use clap::{Parser, ValueEnum};
use pilothouse_tests::sims::ollama::{Fault, OllamaSim};
use std::{io::Write, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// Simulates `ollama serve`. No model takes part in the answers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[arg(long, env = "OLLAMA_HOST")]
    host: String,
    #[arg(long, env = "SIM_FAULT", value_enum, default_value = "none")]
    fault: Fault,
    /// Seconds in which connections are accepted and not answered, as the real one does while it looks for GPUs.
    #[arg(long, env = "SIM_SILENT_S", default_value_t = 0.0)]
    silent_s: f64,
    /// SIGTERM changes nothing.
    #[arg(long, env = "SIM_IGNORE_TERM")]
    ignore_term: bool,
    /// Lines of 1 KB that are printed at the start.
    #[arg(long, env = "SIM_LINES", default_value_t = 0)]
    lines: u32,
    /// Starts a child that outlives it, with the same output.
    #[arg(long, env = "SIM_GRANDCHILD")]
    grandchild: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Verb::Serve(options) = Arguments::parse().verb;
    let port = options.host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.ok_or_else(|| anyhow::anyhow!("OLLAMA_HOST names no port: {}", options.host))?;
    let mut stdout = std::io::stdout();
    for n in 0..options.lines {
        writeln!(stdout, "line {n} {}", "x".repeat(1000))?;
    }
    if options.grandchild {
        #[expect(clippy::disallowed_methods, reason = "not a part of Pilothouse")]
        std::process::Command::new("sleep").arg("1000").spawn()?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let first = if options.silent_s > 0.0 { Fault::Silent } else { options.fault };
    let sim = OllamaSim::start(port, first).await?;
    tokio::time::sleep(Duration::from_secs_f64(options.silent_s)).await;
    sim.set(options.fault);
    writeln!(
        stdout,
        "Listening on {} (simulated, fault: {:?})",
        options.host,
        options.fault.to_possible_value()
    )?;
    terminate.recv().await;
    if options.ignore_term {
        std::future::pending::<()>().await;
    }
    sim.stop().await;
    Ok(())
}
