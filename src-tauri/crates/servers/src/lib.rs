//! Server adapters, one folder each: `wire` = the exact JSON, `client` = the calls, `launch` = program, arguments,
//! environment, ownership.

mod adapter;
#[cfg(test)]
mod asking_tests;
mod client;
pub mod discovery;
mod http;
pub mod llama_server;
pub mod lmstudio;
#[cfg(test)]
mod oddity_tests;
pub mod ollama;
pub mod openai;
mod openmp;
pub mod places;
mod reading;
mod rows;
pub mod slots;

pub use adapter::{ForeignLog, Found, Installation, Launch, ServerAdapter};
pub use client::{
    GenerateEnd, GenerateEvent, GenerateRequest, GenerateStream, Health, LoadProgress, LoadRequest,
    ServerClient,
};
