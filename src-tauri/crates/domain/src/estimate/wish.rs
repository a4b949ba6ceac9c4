//! How a model shall be loaded, and where its buffers will be.

use crate::{
    anatomy::KvType,
    error::{ApiError, ErrorCode},
};

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
}

/// Where the model's buffers will be, and through what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Cpu,
    /// The GPU of a Mac.
    Metal,
    /// A card with memory of its own, through the llama-server that Pilothouse brings.
    Vulkan,
    /// Any other GPU or way to it: CUDA, ROCm, a server whose parts are not known.
    Gpu,
}

impl Place {
    pub fn on_gpu(self) -> bool {
        self != Self::Cpu
    }
}
