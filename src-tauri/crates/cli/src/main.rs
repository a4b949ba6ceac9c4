//! The command line of Pilothouse, and the engine without a desktop (`pilothouse serve`).
//!
//! Data goes to stdout, progress and remarks to stderr. `--json` follows the contract in docs/cli.md.

mod ask;
mod baseline;
mod bench;
mod changes;
mod client_keys;
mod compare;
mod completing;
mod connect;
mod doctor;
mod document;
mod events;
mod exchange;
mod fit;
mod gauge_history;
mod gauges;
mod history;
mod holding;
mod keys;
mod logs;
mod machine;
mod memory;
mod models;
mod open;
mod output;
mod parallel;
mod report;
mod scenes;
mod serve;
mod servers;
mod service;
mod session;
mod settings;
mod setup;
mod status;
mod switch;
mod traffic;

use clap::{CommandFactory, Parser, Subcommand};
use output::Output;
use pilothouse_engine::api::{ApiError, ErrorCode};
use std::{io::IsTerminal, process::ExitCode};

/// One active model for your own machine: Pilothouse supervises LM Studio, Ollama and llama-server.
#[derive(Parser)]
#[command(name = "pilothouse", version, max_term_width = 100)]
struct Arguments {
    /// Print one JSON document on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Without one: the status, and what to do next.
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// What is active, which servers run, what happened lately.
    Status,
    /// List the servers, or start, stop or restart one.
    Servers {
        #[command(subcommand)]
        act: Option<servers::Act>,
    },
    /// Keep or forget the key of a server (LM Studio's token, a remote server's API key), or make and revoke those of client programs.
    Keys {
        #[command(subcommand)]
        act: keys::Act,
    },
    /// List the models of all servers.
    Models,
    /// Make a model active; if that fails, the previous one is put back.
    Switch(switch::Switch),
    /// List the scenes: named sets of roles, each a model on a server.
    Scenes,
    /// Apply, show, save or delete a scene.
    Scene {
        #[command(subcommand)]
        act: scenes::Act,
    },
    /// Take a model out of memory.
    Unload(holding::Unload),
    /// Make no model active and take the active one out of memory.
    Deactivate(holding::Deactivate),
    /// Take the last switch, scene or deactivation back; possible for a minute.
    Undo {
        /// Only say what it would lead back to.
        #[arg(long)]
        dry_run: bool,
    },
    /// Keep a model in memory: it leaves for no other.
    Pin(holding::Pin),
    /// Let go of a pinned model.
    Unpin(holding::Pin),
    /// List the other names that programs may ask by, or set or remove one.
    Alias(holding::Alias),
    /// List the apps that can be connected; show, write, test or undo how one is.
    Connect(connect::Connect),
    /// Open the web UI in your browser.
    Open,
    /// Ask the active model; its server is started and it is loaded if need be.
    Ask(ask::Ask),
    /// Measure a model (default: the active one) and keep the result.
    Bench(bench::Bench),
    /// Measure a model with more and more requests at a time, and say how many are its best use.
    Sweep(bench::Sweep),
    /// Let a model answer so many requests at a time, as a sweep has found; or take that back within a minute.
    Parallel(parallel::Parallel),
    /// Hold two past runs against each other.
    Compare(compare::Compare),
    /// Say whether models grew slower over their runs, or accept the level of now.
    Baseline(baseline::Baseline),
    /// List past benchmark runs, delete some, or say how large the history is.
    History(history::History),
    /// List what happened: crashes, restarts, what was put back, also before the last start.
    Events(events::Events),
    /// List the requests that programs have sent, or what they add up to; never texts, only counts and times.
    Traffic(traffic::Traffic),
    /// Put benchmark runs on paper: a Markdown table, CSV, or one HTML page that opens without a network.
    Report(report::Report),
    /// Write benchmark runs into a file, to keep them or to take them to another machine.
    Export(exchange::Export),
    /// Take in benchmark runs that `export` has written.
    Import(exchange::Import),
    /// Show processor, memory and GPU, now or over a past span.
    Gauges {
        /// Go on, one sample per interval.
        #[arg(long)]
        watch: bool,
        /// The past instead: 15m, 1h, 24h, 30d or any span between.
        #[arg(long, value_name = "SPAN", conflicts_with = "watch", value_parser = gauge_history::span_s)]
        history: Option<u64>,
    },
    /// Show who holds how much memory, and what models may still take.
    Memory,
    /// Show the hardware: chip, cores, memory, bandwidth, GPU.
    Machine,
    /// Say whether models fit in memory together, and how fast they may be, before they are loaded.
    Fit(fit::Fit),
    /// Show what a server printed and what Pilothouse did about it.
    Logs {
        #[arg(add = completing::servers())]
        server: String,
        /// Go on with new lines.
        #[arg(short, long)]
        follow: bool,
        /// The last so many lines.
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: u32,
        /// Only lines that contain this text, also those of earlier days.
        #[arg(short, long, conflicts_with = "follow")]
        search: Option<String>,
    },
    /// List the settings, or get, set or reset one of them.
    Settings {
        #[command(subcommand)]
        act: Option<settings::Act>,
    },
    /// Fetch the embedded llama-server and its small model.
    Setup(setup::Setup),
    /// Check this machine and the running engine, and say what to do.
    Doctor,
    /// Run the engine without a desktop; the web UI is at the printed address.
    Serve {
        /// Port of the web UI; 0 lets the system choose.
        #[arg(long)]
        port: Option<u16>,
    },
    /// Run the engine as a service of your session (systemd or launchd), for a machine without a desktop.
    Service {
        #[command(subcommand)]
        act: service::Act,
    },
    /// Print a completion script for a shell.
    Completions {
        #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
        shell: String,
    },
}

