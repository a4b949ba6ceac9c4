//! The words, ranges and groups of all keys.

use super::{
    RestartOf, SettingChoice,
    SettingGroup::{self, *},
    SettingKey, SettingKind,
};

/// Where tables of single models and variables are written.
const IN_THE_FILE: &str = "it is written in the file";

pub(super) fn all() -> Vec<SettingKey> {
    [
        general(),
        tray_and_gauges(),
        one_address(),
        switching(),
        memory(),
        benchmarks(),
        data_kept(),
        lm_studio(),
        ollama(),
        llama_server(),
    ]
    .concat()
}

fn general() -> Vec<SettingKey> {
    let of_crashes = |key, title, meaning, kind| key_of(General, key, title, meaning, kind);
    vec![
        key_of(
            General,
            "web.port",
            "Port of this page",
            "Also of the command line. At 0 it is the one of last time, if it is free.",
            zero(number(0, 65_535), "the system chooses"),
        )
        .at_start(),
        of_crashes(
            "restart.first_ms",
            "Wait before a first restart",
            "Of a crashed server that Pilothouse started; it doubles with each crash.",
            not_above(in_unit(number(1, 3_600_000), "ms"), "restart.max_ms"),
        ),
        of_crashes(
            "restart.max_ms",
            "Longest wait before a restart",
            "",
            not_below(in_unit(number(1, 3_600_000), "ms"), "restart.first_ms"),
        ),
        of_crashes(
            "restart.max_crashes",
            "Crashes until it is left alone",
            "Then a person has to start it again.",
            number(1, 100),
        ),
        of_crashes("restart.window_s", "Time in which crashes count", "", in_unit(number(1, 86_400), "s")),
        of_crashes(
            "restart.hang_s",
            "Silence that counts as a hang",
            "Without an answer, a token or any work for so long, a server of ours is killed and started again.",
            zero(in_unit(number(0, 86_400), "s"), "never"),
        ),
        of_crashes(
            "restart.token_s",
            "Longest wait for a token",
            "Asked of a server that looks stuck.",
            in_unit(number(1, 600), "s"),
        ),
        of_crashes(
            "restart.start_s",
            "Longest start of a server",
            "Until its first answer.",
            zero(in_unit(number(0, 86_400), "s"), "as the kind of server needs"),
        ),
    ]
}

fn tray_and_gauges() -> Vec<SettingKey> {
    let bars = [("none", "No gauge"), ("memory", "Memory"), ("gpu", "GPU"), ("both", "Memory and GPU")];
    vec![
        key_of(TrayAndNotices, "tray.gauge", "Bars in the icon", "", choice(&bars)),
        key_of(
            TrayAndNotices,
            "tray.text",
            "Text beside the icon",
            "Per cent of memory and GPU, where the bar shows text there (macOS; GNOME with its extension).",
            SettingKind::Switch,
        ),
        key_of(
            TrayAndNotices,
            "tray.previous_model_shortcut",
            "Keys for the previous model",
            "“Ctrl+Alt+P”, say: heard in every program while the tray app runs.",
            text("off"),
        ),
        key_of(
            TrayAndNotices,
            "notifications.enabled",
            "Desktop notifications",
            "What changed while you looked elsewhere.",
            SettingKind::Switch,
        ),
        key_of(
            TrayAndNotices,
            "notifications.quiet",
            "Quiet hours",
            "“22:00-07:00”: the desktop shows only problems then; everything stays in Events.",
            text("none"),
        ),
        key_of(
            Gauges,
            "gauges.interval_ms",
            "Time between samples",
            "Of processor, memory, GPU and power.",
            in_unit(number(200, 60_000), "ms"),
        ),
        key_of(
            Gauges,
            "gauges.docker",
            "Look at containers",
            "Of a Docker engine on this machine; nothing is started for it.",
            SettingKind::Switch,
        ),
    ]
}

