//! What tests of Pilothouse share: simulators of servers that cannot be installed here, and the surroundings in which
//! the built programs run.

pub mod sims;
