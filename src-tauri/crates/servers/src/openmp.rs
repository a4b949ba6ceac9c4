//! How the threads of llama.cpp wait for each other on the processor.

use std::ffi::OsString;

const VARIABLE: &str = "GOMP_SPINCOUNT";
/// Turns of a waiting loop before a thread sleeps. By default GNU's OpenMP turns 300 000 times, and llama.cpp waits some
/// hundred times per token: as soon as anything else wants the cores, most of their time goes into that. With SmolLM2-135M
/// on 2 cores: 151 tok/s alone either way; four servers beside two busy programs 20 instead of 1 to 9 tok/s each.
const TURNS: &str = "1000";

/// The variable for a server of ours, unless the person has set it.
pub(super) fn waiting() -> Option<(OsString, OsString)> {
    std::env::var_os(VARIABLE).is_none().then(|| (VARIABLE.into(), TURNS.into()))
}
