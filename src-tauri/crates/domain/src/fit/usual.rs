//! How a server loads a model when nobody says otherwise, and where it puts it.

use crate::{
    anatomy::KvType,
    estimate::{Place, Wish},
    machine::{Ceiling, Machine, MemoryKind},
    server::ServerKind,
    settings::Settings,
};

/// Ollama's choice of context by the memory of the GPUs, from so many bytes on (since 0.15.5; reference: ollama, section 3).
const OLLAMA_CONTEXTS: [(u64, u64); 2] = [(47 << 30, 262_144), (23 << 30, 32_768)];
/// Below the first of these, and what LM Studio and unknown servers load with.
const USUAL_CONTEXT: u64 = 4096;

/// The wish with which a server loads a model by the settings in force. `context_max`: what the model was trained for; no
/// server goes beyond it.
pub fn usual(
    settings: &Settings,
    kind: ServerKind,
    model: &str,
    context_max: Option<u64>,
    ceiling: &Ceiling,
) -> Wish {
    let servers = &settings.servers;
    let (context, parallel, kv) = match kind {
        ServerKind::LlamaServer => {
            let own = servers.llama_server.models.get(model);
            let context = own.and_then(|own| own.context).unwrap_or(servers.llama_server.context);
            let parallel = own.and_then(|own| own.parallel).unwrap_or(servers.llama_server.parallel);
            let kv = own.and_then(|own| own.kv_type.clone()).unwrap_or_default();
            let context = if context == 0 { context_max.unwrap_or(USUAL_CONTEXT) } else { context.into() };
            (context, parallel, kv)
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
    Wish {
        context: context.min(context_max.unwrap_or(u64::MAX)).max(1),
        parallel: parallel.max(1),
        kv: KvType::parse(&kv).unwrap_or_default(),
    }
}

/// Where a server puts a model by the settings in force. `off_card`: it has been seen to compute on the processor although
/// there is a card (a driver that it does not find).
pub fn place(settings: &Settings, kind: ServerKind, model: &str, machine: &Machine, off_card: bool) -> Place {
    let llama_server = &settings.servers.llama_server;
    let layers = llama_server.models.get(model).and_then(|own| own.gpu_layers);
    match kind {
        _ if off_card || !machine.ceiling().on_gpu => Place::Cpu,
        ServerKind::LlamaServer if layers == Some(0) => Place::Cpu,
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
        let of = |ceiling| usual(&Settings::default(), ServerKind::Ollama, "m", Some(131_072), &ceiling);
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
            (ServerKind::LlamaServer, "m", &none, Place::Cpu),
            (ServerKind::LlamaServer, "m", &card, Place::Vulkan),
            (ServerKind::LlamaServer, "slow", &card, Place::Cpu),
            (ServerKind::Ollama, "slow", &card, Place::Gpu),
            (ServerKind::LlamaServer, "m", &mac, Place::Metal),
            (ServerKind::LmStudio, "m", &mac, Place::Metal),
            (ServerKind::LlamaServer, "m", &spark, Place::Gpu),
        ] {
            assert_eq!(of(&settings, kind, model, machine), wanted, "{kind:?} {model} {}", machine.chip);
        }
        assert_eq!(place(&settings, ServerKind::Ollama, "m", &card, true), Place::Cpu, "as it was seen");
        settings.servers.llama_server.program = "/opt/llama/llama-server".into();
        assert_eq!(of(&settings, ServerKind::LlamaServer, "m", &card), Place::Gpu, "of unknown parts");
    }

    #[test]
    fn the_settings_of_one_model_win() {
        let mut settings = Settings::default();
        let own = LlamaModelSettings {
            context: Some(0),
            parallel: Some(3),
            kv_type: Some("q8_0".into()),
            ..LlamaModelSettings::default()
        };
        settings.servers.llama_server.models.insert("tiny".into(), own);
        let of = |name| usual(&settings, ServerKind::LlamaServer, name, Some(8192), &ceiling(8, false));
        assert_eq!(of("tiny"), Wish { context: 8192, parallel: 3, kv: KvType::Q8_0 });
        assert_eq!(of("other"), Wish { context: 4096, parallel: 1, kv: KvType::F16 });
    }
}
