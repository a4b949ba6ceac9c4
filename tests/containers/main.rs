//! What Pilothouse makes of a Docker engine's answers: its reader and its actor against a simulated socket,
//! and against real engines (Docker, Podman) where they are installed and may be started. And how containers reach the gateway.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of it is a test")]

mod bridges;
mod reader;
mod real;
mod watch;

use pilothouse_tests::sims::docker::{Container, DockerSim, Fault};

/// A simulator in a folder of its own.
struct Scene {
    sim: DockerSim,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(containers: Vec<Container>, fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sim = DockerSim::start(&folder.path().join("docker.sock"), containers, fault).unwrap();
        Self { sim, _folder: folder }
    }
}