fn one_address() -> Vec<SettingKey> {
    let hosts = SettingKind::List { of: "name such as host.docker.internal".into() };
    vec![
        key_of(
            OneAddress,
            "gateway.enabled",
            "Answer programs",
            "At one address that follows the active model.",
            SettingKind::Switch,
        )
        .at_start(),
        key_of(
            OneAddress,
            "gateway.port",
            "Port",
            "At this machine's own addresses only.",
            zero(number(0, 65_535), "the system chooses"),
        )
        .at_start(),
        key_of(
            OneAddress,
            "gateway.hosts",
            "Further names of this machine",
            "By which containers or a tunnel may ask. A name that somebody else can point here lets his web pages in.",
            hosts,
        )
        .at_start(),
        key_of(
            OneAddress,
            "gateway.origins",
            "Web pages that may ask",
            "By their exact origin. Each of them can use your models.",
            SettingKind::List { of: "origin such as http://localhost:3000".into() },
        )
        .at_start(),
        key_of(
            OneAddress,
            "gateway.wait_s",
            "Longest wait during a switch",
            "After it a request is refused before its first byte.",
            in_unit(number(1, 600), "s"),
        ),
        key_of(
            OneAddress,
            "gateway.queue",
            "Requests that may wait",
            "For a switch, or for a model that is busy.",
            number(1, 10_000),
        ),
        key_of(
            OneAddress,
            "gateway.queue_wait_s",
            "Longest wait for a turn",
            "Behind other requests at the same model.",
            in_unit(number(1, 3600), "s"),
        ),
        key_of(
            OneAddress,
            "gateway.aliases",
            "Other names programs may use",
            "Each stands for a role or a model: gpt-4o-mini for small, say.",
            SettingKind::Table { place: "the page Scenes, or “pilothouse alias”".into() },
        ),
        key_of(
            OneAddress,
            "gateway.ollama_port",
            "Port for programs of Ollama",
            "A second port that answers in Ollama's own words, whatever server the model is on.",
            zero(number(0, 65_535), "none"),
        ),
        key_of(
            OneAddress,
            "gateway.require_key",
            "Programs of this machine need a key",
            "As all others do. Keys are made on the page Connect, or by “pilothouse keys client add”.",
            SettingKind::Switch,
        ),
        key_of(
            OneAddress,
            "gateway.container_bridges",
            "Containers may ask by their bridge",
            "Linux: it listens on the bridges of Docker and Podman too. Whoever comes in there needs a key.",
            SettingKind::Switch,
        ),
        key_of(
            OneAddress,
            "gateway.mask_billing",
            "Keep the prompts of Claude Code alike",
            "Leaves out a text about billing that changes each time. With it a server reads the whole prompt anew.",
            SettingKind::Switch,
        ),
        key_of(
            OneAddress,
            "gateway.metrics",
            "Figures for Prometheus",
            "At /metrics, for the token in the file metrics-token of the data folder.",
            SettingKind::Switch,
        ),
        key_of(
            OneAddress,
            "gateway.otlp",
            "OpenTelemetry collector",
            "It is told of each request, never of what was asked or answered: http://127.0.0.1:4318, say.",
            text("none"),
        ),
        key_of(
            OtherComputers,
            "servers.remote",
            "Servers elsewhere",
            "They are watched and used, never started or stopped.",
            SettingKind::Table { place: "they are added and forgotten on the page Servers".into() },
        ),
    ]
}

fn switching() -> Vec<SettingKey> {
    vec![
        key_of(
            Switching,
            "switching.drain_s",
            "Time for answers to end",
            "Those of the previous model; then they are cut.",
            zero(in_unit(number(0, 3600), "s"), "cut at once"),
        ),
        key_of(
            Switching,
            "switching.load_floor_s",
            "Least time for a load",
            "A load may take five times as long as the slowest of the last ones, but at least this.",
            not_above(in_unit(number(1, 3600), "s"), "switching.load_ceiling_s"),
        ),
        key_of(
            Switching,
            "switching.load_ceiling_s",
            "Most time for a load",
            "Also of the first one.",
            not_below(in_unit(number(1, 7200), "s"), "switching.load_floor_s"),
        ),
    ]
}

fn memory() -> Vec<SettingKey> {
    let loads = [
        ("never", "Never: it is refused"),
        ("when_it_fits", "When it fits beside everything"),
        ("evict_idle", "Also instead of idle ones that were loaded so"),
    ];
    let scenes = SettingKind::Table { place: "the page Scenes, or “pilothouse scene save”".into() };
    vec![
        key_of(
            Memory,
            "memory.load_on_request",
            "Load what a program asks for",
            "A model on disk that is not in memory.",
            choice(&loads),
        ),
        key_of(
            Memory,
            "memory.idle_s",
            "Idle models leave after",
            "Of those that were loaded on request.",
            zero(in_unit(number(0, 604_800), "s"), "they stay"),
        ),
        key_of(
            Memory,
            "memory.yield_under_pressure",
            "Give way when memory runs short",
            "Idle models on request leave first, then idle background roles; never a pinned one.",
            SettingKind::Switch,
        ),
        key_of(Scenes, "scenes", "Scenes", "Named sets of roles.", scenes),
    ]
}

