//! The bridges by which containers of this machine reach it. A name alone can be anybody's, so three things are asked for: the
//! kernel calls it a bridge, it bears a name that Docker or Podman gives one, and no hardware hangs on it, which would make it a
//! network of other machines.

#[cfg(target_os = "linux")]
use std::{fs, path::Path};
use std::{io, net::Ipv4Addr};

/// The most that are told of; a person with more networks of containers gets the first ones.
pub const MOST: usize = 16;
#[cfg(target_os = "linux")]
const INTERFACES: &str = "/sys/class/net";

/// One private address of this machine on a bridge of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// As the kernel has it: "docker0".
    pub name: String,
    pub address: Ipv4Addr,
    /// How many of its bits are those of the network.
    pub prefix: u8,
}

impl Bridge {
    /// Whether an address is of the bridge's own network.
    pub fn reaches(&self, other: Ipv4Addr) -> bool {
        (u32::from(self.address) ^ u32::from(other)) & self.mask() == 0
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(self.prefix.into())).unwrap_or(0)
    }

    /// Whether the network lies in one of those of RFC 1918 from end to end: no other address is ever listened on or let in.
    #[cfg(target_os = "linux")]
    fn is_private(&self) -> bool {
        let (address, mask) = (u32::from(self.address), self.mask());
        let ends = [address & mask, address | !mask];
        (8..=32).contains(&self.prefix) && ends.into_iter().all(|end| Ipv4Addr::from(end).is_private())
    }
}

/// Those of this machine as they are now, the standard networks first; none on systems whose containers live in a virtual
/// machine. Blocking.
#[cfg(target_os = "linux")]
pub fn container_bridges() -> io::Result<Vec<Bridge>> {
    let addresses = if_addrs::get_if_addrs()?.into_iter().filter_map(|interface| match interface.addr {
        if_addrs::IfAddr::V4(v4) => {
            Some(Bridge { name: interface.name, address: v4.ip, prefix: v4.prefixlen })
        }
        if_addrs::IfAddr::V6(_) => None,
    });
    Ok(among(Path::new(INTERFACES), addresses.collect()))
}

/// Those of this machine: none on systems whose containers live in a virtual machine.
#[cfg(not(target_os = "linux"))]
pub fn container_bridges() -> io::Result<Vec<Bridge>> {
    Ok(vec![])
}

/// `interfaces`: the kernel's folder of them.
#[cfg(target_os = "linux")]
fn among(interfaces: &Path, mut addresses: Vec<Bridge>) -> Vec<Bridge> {
    addresses.retain(|one| is_named(&one.name) && one.is_private() && is_bridge(interfaces, &one.name));
    // The standard network is where "host-gateway" leads.
    addresses.sort_by(|a, b| {
        let place = |one: &Bridge| (one.name.starts_with("br-"), one.name.clone(), one.address);
        place(a).cmp(&place(b))
    });
    addresses.dedup_by_key(|one| one.address);
    addresses.truncate(MOST);
    addresses
}

/// Whether Docker or Podman names a bridge so.
#[cfg(target_os = "linux")]
fn is_named(name: &str) -> bool {
    let is_id = |id: &str| id.len() == 12 && id.bytes().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'));
    let is_number =
        |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|one| one.is_ascii_digit());
    matches!(name, "docker0" | "cni-podman0")
        || name.strip_prefix("br-").is_some_and(is_id)
        || name.strip_prefix("podman").is_some_and(is_number)
}

/// Whether the kernel says so, and nothing but interfaces of containers hangs on it. What cannot be looked at is none.
#[cfg(target_os = "linux")]
fn is_bridge(interfaces: &Path, name: &str) -> bool {
    let own = interfaces.join(name);
    let Ok(mut ports) = fs::read_dir(own.join("brif")) else { return false };
    own.join("bridge").is_dir()
        && ports.all(|port| port.is_ok_and(|port| !is_hardware(&interfaces.join(port.file_name()))))
}

