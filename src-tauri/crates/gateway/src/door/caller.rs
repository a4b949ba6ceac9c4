//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// Who is at the other end of a connection, by its socket alone: nothing that a client writes changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    is_of_this_machine: bool,
}

impl Caller {
    /// `local`: the address of ours that was connected to; `None`: the system does not tell.
    pub fn of(peer: SocketAddr, local: Option<SocketAddr>) -> Self {
        let peer = peer.ip().to_canonical();
        // Whoever asks one of this machine's own addresses from here comes from that very address.
        let is_own = local.is_some_and(|local| local.ip().to_canonical() == peer);
        Self { is_of_this_machine: peer.is_loopback() || is_own }
    }

    /// Somebody who is never taken for a program of this machine, whatever the addresses are: who comes in by a bridge of containers.
    pub fn elsewhere() -> Self {
        Self { is_of_this_machine: false }
    }

    /// Whether it is a program of this machine.
    pub fn is_of_this_machine(self) -> bool {
        self.is_of_this_machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine_are_told_by_the_socket() {
        for (peer, local, wanted) in [
            ("127.0.0.1:1", Some("127.0.0.1:2"), true),
            ("127.8.8.8:1", None, true),
            ("[::1]:1", Some("[::1]:2"), true),
            ("[::ffff:127.0.0.1]:1", None, true),
            ("192.168.1.20:1", Some("192.168.1.20:2"), true),
            ("[::ffff:192.168.1.20]:1", Some("192.168.1.20:2"), true),
            ("192.168.1.31:1", Some("192.168.1.20:2"), false),
            ("192.168.1.31:1", None, false),
            ("[fe80::1]:1", Some("[fe80::2]:2"), false),
            ("0.0.0.0:1", Some("127.0.0.1:2"), false),
        ] {
            let caller = Caller::of(peer.parse().unwrap(), local.map(|local| local.parse().unwrap()));
            assert_eq!(caller.is_of_this_machine(), wanted, "{peer} at {local:?}");
        }
    }
}
