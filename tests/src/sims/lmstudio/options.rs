use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which generation of the product is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// 0.3.30: no `/api/v1`; only `lms` loads and unloads.
    #[value(name = "0.3")]
    V03,
    /// The first with `/api/v1`. Its internal port is found by trying the five fixed ones.
    #[value(name = "0.4.0")]
    V040,
    /// As 0.4.0 in everything that is simulated but its version.
    #[value(name = "0.4.16")]
    V0416,
    /// Tells its internal port in `http-server.json`; a load may name how many requests run at a time.
    #[value(name = "0.4.25")]
    V0425,
    /// Bionic, the second product on the same engine, port and home folder.
    Bionic,
    /// 0.4.25 with "Require Authentication" on.
    Auth,
}

impl Profile {
    pub const ALL: [Self; 6] = [Self::V03, Self::V040, Self::V0416, Self::V0425, Self::Bionic, Self::Auth];

    /// Whether `/api/v1` is there.
    pub fn has_v1(self) -> bool {
        self != Self::V03
    }

    /// Of July 2026 and later: `http-server.json`, and `parallel` among the fields of a load.
    pub fn is_recent(self) -> bool {
        matches!(self, Self::V0425 | Self::Bionic | Self::Auth)
    }

    /// What `/lms-status` calls itself.
    pub fn package(self) -> &'static str {
        match self {
            Self::Bionic => "bionic",
            _ => "lmstudio",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::V03 => "0.3.30",
            Self::V040 => "0.4.0",
            Self::V0416 => "0.4.16",
            Self::V0425 | Self::Auth => "0.4.25",
            Self::Bionic => "1.1.6",
        }
    }
}

/// How a load goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailLoad {
    /// Refused for want of memory, HTTP 500.
    Guardrail,
    /// The same body with HTTP 200.
    #[value(name = "guardrail-200")]
    #[serde(rename = "guardrail-200")]
    Guardrail200,
    /// Refused for want of memory, HTTP 500, as long as another LLM is loaded.
    GuardrailBeside,
    /// The engine dies while it loads.
    Sigabrt,
    /// The load never ends.
    Hang,
}

/// Faults; they can be changed while the simulator runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Loads go wrong in this way.
    #[arg(long, value_enum)]
    pub fail_load: Option<FailLoad>,
    /// Only loads of the model with this key go wrong.
    #[arg(long)]
    pub fail_load_model: Option<String>,
    /// Unloads are answered as done, and nothing is unloaded.
    #[arg(long)]
    pub unload_noop: bool,
    /// Milliseconds before `/lmstudio-greeting` answers.
    #[arg(long, default_value_t = 0)]
    pub greeting_delay_ms: u64,
    /// Lists and streams as a later version might give them: unknown keys, kinds, formats and events.
    #[arg(long)]
    pub strange: bool,
    /// A stream breaks off after this many events.
    #[arg(long)]
    pub cut_stream_after: Option<usize>,
}

/// How the stand-in for `lms` misbehaves, whatever it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LmsQuirks {
    /// Writes a line to stdout that is no JSON, before everything else.
    pub banner: bool,
    /// Goes on for ten minutes when its work is done.
    pub lingers: bool,
    /// Says that the server could not be verified, and exits with 1, though it runs.
    pub false_alarm: bool,
}

impl Faults {
    /// How a load of `key` goes wrong, if it does.
    pub fn of_load(&self, key: &str) -> Option<FailLoad> {
        let meant = self.fail_load_model.as_deref().is_none_or(|only| only == key);
        self.fail_load.filter(|_| meant)
    }
}

/// How the simulator behaves. `Options::new` gives the defaults of the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The home folder (`~/.lmstudio` of the real one). Made when it is missing.
    #[arg(long)]
    pub home: PathBuf,
    /// Port of the public HTTP server; 0: a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The version that `/lms-status` tells; by default one that fits the profile.
    #[arg(long)]
    pub version: Option<String>,
    #[arg(long, value_enum, default_value = "0.4.25")]
    pub profile: Profile,
    /// Seconds that a load takes.
    #[arg(long, default_value_t = DEFAULT_LOAD_SECONDS)]
    pub load_seconds: f64,
    /// Speed of generation, above 0.
    #[arg(long, default_value_t = DEFAULT_TOKENS_PER_SECOND)]
    pub tokens_per_second: f64,
    /// Milliseconds for the prompt, before generation begins.
    #[arg(long, default_value_t = DEFAULT_TTFT_MS)]
    pub ttft_ms: u64,
    /// Tokens after which an answer ends by itself.
    #[arg(long, default_value_t = DEFAULT_ANSWER_TOKENS)]
    pub answer_tokens: u32,
    /// A JSON file with an array of models; by default the built-in catalogue.
    #[arg(long)]
    pub models: Option<PathBuf>,
    /// The public HTTP server is off at the start.
    #[arg(long)]
    pub server_off: bool,
    /// Inference does not load models.
    #[arg(long)]
    pub no_jit: bool,
    /// Plays the desktop app instead of the daemon, as the real app does with this argument.
    #[arg(long)]
    pub run_as_service: bool,
    #[command(flatten)]
    pub faults: Faults,
}

const DEFAULT_LOAD_SECONDS: f64 = 0.5;
const DEFAULT_TOKENS_PER_SECOND: f64 = 200.0;
const DEFAULT_TTFT_MS: u64 = 30;
const DEFAULT_ANSWER_TOKENS: u32 = 320;

impl Options {
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            port: 0,
            version: None,
            profile: Profile::V0425,
            load_seconds: DEFAULT_LOAD_SECONDS,
            tokens_per_second: DEFAULT_TOKENS_PER_SECOND,
            ttft_ms: DEFAULT_TTFT_MS,
            answer_tokens: DEFAULT_ANSWER_TOKENS,
            models: None,
            server_off: false,
            no_jit: false,
            run_as_service: false,
            faults: Faults::default(),
        }
    }

    /// The version that is told.
    pub fn told_version(&self) -> &str {
        self.version.as_deref().unwrap_or(self.profile.version())
    }

    /// Errors: a number that makes no sense.
    pub fn check(&self) -> anyhow::Result<()> {
        let allowed = |value: f64, least: f64| value.is_finite() && value >= least && value <= 1e6;
        anyhow::ensure!(allowed(self.load_seconds, 0.0), "--load-seconds: 0 to 1000000");
        anyhow::ensure!(allowed(self.tokens_per_second, 0.01), "--tokens-per-second: 0.01 to 1000000");
        anyhow::ensure!(self.answer_tokens > 0, "--answer-tokens: 1 and more");
        Ok(())
    }
}
