//! Which programs of this machine are at the other end of connections to a port of ours.

use super::program::Caller;
use std::net::SocketAddr;

/// Looking at the open files of all processes.
#[cfg(target_os = "linux")]
const LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// The programs behind these ends of connections to `port`, those that the system lets us see. The open files of the processes
/// of `familiar` are looked at first, which is cheap; those of all others when that is not enough and `all` says so, which
/// takes some ten milliseconds of a processor. `None`: the system did not tell in time.
pub async fn callers(
    port: u16,
    peers: Vec<SocketAddr>,
    familiar: Vec<u32>,
    all: bool,
) -> Option<Vec<(SocketAddr, Caller)>> {
    #[cfg(target_os = "linux")]
    {
        use super::listener::{SOCKETS, procfs::Proc};
        let look = move || Proc::default().callers(port, &peers, &familiar, all);
        crate::apart::once(SOCKETS, LIMIT, look).await.ok()
    }
    #[cfg(target_os = "macos")]
    {
        // One call tells all of them, so nobody is asked first.
        let (_, of_port) = (familiar, format!("-iTCP:{port}"));
        if !all {
            return Some(vec![]);
        }
        let arguments = ["-nP", &of_port, "-sTCP:ESTABLISHED", "-Fpcn"];
        let listing = super::listener::output("/usr/sbin/lsof", &arguments).await?;
        Some(parse_lsof(&listing, port).into_iter().filter(|(peer, _)| peers.contains(peer)).collect())
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (port, peers, familiar, all);
        Some(vec![])
    }
}

/// The clients' ends in `lsof -F pcn`: the lines of a process, then one line per socket (`n127.0.0.1:52011->127.0.0.1:11480`).
#[cfg(any(target_os = "macos", test))]
fn parse_lsof(listing: &str, port: u16) -> Vec<(SocketAddr, Caller)> {
    let (mut found, mut pid, mut name) = (Vec::new(), None, "");
    for line in listing.lines() {
        match line.split_at_checked(1) {
            Some(("p", value)) => pid = value.parse().ok(),
            Some(("c", value)) => name = value,
            Some(("n", ends)) => {
                let ends = ends.split_once("->").and_then(|(own, to)| {
                    let to: SocketAddr = to.parse().ok()?;
                    Some((own.parse().ok()?, to.port()))
                });
                if let (Some((own, to)), Some(pid)) = (ends, pid)
                    && to == port
                {
                    found.push((own, Caller { pid, name: name.to_owned() }));
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
    async fn a_connection_of_ours_is_known_by_our_name() {
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = door.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let peer = client.local_addr().unwrap();
        let own = std::process::id();
        let found = callers(port, vec![peer], vec![], true).await.unwrap();
        assert_eq!(found.iter().map(|(at, who)| (*at, who.pid)).collect::<Vec<_>>(), [(peer, own)]);
        assert!(!found[0].1.name.is_empty());
        // Those that are known are enough, or not.
        assert_eq!(callers(port, vec![peer], vec![own], false).await.unwrap(), found);
        assert!(callers(port, vec![peer], vec![1], false).await.unwrap().is_empty());
        assert!(callers(port + 1, vec![peer], vec![own], false).await.unwrap().is_empty(), "another port");
        drop(client);
        drop(door);
        assert!(callers(port, vec![peer], vec![own], true).await.unwrap().is_empty(), "it has left");
    }

    #[test]
    fn lsof_tells_clients_from_the_door_itself() {
        let listing = "p812\ncpilothouse\nn127.0.0.1:11480->127.0.0.1:52011\np4100\ncclaude\nn127.0.0.1:52011->127.0.0.1:11480\n\
                       p77\ncx\nn[::1]:50000->[::1]:11480\nn127.0.0.1:50001->127.0.0.1:443\nnodd\n";
        let caller = |pid, name: &str| Caller { pid, name: name.into() };
        let found = parse_lsof(listing, 11480);
        assert_eq!(
            found,
            [
                ("127.0.0.1:52011".parse().unwrap(), caller(4100, "claude")),
                ("[::1]:50000".parse().unwrap(), caller(77, "x")),
            ]
        );
    }
}
