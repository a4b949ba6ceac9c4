//! The machine below: processes, gauges, hardware, containers, files of models, keys, and how addresses are connected to.
//!
//! Knows no server: what is particular to one comes in from outside.

pub mod apart;
pub mod bridges;
pub mod connect;
pub mod ending;
pub mod files;
pub mod gauges;
pub mod hardware;
pub mod keys;
pub mod model_files;
pub mod page_cache;
pub mod paths;
pub mod process;
pub mod redact;
pub mod rotating_file;
pub mod service;
