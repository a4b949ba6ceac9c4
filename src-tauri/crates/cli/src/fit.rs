use crate::{
    completing,
    output::{Output, table},
    session::{Session, unexpected},
};
use clap::Args;
use pilothouse_domain::{
    estimate::Wish,
    fit::{Candidate, FitReport, Room, SizeTable, place, report, size_table, typical, unknown_model},
    forecast::Forecast,
    machine::Machine,
    server::{ServerId, ServerKind},
    settings::Settings,
    units::gigabytes,
};
use pilothouse_engine::api::{ApiError, Call, ErrorCode, Reply};
use pilothouse_system::hardware;
use serde_json::json;

#[derive(Args)]
pub struct Fit {
    /// Models that shall be in memory together; typical sizes such as 7b or 70b:q2_k too. Without any, but with --machine:
    /// all typical sizes on that machine.
    #[arg(required_unless_present_any = ["together", "machine"], add = completing::models())]
    models: Vec<String>,
    /// Find all sets of the models on this machine that fit together.
    #[arg(long, conflicts_with_all = ["models", "server"])]
    together: bool,
    #[arg(long, add = completing::servers())]
    server: Option<String>,
    /// Tokens per request.
    #[arg(long)]
    context: Option<u64>,
    /// Requests at a time.
    #[arg(long)]
    parallel: Option<u32>,
    /// How keys and values are kept: f16, q8_0, q4_0.
    #[arg(long)]
    kv: Option<String>,
    /// Another machine: m4-max-36, or a file of `pilothouse machine --json`.
    #[arg(long)]
    machine: Option<String>,
}

/// The context where no settings can be asked.
const USUAL_CONTEXT: u64 = 4096;

pub async fn run(arguments: Fit, output: &Output) -> Result<u8, ApiError> {
    let machine = arguments.machine.as_deref().map(hardware::profile).transpose()?;
    if arguments.together {
        return sets(&Session::connect()?, arguments, machine, output).await;
    }
    if let (Some(machine), true) = (&machine, arguments.models.is_empty()) {
        let table = size_table(machine, &wish(&arguments)?);
        output.answer(json!(table), || sizes_text(&table));
        return Ok(0);
    }
    let report = match (Session::connect(), machine) {
        (Ok(session), machine) => ask(&session, arguments, machine).await?,
        // Typical models on another machine need nobody's answer.
        (Err(error), Some(machine)) if error.code == ErrorCode::NotRunning => reckon(&arguments, machine)?,
        (Err(error), _) => return Err(error),
    };
    output.answer(json!(report), || text(&report));
    Ok(if report.fits { 0 } else { ErrorCode::DoesNotFit.exit_code() })
}

async fn ask(session: &Session, arguments: Fit, machine: Option<Machine>) -> Result<FitReport, ApiError> {
    let call = Call::Fit {
        models: arguments.models,
        server: arguments.server.map(ServerId),
        context: arguments.context,
        parallel: arguments.parallel,
        kv: arguments.kv,
        machine,
    };
    match session.call(call).await? {
        Reply::Fit { report } => Ok(report),
        other => Err(unexpected(&other)),
    }
}

async fn sets(
    session: &Session,
    arguments: Fit,
    machine: Option<Machine>,
    output: &Output,
) -> Result<u8, ApiError> {
    let Fit { context, parallel, kv, .. } = arguments;
    let reply = session.call(Call::FitTogether { context, parallel, kv, machine }).await?;
    let Reply::Together { together } = reply else {
        return Err(unexpected(&reply));
    };
    output.answer(json!(together), || {
        let rows = together
            .sets
            .iter()
            .map(|set| vec![set.models.join(" + "), gigabytes(set.needed_bytes), gigabytes(set.left_bytes)]);
        let mut lines = vec![
            format!("Room for models: {}.", gigabytes(together.free_bytes)),
            table(&["TOGETHER", "NEEDED", "LEFT"], rows.collect()),
        ];
        if !together.complete {
            lines.push(format!("There are more than these {}.", together.sets.len()));
        }
        lines.extend(together.too_large.iter().map(|name| format!("Too large even alone: {name}")));
        lines.extend(together.unknown.iter().map(|name| format!("Not reckoned: {name}")));
        lines.join("\n")
    });
    Ok(0)
}

fn wish(arguments: &Fit) -> Result<Wish, ApiError> {
    let context = arguments.context.unwrap_or(USUAL_CONTEXT);
    Wish::checked(context, arguments.parallel, arguments.kv.as_deref())
}

