//! The holder of a port from `/proc`: its open files where they are shown, else its user and command line.

use super::{DOORS, Holder, Keeper, KnownBy, User};
use crate::process::program::{Caller, program_name};
use std::{
    collections::BTreeMap,
    fs::{read, read_dir, read_link, read_to_string},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

const ROOT: u32 = 0;
/// Stands for all users that this user namespace does not know.
const OVERFLOW: u32 = 65534;
/// The capability to signal anybody (capabilities(7)).
const CAP_KILL: u64 = 1 << 5;

/// Where the system tells about its processes and users.
pub(in crate::process) struct Proc {
    root: PathBuf,
    passwd: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self { root: "/proc".into(), passwd: "/etc/passwd".into() }
    }
}

/// A TCP socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    /// The user that made it.
    uid: u32,
    inode: u64,
}

/// A process whose open files are not shown to us.
struct Closed {
    pid: u32,
    uid: u32,
    words: Vec<String>,
}

impl Proc {
    /// See [`Holder::at`].
    pub fn listener(&self, port: u16, fits: &dyn Fn(u32, &[String]) -> bool) -> Result<Holder, Option<User>> {
        let here = self.sockets().into_iter().filter(|socket| socket.port == port);
        let Some(socket) = here.min_by_key(|socket| rank(socket.address)) else {
            return Err(None);
        };
        let mut closed = Vec::new();
        for pid in self.pids() {
            match self.inodes(pid) {
                Some(inodes) if inodes.contains(&socket.inode) => {
                    return Ok(self.holder(pid, KnownBy::Socket));
                }
                Some(_) => {}
                None => closed.push(pid),
            }
        }
        match told(&socket, &self.closed(closed), fits) {
            Some((pid, known_by)) => Ok(self.holder(pid, known_by)),
            None => Err(Some(self.user(socket.uid))),
        }
    }

    /// All ports whose holder can be told without looking for something.
    pub fn listeners(&self) -> Vec<(u16, Holder)> {
        let sockets = self.sockets();
        let (mut found, mut closed): (Vec<(u16, Holder)>, _) = (Vec::new(), Vec::new());
        let is_new = |found: &[(u16, Holder)], port: u16| !found.iter().any(|(other, _)| *other == port);
        for pid in self.pids() {
            let Some(inodes) = self.inodes(pid) else {
                closed.push(pid);
                continue;
            };
            for socket in sockets.iter().filter(|socket| inodes.contains(&socket.inode)) {
                if is_new(&found, socket.port) {
                    found.push((socket.port, self.holder(pid, KnownBy::Socket)));
                }
            }
        }
        let closed = self.closed(closed);
        for socket in &sockets {
            if is_new(&found, socket.port)
                && let Some((pid, known_by)) = told(socket, &closed, &|_, _| false)
            {
                found.push((socket.port, self.holder(pid, known_by)));
            }
        }
        found
    }

    /// The processes behind these ends of connections to a port of this machine. Those of `familiar` are looked at first; all
    /// others only when that is not enough, and when `all` allows it.
    pub fn callers(
        &self,
        port: u16,
        peers: &[SocketAddr],
        familiar: &[u32],
        all: bool,
    ) -> Vec<(SocketAddr, Caller)> {
        let tables = ["net/tcp", "net/tcp6"].map(|table| self.text(table));
        let lines = tables.iter().flat_map(|table| table.lines());
        let mut wanted: BTreeMap<u64, SocketAddr> =
            lines.filter_map(|line| connected(line, port)).filter(|(_, peer)| peers.contains(peer)).collect();
        let mut found = vec![];
        let others = self.pids().filter(|pid| all && !familiar.contains(pid));
        for pid in familiar.iter().copied().chain(others) {
            if wanted.is_empty() {
                break;
            }
            let inodes = self.inodes(pid).unwrap_or_default();
            let mut its = inodes.iter().filter_map(|inode| wanted.remove(inode)).peekable();
            if its.peek().is_none() {
                continue;
            }
            let line = read(self.root.join(format!("{pid}/cmdline"))).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
            let name = program_name(self.text(&format!("{pid}/comm")).trim(), &words);
            found.extend(its.map(|peer| (peer, Caller { pid, name: name.clone() })));
        }
        found
    }

