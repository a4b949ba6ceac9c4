//! Programs that a test makes: copies of built ones, and scripts that stand for one.
//!
//! A file that is open for writing cannot be executed, and what another thread starts meanwhile holds the descriptor of its
//! writer for a moment longer. So it is never this process that writes a program.

use anyhow::{Context, ensure};
use std::path::Path;

/// Copies a program to a place where everybody may run it.
pub fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a tool of the tests, which is no work of the engine")]
    let mut install = std::process::Command::new("install");
    let placed = install.args(["-m", "755"]).arg(from).arg(to).status().context("install cannot be run")?;
    ensure!(placed.success(), "{} cannot be copied to {}", from.display(), to.display());
    Ok(())
}

/// Writes a shell script, which everybody may run. `lines` come after its first one.
pub fn script(file: &Path, lines: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{lines}\n"))
        .with_context(|| format!("{}", draft.display()))?;
    place(&draft, file)?;
    Ok(std::fs::remove_file(draft)?)
}
