//! What a program is called.

/// A program that has a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub pid: u32,
    /// As a person knows it: of an interpreter the script that it runs.
    pub name: String,
}

/// The name of a program by what the system tells: its short name (15 bytes on Linux) and its command line. Of an interpreter
/// it is the script or module that it runs, without its folder; no other word of a command line is ever used, since keys may
/// stand there.
#[cfg(any(target_os = "linux", test))]
pub(super) fn program_name(short: &str, words: &[&str]) -> String {
    const INTERPRETERS: [&str; 8] = ["python", "node", "ruby", "perl", "java", "bun", "deno", "php"];
    let last = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let program = words.first().map(|word| last(word)).unwrap_or_default();
    let version = |rest: &str| rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    let interprets = INTERPRETERS.iter().any(|name| program.strip_prefix(name).is_some_and(version));
    // A name of its own was chosen by a program that can: it says more than what was started. Node calls itself by its thread.
    let own = !["", "MainThread"].contains(&short) && !program.starts_with(short);
    if interprets && !own {
        let mut rest = words.iter().skip(1);
        while let Some(word) = rest.next() {
            match *word {
                "-m" | "-jar" => return rest.next().map_or(program, |module| last(module)),
                // What follows is the program's text.
                "-c" | "-e" | "-p" | "--eval" | "--print" | "" => break,
                option if option.starts_with('-') => {}
                script => return last(script),
            }
        }
    }
    if own || program.is_empty() { short.to_owned() } else { program }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_called_as_people_know_it() {
        let cases: [(&str, &[&str], &str); 16] = [
            ("curl", &["curl", "-H", "Authorization: Bearer secret"], "curl"),
            ("query-generator", &["/opt/query-generator-of-mine", "--key", "s"], "query-generator-of-mine"),
            ("python3", &["python3", "/home/a/agent.py", "--key", "secret"], "agent.py"),
            ("python3", &["/usr/bin/python3", "-u", "/usr/local/bin/open-webui", "serve"], "open-webui"),
            ("python3.11", &["python3.11", "-m", "llm", "secret"], "llm"),
            ("python3", &["python3", "-c", "print('secret')"], "python3"),
            ("python3", &["python3"], "python3"),
            ("node", &["node", "--title", "x.js"], "x.js"),
            ("node", &["node", "-e", "secret"], "node"),
            ("claude", &["node", "/usr/lib/cli.js"], "claude"),
            ("MainThread", &["node", "/usr/bin/codex"], "codex"),
            ("java", &["java", "-jar", "/srv/app.jar"], "app.jar"),
            ("nodejs-like", &["/x/nodejs-like", "a.js"], "nodejs-like"),
            ("open-webui", &[], "open-webui"),
            ("", &["/usr/bin/thing"], "thing"),
            ("", &[], ""),
        ];
        for (short, words, name) in cases {
            assert_eq!(program_name(short, words), name, "{short} {words:?}");
        }
    }
}
