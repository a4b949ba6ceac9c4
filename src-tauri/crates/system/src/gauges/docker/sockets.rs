//! Where a Docker engine of this machine may listen, and whether asking there would start one.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The sockets to look at, in this order; the first that answers is used. Only Unix sockets: an engine elsewhere is no part of
/// this machine. Errors: why there is nothing to look at.
pub(super) fn sockets(
    variable: &dyn Fn(&str) -> Option<OsString>,
    user_home: &Path,
) -> Result<Vec<PathBuf>, String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(host) = set("DOCKER_HOST") {
        let path =
            host.to_str().and_then(|host| host.strip_prefix("unix://")).filter(|path| path.starts_with('/'));
        return match path {
            Some(path) => Ok(vec![path.into()]),
            None => {
                Err("DOCKER_HOST names no socket of this machine, and Pilothouse asks no other Docker".into())
            }
        };
    }
    let mut list = vec![PathBuf::from("/var/run/docker.sock")];
    let runtime = set("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    // Docker without root.
    list.extend(runtime.iter().map(|folder| folder.join("docker.sock")));
    // Docker Desktop (macOS, Linux), OrbStack, Colima, Rancher Desktop.
    let desktops = [
        ".docker/run/docker.sock",
        ".docker/desktop/docker.sock",
        ".orbstack/run/docker.sock",
        ".colima/default/docker.sock",
        ".rd/docker.sock",
    ];
    list.extend(desktops.map(|socket| user_home.join(socket)));
    list.extend(runtime.iter().map(|folder| folder.join("podman/podman.sock")));
    list.push("/run/podman/podman.sock".into());
    Ok(list)
}

/// Whether nothing runs behind a socket but systemd, which would start the engine at our question. Where that cannot be told
/// it is taken for awake.
#[cfg(target_os = "linux")]
pub(super) fn is_asleep(socket: &Path, user_home: &Path) -> bool {
    let (unit, program) = if socket.ends_with("podman/podman.sock") {
        ("podman.socket", "podman")
    } else if [Path::new("/var/run/docker.sock"), Path::new("/run/docker.sock")].contains(&socket) {
        ("docker.socket", "dockerd")
    } else {
        return false;
    };
    let folders = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/etc/systemd/user",
        "/usr/lib/systemd/user",
    ];
    let mut units = folders.map(PathBuf::from).to_vec();
    units.push(user_home.join(".config/systemd/user"));
    units.iter().any(|folder| folder.join(unit).exists()) && runs(program) == Some(false)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_asleep(_socket: &Path, _user_home: &Path) -> bool {
    false
}

/// `None`: processes of other users are hidden here.
#[cfg(target_os = "linux")]
fn runs(program: &str) -> Option<bool> {
    let name_of = |folder: &Path| std::fs::read_to_string(folder.join("comm"));
    name_of(Path::new("/proc/1")).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut names = processes.filter_map(|entry| name_of(&entry.path()).ok());
    Some(names.any(|name| name.trim_end() == program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Vec<PathBuf>, String> {
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        sockets(&variable, Path::new("/home/a"))
    }

    #[test]
    fn a_named_socket_is_the_only_one() {
        assert_eq!(of(&[("DOCKER_HOST", "unix:///tmp/d.sock")]).unwrap(), [Path::new("/tmp/d.sock")]);
    }

    #[test]
    fn an_engine_elsewhere_is_not_asked_and_its_address_not_told() {
        for host in ["tcp://10.0.0.1:2376", "ssh://me:secret@studio", "unix://relative", "nonsense"] {
            let reason = of(&[("DOCKER_HOST", host)]).unwrap_err();
            assert!(reason.contains("DOCKER_HOST") && !reason.contains(host), "{reason}");
        }
    }

    #[test]
    fn the_usual_places_are_looked_at_in_order() {
        let all = of(&[("XDG_RUNTIME_DIR", "/run/user/1"), ("DOCKER_HOST", "")]).unwrap();
        let all: Vec<&str> = all.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            all[..3],
            ["/var/run/docker.sock", "/run/user/1/docker.sock", "/home/a/.docker/run/docker.sock"]
        );
        assert_eq!(all[all.len() - 2..], ["/run/user/1/podman/podman.sock", "/run/podman/podman.sock"]);
        assert!(all.contains(&"/home/a/.orbstack/run/docker.sock"));
        assert!(all.contains(&"/home/a/.colima/default/docker.sock"));
        assert!(!of(&[]).unwrap().iter().any(|path| path.starts_with("/run/user")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_that_runs_is_seen_and_another_is_not() {
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(runs(own.trim_end()), Some(true));
        assert_eq!(runs("no-such-program"), Some(false));
    }
}