/// What a shell needs to ask this program at each Tab; it names the program as it is found on the path.
fn completion_script(shell: &str) -> Result<Vec<u8>, ApiError> {
    const NAME: &str = "pilothouse";
    let mut script = Vec::new();
    let shells = clap_complete::env::Shells::builtins();
    let written = shells
        .completer(shell)
        .map(|shell| shell.write_registration("COMPLETE", NAME, NAME, NAME, &mut script));
    match written {
        Some(Ok(())) => Ok(script),
        Some(Err(error)) => Err(ApiError::internal(format!("The script could not be written: {error}."))),
        None => Err(ApiError::new(ErrorCode::InvalidCall, format!("There is no completion for {shell}."))),
    }
}

/// For the threads of the runtime that are still at work when everything is done.
const RUNTIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

fn main() -> ExitCode {
    // A shell that asks what comes next: it ends here.
    clap_complete::CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let output = Output::new(arguments.json);
    pilothouse_system::process::raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return output
                .fail(&ApiError::new(ErrorCode::System, format!("No runtime could be started: {error}.")));
        }
    };
    let done = runtime.block_on(async {
        match arguments.verb {
            Some(verb) => run(verb, &output).await,
            None => status::with_next_steps(&output).await,
        }
    });
    // Else it would wait for calls into the system that may never come back.
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    match done {
        Ok(code) => output.exit(code),
        Err(error) => output.fail(&error),
    }
}

/// Wrong usage ends with 2; with `--json` the error is a document as everywhere.
fn usage(error: &clap::Error) -> ExitCode {
    // Names of files and models may be in any bytes.
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let output = Output::new(wants_json);
    if wants_json && error.use_stderr() {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let error = ApiError::new(ErrorCode::InvalidCall, first).hint("“pilothouse --help” lists the verbs.");
        return output.fail(&error);
    }
    if error.use_stderr() {
        let _ = error.print();
        return ExitCode::from(ErrorCode::InvalidCall.exit_code());
    }
    // Help, or the version. Colours are for a terminal, which `print` tells.
    match std::io::stdout().is_terminal() {
        true => drop(error.print()),
        false => output.bytes(error.to_string().as_bytes()),
    }
    output.exit(0)
}

/// Runs a verb; the result is the exit code.
async fn run(verb: Verb, output: &Output) -> Result<u8, ApiError> {
    match verb {
        Verb::Status => status::run(output).await,
        Verb::Servers { act } => servers::run(act, output).await,
        Verb::Keys { act } => Box::pin(keys::run(act, output)).await,
        Verb::Models => models::run(output).await,
        Verb::Switch(arguments) => Box::pin(switch::run(arguments, output)).await,
        Verb::Connect(arguments) => Box::pin(connect::run(arguments, output)).await,
        Verb::Open => open::run(output),
        Verb::Ask(arguments) => ask::run(arguments, output).await,
        Verb::Bench(arguments) => Box::pin(bench::run(arguments, output)).await,
        Verb::Sweep(arguments) => Box::pin(bench::sweep(arguments, output)).await,
        Verb::Scenes => scenes::list(output).await,
        Verb::Scene { act } => Box::pin(scenes::run(act, output)).await,
        Verb::Unload(arguments) => Box::pin(holding::unload(arguments, output)).await,
        Verb::Deactivate(arguments) => Box::pin(holding::deactivate(arguments, output)).await,
        Verb::Undo { dry_run } => Box::pin(holding::undo(dry_run, output)).await,
        Verb::Pin(arguments) => holding::pin(arguments, true, output).await,
        Verb::Unpin(arguments) => holding::pin(arguments, false, output).await,
        Verb::Alias(arguments) => holding::alias(arguments, output).await,
        Verb::Parallel(arguments) => Box::pin(parallel::run(arguments, output)).await,
        Verb::Baseline(arguments) => baseline::run(arguments, output).await,
        Verb::Compare(arguments) => compare::run(arguments, output).await,
        Verb::History(arguments) => history::run(arguments, output).await,
        Verb::Events(arguments) => events::run(arguments, output).await,
        Verb::Traffic(arguments) => Box::pin(traffic::run(arguments, output)).await,
        Verb::Report(arguments) => Box::pin(report::run(arguments, output)).await,
        Verb::Export(arguments) => Box::pin(exchange::export(arguments, output)).await,
        Verb::Import(arguments) => Box::pin(exchange::import(arguments, output)).await,
        Verb::Memory => memory::run(output).await,
        Verb::Machine => machine::run(output).await,
        Verb::Fit(arguments) => Box::pin(fit::run(arguments, output)).await,
        Verb::Gauges { history: Some(span_s), .. } => gauge_history::run(span_s, output).await,
        Verb::Gauges { watch, history: None } => gauges::run(watch, output).await,
        Verb::Logs { server, lines, search: Some(text), .. } => {
            logs::search(&server, text, lines, output).await
        }
        Verb::Logs { server, follow, lines, search: None } => logs::run(&server, follow, lines, output).await,
        Verb::Settings { act } => settings::run(act, output).await,
        Verb::Setup(arguments) => Box::pin(setup::run(arguments, output)).await,
        Verb::Doctor => doctor::run(output).await,
        Verb::Serve { port } => Box::pin(serve::run(port, output)).await,
        Verb::Service { act } => service::run(act, output).await,
        Verb::Completions { shell } => {
            output.bytes(&completion_script(&shell)?);
            Ok(0)
        }
    }
}
