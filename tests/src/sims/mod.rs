//! Simulators, and doors before real servers. Each simulator says in its answers that it is simulated; see `README.md` for what is known and what is not.

pub mod docker;
pub mod front;
pub mod lmstudio;
pub mod ollama;