fn benchmarks() -> Vec<SettingKey> {
    vec![
        key_of(
            Benchmarks,
            "bench.slo_ms",
            "A first token is in time within",
            "What a sweep counts as good.",
            in_unit(number(1, 60_000), "ms"),
        ),
        key_of(
            Benchmarks,
            "bench.check_after_update",
            "Measure after an update",
            "Models with an accepted baseline, a minute each, when their server has a new version and the machine is idle.",
            SettingKind::Switch,
        ),
    ]
}

fn data_kept() -> Vec<SettingKey> {
    let days = || zero(in_unit(number(0, 36_500), "days"), "for ever");
    let kept = |key, title, meaning, kind| key_of(DataKept, key, title, meaning, kind);
    vec![
        kept(
            "history.gaps_days",
            "Time between tokens",
            "Of each answer; how it was spread is kept beyond.",
            days(),
        ),
        kept(
            "history.traces_days",
            "Samples of the gauges during runs",
            "Beyond, the least, mean and greatest of each minute.",
            not_above(days(), "history.trace_minutes_days"),
        ),
        kept(
            "history.trace_minutes_days",
            "Minutes of the gauges during runs",
            "",
            not_below(days(), "history.traces_days"),
        ),
        kept(
            "history.warmups_days",
            "Warm-up requests",
            "Those that were thrown away before a measurement.",
            days(),
        ),
        kept(
            "history.requests_days",
            "Records of requests",
            "Counts and times, never texts; at most the newest 200,000.",
            days(),
        ),
    ]
}

fn lm_studio() -> Vec<SettingKey> {
    let key = |key, title, meaning, kind| key_of(LmStudio, key, title, meaning, kind);
    vec![
        key("servers.lmstudio.enabled", "Use LM Studio", "", SettingKind::Switch).at_start(),
        key(
            "servers.lmstudio.autostart",
            "Start with Pilothouse",
            "Its HTTP server, and the program behind it when none runs.",
            SettingKind::Switch,
        ),
        key(
            "servers.lmstudio.address",
            "Address",
            "Where its HTTP server is looked for.",
            text("as its own configuration says, else port 1234"),
        )
        .at_start(),
        key("servers.lmstudio.home", "Home folder", "", path("found as lms finds it")).at_start(),
    ]
}

fn ollama() -> Vec<SettingKey> {
    let key = |key, title, meaning, kind| key_of(Ollama, key, title, meaning, kind);
    let own = || zero(number(0, u32::MAX), "Ollama’s own");
    let flash = [("", "Ollama chooses"), ("on", "On"), ("off", "Off")];
    let kv = [("", "Ollama’s own (16 bit)"), ("f16", "16 bit"), ("q8_0", "8 bit"), ("q4_0", "4 bit")];
    vec![
        key("servers.ollama.enabled", "Use Ollama", "", SettingKind::Switch).at_start(),
        key("servers.ollama.autostart", "Start with Pilothouse", "When none runs.", SettingKind::Switch),
        key("servers.ollama.program", "Program", "", path("on the PATH and in the usual places"))
            .of("ollama"),
        key(
            "servers.ollama.address",
            "Address",
            "Where one is looked for, and where the one that Pilothouse starts listens.",
            SettingKind::Text { empty: None },
        )
        .at_start(),
        key("servers.ollama.models_dir", "Folder of models", "", path("Ollama’s own")).of("ollama"),
        key(
            "servers.ollama.context",
            "Context length",
            "In tokens. OLLAMA_CONTEXT_LENGTH",
            zero(number(0, u32::MAX), "Ollama chooses"),
        )
        .of("ollama"),
        key("servers.ollama.parallel", "Requests at a time", "For each model. OLLAMA_NUM_PARALLEL", own())
            .of("ollama"),
        key("servers.ollama.max_models", "Models in memory at once", "OLLAMA_MAX_LOADED_MODELS", own())
            .of("ollama"),
        key(
            "servers.ollama.keep_alive",
            "An idle model stays for",
            "“10m”, or “-1” for ever. OLLAMA_KEEP_ALIVE",
            text("Ollama’s own default"),
        )
        .of("ollama"),
        key("servers.ollama.flash_attention", "Flash attention", "OLLAMA_FLASH_ATTENTION", choice(&flash))
            .of("ollama"),
        key(
            "servers.ollama.kv_type",
            "Type of the context memory",
            "8 bit halves it; answers may differ a little, and it needs flash attention. OLLAMA_KV_CACHE_TYPE",
            choice(&kv),
        )
        .of("ollama"),
        key(
            "servers.ollama.environment",
            "Further variables",
            "Of an Ollama that Pilothouse starts.",
            SettingKind::Table { place: IN_THE_FILE.into() },
        )
        .of("ollama"),
    ]
}

