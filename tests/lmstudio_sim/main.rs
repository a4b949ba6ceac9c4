//! The LM Studio simulator against what is known of the real product: its answers, its traps, its stand-in `lms`.
//! `tests/src/sims/README.md` names the source of each.

#![cfg(unix)]

mod http;
mod lms_command;
