//! What every door of Pilothouse on a port has: a bounded listener, connections that end, and a look at who comes in.

mod askers;
mod caller;
mod connection;
mod guard;
mod listener;
mod seats;

pub use caller::Caller;
pub use guard::Guard;
pub use listener::{Bound, Listener, Networks};
pub use seats::ConnectionLimits;
