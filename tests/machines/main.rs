//! Pilothouse on another machine: a minimal Debian without certificates, with a systemd of its own and a user who is not
//! root. Nothing of this machine is seen there, so ports may be the usual ones.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of it is a test")]

mod machine;
mod ollama;
mod service;
