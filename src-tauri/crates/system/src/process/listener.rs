//! Who listens on a port of this machine, as far as the system lets us see it.

#[cfg(target_os = "linux")]
pub(super) mod procfs;

#[cfg(target_os = "linux")]
use crate::apart;
use std::fmt;

/// Looking at the open files of all processes.
#[cfg(target_os = "linux")]
const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
#[cfg(target_os = "linux")]
pub(super) const SOCKETS: &str = "the list of sockets";

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// The program's name; empty when it is not told.
    pub name: String,
    /// Who keeps the process; `None`: just a process.
    pub keeper: Option<Keeper>,
    /// Whose process it is, when it is not ours.
    pub user: Option<User>,
    pub known_by: KnownBy,
    /// Whether it may be asked to end by a signal: it holds the socket for certain, and the system lets us.
    pub may_signal: bool,
}

/// Who starts a process again when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// A unit of the system's systemd.
    Unit(String),
    /// A unit of a user's own systemd.
    UserUnit(String),
    Container,
    /// Ollama's app for macOS.
    OllamaApp,
    /// A service of Homebrew.
    Homebrew,
}

/// How it is known that a process holds a port.
///
/// Linux shows the open files of a process only to its user and to root, but everybody sees the user that a listening
/// socket belongs to, and the user and the command line of each process. So a holder whose files are closed to us follows
/// from these, where exactly one process can be meant; otherwise it is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The socket was seen among its open files. Certain.
    Socket,
    /// It is of the socket's user and its command line names this port: the proxy of Docker.
    Port,
    /// Of all processes of the socket's user whose files are closed it is the only one of the kind that was looked for.
    CommandLine,
    /// The socket's user, who is not root, has only one process whose files are closed.
    OnlyProcess,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    /// `None`: it stands in no file (a user of a directory service or of a container).
    pub name: Option<String>,
}

/// Programs that only pass a port of this machine on to a container.
const DOORS: [&str; 3] = ["docker-proxy", "rootlessport", "rootlesskit"];

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => write!(f, "kept by systemd, unit {unit}"),
            Self::UserUnit(unit) => write!(f, "kept by your systemd, unit {unit}"),
            Self::Container => f.write_str("in a container"),
            Self::OllamaApp => f.write_str("kept by Ollama.app"),
            Self::Homebrew => f.write_str("kept by Homebrew"),
        }
    }
}

impl User {
    /// As commands take it: `sudo -u NAME`.
    fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "user {name} (uid {})", self.uid),
            None => write!(f, "the user with uid {}", self.uid),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "process" } else { &self.name };
        write!(f, "{name} (pid {}", self.pid)?;
        if let Some(user) = &self.user {
            write!(f, ", of user {}", user.label())?;
        }
        if let Some(keeper) = self.keeper_words() {
            write!(f, ", {keeper}")?;
        }
        match self.known_by {
            KnownBy::Socket => {}
            KnownBy::Port | KnownBy::CommandLine => f.write_str(", judging by its command line")?,
            KnownBy::OnlyProcess => f.write_str(", the only one of that user")?,
        }
        f.write_str(")")
    }
}

impl Holder {
    /// A process of ours that was seen with the socket.
    pub fn new(pid: u32, name: String, keeper: Option<Keeper>) -> Self {
        Self { pid, name, keeper, user: None, known_by: KnownBy::Socket, may_signal: true }
    }

    /// The same, as a process of another user, which cannot be signalled from here.
    #[must_use]
    pub fn of_user(self, uid: u32, name: &str) -> Self {
        Self { user: Some(User { uid, name: Some(name.into()) }), may_signal: false, ..self }
    }

    /// The process that listens on a TCP port, for an asker who knows what it looks for: `fits` gets pid and command line,
    /// and is asked only where the system does not show who holds the socket ([`KnownBy`]). When several sockets listen there,
    /// the one that answers at 127.0.0.1 is meant.
    ///
    /// `Err`: the user that the socket belongs to, when nothing more can be told; nobody at all when nothing listens there, or
    /// the system does not tell.
    pub async fn at(
        port: u16,
        fits: impl Fn(u32, &[String]) -> bool + Send + 'static,
    ) -> Result<Self, Option<User>> {
        #[cfg(target_os = "linux")]
        return apart::once(SOCKETS, LIMIT, move || procfs::Proc::default().listener(port, &fits))
            .await
            .unwrap_or(Err(None));
        #[cfg(target_os = "macos")]
        {
            drop(fits);
            from_lsof(port).await.ok_or(None)
        }
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        {
            let _ = (port, fits);
            Err(None)
        }
    }

