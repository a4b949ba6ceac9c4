//! The contract, held against a real LM Studio where one is pointed at.

use crate::clauses::{Subject, contract};
use anyhow::{Context, Result};
use pilothouse_domain::settings::LmStudioSettings;
use pilothouse_engine::{ports::ServerAdapter, servers::lmstudio::LmStudio};

#[tokio::test(flavor = "multi_thread")]
async fn a_real_lmstudio_keeps_the_contract() -> Result<()> {
    // It cannot be installed by a test run, so its absence is a skip even in strict runs.
    let (Ok(address), Ok(model)) =
        (std::env::var("PILOTHOUSE_REAL_LMSTUDIO"), std::env::var("PILOTHOUSE_REAL_LMSTUDIO_MODEL"))
    else {
        println!("skipped: PILOTHOUSE_REAL_LMSTUDIO and PILOTHOUSE_REAL_LMSTUDIO_MODEL name no LM Studio");
        return Ok(());
    };
    let home = std::env::home_dir().context("the home folder")?;
    let adapter = LmStudio::new(LmStudioSettings { address, ..LmStudioSettings::default() }, home);
    let found = adapter.find_running().await.context("LM Studio does not answer")?;
    let client = adapter.client(&found.endpoint);
    let subject = Subject {
        adapter: &adapter,
        client: client.as_ref(),
        model: &model,
        exact_length: false,
        counts: true,
    };
    contract(&subject).await
}
