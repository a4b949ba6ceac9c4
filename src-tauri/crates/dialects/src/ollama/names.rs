//! Names of models: where none is said, the tag is `latest`.

use std::borrow::Cow;

const LATEST: &str = ":latest";

/// A name as Ollama shows it: with a tag.
pub fn shown(name: &str) -> Cow<'_, str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { Cow::Borrowed(name) } else { Cow::Owned(format!("{name}{LATEST}")) }
}

/// A name without the tag that is understood.
pub fn bare(name: &str) -> &str {
    name.strip_suffix(LATEST).filter(|name| !name.is_empty()).unwrap_or(name)
}

/// Which of the `known` names is meant: the very one, else the one with the same tag understood, else the one that differs in
/// upper and lower case only, as Ollama does. `None`: none of them.
pub fn find<'a>(asked: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let first = |is: &dyn Fn(&str) -> bool| known.clone().find(|name| is(name));
    first(&|name| name == asked)
        .or_else(|| first(&|name| bare(name) == bare(asked)))
        .or_else(|| first(&|name| bare(name).eq_ignore_ascii_case(bare(asked))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_gets_one_and_loses_it() {
        for (name, with) in [
            ("llama3.2", "llama3.2:latest"),
            ("qwen3:8b", "qwen3:8b"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("registry:5000/a/b:c", "registry:5000/a/b:c"),
            ("ollama/llama3.2", "ollama/llama3.2:latest"),
            ("qwen/qwen3-4b@q4_k_m", "qwen/qwen3-4b@q4_k_m:latest"),
            ("", ":latest"),
        ] {
            assert_eq!(shown(name), with);
            assert_eq!(shown(&shown(name)), with, "once is enough");
            assert!(name.is_empty() || bare(with) == name);
        }
        assert_eq!(bare(":latest"), ":latest");
    }

    #[test]
    fn the_nearest_name_is_meant() {
        let known = ["a", "a:latest", "B", "b:latest", "c:8b", "d:latest"];
        for (asked, wanted) in [
            ("a", Some("a")),
            ("a:latest", Some("a:latest")),
            ("b", Some("b:latest")),
            ("B:latest", Some("B")),
            ("c", None),
            ("C:8B", Some("c:8b")),
            ("d", Some("d:latest")),
            ("D", Some("d:latest")),
            ("", None),
        ] {
            assert_eq!(find(asked, known.into_iter()), wanted, "{asked}");
        }
    }
}
