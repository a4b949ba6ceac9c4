//! The only door of the engine: a [`Call`] goes in, a [`Reply`] or an [`ApiError`] comes out.
//!
//! Tray, panel, browser and command line all speak it; over HTTP and Tauri's IPC it travels as JSON.

mod bench_call;
mod call;
mod handler;
mod reply;
mod settings;

pub use bench_call::{BenchCall, BenchSide};
pub use call::{Call, ExportForm, ReportForm};
pub use handler::CallHandler;
pub use pilothouse_domain::error::{ApiError, ErrorCode};
pub use reply::{
    AnswerChunk, Check, CheckResult, ClientKeyView, Fetched, HistorySize, Kept, KeptKind, LogLine, LogMatch,
    LogSource, Reply, TableSize,
};
pub use settings::{SettingView, SettingsView};

/// What every call gives back.
pub type CallResult = Result<Reply, ApiError>;
