//! What a server itself said last about a failure, taken from its log.

/// A quotation is no longer than this, in characters: it stands in a sentence.
const LONGEST: usize = 160;
/// These only say that something failed that another line names.
const GENERIC: [&str; 6] = [
    "exiting due to model loading error",
    "failed to load model",
    "failed to initialize",
    "error loading llama server",
    "llama-server process has terminated",
    "instance exited",
];
/// These are about a client or a door, never about a load.
const UNRELATED: [&str; 3] = ["http client error", "connection handling canceled", "cancelled"];

/// The last complaint among lines of a server's log, oldest first, without time, level and the names of functions. One that
/// names a cause goes before a later one that only says that something failed. `None`: no line complains.
///
/// Forms of lines: llama.cpp writes `0.03.048.825 E llama_model_load: error loading model: …` (llama.cpp: common/log.cpp), its
/// router puts `[port]` before what its children say; Ollama writes `time=… level=ERROR source=… msg="…" error="…"`; LM Studio
/// `[2026-09-29 12:00:00][ERROR] …`.
pub fn last_complaint<'a>(lines: impl DoubleEndedIterator<Item = &'a str>) -> Option<String> {
    let mut vague = None;
    for words in lines.rev().filter_map(complaint) {
        let lower = words.to_lowercase();
        if UNRELATED.iter().any(|other| lower.contains(other)) {
            continue;
        }
        if !GENERIC.iter().any(|generic| lower.contains(generic)) {
            return Some(words);
        }
        vague.get_or_insert(words);
    }
    vague
}

/// What a line complains of; `None`: it tells something else.
fn complaint(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(level) = field(line, "level") {
        let is_error = matches!(level.to_ascii_uppercase().as_str(), "ERROR" | "FATAL");
        let said = field(line, "error").or_else(|| field(line, "msg"));
        return said.filter(|_| is_error).and_then(|said| tidy(&said));
    }
    let (tags, rest) = tagged(line);
    if tags.iter().any(|tag| ["INFO", "WARN", "DEBUG"].contains(tag)) {
        return None;
    }
    if tags.iter().any(|tag| ["ERROR", "FATAL"].contains(tag)) {
        return tidy(rest);
    }
    if let Some((level, rest)) = stamped(rest) {
        return (level == 'E').then(|| tidy(rest)).flatten();
    }
    let lower = rest.to_lowercase();
    (lower.contains("error") || lower.contains("failed to")).then(|| tidy(rest)).flatten()
}

/// A value of a `key=value` line, without its quotes.
fn field(line: &str, key: &str) -> Option<String> {
    let from = line.match_indices(key).find_map(|(at, _)| {
        let begins = at == 0 || line.as_bytes().get(at - 1) == Some(&b' ');
        let rest = line.get(at + key.len()..)?.strip_prefix('=')?;
        begins.then_some(rest)
    })?;
    let Some(quoted) = from.strip_prefix('"') else {
        return Some(from.split_whitespace().next().unwrap_or_default().to_owned());
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => value.extend(letters.next()),
            letter => value.push(letter),
        }
    }
    Some(value)
}

/// What stands in brackets before a line, and the rest of it.
fn tagged(mut line: &str) -> (Vec<&str>, &str) {
    let mut tags = vec![];
    while let Some((tag, rest)) = line.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        tags.push(tag);
        line = rest.trim_start();
    }
    (tags, line)
}

/// The level of a line that begins with llama.cpp's time, and what follows.
fn stamped(line: &str) -> Option<(char, &str)> {
    let (time, rest) = line.split_once(' ')?;
    let is_time = time.contains('.') && time.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let (level, rest) = rest.trim_start().split_once(' ')?;
    let mut letters = level.chars();
    let level = letters.next().filter(|letter| letter.is_ascii_uppercase() && letters.next().is_none())?;
    is_time.then_some((level, rest.trim_start()))
}

