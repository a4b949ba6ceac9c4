//! lmstudio
