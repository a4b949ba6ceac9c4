//! What a person and their programs live through, on real processes: the built `pilothouse serve`, the real
//! llama-server, a real Ollama, real tokens.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod address;
mod client_keys;
mod collector;
mod command_line;
mod containers;
mod crashes;
mod dialects;
mod doors;
mod engine_killed;
mod first_start;
mod fit;
mod held;
mod lab;
mod load_with;
mod login_path;
mod plans;
mod scenes;
mod service;
mod settings;
mod switches;
