//! What tests of Pilothouse share: simulators of servers that cannot be installed here, and the surroundings in which
//! the built programs run.

pub mod gguf;
pub mod program;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod sims;
