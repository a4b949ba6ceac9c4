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
    /// Whether the model is known to think. Set by whoever knows the instance; `None`: not known.
    pub thinks: Option<bool>,
    /// Messages of the system may come after others. Templates of some models refuse them; then their text begins the next
    /// message of the user instead. Set by whoever has seen that refusal.
    pub late_system: bool,
}

/// Fields of sampling that OpenAI's chat does not have. Servers of this machine take or pass over them; many remote ones answer a
/// field that they do not know with an error.
const BEYOND_OPENAI: [&str; 8] = [
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
];

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
            thinks: None,
            late_system: true,
        }
    }

    /// Whether this field of sampling may be said.
    pub fn takes(self, field: &str) -> bool {
        self.kind != ServerKind::OpenAi || !BEYOND_OPENAI.contains(&field)
    }

    /// `reasoning_effort` as this server is told it; `None`: better not told. Ollama refuses a model that does not think as soon as
    /// an effort is named ("does not support thinking": ollama issues 11439 and 12561), remote servers refuse the field for such
    /// models. Clients send it all the same, whatever the model.
    pub fn effort(self, wanted: &str) -> Option<&str> {
        let known = self.thinks == Some(true);
        match (self.kind, wanted) {
            _ if self.thinks == Some(false) => None,
            (ServerKind::LlamaServer | ServerKind::Ollama, "none") => Some("none"),
            (_, "none") => None,
            (ServerKind::Ollama, wanted) => known.then_some(wanted),
            (ServerKind::OpenAi, _) if !known => None,
            (_, "minimal") => Some("low"),
            (_, "xhigh" | "max" | "ultra") => Some("high"),
            (_, wanted) => Some(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_is_told_only_where_it_cannot_break_the_answer() {
        for (kind, thinks, wanted, told) in [
            (ServerKind::LlamaServer, None, "max", Some("high")),
            (ServerKind::LlamaServer, None, "none", Some("none")),
            (ServerKind::LlamaServer, Some(false), "low", None),
            (ServerKind::LmStudio, None, "minimal", Some("low")),
            (ServerKind::LmStudio, None, "none", None),
            (ServerKind::Ollama, None, "high", None),
            (ServerKind::Ollama, None, "none", Some("none")),
            (ServerKind::Ollama, Some(true), "xhigh", Some("xhigh")),
            (ServerKind::OpenAi, None, "medium", None),
            (ServerKind::OpenAi, Some(true), "medium", Some("medium")),
        ] {
            let speaks = Speaks { thinks, ..Speaks::of(kind) };
            assert_eq!(speaks.effort(wanted), told, "{kind:?} {thinks:?} {wanted}");
        }
    }
}
