use crate::{output::Output, session::Session, session::unexpected};
use pilothouse_engine::{
    api::{ApiError, Call, Check, CheckResult, ErrorCode, Reply},
    doctor::{examine_machine, examine_settings},
};
use pilothouse_system::paths::Paths;
use serde_json::json;

/// Asks the running engine; without one, looks at what can be seen from outside.
pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let checks = match Session::connect() {
        Ok(session) => match session.call(Call::Doctor).await? {
            Reply::Doctor { checks } => checks,
            other => return Err(unexpected(&other)),
        },
        Err(error) if error.code == ErrorCode::NotRunning => {
            let paths = Paths::from_env()?;
            let mut checks = examine_machine(&paths);
            checks.extend(examine_settings(&paths));
            checks.push(Check {
                name: "engine".into(),
                result: CheckResult::Skipped,
                detail: "does not run, so servers and gateway were not looked at".into(),
                hint: error.hint,
            });
            checks
        }
        Err(error) => return Err(error),
    };
    Ok(show(&checks, output))
}

/// Prints checks; tells the exit code.
pub fn show(checks: &[Check], output: &Output) -> u8 {
    let failed = checks.iter().any(|check| check.result == CheckResult::Fail);
    output.answer(json!({ "checks": checks }), || checks.iter().map(line).collect::<Vec<_>>().join("\n"));
    u8::from(failed)
}

fn line(check: &Check) -> String {
    let mark = match check.result {
        CheckResult::Ok => "ok",
        CheckResult::Warn => "warn",
        CheckResult::Fail => "FAIL",
        CheckResult::Skipped => "skip",
    };
    let hint = check.hint.as_ref().map(|hint| format!("\n      hint: {hint}")).unwrap_or_default();
    format!("{mark:<5} {}: {}{hint}", check.name, check.detail)
}
