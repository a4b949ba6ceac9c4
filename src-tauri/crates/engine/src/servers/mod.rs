//! Server adapters, one folder each: `wire` = the exact JSON, `client` = the calls, `launch` = program, arguments,
//! environment, ownership.

pub mod discovery;
mod http;
pub(crate) use http::is_here;
pub mod llama_server;
pub mod lmstudio;
pub mod ollama;
pub mod openai;
mod openmp;
pub(crate) mod places;
pub(crate) mod slots;
