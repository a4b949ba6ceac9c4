//! In what the kinds of servers differ when they are asked for a chat completion.

use pilothouse_domain::server::ServerKind;

/// How a kind of server takes a chat completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaks {
    pub kind: ServerKind,
    /// The field of an assistant's message in which its thoughts go back in.
    pub thoughts: &'static str,
    /// `tool_choice` may be an object that names a function. llama-server takes such an object for "auto" without a word
    /// (`tools/server/server-common.h`), Ollama passes over any choice.
    pub names_a_tool: bool,
    /// `tool_choice` has an effect at all.
    pub chooses_tools: bool,
    /// An image may be an address of the web; else only data.
    pub fetches_images: bool,
    /// Content in parts stays one message. Ollama makes a message of each part.
    pub keeps_parts: bool,
    /// `thinking_budget_tokens`.
    pub thinking_budget: bool,
}

impl Speaks {
    pub fn of(kind: ServerKind) -> Self {
        let llama = kind == ServerKind::LlamaServer;
        let ollama = kind == ServerKind::Ollama;
        Self {
            kind,
            thoughts: if ollama { "reasoning" } else { "reasoning_content" },
            names_a_tool: kind == ServerKind::OpenAi,
            chooses_tools: !ollama,
            // That llama-server could is its matter: nothing is fetched because a program's prompt says so.
            fetches_images: kind == ServerKind::OpenAi,
            keeps_parts: !ollama,
            thinking_budget: llama,
        }
    }
}
