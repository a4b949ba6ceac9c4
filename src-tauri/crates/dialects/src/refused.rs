//! Why something cannot be asked, or was not answered.

/// A refusal, before it is said in the words of a dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status that says it.
    pub status: u16,
    /// For programs: "unsupported", "invalid_request", "context_length_exceeded", …
    pub code: String,
    /// For people: what is wrong, and what would do instead.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
}

impl Refused {
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), param: None }
    }

    /// A request that is not one of its dialect (400).
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// Something that is asked for by name and cannot be had here (400).
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(400, "unsupported", message)
    }

    pub fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}
