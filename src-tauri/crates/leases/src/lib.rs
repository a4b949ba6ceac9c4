//! Who may use which instance right now: the book of leases.
//!
//! Everybody who wants an answer of an instance takes a [`Lease`] on it and gives it back by dropping it. An instance never
//! has more leases than it gives answers at a time; the others wait in one bounded queue, by the priority of the role that
//! they ask for and then first come first served. What waits for a role, `active` among them, moves to its new model in the
//! moment of a commit, and what asks for a model that is not in memory becomes a [`Wish`] that residency hears. Only residency
//! closes an instance, lets its leases end, and cuts those that do not.

mod asked;
mod book;
mod choose;
mod drain;
mod lease;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod role_tests;
mod routes;
mod take;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wish_tests;
mod wishes;

pub use asked::{Asked, Refused};
pub use book::{Leases, Limits};
pub use choose::known_by;
pub use lease::Lease;
pub use routes::{About, ActiveRoute, RoleRoute, Routes, Target};
pub use take::Waits;
pub use wishes::Wish;
