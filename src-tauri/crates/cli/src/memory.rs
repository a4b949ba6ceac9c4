use crate::{
    output::{Output, table},
    session::Session,
};
use pilothouse_domain::{
    ledger::{Certainty, Ledger},
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, ErrorCode};
use serde_json::json;

pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let snapshot = Session::connect()?.snapshot().await?;
    let ledger = snapshot.ledger.as_ref().ok_or_else(|| {
        ApiError::new(ErrorCode::Busy, "The memory was not read yet.")
            .hint("Ask again in a second.")
            .retryable()
    })?;
    output.answer(json!(ledger), || text(ledger));
    Ok(0)
}

fn text(ledger: &Ledger) -> String {
    let mut lines = vec![
        format!("Free for one more model: {}.", gigabytes(ledger.headroom_bytes)),
        format!(
            "{} ({}), less {} in use and {} reserve.",
            gigabytes(ledger.ceiling.bytes),
            ledger.ceiling.source,
            gigabytes(ledger.in_use_bytes),
            gigabytes(ledger.reserve_bytes)
        ),
    ];
    for pool in &ledger.pools {
        let models = if pool.for_models { ", models are placed here" } else { "" };
        let (used, total) = (gigabytes(pool.used_bytes), gigabytes(pool.total_bytes));
        lines.push(format!("\n{}: {used} of {total}{models}", pool.title));
        let row = |title: &str, bytes, known: &str, source: &str| {
            vec![title.to_owned(), small(bytes), known.to_owned(), source.to_owned()]
        };
        let tenants = pool
            .tenants
            .iter()
            .map(|tenant| row(&tenant.title, tenant.bytes, word(tenant.certainty), &tenant.source));
        let free = row("Free", pool.free_bytes, "", "");
        lines.push(table(&["HOLDER", "SIZE", "KNOWN", "FROM"], tenants.chain([free]).collect()));
    }
    lines.extend(ledger.unknown.iter().map(|line| format!("Not in the figures: {line}")));
    lines.join("\n")
}

/// Small holders would all be 0.01 GB.
fn small(bytes: u64) -> String {
    if bytes < 1_000_000_000 { format!("{:.0} MB", bytes as f64 / 1e6) } else { gigabytes(bytes) }
}

fn word(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Measured => "measured",
        Certainty::Reported => "reported",
        Certainty::Estimated => "estimated",
        Certainty::Remainder => "what remains",
    }
}
