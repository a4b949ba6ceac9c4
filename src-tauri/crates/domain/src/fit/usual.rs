//! How a server loads a model when nobody says otherwise, and where it puts it.

use super::CONTEXTS;
use crate::{
    anatomy::{Anatomy, KvType},
    estimate::{OnCpu, Place, Wish, estimate},
    machine::{Ceiling, CpuFeatures, Machine, MemoryKind},
    server::ServerKind,
    settings::{LlamaModelSettings, Settings},
};

/// Ollama's choice of context by the memory of the GPUs, from so many bytes on (since 0.15.5; reference: ollama, section 3).
const OLLAMA_CONTEXTS: [(u64, u64); 2] = [(47 << 30, 262_144), (23 << 30, 32_768)];
/// Below the first of these, what LM Studio and unknown servers load with, and the least that is comfortable: what agents send before
/// the first word of their user is longer (Codex sends 4,565 tokens before “say hi”).
const USUAL_CONTEXT: u64 = 4096;

/// Flags of llama-server with which it keeps each weight once.
const ONCE: [&str; 3] = ["no-repack", "nr", "no-mmap"];

/// What is known of a model when it is reckoned how its server loads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Tokens that it was trained for; no server goes beyond them.
    pub context_max: Option<u64>,
    /// What it consists of, and where it would go.
    pub whole: Option<(&'a Anatomy, Place)>,
}

/// Whether the settings leave a model's context to Pilothouse: as much of the model's own as fits comfortably. Ollama chooses by itself
/// then, and what LM Studio loads with is its own settings' matter.
pub fn leaves_context_open(settings: &Settings, kind: ServerKind, model: &str) -> bool {
    let llama_server = &settings.servers.llama_server;
    let own = llama_server.models.get(model).and_then(|own| own.context);
    kind == ServerKind::LlamaServer && own.unwrap_or(llama_server.context) == 0
}

/// The wish with which a server loads a model by the settings in force.
pub fn usual(
    settings: &Settings,
    kind: ServerKind,
    model: &str,
    known: Known<'_>,
    ceiling: &Ceiling,
) -> Wish {
    let Known { context_max, whole } = known;
    let servers = &settings.servers;
    let (context, parallel, kv) = match kind {
        ServerKind::LlamaServer => {
            let own = servers.llama_server.models.get(model);
            let context = own.and_then(|own| own.context).unwrap_or(servers.llama_server.context);
            let parallel = own.and_then(|own| own.parallel).unwrap_or(servers.llama_server.parallel);
            let kv = own.and_then(|own| own.kv_type.clone()).unwrap_or_default();
            let wish = Wish {
                context: if context == 0 { USUAL_CONTEXT } else { context.into() },
                parallel: parallel.max(1),
                kv: KvType::parse(&kv).unwrap_or_default(),
            };
            let wish = wish.within(context_max);
            return match (whole, context_max) {
                (Some((anatomy, place)), Some(own)) if context == 0 => {
                    Wish { context: comfortable(anatomy, wish, own, place, ceiling), ..wish }
                }
                _ => wish,
            };
        }
        ServerKind::Ollama => {
            let context = match servers.ollama.context {
                0 => {
                    let gpu = if ceiling.on_gpu { ceiling.bytes } else { 0 };
                    let step = OLLAMA_CONTEXTS.iter().find(|(from, _)| gpu >= *from);
                    step.map_or(USUAL_CONTEXT, |(_, context)| *context)
                }
                context => context.into(),
            };
            (context, servers.ollama.parallel, servers.ollama.kv_type.clone())
        }
        ServerKind::LmStudio | ServerKind::OpenAi => (USUAL_CONTEXT, 1, String::new()),
    };
    let kv = KvType::parse(&kv).unwrap_or_default();
    Wish { context, parallel: parallel.max(1), kv }.within(context_max)
}

