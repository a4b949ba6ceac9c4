//! llama_server
