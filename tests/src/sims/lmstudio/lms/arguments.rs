use clap::{Args, Parser, Subcommand};

/// Stand-in for LM Studio's `lms` (simulated).
#[derive(Debug, Parser)]
#[command(name = "lms", disable_version_flag = true)]
pub struct Arguments {
    #[arg(short = 'v', long)]
    pub version: bool,
    #[arg(long, global = true, hide = true)]
    pub quiet: bool,
    #[arg(long, global = true, hide = true, conflicts_with = "quiet")]
    pub verbose: bool,
    #[arg(long, global = true, hide = true, conflicts_with_all = ["quiet", "verbose"])]
    pub log_level: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The public HTTP server.
    #[command(subcommand)]
    Server(ServerCommand),
    /// The backend.
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Models on disk.
    Ls(List),
    /// Loaded models.
    Ps(List),
    Load(Load),
    Unload(Unload),
    Version {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    Start {
        #[arg(short, long)]
        port: Option<u16>,
        #[arg(long, env = "LMS_SERVER_HOST", default_value = "127.0.0.1")]
        bind: String,
        #[arg(long)]
        cors: bool,
    },
    Stop,
    Status {
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    Up {
        #[arg(long)]
        json: bool,
    },
    Down,
    Status {
        #[arg(long)]
        json: bool,
    },
}

/// How the backend is reached.
#[derive(Debug, Args)]
pub struct Connection {
    /// The internal port; no other backend is looked for and none is started.
    #[arg(long, hide = true)]
    pub port: Option<u16>,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub connection: Connection,
    #[arg(long)]
    pub json: bool,
    #[arg(long)]
    pub llm: bool,
    #[arg(long)]
    pub embedding: bool,
}

#[derive(Debug, Args)]
pub struct Load {
    #[command(flatten)]
    pub connection: Connection,
    pub model: Option<String>,
    /// No questions: the best match is loaded.
    #[arg(short, long)]
    pub yes: bool,
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    pub context_length: Option<u64>,
    #[arg(long)]
    pub identifier: Option<String>,
    /// Idle seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub ttl: Option<u64>,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel: Option<u32>,
    /// `off`, `max`, or 0 to 1. Without effect here.
    #[arg(long)]
    pub gpu: Option<String>,
    #[arg(long)]
    pub estimate_only: bool,
    /// The argument is a model path.
    #[arg(long, hide = true)]
    pub exact: bool,
    #[arg(long, hide = true)]
    pub local: bool,
}

#[derive(Debug, Args)]
pub struct Unload {
    #[command(flatten)]
    pub connection: Connection,
    /// The id of an instance.
    pub identifier: Option<String>,
    #[arg(short, long)]
    pub all: bool,
}
