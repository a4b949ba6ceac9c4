//! What a failed connection says: of the server, or only of ourselves.

use pilothouse_domain::error::{ApiError, ErrorCode};
use std::{error::Error, io};

/// Whether a connection was closed before a byte of the answer came.
pub fn closed_unanswered(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| (*cause).source()).any(|cause| {
        let incomplete =
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let broken = cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        });
        incomplete || broken
    })
}

/// Whether an error, or what led to it, is our own lack of file descriptors: that says nothing about a server.
pub fn lacks_descriptors(error: &(dyn Error + 'static)) -> bool {
    // EMFILE (this process) and ENFILE (the whole system), the same numbers on Linux and macOS.
    const NONE_LEFT: [i32; 2] = [24, 23];
    let mut chain = std::iter::successors(Some(error), |cause| (*cause).source());
    cfg!(unix)
        && chain.any(|cause| {
            let code = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            code.is_some_and(|code| NONE_LEFT.contains(&code))
        })
}

/// What is said then.
pub fn no_descriptors() -> ApiError {
    ApiError::new(ErrorCode::System, "Pilothouse has too many open files.")
        .hint("Close programs that keep many connections to it, or raise its limit of open files (“ulimit -n”).")
        .retryable()
}

/// What led to an error, from near to far.
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_told_from_other_errors_however_deep() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("outer")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        for (code, lacks) in [(24, true), (23, true), (111, false), (104, false), (12, false)] {
            assert_eq!(lacks_descriptors(&Outer(io::Error::from_raw_os_error(code))), lacks, "{code}");
        }
        assert!(!lacks_descriptors(&io::Error::other("too many open files")));
    }
}