/// The longest context that leaves half of the memory for models to others and takes no more than a quarter of it for itself: `own`, what
/// the model was trained for, or the next shorter one of the usual steps. `least`: as it is loaded where nothing longer is comfortable.
/// By the machine, not by what is free in this moment, so that the same model is always loaded alike.
fn comfortable(anatomy: &Anatomy, least: Wish, own: u64, place: Place, ceiling: &Ceiling) -> u64 {
    let takes = |context| estimate(anatomy, &Wish { context, ..least }, place).total_bytes();
    let without = takes(least.context);
    let is_comfortable = |context: &u64| {
        let bytes = takes(*context);
        bytes <= ceiling.bytes / 2 && bytes.saturating_sub(without) <= ceiling.bytes / 4
    };
    let longer = |context: &u64| (least.context + 1..own).contains(context);
    let steps = std::iter::once(own).chain(CONTEXTS.into_iter().filter(longer));
    steps.filter(|context| *context > least.context).find(is_comfortable).unwrap_or(least.context)
}

/// Where a server puts a model by the settings in force. `off_card`: it has been seen to compute on the processor although
/// there is a card (a driver that it does not find).
pub fn place(settings: &Settings, kind: ServerKind, model: &str, machine: &Machine, off_card: bool) -> Place {
    let llama_server = &settings.servers.llama_server;
    let layers = llama_server.models.get(model).and_then(|own| own.gpu_layers);
    match kind {
        _ if off_card || !machine.ceiling().on_gpu => Place::Cpu(on_cpu(settings, kind, model, machine)),
        // Beside a card that it could use it keeps no weights in another order.
        ServerKind::LlamaServer if layers == Some(0) => Place::Cpu(OnCpu::Mapped(CpuFeatures::default())),
        _ if machine.gpus.iter().any(|gpu| gpu.vendor == "apple") => Place::Metal,
        // Without a program of somebody else's it is the one that comes with Pilothouse.
        ServerKind::LlamaServer
            if llama_server.program.is_empty() && machine.memory_kind == MemoryKind::Separate =>
        {
            Place::Vulkan
        }
        _ => Place::Gpu,
    }
}

