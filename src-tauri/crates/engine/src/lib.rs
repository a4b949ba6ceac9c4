//! Effects of Pilothouse: everything that waits, spawns, listens, reads or writes.
//!
//! Views come in by [`api`] and nothing else. This crate knows no Tauri, GTK or window.

pub mod actors;
pub mod api;
pub mod doctor;
mod engine;
#[cfg(test)]
mod fakes;
pub mod files;
pub mod gateway;
pub mod gauges;
pub mod hardware;
pub mod http;
pub mod hub;
pub mod keys;
pub mod leases;
pub mod logging;
pub mod model_files;
pub mod notify;
pub mod paths;
pub mod ports;
pub mod process;
pub mod redact;
mod rotating_file;
pub mod server_log;
pub mod servers;
pub mod service;
pub mod settings;
pub mod setup;
pub mod single_engine;
pub mod store;

pub use engine::{Engine, EngineHandle, EngineOptions};
pub use pilothouse_domain as domain;
