use crate::{
    document,
    output::{Output, attention, clock, quiet, strong, words},
    servers,
    session::Session,
};
use pilothouse_domain::{model::ModelPurpose, snapshot::Snapshot, standing::in_a_line, tray::arranging_line};
use pilothouse_engine::api::{ApiError, ErrorCode};

pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let snapshot = session.snapshot().await?;
    let web_url = session.web_url();
    output.answer(document::status(&snapshot, Some(&web_url)), || text(&snapshot, &web_url));
    Ok(0)
}

/// What the bare program says: where things stand, and three things to do from there. Without an engine that is an answer too.
pub async fn with_next_steps(output: &Output) -> Result<u8, ApiError> {
    if output.is_json() {
        return run(output).await;
    }
    let session = match Session::connect() {
        Ok(session) => session,
        Err(error) if error.code == ErrorCode::NotRunning => {
            output.line(&format!("{}\n\n{}", strong("Pilothouse does not run."), steps(&WITHOUT_ENGINE)));
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let snapshot = session.snapshot().await?;
    output.line(&format!("{}\n\n{}", text(&snapshot, &session.web_url()), steps(&next(&snapshot))));
    Ok(0)
}

/// A command, and what it does.
type Step = (&'static str, &'static str);

const WITHOUT_ENGINE: [Step; 3] = [
    ("pilothouse serve", "starts it here; the tray app does that with a menu"),
    ("pilothouse service install", "starts it with each of your sessions"),
    ("pilothouse doctor", "checks this machine and says what is missing"),
];

fn next(snapshot: &Snapshot) -> [Step; 3] {
    const OPEN: Step = ("pilothouse open", "shows all of it in your browser");
    let models = snapshot.models.iter().any(|view| view.model.purpose == ModelPurpose::Llm);
    match (&snapshot.active, models) {
        (Some(_), _) => [
            ("pilothouse ask \"Why is the sky blue?\"", "asks the active model"),
            ("pilothouse switch MODEL", "makes another one active; “pilothouse models” lists them"),
            OPEN,
        ],
        (None, true) => [
            ("pilothouse models", "lists the models and whether they fit"),
            ("pilothouse switch MODEL", "makes one of them active"),
            OPEN,
        ],
        (None, false) => [
            ("pilothouse setup", "fetches a small model with its server"),
            ("pilothouse servers discover", "looks for servers that run here already"),
            OPEN,
        ],
    }
}

fn steps(steps: &[Step]) -> String {
    let width = steps.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let line = |(command, does): &Step| format!("  {command:width$}  {}", quiet(does));
    format!("{}\n{}", strong("Next"), steps.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn text(snapshot: &Snapshot, web_url: &str) -> String {
    let mut lines = vec![match &snapshot.active {
        Some(active) => format!(
            "Active   {} on {}, {}",
            snapshot.model_title(&active.server, &active.model),
            snapshot.server_title(&active.server),
            in_a_line(&snapshot.standing.word)
        ),
        None => "Active   no model".into(),
    }];
    lines.extend(snapshot.standing.reason.iter().map(|why| format!("         {why}")));
    for instance in &snapshot.instances {
        let orphans = instance.orphaned_answers.unwrap_or_default();
        if orphans > 0 {
            let title = snapshot.model_title(&instance.server, &instance.model);
            let answers = if orphans == 1 { "an answer" } else { "answers" };
            lines.push(format!("Busy     {title} with {answers} that nobody waits for ({orphans})"));
        }
    }
    if let Some(switching) = &snapshot.switching {
        lines.push(format!("Switch   to {} ({})", switching.to, words(&switching.phase)));
    }
    if let Some(arranging) = &snapshot.arranging {
        lines.push(format!("Change   {}", arranging_line(snapshot, arranging)));
    }
    match (&snapshot.engine.gateway, &snapshot.engine.gateway_absent) {
        (Some(address), _) => lines.push(format!("Gateway  {address}")),
        (None, reason) => {
            lines.push(format!("Gateway  none: {}", reason.as_deref().unwrap_or("not reported")))
        }
    }
    let ollama = snapshot.engine.gateway_ollama.as_ref();
    lines.extend(ollama.map(|address| format!("         {address} for programs that only know Ollama")));
    let bridges = &snapshot.engine.gateway_bridges;
    lines.extend(bridges.iter().map(|address| format!("         {address} for containers, with a key")));
    let bridges = &snapshot.engine.gateway_ollama_bridges;
    lines.extend(
        bridges
            .iter()
            .map(|address| format!("         {address} for containers that only know Ollama, with a key")),
    );
    lines.push(format!("Web UI   {web_url}"));
    lines.push(String::new());
    lines.push(servers::list(snapshot));
    for trouble in &snapshot.troubles {
        lines.push(format!("\n{} {}", attention("attention:"), trouble.message));
        lines.extend(trouble.hint.iter().map(|hint| format!("hint: {hint}")));
    }
    if !snapshot.notices.is_empty() {
        lines.push("\nLately".into());
        for notice in snapshot.notices.iter().take(5) {
            lines.push(format!("  {}  {}. {}", clock(notice.at), notice.title, notice.body));
        }
    }
    lines.join("\n")
}