/// How a server on the processor loads a model.
fn on_cpu(settings: &Settings, kind: ServerKind, model: &str, machine: &Machine) -> OnCpu {
    let features = machine.cpu_features.unwrap_or(CpuFeatures::USUAL);
    let llama_server = &settings.servers.llama_server;
    match kind {
        ServerKind::Ollama => OnCpu::Read,
        ServerKind::LmStudio | ServerKind::OpenAi => OnCpu::Mapped(features),
        ServerKind::LlamaServer => {
            let own = llama_server.models.get(model);
            let once = |own: &LlamaModelSettings| ONCE.iter().any(|flag| own.options.contains_key(*flag));
            match own {
                Some(own) if once(own) => OnCpu::Mapped(CpuFeatures::default()),
                // The one that comes with Pilothouse is built for AVX2 and nothing beyond.
                _ if llama_server.program.is_empty() => {
                    OnCpu::Mapped(CpuFeatures { avx512: false, ..features })
                }
                _ => OnCpu::Mapped(features),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::{Cores, Gpu},
        settings::LlamaModelSettings,
    };

    fn ceiling(gibibytes: u64, on_gpu: bool) -> Ceiling {
        Ceiling { bytes: gibibytes << 30, source: String::new(), on_gpu }
    }

    #[test]
    fn ollama_chooses_by_the_memory_of_the_gpu() {
        let known = Known { context_max: Some(131_072), whole: None };
        let of = |ceiling| usual(&Settings::default(), ServerKind::Ollama, "m", known, &ceiling);
        assert_eq!(of(ceiling(24, false)).context, 4096);
        assert_eq!(of(ceiling(16, true)).context, 4096);
        assert_eq!(of(ceiling(28, true)).context, 32_768);
        assert_eq!(of(ceiling(80, true)).context, 131_072, "never beyond the model's own");
    }

    #[test]
    fn settings_and_machine_decide_where_a_model_goes() {
        let with = |gpus: Vec<Gpu>, chip: &str, memory_kind| Machine {
            model: None,
            chip: chip.into(),
            cores: Cores::default(),
            cpu_features: None,
            memory_bytes: 64 << 30,
            memory_limit: None,
            memory_kind,
            bandwidth_gb_s: None,
            bandwidth_gb_s_absent: None,
            gpus,
            neural_engine: None,
            metal: None,
            os: None,
            driver: None,
            gpu_limit_override_bytes: None,
        };
        let gpu = |vendor: &str, memory_shared, gibibytes: u64| Gpu {
            vendor: vendor.into(),
            memory_shared,
            memory_bytes: Some(gibibytes << 30),
            ..Gpu::default()
        };
        let none = with(vec![], "Ryzen", MemoryKind::Separate);
        let card = with(vec![gpu("nvidia", false, 24)], "Ryzen", MemoryKind::Separate);
        let mac = with(vec![gpu("apple", true, 0)], "Apple M4 Max", MemoryKind::Unified);
        let spark = with(vec![gpu("nvidia", true, 0)], "Grace", MemoryKind::Unified);
        let mut settings = Settings::default();
        let on_processor = LlamaModelSettings { gpu_layers: Some(0), ..LlamaModelSettings::default() };
        settings.servers.llama_server.models.insert("slow".into(), on_processor);
        let of = |settings: &Settings, kind, model, machine| place(settings, kind, model, machine, false);
        for (kind, model, machine, wanted) in [
            (ServerKind::LlamaServer, "m", &none, Place::Cpu(OnCpu::Mapped(CpuFeatures::USUAL))),
            (ServerKind::LmStudio, "m", &none, Place::Cpu(OnCpu::Mapped(CpuFeatures::USUAL))),
            (ServerKind::Ollama, "m", &none, Place::Cpu(OnCpu::Read)),
            (ServerKind::LlamaServer, "m", &card, Place::Vulkan),
            (ServerKind::LlamaServer, "slow", &card, Place::Cpu(OnCpu::Mapped(CpuFeatures::default()))),
            (ServerKind::Ollama, "slow", &card, Place::Gpu),
            (ServerKind::LlamaServer, "m", &mac, Place::Metal),
            (ServerKind::LmStudio, "m", &mac, Place::Metal),
            (ServerKind::LlamaServer, "m", &spark, Place::Gpu),
        ] {
            assert_eq!(of(&settings, kind, model, machine), wanted, "{kind:?} {model} {}", machine.chip);
        }
        let seen = place(&settings, ServerKind::Ollama, "m", &card, true);
        assert_eq!(seen, Place::Cpu(OnCpu::Read), "as it was seen");
        settings.servers.llama_server.program = "/opt/llama/llama-server".into();
        assert_eq!(of(&settings, ServerKind::LlamaServer, "m", &card), Place::Gpu, "of unknown parts");
    }

    #[test]
    fn the_settings_of_one_model_win() {
        let mut settings = Settings::default();
        let own = LlamaModelSettings {
            context: Some(2048),
            parallel: Some(3),
            kv_type: Some("q8_0".into()),
            ..LlamaModelSettings::default()
        };
        settings.servers.llama_server.models.insert("tiny".into(), own);
        let known = Known { context_max: Some(8192), whole: None };
        let of = |name| usual(&settings, ServerKind::LlamaServer, name, known, &ceiling(8, false));
        assert_eq!(of("tiny"), Wish { context: 2048, parallel: 3, kv: KvType::Q8_0 });
        assert_eq!(of("other"), Wish { context: 4096, parallel: 1, kv: KvType::F16 });
        let short = Known { context_max: Some(512), whole: None };
        let of = |name| usual(&settings, ServerKind::LlamaServer, name, short, &ceiling(8, false));
        assert_eq!((of("tiny").context, of("other").context), (512, 512), "never beyond the model's own");
    }

    #[test]
    fn a_context_left_open_is_the_longest_that_is_comfortable() {
        let tokens = |size: &str, own: Option<u64>, gibibytes, on_gpu| {
            let anatomy = super::super::typical(size).unwrap();
            let place = if on_gpu { Place::Metal } else { Place::Cpu(OnCpu::Mapped(CpuFeatures::USUAL)) };
            let known = Known { context_max: own, whole: Some((&anatomy, place)) };
            let settings = Settings::default();
            let ceiling = ceiling(gibibytes, on_gpu);
            usual(&settings, ServerKind::LlamaServer, "m", known, &ceiling).context
        };
        for (size, own, gibibytes, on_gpu, wanted) in [
            // 12 KiB a token: all of it, and beyond the usual steps too.
            ("0.5b", Some(32_768), 16, false, 32_768),
            ("0.5b", Some(40_960), 16, false, 40_960),
            // 56 KiB a token.
            ("7b", Some(131_072), 48, true, 131_072),
            ("7b", Some(131_072), 24, true, 65_536),
            ("7b", Some(131_072), 16, true, 32_768),
            // The weights alone take more than half of it.
            ("7b", Some(131_072), 8, true, 4096),
            ("7b", Some(131_072), 1, false, 4096),
            // Trained for less than anybody's least, and for nobody knows how much.
            ("7b", Some(2048), 48, true, 2048),
            ("7b", Some(4096), 48, true, 4096),
            ("7b", None, 48, true, 4096),
        ] {
            assert_eq!(tokens(size, own, gibibytes, on_gpu), wanted, "{size} {own:?} {gibibytes} GiB");
        }
        let mut settings = Settings::default();
        settings.servers.llama_server.models.insert(
            "said".into(),
            LlamaModelSettings { context: Some(1024), ..LlamaModelSettings::default() },
        );
        for (kind, name, open) in [
            (ServerKind::LlamaServer, "m", true),
            (ServerKind::LlamaServer, "said", false),
            (ServerKind::Ollama, "m", false),
            (ServerKind::LmStudio, "m", false),
        ] {
            assert_eq!(leaves_context_open(&settings, kind, name), open, "{kind:?} {name}");
        }
        settings.servers.llama_server.context = 8192;
        assert!(!leaves_context_open(&settings, ServerKind::LlamaServer, "m"));
    }

    #[test]
    fn what_is_kept_twice_depends_on_the_program_and_its_flags() {
        let all = CpuFeatures { avx2: true, avx512: true, ..CpuFeatures::default() };
        let this = Machine {
            model: None,
            chip: "Xeon".into(),
            cores: Cores::default(),
            cpu_features: Some(all),
            memory_limit: None,
            memory_bytes: 64 << 30,
            memory_kind: MemoryKind::Separate,
            bandwidth_gb_s: None,
            bandwidth_gb_s_absent: None,
            gpus: Vec::new(),
            neural_engine: None,
            metal: None,
            os: None,
            driver: None,
            gpu_limit_override_bytes: None,
        };
        let with = |program: &str, options: &[&str]| {
            let mut settings = Settings::default();
            settings.servers.llama_server.program = program.into();
            let options = options.iter().map(|name| ((*name).to_owned(), String::new())).collect();
            let own = LlamaModelSettings { options, ..LlamaModelSettings::default() };
            settings.servers.llama_server.models.insert("m".into(), own);
            place(&settings, ServerKind::LlamaServer, "m", &this, false)
        };
        let mapped = |features| Place::Cpu(OnCpu::Mapped(features));
        for (program, options, wanted) in [
            ("", &[][..], CpuFeatures { avx512: false, ..all }),
            ("/opt/llama-server", &[], all),
            ("/opt/llama-server", &["temp"], all),
            ("", &["no-repack"], CpuFeatures::default()),
            ("/opt/llama-server", &["nr"], CpuFeatures::default()),
            ("", &["no-mmap", "temp"], CpuFeatures::default()),
        ] {
            assert_eq!(with(program, options), mapped(wanted), "{program} {options:?}");
        }
    }
}
