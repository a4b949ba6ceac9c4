use super::Wanted;
use crate::fakes::{Act, FakeJournal, FakeServer, Fault, Memory, Scene, active, wanted};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    model::{Expiry, Model},
    server::ServerId,
    switch::SwitchOutcome,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOAD: Duration = Duration::from_secs(4);

mod holding;
mod keeping;
mod lending;
mod scene_faults;
mod scenes;
mod switching;
mod switching_with;

pub(super) fn server(id: &str, memory: &Memory) -> FakeServer {
    FakeServer::new(id).in_memory(memory).with_pace(LOAD, Duration::from_millis(10))
}

/// Two models on one server, `a` active, room for both.
pub(super) async fn roomy() -> (Scene, FakeServer) {
    let one = server("one", &Memory::of(100)).with_model("a", 10).with_model("b", 10).with_model("c", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one)
}

/// The same without room for two: the server refuses the second load, so that the first model must leave for it.
pub(super) async fn tight() -> (Scene, FakeServer) {
    let one = server("one", &Memory::of(15)).with_model("a", 10).with_model("b", 10);
    let scene = Scene::start(std::slice::from_ref(&one), &FakeJournal::default()).await;
    scene.switch("a").await.unwrap();
    (scene, one)
}

pub(super) fn failing() -> Fault {
    Fault::Fail(ApiError::new(ErrorCode::LoadFailed, "It is damaged."))
}

/// One life of ours: at its end everything in it is gone at once, between any two steps.
pub(super) fn life<T>(life: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(life)
}