/// A card, or what is made of one (a VLAN, a bond).
#[cfg(target_os = "linux")]
fn is_hardware(port: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(port) else { return true };
    entries.any(|entry| {
        entry.map_or(true, |entry| {
            let name = entry.file_name();
            name == "device" || name.to_string_lossy().starts_with("lower_")
        })
    })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn bridge(name: &str, address: &str, prefix: u8) -> Bridge {
        Bridge { name: name.into(), address: address.parse().unwrap(), prefix }
    }

    /// A folder as the kernel's: `NAME` is a bridge with these ports, each with what is in its folder.
    fn interfaces(bridges: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, ports) in bridges {
            fs::create_dir_all(folder.path().join(name).join("bridge")).unwrap();
            fs::create_dir_all(folder.path().join(name).join("brif")).unwrap();
            for (port, holds) in *ports {
                fs::create_dir_all(folder.path().join(name).join("brif").join(port)).unwrap();
                fs::create_dir_all(folder.path().join(port).join(holds)).unwrap();
            }
        }
        folder
    }

    fn names(found: &[Bridge]) -> Vec<&str> {
        found.iter().map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn only_what_the_kernel_and_the_name_call_a_bridge_of_containers_is_one() {
        let folder = interfaces(&[
            ("br-0123456789ab", &[("veth1", "statistics")]),
            ("br-0123456789AB", &[]),
            ("br-0123456789abc", &[]),
            ("br-lan", &[]),
            ("br0", &[]),
            ("virbr0", &[]),
            ("docker0", &[]),
            ("podman0", &[]),
            ("podman12", &[]),
            ("podman", &[]),
            ("podman1x", &[]),
            ("cni-podman0", &[]),
            ("br-aaaaaaaaaaaa", &[("eth0", "device")]),
            ("br-bbbbbbbbbbbb", &[("eth0.10", "lower_eth0")]),
        ]);
        // An interface that only has the name.
        fs::create_dir_all(folder.path().join("podman3")).unwrap();
        let all = [
            "br-0123456789ab",
            "br-0123456789AB",
            "br-0123456789abc",
            "br-lan",
            "br0",
            "virbr0",
            "docker0",
            "podman0",
            "podman12",
            "podman",
            "podman1x",
            "cni-podman0",
            "br-aaaaaaaaaaaa",
            "br-bbbbbbbbbbbb",
            "podman3",
            "podman4",
            "eth0",
        ];
        let addresses = all.iter().enumerate().map(|(at, name)| bridge(name, &format!("10.88.{at}.1"), 24));
        let found = among(folder.path(), addresses.collect());
        assert_eq!(names(&found), ["cni-podman0", "docker0", "podman0", "podman12", "br-0123456789ab"]);
        // A port that has gone while it was looked at: nobody knows what it was.
        fs::create_dir_all(folder.path().join("docker0/brif/veth9")).unwrap();
        assert_eq!(among(folder.path(), vec![bridge("docker0", "172.17.0.1", 16)]), []);
    }

    #[test]
    fn only_private_networks_are_taken_each_address_once_and_not_too_many() {
        let folder = interfaces(&[("docker0", &[]), ("podman0", &[])]);
        let found = |name: &str, address: &str, prefix| {
            !among(folder.path(), vec![bridge(name, address, prefix)]).is_empty()
        };
        for (address, prefix) in [("172.17.0.1", 16), ("10.0.0.1", 8), ("192.168.65.1", 24), ("10.1.2.3", 32)]
        {
            assert!(found("docker0", address, prefix), "{address}/{prefix}");
        }
        for (address, prefix) in [
            ("0.0.0.0", 0),
            ("10.0.0.1", 0),
            ("10.0.0.1", 7),
            ("10.0.0.1", 33),
            ("172.17.0.1", 8),
            ("172.32.0.1", 16),
            ("192.168.0.1", 15),
            ("169.254.1.1", 16),
            ("100.64.0.1", 10),
            ("127.0.0.1", 8),
            ("203.0.113.1", 24),
        ] {
            assert!(!found("docker0", address, prefix), "{address}/{prefix}");
        }
        let twice = vec![bridge("podman0", "10.88.0.1", 16), bridge("podman0", "10.88.0.1", 16)];
        assert_eq!(among(folder.path(), twice).len(), 1);
        let many = (1..=40).map(|at| bridge("podman0", &format!("10.88.{at}.1"), 24)).collect();
        assert_eq!(among(folder.path(), many).len(), MOST);
    }

    #[test]
    fn a_network_reaches_as_far_as_its_mask() {
        for (prefix, other, wanted) in [
            (16, "172.17.255.254", true),
            (16, "172.18.0.1", false),
            (24, "172.17.0.9", true),
            (24, "172.17.1.9", false),
            (32, "172.17.0.1", true),
            (32, "172.17.0.2", false),
        ] {
            let one = bridge("docker0", "172.17.0.1", prefix);
            assert_eq!(one.reaches(other.parse().unwrap()), wanted, "{other} in /{prefix}");
        }
    }

    #[test]
    fn this_machine_is_looked_at_without_a_mistake() {
        let found = container_bridges().unwrap();
        assert!(found.len() <= MOST && found.iter().all(Bridge::is_private), "{found:?}");
    }
}
