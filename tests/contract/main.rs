//! One contract for every server adapter, held against real servers; against a simulator where the test's name says
//! `simulated`.
//!
//! `PILOTHOUSE_EMBEDDED`: folder with `llama-server/bin/llama-server` and `models/SmolLM2-135M-Instruct.Q4_1.gguf`.
//! `PILOTHOUSE_TEST_OLLAMA`: an Ollama program. `PILOTHOUSE_REAL_LMSTUDIO`: address of a running LM Studio;
//! `PILOTHOUSE_REAL_LMSTUDIO_MODEL` names the model to load there, else it is the smallest. What is missing is skipped; with `PILOTHOUSE_TEST_STRICT=1`
//! the first two must be there, and `PILOTHOUSE_TEST_EMBEDDING` and `PILOTHOUSE_TEST_RERANKER`, small models of these kinds.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "all of it is a test")]

mod clauses;
mod leaving;
mod llama_server;
mod lmstudio;
mod ollama;
mod openai;
mod tools;
