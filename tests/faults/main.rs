//! What may go wrong, on real processes. `FAULTS.md` beside this file's folder is the table: fault, what a person sees,
//! what must not be lost, test.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is a test")]

mod answers;
mod bounds;
mod docker;
mod doors;
mod guardrail;
mod hangs;
mod keyring;
mod lab;
mod launches;
mod leaving;
mod limits;
mod lmstudio;
mod lmstudio_started;
mod own_end;
mod owners;
mod places;
mod processes;
mod remotes;
mod runners;
mod scene;
mod slow;
mod table;
