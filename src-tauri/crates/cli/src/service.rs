use crate::output::Output;
use clap::Subcommand;
use pilothouse_engine::api::{ApiError, ErrorCode};
use pilothouse_system::{
    paths::Paths,
    service::{self, Service},
};
use serde_json::json;

#[derive(Subcommand)]
pub enum Act {
    /// Start Pilothouse without a desktop, now and at every login.
    Install,
    /// Stop that and take the service away.
    Remove,
}

pub async fn run(act: Act, output: &Output) -> Result<u8, ApiError> {
    let paths = Paths::from_env()?;
    let (done, word): (Service, &str) = match act {
        Act::Install => {
            let program = std::env::current_exe().map_err(|error| {
                ApiError::new(ErrorCode::System, format!("Where this program lies is not known: {error}."))
            })?;
            (service::install(&paths, &program).await?, "installed")
        }
        Act::Remove => (service::remove(&paths).await?, "removed"),
    };
    let file = done.file.display().to_string();
    output.answer(json!({ "service": word, "file": file, "hint": done.hint }), || match &done.hint {
        Some(hint) => format!("The service is {word}: {file}\n{hint}"),
        None => format!("The service is {word}: {file}"),
    });
    Ok(0)
}
