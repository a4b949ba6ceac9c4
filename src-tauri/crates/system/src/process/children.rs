//! The child processes of a server.

/// A child with its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub pid: u32,
    pub command_line: Vec<String>,
}

/// The direct children of a process that are alive. `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn children(parent: u32) -> Option<Vec<Child>> {
    // Each thread lists the children that it started (proc_pid_task(5), CONFIG_PROC_CHILDREN).
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    // A thread may end meanwhile. When we have no descriptor left, a child that is not seen has not ended.
    let lists: Vec<String> = lists
        .filter(|list| list.as_ref().err().is_none_or(lacks_descriptor))
        .collect::<Result<_, _>>()
        .ok()?;
    if lists.is_empty() {
        return None;
    }
    let pids = lists.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok());
    let children: Vec<Option<Child>> = pids.map(child).collect::<Result<_, _>>().ok()?;
    Some(children.into_iter().flatten().collect())
}

#[cfg(target_os = "linux")]
fn lacks_descriptor(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// `None`: it has ended. Errors: it cannot be looked at.
#[cfg(target_os = "linux")]
fn child(pid: u32) -> std::io::Result<Option<Child>> {
    if super::Identity::look(pid)?.is_none() {
        return Ok(None);
    }
    match command_line(pid) {
        Some(command_line) => Ok(Some(Child { pid, command_line })),
        // Just forked or just ended, unless that cannot be looked at either.
        None => super::Identity::look(pid).map(|_| None),
    }
}

/// Program and arguments of a process. `None`: it has ended, has only just been forked, or is not ours to see.
#[cfg(target_os = "linux")]
pub fn command_line(pid: u32) -> Option<Vec<String>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then_some(words)
}

/// Program and arguments of a process. `None`: it has ended, or is not ours to see.
#[cfg(not(target_os = "linux"))]
pub fn command_line(pid: u32) -> Option<Vec<String>> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    let pid = Pid::from_u32(pid);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    Some(words(system.process(pid)?))
}

#[cfg(not(target_os = "linux"))]
fn words(process: &sysinfo::Process) -> Vec<String> {
    process.cmd().iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

#[cfg(not(target_os = "linux"))]
pub fn children(parent: u32) -> Option<Vec<Child>> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::OnlyIfNotSet);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let of_parent = system.processes().iter().filter(|(_, process)| {
        process.parent().is_some_and(|it| it.as_u32() == parent)
            && process.status() != sysinfo::ProcessStatus::Zombie
    });
    Some(of_parent.map(|(pid, it)| Child { pid: pid.as_u32(), command_line: words(it) }).collect())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::process::ProcessSpec;

    #[tokio::test]
    async fn a_child_is_seen_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let spec = ProcessSpec {
            program: "/bin/sleep".into(),
            args: vec!["60".into()],
            env: vec![],
            env_remove: vec![],
            cwd: None,
        };
        let process = crate::process::OwnedProcess::spawn(&spec, &folder.path().join("out")).unwrap();
        let find = || children(std::process::id()).unwrap().into_iter().find(|it| it.pid == process.pid());
        // Between fork and exec it has no command line of its own.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let hit = loop {
            match find() {
                Some(hit) if hit.command_line[0] == "/bin/sleep" => break hit,
                _ => assert!(std::time::Instant::now() < deadline, "it is not seen"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(hit.command_line, ["/bin/sleep", "60"]);
        process.stop(std::time::Duration::from_secs(3)).await;
        assert!(!children(std::process::id()).unwrap().iter().any(|child| child.pid == process.pid()));
    }
}