    /// Whether it only passes the port on to a container: its memory is not that of the server.
    pub fn is_door(&self) -> bool {
        DOORS.contains(&self.name.as_str())
    }

    fn keeper_words(&self) -> Option<String> {
        match (self.keeper.as_ref()?, &self.user) {
            (Keeper::UserUnit(unit), Some(user)) => {
                Some(format!("kept by the systemd of user {}, unit {unit}", user.label()))
            }
            (keeper, _) => Some(keeper.to_string()),
        }
    }

    /// What its owner must do so that it ends and stays ended, as the rest of a sentence ("run `sudo …`"). `None`: it can be
    /// ended from here, by a signal or by its keeper.
    pub fn left_to_owner(&self) -> Option<String> {
        match (&self.keeper, &self.user) {
            (Some(Keeper::Unit(unit)), _) => Some(format!("run “sudo systemctl disable --now {unit}”")),
            (Some(Keeper::Container), _) => Some("stop its container".into()),
            (Some(Keeper::UserUnit(unit)), Some(user)) => {
                let label = user.label();
                Some(format!("run “sudo systemctl --user --machine={label}@.host disable --now {unit}”"))
            }
            (None, _) if !self.may_signal => Some(format!("run “sudo kill {}”", self.pid)),
            _ => None,
        }
    }

    /// Who keeps it or whose it is, in words for a view; with the owner's command when it cannot be ended from here.
    pub fn kept(&self) -> Option<String> {
        let of_user = || self.user.as_ref().map(|user| format!("a process of {user}"));
        let who = self.keeper_words().or_else(of_user);
        match self.left_to_owner() {
            Some(how) => {
                let who = who.unwrap_or_else(|| "a process that hides its files".into());
                Some(format!("{who}; to end it, {how}"))
            }
            None => who,
        }
    }
}

/// The process that listens on a TCP port. `None`: nobody, or somebody whose files we may not see and who cannot be told from
/// others ([`Holder::at`] tells more to those who know what they look for).
pub async fn listener(port: u16) -> Option<Holder> {
    Holder::at(port, |_, _| false).await.ok()
}

/// All ports with a listener whose process can be told.
pub async fn listeners() -> Vec<(u16, Holder)> {
    #[cfg(target_os = "linux")]
    return apart::once(SOCKETS, LIMIT, || procfs::Proc::default().listeners()).await.unwrap_or_default();
    #[cfg(target_os = "macos")]
    return output("/usr/sbin/lsof", &["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpcn"])
        .await
        .map(|listing| parse_all_lsof(&listing))
        .unwrap_or_default();
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    Vec::new()
}

/// Asks `lsof`, which macOS ships: the kernel's own interface needs more than a page of unsafe code.
#[cfg(target_os = "macos")]
async fn from_lsof(port: u16) -> Option<Holder> {
    let lsof = ["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fpc"];
    let mut holder = parse_lsof(&output("/usr/sbin/lsof", &lsof).await?)?;
    let pid = holder.pid.to_string();
    if let Some(parent) = output("/bin/ps", &["-o", "ppid=", "-p", &pid]).await
        && let Some(command) = output("/bin/ps", &["-o", "comm=", "-p", parent.trim()]).await
    {
        let own = output("/bin/ps", &["-o", "comm=", "-p", &pid]).await.unwrap_or_default();
        let brewed = own.contains("/homebrew/") || own.contains("/Cellar/");
        holder.keeper = match parent.trim() {
            _ if command.contains("/Ollama.app/") => Some(Keeper::OllamaApp),
            "1" if brewed => Some(Keeper::Homebrew),
            _ => None,
        };
    }
    Some(holder)
}

#[cfg(target_os = "macos")]
pub(super) async fn output(program: &str, args: &[&str]) -> Option<String> {
    let spec = crate::process::ProcessSpec {
        program: program.into(),
        args: args.iter().map(Into::into).collect(),
        env: vec![],
        env_remove: vec![],
        cwd: None,
    };
    let finished = super::run_to_end(&spec, std::time::Duration::from_secs(5)).await.ok()?;
    Some(finished.stdout)
}

