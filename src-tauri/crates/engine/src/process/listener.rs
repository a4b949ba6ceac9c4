//! Who listens on a port of this machine, as far as the system lets us see it.

use std::fmt;

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// The program's name; empty when it is not told.
    pub name: String,
    /// Who keeps the process: a systemd unit, a container, an app; `None`: just a process.
    pub keeper: Option<String>,
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
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Some(Holder { pid, name: name.trim().to_owned(), keeper: keeper(&groups) })
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
fn keeper(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.splitn(3, ':').nth(2))?;
    if ["docker", "libpod", "kubepods", "containerd"].iter().any(|word| path.contains(word)) {
        return Some("in a container".into());
    }
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    // The user's own manager is the parent of everything on a desktop.
    (!unit.starts_with("user@")).then(|| format!("kept by systemd, unit {unit}"))
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
        holder.keeper = command.contains("/Ollama.app/").then(|| "kept by Ollama.app".to_owned());
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
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn units_and_containers_are_told_apart_from_plain_processes() {
        assert_eq!(
            keeper("0::/system.slice/ollama.service\n").unwrap(),
            "kept by systemd, unit ollama.service"
        );
        assert_eq!(keeper("0::/system.slice/docker-3f2a.scope\n").unwrap(), "in a container");
        assert_eq!(keeper("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"), None);
        assert_eq!(keeper(""), None);
    }

    #[test]
    fn lsof_is_read() {
        let holder = parse_lsof("p812\ncollama\nf3\n").unwrap();
        assert_eq!(holder.to_string(), "ollama (pid 812)");
        assert_eq!(parse_lsof(""), None);
    }
}
