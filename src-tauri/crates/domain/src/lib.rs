//! Decisions of Pilothouse as pure types and functions.
//!
//! No async, clock, randomness, paths or I/O live here: time and jitter come in as arguments, effects go out as data.
//! Every room below can be tested as a table.

pub mod anatomy;
pub mod backoff;
pub mod bench;
pub mod client_key;
pub mod connect;
pub mod container;
pub mod discovery;
pub mod endpoint;
pub mod error;
pub mod estimate;
pub mod fit;
pub mod forecast;
pub mod gauge;
pub mod gauge_history;
pub mod hang;
pub mod learned;
pub mod ledger;
pub mod lifecycle;
pub mod machine;
pub mod model;
pub mod model_facts;
pub mod notice;
pub mod pace;
pub mod residency;
pub mod runner;
pub mod scene;
pub mod server;
pub mod server_words;
pub mod settings;
pub mod snapshot;
pub mod standing;
pub mod switch;
pub mod traffic;
pub mod tray;
pub mod units;

/// An instant in UTC; in JSON an RFC 3339 string.
pub type Timestamp = jiff::Timestamp;
