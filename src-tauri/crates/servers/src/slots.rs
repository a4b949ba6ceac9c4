//! What a llama-server that holds one model tells of itself: a child of our router, or the runner of an Ollama.

use super::http::{HEALTH_LIMIT, ServerHttp};
use pilothouse_domain::hang::Slot;
use serde::Deserialize;
use serde_json::Value;

/// The port that a command line gives to `--port`.
pub fn port_in(command_line: &[String]) -> Option<u16> {
    after(command_line, &["--port"])?.parse().ok().filter(|port| *port != 0)
}

/// The answers at a time that a command line gives to `--parallel` or `-np`.
pub fn parallel_in(command_line: &[String]) -> Option<u32> {
    after(command_line, &["--parallel", "-np"])?.parse().ok().filter(|slots| *slots > 0)
}

fn after<'a>(words: &'a [String], names: &[&str]) -> Option<&'a str> {
    let at = words.iter().position(|word| names.contains(&word.as_str()))?;
    words.get(at + 1).map(String::as_str)
}

/// A line that it writes because somebody asked something, of whatever kind.
pub fn is_echo(line: &str) -> bool {
    // Ollama lets its runner tell more than usual: at each question for its slots this line.
    let idle = line.contains("all slots are idle");
    idle || ["log_server_r", "done request", "unauthorized"].iter().any(|word| line.contains(word))
}

/// GET /slots. Its loop answers between two batches: silence of a busy one is no sign of anything.
pub async fn told_by(http: &ServerHttp) -> Option<Vec<Slot>> {
    let entries: Vec<Entry> = http.get("/slots", HEALTH_LIMIT).await.ok()?;
    Some(entries.iter().map(Entry::slot).collect())
}

#[derive(Debug, Deserialize)]
struct Entry {
    id: u32,
    is_processing: bool,
    id_task: Option<i64>,
    n_prompt_tokens_processed: Option<u64>,
    n_past: Option<u64>,
    /// An object, or a list of one.
    next_token: Option<Value>,
}

impl Entry {
    fn slot(&self) -> Slot {
        let next = self.next_token.as_ref().map(|next| next.get(0).unwrap_or(next));
        let decoded = next.and_then(|next| next.get("n_decoded")?.as_u64());
        let parts = [self.n_prompt_tokens_processed, self.n_past, decoded];
        Slot {
            id: self.id,
            busy: self.is_processing,
            task: self.id_task,
            done: parts.into_iter().flatten().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_the_next_token_are_understood() {
        let slot = |json: &str| serde_json::from_str::<Entry>(json).unwrap().slot();
        let idle = slot(r#"{"id":0,"n_ctx":8192,"speculative":false,"is_processing":false}"#);
        assert_eq!(idle, Slot { id: 0, busy: false, task: None, done: 0 });
        // As b10068 tells it, then as its documentation has it.
        let told = r#"{"id":1,"is_processing":true,"id_task":4,"n_prompt_tokens":53,"n_prompt_tokens_processed":7,
            "next_token":[{"has_next_token":true,"n_remain":347,"n_decoded":53}]}"#;
        assert_eq!(slot(told), Slot { id: 1, busy: true, task: Some(4), done: 60 });
        let documented = r#"{"id":1,"is_processing":true,"id_task":4,"next_token":{"n_decoded":53}}"#;
        assert_eq!(slot(documented).done, 53);
    }

    #[test]
    fn a_command_line_tells_port_and_places() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let runner = words("llama-server --model /m --port 4711 -c 8192 -np 2 --no-webui");
        assert_eq!((port_in(&runner), parallel_in(&runner)), (Some(4711), Some(2)));
        let child = words("llama-server --alias m --port 47581 --parallel 1");
        assert_eq!((port_in(&child), parallel_in(&child)), (Some(47581), Some(1)));
        for line in ["ollama runner --port", "a --port x -np 0", ""] {
            assert_eq!((port_in(&words(line)), parallel_in(&words(line))), (None, None), "{line}");
        }
    }
}
