//! The stand-in for `lms` as a program; tests place it at `<home>/bin/lms`.

use pilothouse_tests::sims::lmstudio::lms;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(lms::run(std::env::args()).await)
}