/// The first process of `lsof -F pc`: a line `p<pid>`, a line `c<command>` (lsof(8), output for other programs).
#[cfg(any(target_os = "macos", test))]
fn parse_lsof(listing: &str) -> Option<Holder> {
    let value = |mark: char| listing.lines().find_map(|line| line.strip_prefix(mark));
    Some(Holder::new(value('p')?.parse().ok()?, value('c')?.to_owned(), None))
}

/// All of `lsof -F pcn`: the lines of a process, then one `n<address>` line per socket (`n127.0.0.1:11434`, `n*:8080`).
#[cfg(any(target_os = "macos", test))]
fn parse_all_lsof(listing: &str) -> Vec<(u16, Holder)> {
    let (mut found, mut pid, mut name) = (Vec::new(), None, String::new());
    for line in listing.lines() {
        match line.split_at_checked(1) {
            Some(("p", value)) => pid = value.parse().ok(),
            Some(("c", value)) => value.clone_into(&mut name),
            Some(("n", address)) => {
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
                if let (Some(port), Some(pid)) = (port, pid) {
                    found.push((port, Holder::new(pid, name.clone(), None)));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn our_own_listener_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = listener(socket.local_addr().unwrap().port()).await.unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.name.is_empty());
        let port = socket.local_addr().unwrap().port();
        assert!(listeners().await.contains(&(port, holder)));
    }

    #[test]
    fn what_only_an_owner_can_end_is_said_with_the_command() {
        let unit = Holder::new(812, "ollama".into(), Some(Keeper::Unit("ollama.service".into())));
        let kept = unit.kept().unwrap();
        let words = "kept by systemd, unit ollama.service; to end it, run “sudo systemctl disable --now ollama.service”";
        assert_eq!(kept, words);
        assert!(unit.left_to_owner().is_some());
        let container = Holder::new(9, "docker-proxy".into(), Some(Keeper::Container));
        assert_eq!(container.kept().unwrap(), "in a container; to end it, stop its container");
        assert!(container.is_door() && !unit.is_door());

        let plain = Holder::new(7, "ollama".into(), None);
        assert_eq!((plain.kept(), plain.left_to_owner()), (None, None));
        let own = Holder { keeper: Some(Keeper::UserUnit("ollama.service".into())), ..plain.clone() };
        assert_eq!(own.kept().unwrap(), "kept by your systemd, unit ollama.service");
        assert_eq!(own.left_to_owner(), None);
        // Our systemd knows nothing of another user's unit of the same name.
        let theirs = own.of_user(1001, "bob");
        let kept = theirs.kept().unwrap();
        assert!(
            kept.starts_with("kept by the systemd of user bob, unit ollama.service; to end it, "),
            "{kept}"
        );
        assert!(kept.contains("--machine=bob@.host"), "{kept}");
        let theirs = plain.clone().of_user(1001, "bob");
        assert_eq!(theirs.kept().unwrap(), "a process of user bob (uid 1001); to end it, run “sudo kill 7”");
        let hidden = Holder { may_signal: false, known_by: KnownBy::CommandLine, ..plain.clone() };
        assert!(hidden.left_to_owner().is_some());
        // Root may signal everybody.
        let nameless = User { uid: 61234, name: None };
        let as_root = Holder { user: Some(nameless), ..plain };
        assert_eq!(as_root.kept().unwrap(), "a process of the user with uid 61234");
        assert_eq!(as_root.to_string(), "ollama (pid 7, of user 61234)");
    }

    #[test]
    fn lsof_is_read() {
        let holder = parse_lsof("p812\ncollama\nf3\n").unwrap();
        assert_eq!(holder.to_string(), "ollama (pid 812)");
        assert_eq!(parse_lsof(""), None);
        let all = parse_all_lsof(
            "p812\ncollama\nf3\nn127.0.0.1:11434\nf4\nn[::1]:5\np9\ncllama-server\nf1\nn*:8080\n",
        );
        let seen: Vec<_> =
            all.iter().map(|(port, holder)| (*port, holder.pid, holder.name.as_str())).collect();
        assert_eq!(seen, [(11434, 812, "ollama"), (5, 812, "ollama"), (8080, 9, "llama-server")]);
    }
}