/// The words themselves: without the names of functions before them and without a full stop behind; `None`: nothing is left.
fn tidy(said: &str) -> Option<String> {
    let mut words = said.trim();
    for cause in ["error loading model: ", "Error: ", "error: "] {
        if let Some((_, behind)) = words.rsplit_once(cause) {
            words = behind;
        }
    }
    while let Some((name, rest)) = words.split_once(": ") {
        // `llama_model_load`, `srv  operator()`: no prose.
        let is_code = name.contains('_') || name.ends_with("()") || ["srv", "main", "que"].contains(&name);
        if !is_code || name.len() > 60 {
            break;
        }
        words = rest.trim_start();
    }
    let words = words.trim().trim_end_matches('.').replace(['“', '”', '`'], "'");
    if words.is_empty() {
        return None;
    }
    let cut: String = words.chars().take(LONGEST).collect();
    Some(if cut.len() < words.len() { format!("{}…", cut.trim_end()) } else { cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_quoted_as_the_server_said_it() {
        for (log, wanted) in [
            (
                // As b10068 wrote it of a file that was cut off.
                "[41969] 0.00.069.951 I srv    load_model: loading model '/m/broken.gguf'\n\
                 [41969] 0.00.166.828 E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete\n\
                 [41969] 0.00.179.246 E llama_model_load_from_file_impl: failed to load model\n\
                 [41969] 0.00.179.257 E cmn  common_init_: failed to load model '/m/broken.gguf'\n\
                 [41969] 0.00.179.265 E srv    load_model: failed to load model, '/m/broken.gguf'\n\
                 [41969] 0.00.179.268 I srv    operator(): operator(): cleaning up before exit...\n\
                 [41969] 0.00.179.727 E srv  llama_server: exiting due to model loading error\n\
                 0.01.810.013 I srv    operator(): instance name=broken exited with status 1",
                Some(
                    "tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete",
                ),
            ),
            (
                "llama_model_load: error loading model: unable to allocate CUDA0 buffer\nmain: exiting due to model loading error",
                Some("unable to allocate CUDA0 buffer"),
            ),
            ("0.00.1 E main: exiting due to model loading error", Some("exiting due to model loading error")),
            (
                "time=2026-11-29T00:04:43.631Z level=ERROR source=sched.go:473 msg=\"error loading llama server\" error=\"llama runner process has terminated: error loading model: unknown model architecture: 'x'\"",
                Some("unknown model architecture: 'x'"),
            ),
            (
                "time=2026-11-29T00:04:43Z level=ERROR source=a.go:1 msg=\"no room: \\\"A\\\" is there\"",
                Some("no room: \"A\" is there"),
            ),
            (
                "[2026-09-29 12:00:00][ERROR] Failed to load: Unsupported quantization.",
                Some("Failed to load: Unsupported quantization"),
            ),
            (
                "time=2026-11-29T00:04:43Z level=WARN source=m.go:1 msg=x error=\"Get https://x: lookup failed\"",
                None,
            ),
            ("[2026-09-29 12:00:00][INFO] 0 errors", None),
            ("0.03.048.825 E srv    operator(): http client error: Connection handling canceled", None),
            ("0.03.048.825 I srv  log: error count 0", None),
            ("all is well", None),
            ("", None),
        ] {
            assert_eq!(last_complaint(log.lines()).as_deref(), wanted, "{log}");
        }
    }

    #[test]
    fn a_quotation_is_bounded_at_a_letter() {
        let long = format!("error: {}", "ü".repeat(500));
        let words = last_complaint([long.as_str()].into_iter()).unwrap();
        assert_eq!(words.chars().count(), LONGEST + 1);
        assert!(words.ends_with('…'));
    }

    proptest::proptest! {
        #[test]
        fn no_line_breaks_it(line in ".*") {
            let _ = last_complaint([line.as_str()].into_iter());
        }
    }
}
