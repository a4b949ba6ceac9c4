//! Who may use which instance right now: the book of leases.
//!
//! Everybody who wants an answer of an instance takes a [`Lease`] on it and gives it back by dropping it. An instance never
//! has more leases than it gives answers at a time; the others wait in one bounded queue, first come first served, and what
//! waits for the role `active` moves to the new model in the moment of a commit. Only residency closes an instance, lets its
//! leases end, and cuts those that do not.

mod book;
mod choose;
mod routes;
#[cfg(test)]
mod tests;

pub use book::{Lease, Leases, Limits};
pub use choose::{Asked, Refused, known_by};
pub use routes::{ActiveRoute, RoleRoute, Routes, Target};
