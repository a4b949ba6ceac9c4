//! The one address for client programs: OpenAI-compatible, forwards to what is active, follows the switch.

mod routes;

pub use routes::{ActiveRoute, Routes, Target};
