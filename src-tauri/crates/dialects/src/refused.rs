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

    /// With the status of the server that said it. What is not the server's fault is not told as if it were: programs ask again by
    /// themselves after 500. llama-server says it of content that the model cannot take (`tools/server/server-common.cpp`).
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        let cannot = ["image", "audio", "video"]
            .iter()
            .any(|content| self.message.starts_with(&format!("{content} input is not supported")));
        if status == 500 && cannot { Self::unsupported(self.message) } else { Self { status, ..self } }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_cannot_take_is_no_fault_of_its_server() {
        for (status, message, told, code) in [
            (500, "image input is not supported - hint: you may need the mmproj", 400, "unsupported"),
            (500, "audio input is not supported - hint: you may need the mmproj", 400, "unsupported"),
            (500, "the image input is not supported", 500, "server_error"),
            (500, "out of memory", 500, "server_error"),
            (503, "image input is not supported", 503, "server_error"),
            (400, "image input is not supported", 400, "server_error"),
        ] {
            let refused = Refused::new(502, "server_error", message).with_status(status);
            assert_eq!((refused.status, refused.code.as_str()), (told, code), "{status} {message}");
            assert_eq!(refused.message, message);
        }
    }
}
