//! How many files and connections this process may have open.

/// Ample for every connection that one machine's programs make; more only makes tables larger.
const WANTED: u64 = 65_536;
/// macOS refuses a soft limit above `OPEN_MAX`, even where the hard limit has no bound.
#[cfg(unix)]
const OPEN_MAX: u64 = 10_240;

/// Raises the soft limit to what the hard one allows: 1,024 (256 on macOS) is used up by a few hundred connections. To
/// be called before anything else runs. That it cannot be raised is no error: everything is dimensioned by
/// [`descriptor_limit`].
///
/// Children inherit it. The limit that we were started with could be put back only between fork and exec (unsafe code),
/// or from outside just after the start, in a race with runtimes that raise it themselves at once: Go (Ollama) and Node
/// (LM Studio) do. llama-server refuses a descriptor that `select` cannot hold instead of writing beyond its table.
#[cfg(unix)]
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    for wanted in candidates(current, maximum) {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
            return;
        }
    }
}

#[cfg(not(unix))]
pub fn raise_descriptor_limit() {}

/// What to try, best first. Limits without a bound are `None`.
#[cfg(unix)]
fn candidates(soft: Option<u64>, hard: Option<u64>) -> impl Iterator<Item = u64> {
    let most = hard.unwrap_or(u64::MAX);
    let mut tries = [WANTED.min(most), OPEN_MAX.min(most)];
    tries.sort_unstable_by(|a, b| b.cmp(a));
    tries.into_iter().filter(move |wanted| soft.is_some_and(|soft| soft < *wanted))
}

/// The soft limit in force; without one, what we would ask for.
pub fn descriptor_limit() -> u64 {
    #[cfg(unix)]
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let limit = None;
    limit.unwrap_or(WANTED)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_goes_as_high_as_is_allowed_and_never_down() {
        let tried = |soft, hard| candidates(soft, hard).collect::<Vec<_>>();
        assert_eq!(tried(Some(1024), Some(20_000)), [20_000, 10_240]);
        assert_eq!(tried(Some(256), None), [65_536, 10_240], "macOS");
        assert_eq!(tried(Some(1024), Some(1 << 20)), [65_536, 10_240]);
        assert_eq!(tried(Some(256), Some(256)), Vec::<u64>::new());
        assert_eq!(tried(Some(100_000), None), Vec::<u64>::new());
        assert_eq!(tried(None, None), Vec::<u64>::new());
        let before = descriptor_limit();
        raise_descriptor_limit();
        assert!(descriptor_limit() >= before);
    }
}
