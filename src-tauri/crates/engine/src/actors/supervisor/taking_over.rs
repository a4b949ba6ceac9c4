//! Ends somebody else's server because a person wants one of ours in its place. Its keeper is asked, never fought.

use super::{
    Connection,
    actor::{Inner, Supervisor},
};
use crate::{
    ports::ProcessSpec,
    process::{Holder, Identity, Keeper, Signal, listener, run_to_end, signal_process},
};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::Event,
    server::Ownership,
};
use std::time::Duration;
use tokio::{sync::oneshot, time::Instant};

/// How long the other one may take to end. It is never killed: its owner may be in the middle of something.
const END_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// What must be done so that a process ends and stays ended.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// A plain process: it is asked to end.
    Signal,
    /// Its keeper has a command for that.
    Ask(&'static str, Vec<String>),
    /// Only its owner can; the words say how.
    Owner(String),
}

fn way(keeper: Option<&Keeper>) -> Way {
    match keeper {
        None => Way::Signal,
        Some(Keeper::UserUnit(unit)) => {
            Way::Ask("systemctl", ["--user", "stop", unit].map(str::to_owned).to_vec())
        }
        Some(Keeper::OllamaApp) => {
            Way::Ask("/usr/bin/osascript", ["-e", "quit app \"Ollama\""].map(str::to_owned).to_vec())
        }
        Some(Keeper::Homebrew) => {
            Way::Ask("brew", ["services", "stop", "ollama"].map(str::to_owned).to_vec())
        }
        Some(Keeper::Unit(unit)) => {
            Way::Owner(format!("Run `sudo systemctl disable --now {unit}`, then start it here."))
        }
        Some(Keeper::Container) => Way::Owner("Stop its container, then start it here.".into()),
    }
}

impl Supervisor {
    pub(super) fn take_over(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        let port = self.adapter.fixed_port().map(|(port, _)| port);
        let (Some(port), true) = (port, self.may_take_over()) else {
            let text = format!("{} is not one that Pilothouse can take over.", self.title());
            let _ = reply.send(Err(ApiError::new(ErrorCode::Unsupported, text)));
            return;
        };
        self.say("is taken over, because somebody wants that");
        let title = self.title();
        self.later(async move { Inner::TakenOver(end(&title, port).await, reply) });
    }

    pub(super) fn may_take_over(&self) -> bool {
        self.ownership == Some(Ownership::Adopted) && self.adapter.can_take_over()
    }

    pub(super) fn taken_over(
        &mut self,
        result: Result<(), ApiError>,
        reply: oneshot::Sender<Result<Connection, ApiError>>,
    ) {
        if let Err(error) = result {
            self.say(&format!("could not be taken over: {error}"));
            let _ = reply.send(Err(error));
            return;
        }
        if self.ownership == Some(Ownership::Adopted) {
            self.disconnect();
            self.transition(Event::Gone { reason: "Pilothouse takes its place.".into() }, true);
        }
        self.waiting.for_ready(reply);
        self.transition(Event::StartWanted, true);
    }
}

/// Ends whoever listens on a port. Errors: not_ours (only its owner can), timed_out.
async fn end(title: &str, port: u16) -> Result<(), ApiError> {
    let Some(holder) = listener(port).await else {
        let text = format!("Pilothouse cannot see which process {title} is.");
        return Err(
            ApiError::new(ErrorCode::NotOurs, text).hint("It may belong to another user: stop it there.")
        );
    };
    let identity = Identity::of(holder.pid);
    match way(holder.keeper.as_ref()) {
        Way::Signal => {
            if let Some(identity) = identity {
                signal_process(identity, Signal::Terminate);
            }
        }
        Way::Ask(program, args) => {
            let args = args.into_iter().map(Into::into).collect();
            let spec =
                ProcessSpec { program: program.into(), args, env: vec![], env_remove: vec![], cwd: None };
            run_to_end(&spec, END_LIMIT).await?;
        }
        Way::Owner(hint) => {
            let text = format!("{title} is {holder}, and only its owner can end it.");
            return Err(ApiError::new(ErrorCode::NotOurs, text).hint(hint));
        }
    }
    ended(title, &holder, identity).await
}

async fn ended(title: &str, holder: &Holder, identity: Option<Identity>) -> Result<(), ApiError> {
    let begun = Instant::now();
    while identity.is_some_and(|identity| identity.is_alive()) {
        if begun.elapsed() > END_LIMIT {
            let text = format!("{title}, {holder}, was asked to end and goes on.");
            return Err(ApiError::new(ErrorCode::TimedOut, text).hint("End it where it was started."));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_asked_and_never_fought() {
        assert_eq!(way(None), Way::Signal);
        let Way::Owner(hint) = way(Some(&Keeper::Unit("ollama.service".into()))) else {
            panic!("a unit of the system is not ours to stop");
        };
        assert!(hint.contains("ollama.service"));
        let Way::Ask("systemctl", args) = way(Some(&Keeper::UserUnit("ollama.service".into()))) else {
            panic!("the user's own unit is asked");
        };
        assert_eq!(args, ["--user", "stop", "ollama.service"]);
    }
}
