//! Ends somebody else's server because a person wants one of ours in its place. Its keeper is asked, never fought.

use super::{actor::Supervisor, connection::Connection, outcome::Outcome};
use pilothouse_domain::{
    error::{ApiError, ErrorCode},
    lifecycle::Event,
    server::Ownership,
};
use pilothouse_system::process::{Holder, Identity, Keeper, ProcessSpec, Signal, run_to_end, signal_process};
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

fn way(holder: &Holder) -> Way {
    match (holder.left_to_owner(), &holder.keeper) {
        (Some(how), _) => Way::Owner(format!("To end it, {how}, then start it here.")),
        (None, None) => Way::Signal,
        (None, Some(Keeper::UserUnit(unit))) => {
            Way::Ask("systemctl", ["--user", "stop", unit].map(str::to_owned).to_vec())
        }
        (None, Some(Keeper::OllamaApp)) => {
            Way::Ask("/usr/bin/osascript", ["-e", "quit app \"Ollama\""].map(str::to_owned).to_vec())
        }
        (None, Some(Keeper::Homebrew)) => {
            Way::Ask("brew", ["services", "stop", "ollama"].map(str::to_owned).to_vec())
        }
        (None, Some(Keeper::Unit(_) | Keeper::Container)) => {
            Way::Owner("Stop it where it was started, then start it here.".into())
        }
    }
}

impl Supervisor {
    pub(super) fn take_over(&mut self, reply: oneshot::Sender<Result<Connection, ApiError>>) {
        let possible = self.owner.is(Ownership::Adopted) && self.adapter.can_take_over();
        let Some((port, _)) = self.adapter.fixed_port().filter(|_| possible) else {
            let text = format!("{} is not one that Pilothouse can take over.", self.title());
            let _ = reply.send(Err(ApiError::new(ErrorCode::Unsupported, text)));
            return;
        };
        self.say("is taken over, because somebody wants that");
        let (title, pid) = (self.title(), self.owner.pid());
        self.later(async move { Outcome::TakenOver(end(&title, port, pid).await, reply) });
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
        if self.owner.is(Ownership::Adopted) {
            self.disconnect();
            self.transition(Event::Gone { reason: "Pilothouse takes its place.".into() }, true);
        }
        self.waiting.for_ready(reply);
        self.transition(Event::StartWanted, true);
    }
}

/// Ends whoever listens on a port. `found`: the process that was adopted, which need not show us that it holds the port.
/// Errors: not_ours (only its owner can), timed_out.
async fn end(title: &str, port: u16, found: Option<u32>) -> Result<(), ApiError> {
    let holder = match Holder::at(port, move |pid, _| Some(pid) == found).await {
        Ok(holder) => holder,
        Err(user) => {
            let is = user.map(|user| format!("; it is one of {user}")).unwrap_or_default();
            let text = format!("Pilothouse cannot see which process {title} is{is}.");
            let hint = "It may belong to another user: stop it there.";
            return Err(ApiError::new(ErrorCode::NotOurs, text).hint(hint));
        }
    };
    let identity = Identity::of(holder.pid);
    match way(&holder) {
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
    while identity.is_some_and(|identity| !identity.has_ended()) {
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

    fn kept(keeper: Keeper) -> Holder {
        Holder::new(812, "ollama".into(), Some(keeper))
    }

    #[test]
    fn a_keeper_is_asked_and_never_fought() {
        let plain = Holder::new(812, "ollama".into(), None);
        assert_eq!(way(&plain), Way::Signal);
        let Way::Owner(hint) = way(&kept(Keeper::Unit("ollama.service".into()))) else {
            panic!("a unit of the system is not ours to stop");
        };
        assert!(hint.contains("“sudo systemctl disable --now ollama.service”"), "{hint}");
        let Way::Ask("systemctl", args) = way(&kept(Keeper::UserUnit("ollama.service".into()))) else {
            panic!("the user's own unit is asked");
        };
        assert_eq!(args, ["--user", "stop", "ollama.service"]);
        assert!(matches!(way(&kept(Keeper::Container)), Way::Owner(_)));
    }

    #[test]
    fn what_belongs_to_another_user_is_neither_signalled_nor_asked_of_our_own_systemd() {
        let plain = Holder::new(812, "ollama".into(), None).of_user(1001, "bob");
        assert_eq!(way(&plain), Way::Owner("To end it, run “sudo kill 812”, then start it here.".into()));
        let unit = kept(Keeper::UserUnit("ollama.service".into())).of_user(1001, "bob");
        assert!(matches!(way(&unit), Way::Owner(_)));
    }
}