fn reckon(arguments: &Fit, machine: Machine) -> Result<FitReport, ApiError> {
    let wish = wish(arguments)?;
    let place = place(&Settings::default(), ServerKind::LlamaServer, "", &machine, false);
    let candidate = |name: &String| match typical(name) {
        Some(anatomy) => Ok(Candidate::typical(name, anatomy, wish, place)),
        None => Err(unknown_model(name)),
    };
    let candidates = arguments.models.iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
    Ok(report(&candidates, &wish, &Room::empty(machine)))
}

fn text(report: &FitReport) -> String {
    let rows = report.parts.iter().map(|needed| {
        let what = serde_json::to_value(needed.part.what).ok();
        let what =
            what.and_then(|value| value.as_str().map(|word| word.replace('_', " "))).unwrap_or_default();
        vec![needed.model.clone(), what, gigabytes(needed.part.bytes), needed.part.source.clone()]
    });
    let mut lines = vec![
        report.reason.clone(),
        format!("Ceiling: {} ({}).", gigabytes(report.ceiling_bytes), report.ceiling_source),
        String::new(),
        table(&["MODEL", "PART", "SIZE", "FROM"], rows.collect()),
    ];
    match (&report.forecast, &report.forecast_absent) {
        (Some(forecast), _) => lines.push(format!("\n{}", forecast_text(forecast))),
        (None, reason) => {
            lines.push(format!("\nNo forecast: {}.", reason.as_deref().unwrap_or("not known")));
        }
    }
    if !report.evicts.is_empty() {
        let leaving: Vec<String> =
            report.evicts.iter().map(|one| format!("{} ({})", one.title, gigabytes(one.bytes))).collect();
        lines.push(format!("\nLoading it would push out: {}.", leaving.join(", ")));
    }
    if !report.offers.is_empty() {
        lines.push("\nWhat would fit:".into());
        lines.extend(
            report
                .offers
                .iter()
                .map(|offer| format!("  {} ({}): {}", offer.what, gigabytes(offer.needed_bytes), offer.cost)),
        );
    }
    lines.join("\n")
}

fn forecast_text(forecast: &Forecast) -> String {
    let about = if forecast.measured { "" } else { "about " };
    let rate = |tok_s: f64, error: Option<f64>| match error {
        Some(error) => format!("{about}{tok_s:.0} tok/s ±{error:.0} %"),
        None => format!("{about}{tok_s:.0} tok/s"),
    };
    let title = if forecast.measured { "Measured here" } else { "Forecast, not measured" };
    let prefill = match (forecast.prefill_tok_s, &forecast.prefill_tok_s_absent) {
        (Some(tok_s), _) => format!("prefill {}", rate(tok_s, forecast.prefill_error_percent)),
        (None, why) => format!("prefill not known ({})", why.as_deref().unwrap_or("no figures")),
    };
    let decode = rate(forecast.decode_tok_s, Some(forecast.error_percent));
    format!("{title}: decode {decode}, {prefill}. From {}.", forecast.source)
}

fn sizes_text(sizes: &SizeTable) -> String {
    let dash = || "–".to_owned();
    let rows = sizes.rows.iter().map(|row| {
        let forecast = row
            .forecast
            .as_ref()
            .map(|forecast| format!("about {:.0} ±{:.0} %", forecast.decode_tok_s, forecast.error_percent));
        let noted = row.noted;
        let noted_rate = noted.and_then(|noted| noted.decode_tok_s).map(|(from, to)| format!("{from}–{to}"));
        let models = match &row.scenario {
            Some(scenario) => format!("{} ({scenario})", row.models),
            None => row.models.clone(),
        };
        vec![
            models,
            gigabytes(row.needed_bytes),
            noted.map_or_else(dash, |noted| format!("{} GB", noted.memory_gb)),
            forecast.unwrap_or_else(dash),
            noted_rate.unwrap_or_else(dash),
            if row.fits { "yes".into() } else { "no".into() },
        ]
    });
    let mut lines = vec![
        format!(
            "{}: models may take {} ({}).",
            sizes.machine,
            gigabytes(sizes.ceiling.bytes),
            sizes.ceiling.source
        ),
        format!("Typical builds in Q4_K_M unless said, {} tokens, reckoned, not measured.\n", sizes.context),
        table(&["MODELS", "MEMORY", "NOTED", "DECODE TOK/S", "NOTED", "FITS"], rows.collect()),
    ];
    let refused = sizes.rows.iter().filter(|row| !row.fits);
    lines.extend(refused.map(|row| format!("\n{}: {}", row.models, row.reason)));
    lines.join("\n")
}
