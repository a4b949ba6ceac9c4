//! The parsers alone, without the engine around them: its database, TLS and web server would have to be built with the
//! sanitizer too, for nothing.

pub mod accelerators;
pub mod dialects;
#[path = "../../src-tauri/crates/gateway/src/headers.rs"]
pub mod gateway_headers;
#[path = "../../src-tauri/crates/gateway/src/path.rs"]
pub mod gateway_path;
#[path = "../../src-tauri/crates/system/src/model_files/mod.rs"]
pub mod model_files;

use pilothouse_domain::{
    anatomy::{Anatomy, KvType},
    estimate::{OnCpu, Place, Wish, estimate},
    machine::CpuFeatures,
};

/// What is reckoned from a build, whatever a file says of it.
pub fn reckon(anatomy: &Anatomy) {
    let wish = Wish { context: 1 << 24, parallel: 256, kv: KvType::F32 };
    let mapped = OnCpu::Mapped(CpuFeatures::default());
    for place in [Place::Cpu(mapped), Place::Cpu(OnCpu::Read), Place::Metal, Place::Vulkan, Place::Gpu] {
        let total = estimate(anatomy, &wish, place).total_bytes();
        assert!(total >= anatomy.weights_bytes);
    }
    assert!(anatomy.bytes_per_token() <= anatomy.weights_bytes);
    let _ = anatomy.active_parameters();
}
