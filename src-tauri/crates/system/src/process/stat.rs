use procfs::{FromRead, process::Stat};
use std::{fs, io, path::Path};

/// What the kernel tells of one process (proc_pid_stat(5)). `None`: there is none, or only a dead one that nobody has reaped
/// yet. Errors: it could not be looked at.
pub(crate) fn stat(pid: u32) -> io::Result<Option<Stat>> {
    match stat_at(Path::new(&format!("/proc/{pid}/stat"))) {
        Ok(stat) => Ok(stat),
        // No such file, or it ended while it was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same of a process or thread by its file.
pub(crate) fn stat_at(file: &Path) -> io::Result<Option<Stat>> {
    let stat = parse(&fs::read(file)?);
    Ok(stat.filter(|stat| !matches!(stat.state, 'Z' | 'X')))
}

/// `None`: it is no such line. The program's name stands in brackets and may hold anything, also bytes that are no
/// text.
pub(crate) fn parse(line: &[u8]) -> Option<Stat> {
    // procfs 0.18 panics where nothing stands behind the name.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    (line.get(end + 1) == Some(&b' ')).then_some(())?;
    Stat::from_read(line).ok()
}

/// Processor time in its own and the kernel's code, in seconds.
pub(crate) fn cpu_s(stat: &Stat) -> f64 {
    (stat.utime + stat.stime) as f64 / rustix::param::clock_ticks_per_second().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as kernels since 3.5 write it: 52 fields.
    fn line(name: &[u8], state: char, parent: u32, user: u64, system: u64) -> Vec<u8> {
        let front = format!("{state} {parent} 42 42 0 -1 4194560 1 0 9 0 {user} {system} 0 0 20 0 1 0 1234");
        let rest = " 7 8 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        [b"42 (".as_slice(), name, b") ", front.as_bytes(), rest.as_bytes()].concat()
    }

    #[test]
    fn a_program_name_may_hold_anything() {
        for name in [&b"sh"[..], b"a) b (c)", b"", b") R 1 1 (", b"\xff\xfe", "Schloß 城".as_bytes()] {
            let stat = parse(&line(name, 'S', 7, 150, 50)).unwrap();
            assert_eq!((stat.state, stat.ppid, stat.starttime, stat.majflt), ('S', 7, 1234, 9), "{name:?}");
            assert_eq!(stat.utime + stat.stime, 200, "{name:?}");
            assert!(cpu_s(&stat) > 0.0);
        }
        for junk in [&b""[..], b"junk", b"1 (a", b"1 (a)", b"1 (a) S", b"1 (a) S x 1 1", b"1 (a) S 1 2 3"] {
            assert!(parse(junk).is_none(), "{junk:?}");
        }
    }

    #[test]
    fn we_are_there_and_the_dead_and_those_that_never_were_are_not() {
        assert_eq!(stat(std::process::id()).unwrap().unwrap().pid as u32, std::process::id());
        assert!(stat(u32::MAX).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stat");
        for (state, there) in [('R', true), ('D', true), ('T', true), ('Z', false), ('X', false)] {
            fs::write(&file, line(b"x", state, 1, 0, 0)).unwrap();
            assert_eq!(stat_at(&file).unwrap().is_some(), there, "{state}");
        }
        assert!(stat_at(&folder.path().join("none")).is_err());
    }
}
