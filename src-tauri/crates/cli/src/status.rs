use crate::{
    document,
    output::{Output, attention, clock, words},
    servers,
    session::Session,
};
use pilothouse_engine::api::ApiError;

pub async fn run(output: &Output) -> Result<u8, ApiError> {
    let session = Session::connect()?;
    let snapshot = session.snapshot().await?;
    let web_url = session.web_url();
    output.answer(document::status(&snapshot, Some(&web_url)), || {
        let mut lines = vec![match &snapshot.active {
            Some(active) => format!(
                "Active   {} on {}",
                snapshot.model_title(&active.server, &active.model),
                snapshot.server_title(&active.server)
            ),
            None => "Active   no model".into(),
        }];
        if let Some(why) = &snapshot.active_absent {
            lines.push(format!("         cannot answer: {why}"));
        }
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
        match (&snapshot.engine.gateway, &snapshot.engine.gateway_absent) {
            (Some(address), _) => lines.push(format!("Gateway  {address}")),
            (None, reason) => {
                lines.push(format!("Gateway  none: {}", reason.as_deref().unwrap_or("not reported")))
            }
        }
        lines.push(format!("Web UI   {web_url}"));
        lines.push(String::new());
        lines.push(servers::list(&snapshot));
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
    });
    Ok(0)
}
