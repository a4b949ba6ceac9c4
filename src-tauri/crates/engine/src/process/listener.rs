//! Who listens on a port of this machine, as far as the system lets us see it.

use std::fmt;

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// The program's name; empty when it is not told.
    pub name: String,
    /// Who keeps the process; `None`: just a process.
    pub keeper: Option<Keeper>,
}

/// Who starts a process again when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// A unit of the system's systemd.
    Unit(String),
    /// A unit of the user's own systemd.
    UserUnit(String),
    Container,
    /// Ollama's app for macOS.
    OllamaApp,
    /// A service of Homebrew.
    Homebrew,
}

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

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "process" } else { &self.name };
        write!(f, "{name} (pid {}", self.pid)?;
        if let Some(keeper) = &self.keeper {
            write!(f, ", {keeper}")?;
        }
        f.write_str(")")
    }
}

/// The process that listens on a TCP port. `None`: nobody, or somebody whose files we may not see.
pub async fn listener(port: u16) -> Option<Holder> {
    #[cfg(target_os = "linux")]
    return tokio::task::spawn_blocking(move || from_proc(port)).await.ok()?;
    #[cfg(target_os = "macos")]
    return from_lsof(port).await;
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    None
}

/// All ports with a listener whose process can be seen.
pub async fn listeners() -> Vec<(u16, Holder)> {
    #[cfg(target_os = "linux")]
    return tokio::task::spawn_blocking(all_from_proc).await.unwrap_or_default();
    #[cfg(target_os = "macos")]
    return output("/usr/sbin/lsof", &["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpcn"])
        .await
        .map(|listing| parse_all_lsof(&listing))
        .unwrap_or_default();
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    Vec::new()
}

#[cfg(target_os = "linux")]
fn all_from_proc() -> Vec<(u16, Holder)> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let mut sockets: std::collections::HashMap<String, u16> = std::collections::HashMap::new();
    for fields in tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
    {
        let port =
            fields.get(1).and_then(|address| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok());
        if let (Some(port), Some(&"0A"), Some(inode)) = (port, fields.get(3), fields.get(9)) {
            sockets.insert(format!("socket:[{inode}]"), port);
        }
    }
    let mut found: Vec<(u16, Holder)> = Vec::new();
    for pid in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = pid.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        for file in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let link = std::fs::read_link(file.path()).map(|to| to.to_string_lossy().into_owned());
            if let Some(port) = link.ok().and_then(|link| sockets.get(&link))
                && !found.iter().any(|(other, _)| other == port)
            {
                found.push((*port, holder_of(pid)));
            }
        }
    }
    found
}

#[cfg(target_os = "linux")]
fn holder_of(pid: u32) -> Holder {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Holder { pid, name: name.trim().to_owned(), keeper: keeper(&groups) }
}

#[cfg(target_os = "linux")]
fn from_proc(port: u16) -> Option<Holder> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(&std::fs::read_to_string(table).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        files.is_ok_and(|files| {
            files
                .flatten()
                .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy() == wanted))
        })
    };
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    let pid = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(holds)?;
    Some(holder_of(pid))
}

/// The inode of the socket that listens on a port, from `/proc/net/tcp` (proc_pid_net(5); state 0A is LISTEN).
#[cfg(target_os = "linux")]
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    let wanted = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A";
        if listens { fields.get(9)?.parse().ok() } else { None }
    })
}

/// Who keeps a process, from its control group (proc_pid_cgroup(5)): `/system.slice/ollama.service` is a unit of the
/// system, a scope of docker, podman or kubernetes is a container. A user's session is nobody in particular.
#[cfg(target_os = "linux")]
fn keeper(groups: &str) -> Option<Keeper> {
    let path = groups.lines().find_map(|line| line.splitn(3, ':').nth(2))?;
    if ["docker", "libpod", "kubepods", "containerd"].iter().any(|word| path.contains(word)) {
        return Some(Keeper::Container);
    }
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    match path.contains("/user@") {
        // The user's own manager is the parent of everything on a desktop.
        true if unit.starts_with("user@") => None,
        true => Some(Keeper::UserUnit(unit.to_owned())),
        false => Some(Keeper::Unit(unit.to_owned())),
    }
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
async fn output(program: &str, args: &[&str]) -> Option<String> {
    let spec = crate::ports::ProcessSpec {
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
    Some(Holder { pid: value('p')?.parse().ok()?, name: value('c')?.to_owned(), keeper: None })
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
                    found.push((port, Holder { pid, name: name.clone(), keeper: None }));
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

    #[cfg(target_os = "linux")]
    #[test]
    fn units_and_containers_are_told_apart_from_plain_processes() {
        let kept = keeper("0::/system.slice/ollama.service\n").unwrap();
        assert_eq!(kept, Keeper::Unit("ollama.service".into()));
        assert_eq!(kept.to_string(), "kept by systemd, unit ollama.service");
        assert_eq!(keeper("0::/system.slice/docker-3f2a.scope\n"), Some(Keeper::Container));
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n";
        assert_eq!(keeper(own), Some(Keeper::UserUnit("ollama.service".into())));
        assert_eq!(keeper("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"), None);
        assert_eq!(keeper(""), None);
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
