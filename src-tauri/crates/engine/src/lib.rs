//! The engine: actors, the hub that shows their state, the store, and the doors of views.
//!
//! Views come in by [`api`] and nothing else. This crate knows no Tauri, GTK or window.

pub mod actors;
pub mod api;
mod connect;
pub mod doctor;
mod engine;
#[cfg(test)]
mod fakes;
pub mod http;
pub mod hub;
pub mod logging;
pub mod metrics;
pub mod notify;
pub mod ports;
pub mod report;
pub mod server_log;
pub mod settings;
pub mod setup;
pub mod single_engine;
pub mod store;
pub mod watching;

pub use engine::{Engine, EngineHandle, EngineOptions};