    fn sockets(&self) -> Vec<Socket> {
        let tables = ["net/tcp", "net/tcp6"].map(|table| self.text(table));
        tables.iter().flat_map(|table| table.lines()).filter_map(listening).collect()
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        let entries = read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// The sockets among the open files of a process. `None`: they are not shown to us.
    fn inodes(&self, pid: u32) -> Option<Vec<u64>> {
        let mut inodes = Vec::new();
        for file in read_dir(self.root.join(format!("{pid}/fd"))).ok()?.flatten() {
            match read_link(file.path()) {
                Ok(target) => inodes.extend(target.to_str().and_then(inode)),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
                // Closed meanwhile.
                Err(_) => {}
            }
        }
        Some(inodes)
    }

    /// Those that are still there and are programs: the kernel's own threads have no command line.
    fn closed(&self, pids: Vec<u32>) -> Vec<Closed> {
        let closed = |pid: u32| {
            let line = read(self.root.join(format!("{pid}/cmdline"))).ok()?;
            let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let (_, uid) = uids(&self.text(&format!("{pid}/status")))?;
            (!words.is_empty()).then_some(Closed { pid, uid, words })
        };
        pids.into_iter().filter_map(closed).collect()
    }

    fn holder(&self, pid: u32, known_by: KnownBy) -> Holder {
        let name = self.text(&format!("{pid}/comm")).trim().to_owned();
        let keeper = match DOORS.contains(&name.as_str()) {
            true => Some(Keeper::Container),
            false => keeper(&self.text(&format!("{pid}/cgroup"))),
        };
        let (ours, theirs) = (self.text("self/status"), uids(&self.text(&format!("{pid}/status"))));
        let us = uids(&ours).map(|(_, effective)| effective);
        let foreign = theirs.map(|(_, effective)| effective).filter(|uid| Some(*uid) != us);
        let all = field(&ours, "CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
        // kill(2): our effective user must be their real one, or we may signal anybody.
        let may =
            all.is_some_and(|bits| bits & CAP_KILL != 0) || theirs.is_some_and(|(real, _)| Some(real) == us);
        Holder {
            user: foreign.map(|uid| self.user(uid)),
            known_by,
            may_signal: may && known_by == KnownBy::Socket,
            ..Holder::new(pid, name, keeper)
        }
    }

    fn user(&self, uid: u32) -> User {
        let users = read_to_string(&self.passwd).unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        User { uid, name }
    }

    /// Empty when it cannot be read.
    fn text(&self, path: &str) -> String {
        read_to_string(self.root.join(path)).unwrap_or_default()
    }
}

/// A line of `/proc/net/tcp` (proc_pid_net(5); state 0A is LISTEN).
fn listening(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.rsplit_once(':')?;
    (*fields.get(3)? == "0A").then_some(())?;
    Some(Socket {
        address: ip_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// A client's end of a connection to `port`: its inode and address (state 01 is ESTABLISHED).
fn connected(line: &str, port: u16) -> Option<(u64, SocketAddr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |hex: &str| u16::from_str_radix(hex, 16).ok();
    let (address, own) = fields.get(1)?.rsplit_once(':')?;
    let (_, to) = fields.get(2)?.rsplit_once(':')?;
    (*fields.get(3)? == "01" && number(to)? == port).then_some(())?;
    Some((fields.get(9)?.parse().ok()?, SocketAddr::new(ip_address(address)?, number(own)?)))
}

/// One or four words of 32 bits, printed as numbers of this machine although their bytes stand in the network's order.
fn ip_address(hex: &str) -> Option<IpAddr> {
    let word = |word: &[u8]| {
        let number = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(number.to_ne_bytes())
    };
    let bytes = hex.as_bytes().chunks(8).map(word).collect::<Option<Vec<[u8; 4]>>>()?.concat();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_canonical()),
    }
}

/// Which of several sockets at one port answers at 127.0.0.1: the most special address wins.
fn rank(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => 0,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => 1,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => 2,
        IpAddr::V6(Ipv6Addr::LOCALHOST) => 3,
        _ => 4,
    }
}

/// `socket:[123]`, which is where an open file that is a socket leads.
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The process of the socket's user that must be its holder, by the rules of [`KnownBy`].
fn told(socket: &Socket, closed: &[Closed], fits: &dyn Fn(u32, &[String]) -> bool) -> Option<(u32, KnownBy)> {
    let of_user: Vec<&Closed> = closed.iter().filter(|process| process.uid == socket.uid).collect();
    let door = |exactly: bool| only(&of_user, |it| is_door_of(&it.words, socket, exactly));
    if let Some(pid) = door(true).or_else(|| door(false)) {
        return Some((pid, KnownBy::Port));
    }
    if let Some(pid) = only(&of_user, |it| fits(it.pid, &it.words)) {
        return Some((pid, KnownBy::CommandLine));
    }
    // Of these two users there are always more processes than can be seen from inside a container.
    let pid = only(&of_user, |_| socket.uid != ROOT && socket.uid != OVERFLOW)?;
    Some((pid, KnownBy::OnlyProcess))
}

/// The one that fits, unless there are two.
fn only(processes: &[&Closed], fits: impl Fn(&Closed) -> bool) -> Option<u32> {
    let mut them = processes.iter().filter(|process| fits(process));
    let first = them.next()?;
    them.next().is_none().then_some(first.pid)
}

/// Whether a command line is that of Docker's proxy for this socket: `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port
/// 11434 -container-ip …`. For "all addresses" it may listen on those of both kinds, so only the exact address is certain.
fn is_door_of(words: &[String], socket: &Socket, exactly: bool) -> bool {
    let value = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).map(String::as_str)
    };
    let program = words.first().and_then(|word| word.rsplit('/').next());
    let address = value("-host-ip").and_then(|address| address.parse::<IpAddr>().ok());
    program == Some("docker-proxy")
        && value("-proto").is_none_or(|protocol| protocol == "tcp")
        && value("-host-port").is_some_and(|port| port.parse() == Ok(socket.port))
        && match address {
            Some(address) if exactly => address == socket.address,
            Some(address) => address.is_unspecified() && socket.address.is_unspecified(),
            None => !exactly,
        }
}

/// The real and the effective user of a process (proc_pid_status(5)). The owner of its folder would be root for one that
/// gained rights when it was started.
fn uids(status: &str) -> Option<(u32, u32)> {
    let mut uids = field(status, "Uid")?.split_whitespace().map(str::parse);
    Some((uids.next()?.ok()?, uids.next()?.ok()?))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Who keeps a process, from its control group (proc_pid_cgroup(5)): `/system.slice/ollama.service` is a unit of the
/// system, a scope of docker, podman or kubernetes is a container. A user's session is nobody in particular.
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

#[cfg(test)]
mod tests;
