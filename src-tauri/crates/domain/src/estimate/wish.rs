//! How a model shall be loaded, and where its buffers will be.

use crate::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
    machine::CpuFeatures,
};

/// Tokens that llama.cpp computes at a time (`--ubatch-size`, its default; Ollama's too).
const BATCH: u64 = 512;

/// How a model shall be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Tokens per request.
    pub context: u64,
    /// Requests at a time, 1 and more; each has the whole context.
    pub parallel: u32,
    pub kv: KvType,
}

/// The longest context and the most requests that anybody could mean.
const MAX_CONTEXT: u64 = 1 << 24;
const MAX_PARALLEL: u32 = 256;

impl Wish {
    /// From what a person asks for; one request at a time and f16 by default. Errors: invalid_call.
    pub fn checked(context: u64, parallel: Option<u32>, kv: Option<&str>) -> Result<Self, ApiError> {
        let invalid = |text: &str| Err(ApiError::new(ErrorCode::InvalidCall, text));
        let parallel = parallel.unwrap_or(1);
        if !(1..=MAX_CONTEXT).contains(&context) {
            return invalid("A context has 1 to 16777216 tokens.");
        }
        if !(1..=MAX_PARALLEL).contains(&parallel) {
            return invalid("1 to 256 requests can run at a time.");
        }
        let Some(kv) = KvType::parse(kv.unwrap_or("f16")) else {
            return invalid("The cache can be kept in f32, f16, q8_0, q5_1 or q4_0.");
        };
        Ok(Self { context, parallel, kv })
    }

    /// The same with a context that the model was trained for.
    pub fn within(self, context_max: Option<u64>) -> Self {
        Self { context: self.context.min(context_max.unwrap_or(u64::MAX)).max(1), ..self }
    }
}

/// How a runner on the processor loads a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCpu {
    /// It maps the file; what it keeps in another order for these instructions comes beside it (llama-server).
    Mapped(CpuFeatures),
    /// It reads the file into memory of its own, where each weight is kept once, and takes larger batches with longer
    /// contexts (Ollama since 0.30; its server/sched.go says so: "disabling mmap", reason "cpu").
    Read,
}

/// Where the model's buffers will be, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cpu(OnCpu),
    /// The GPU of a Mac.
    Metal,
    /// A card with memory of its own, through the llama-server that Pilothouse brings.
    Vulkan,
    /// Any other GPU or way to it: CUDA, ROCm, a server whose parts are not known.
    Gpu,
}

impl Place {
    /// Tokens that are computed at a time. llama.cpp's default; Ollama goes by all requests' contexts together
    /// (server/sched.go, `generationBatchForContext`). How far it does so beside a GPU depends on what is free there, and
    /// is not reckoned.
    pub(super) fn batch(self, wish: &Wish) -> u64 {
        let contexts = wish.context.saturating_mul(wish.parallel.into());
        match self {
            Self::Cpu(OnCpu::Read) if contexts > 32_768 => 4 * BATCH,
            Self::Cpu(OnCpu::Read) if contexts > 4096 => 2 * BATCH,
            _ => BATCH,
        }
    }

    pub fn on_gpu(self) -> bool {
        !matches!(self, Self::Cpu(_))
    }
}
