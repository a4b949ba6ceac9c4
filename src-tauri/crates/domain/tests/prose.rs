//! What people read has no marks of Markdown in it: commands and names stand in quotation marks. Looks at every text of the
//! crates' sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Their texts are Markdown, or take apart what another program writes.
const MARKDOWN: [&str; 3] = ["report/markdown.rs", "report/owner/text.rs", "settings/locate.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The text literals of Rust source, each with its line; comments have none.
fn literals(source: &str) -> Vec<(usize, String)> {
    let letters: Vec<char> = source.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, vec![]);
    let is =
        |at: usize, wanted: &str| wanted.chars().enumerate().all(|(i, c)| letters.get(at + i) == Some(&c));
    while let Some(letter) = letters.get(at) {
        let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
        let raw = *letter == 'r'
            && letters.get(at + 1 + hashes) == Some(&'"')
            && !at
                .checked_sub(1)
                .is_some_and(|before| letters[before].is_alphanumeric() || letters[before] == '_');
        let end = if is(at, "//") {
            at + letters[at..].iter().position(|letter| *letter == '\n').unwrap_or(letters.len() - at)
        } else if raw {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = at + hashes + 2;
            let end = (from..letters.len()).find(|at| is(*at, &close)).unwrap_or(letters.len());
            found.push((line, letters[from..end].iter().collect()));
            end + close.len()
        } else if *letter == '"' {
            let mut end = at + 1;
            while letters.get(end).is_some_and(|letter| *letter != '"') {
                end += if letters[end] == '\\' { 2 } else { 1 };
            }
            found.push((line, letters[at + 1..end.min(letters.len())].iter().collect()));
            end + 1
        } else if *letter == '\'' && is(at + 1, "\\") {
            at + 4
        } else if *letter == '\'' && letters.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            at + 1
        };
        let end = end.min(letters.len());
        line += letters[at..end].iter().filter(|letter| **letter == '\n').count();
        at = end;
    }
    found
}

#[test]
fn no_text_has_backticks() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![];
    let rooms: Vec<_> = fs::read_dir(&crates).unwrap().map(|room| room.unwrap().path()).collect();
    assert!(rooms.len() >= 9, "only {rooms:?} were found");
    for room in rooms {
        sources(&room.join("src"), &mut files);
    }
    sources(&crates.join("../src"), &mut files);
    let (mut looked_at, mut wrong) = (0, vec![]);
    for file in files {
        let name = file.to_string_lossy().into_owned();
        if MARKDOWN.iter().any(|one| name.ends_with(one)) || name.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        // Tests repeat what other programs say.
        let shipped = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (line, text) in literals(shipped) {
            looked_at += 1;
            if text.contains('`') {
                wrong.push(format!("{name}:{line}: {text}"));
            }
        }
    }
    assert!(looked_at > 3000, "only {looked_at} texts were found");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn literals_are_told_from_comments_and_letters() {
    let source = "// `a`\nlet x = \"b`\\\"c\"; let y = '\"'; let z = r#\"d\"e\"#; /// \"`f`\"\nfn g<'a>() {}";
    let texts: Vec<(usize, String)> = literals(source);
    assert_eq!(texts, [(2, "b`\\\"c".to_owned()), (2, "d\"e".to_owned())]);
}
