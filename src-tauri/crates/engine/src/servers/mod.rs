//! Server adapters, one folder each: `wire` = the exact JSON, `client` = the calls, `launch` = program, arguments,
//! environment, ownership.

mod connect;
pub mod discovery;
mod http;
pub mod llama_server;
pub mod lmstudio;
pub mod ollama;
pub mod openai;
mod openmp;
pub(crate) mod places;
pub(crate) mod slots;

pub(crate) use connect::{
    client_for, closed_unanswered, is_here, lacks_descriptors, moved_to, no_descriptors,
};
pub(crate) use http::causes;