fn llama_server() -> Vec<SettingKey> {
    let key = |key, title, meaning, kind| key_of(LlamaServer, key, title, meaning, kind);
    vec![
        key("servers.llama-server.enabled", "Use llama-server", "", SettingKind::Switch).at_start(),
        key("servers.llama-server.autostart", "Start with Pilothouse", "", SettingKind::Switch),
        key(
            "servers.llama-server.program",
            "Program",
            "",
            path("beside the app, in the data folder, on the PATH"),
        )
        .of("llama-server"),
        key(
            "servers.llama-server.models_dir",
            "Folder of models",
            "GGUF files, also in folders below it.",
            path("“models” in the data folder"),
        )
        .at_start(),
        key("servers.llama-server.port", "Port", "", zero(number(0, 65_535), "the system chooses"))
            .of("llama-server"),
        key(
            "servers.llama-server.context",
            "Context length",
            "Of each model, in tokens.",
            zero(number(0, u32::MAX), "the model’s own, as much of it as fits comfortably"),
        )
        .of("llama-server"),
        key("servers.llama-server.parallel", "Requests at a time", "For each model.", number(1, 64))
            .of("llama-server"),
        key(
            "servers.llama-server.models",
            "Single models",
            "What is different for them: context, requests at a time, layers on the GPU, type of the context memory, flags.",
            SettingKind::Table { place: IN_THE_FILE.into() },
        )
        .of("llama-server"),
    ]
}

fn key_of(group: SettingGroup, key: &str, title: &str, meaning: &str, kind: SettingKind) -> SettingKey {
    SettingKey { key: key.into(), group, title: title.into(), meaning: meaning.into(), kind, restart: None }
}

impl SettingKey {
    /// Read only when Pilothouse starts.
    fn at_start(mut self) -> Self {
        self.restart = Some(RestartOf::Pilothouse);
        self
    }

    /// Read whenever that server starts.
    fn of(mut self, server: &str) -> Self {
        self.restart = Some(RestartOf::Server { server: server.into() });
        self
    }
}

fn number(least: u32, most: u32) -> SettingKind {
    SettingKind::Number { least, most, unit: None, zero: None, not_below: None, not_above: None }
}

fn in_unit(mut kind: SettingKind, words: &str) -> SettingKind {
    if let SettingKind::Number { unit, .. } = &mut kind {
        *unit = Some(words.into());
    }
    kind
}

fn zero(mut kind: SettingKind, words: &str) -> SettingKind {
    if let SettingKind::Number { zero, .. } = &mut kind {
        *zero = Some(words.into());
    }
    kind
}

fn not_below(mut kind: SettingKind, key: &str) -> SettingKind {
    if let SettingKind::Number { not_below, .. } = &mut kind {
        *not_below = Some(key.into());
    }
    kind
}

fn not_above(mut kind: SettingKind, key: &str) -> SettingKind {
    if let SettingKind::Number { not_above, .. } = &mut kind {
        *not_above = Some(key.into());
    }
    kind
}

fn choice(of: &[(&str, &str)]) -> SettingKind {
    let choices =
        of.iter().map(|(value, words)| SettingChoice { value: (*value).into(), words: (*words).into() });
    SettingKind::Choice { choices: choices.collect() }
}

fn text(empty: &str) -> SettingKind {
    SettingKind::Text { empty: Some(empty.into()) }
}

fn path(empty: &str) -> SettingKind {
    SettingKind::Path { empty: empty.into() }
}
