//! What is beyond a limit is refused with the limit, and never bent to it.

use crate::error::{ApiError, ErrorCode};

/// That a number is beyond a limit: "The plan quick takes 5 to 100 trials, not 1000."
pub(super) fn beyond(whose: &str, least: u32, most: u32, what: &str, asked: u32) -> ApiError {
    ApiError::new(ErrorCode::InvalidCall, format!("{whose} takes {least} to {most} {what}, not {asked}."))
        .hint("Name a number within these limits.")
}

/// That something is missing, and how it is said.
pub(super) fn needs(text: &str, hint: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidCall, text).hint(hint)
}
