//! Keys that are heard whichever program has the focus.

/// Keys by name, besides letters, digits and F1 to F24.
const NAMED: [&str; 14] = [
    "Space",
    "Enter",
    "Tab",
    "Backspace",
    "Insert",
    "Delete",
    "Home",
    "End",
    "PageUp",
    "PageDown",
    "Left",
    "Right",
    "Up",
    "Down",
];

/// As people write them, and the one name that stands for each.
const MODIFIERS: [(&str, &str); 9] = [
    ("ctrl", "Ctrl"),
    ("control", "Ctrl"),
    ("alt", "Alt"),
    ("option", "Alt"),
    ("shift", "Shift"),
    ("super", "Super"),
    ("win", "Super"),
    ("cmd", "Super"),
    ("command", "Super"),
];

/// The keys of a text in one spelling: "ctrl + alt+p" is "Ctrl+Alt+P". `None`: it names none that may be taken from every
/// other program: those have Ctrl, Alt or Super (Cmd), or are a function key, and end in one key that is no modifier.
pub fn shortcut(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = text.split('+').map(str::trim).collect();
    let key = key(parts.pop()?)?;
    let mut held: Vec<&str> = Vec::new();
    for part in parts {
        let (_, modifier) = MODIFIERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(part))?;
        if held.contains(modifier) {
            return None;
        }
        held.push(modifier);
    }
    let is_function_key = key.len() > 1 && key.starts_with('F');
    if !is_function_key && held.iter().all(|modifier| *modifier == "Shift") {
        return None;
    }
    held.sort_by_key(|modifier| MODIFIERS.iter().position(|(_, name)| name == modifier));
    Some(held.into_iter().chain([key.as_str()]).collect::<Vec<_>>().join("+"))
}

fn key(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let is_plain = upper.len() == 1 && upper.starts_with(|one: char| one.is_ascii_alphanumeric());
    let number = upper.strip_prefix('F').filter(|number| !number.starts_with(['0', '+']));
    let is_function_key =
        number.and_then(|number| number.parse::<u8>().ok()).is_some_and(|number| (1..=24).contains(&number));
    if is_plain || is_function_key {
        return Some(upper);
    }
    NAMED.iter().find(|name| name.eq_ignore_ascii_case(text)).map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::shortcut;

    #[test]
    fn keys_have_one_spelling_and_leave_typing_alone() {
        for (text, wanted) in [
            ("Ctrl+Alt+P", Some("Ctrl+Alt+P")),
            (" alt + CONTROL +p ", Some("Ctrl+Alt+P")),
            ("shift+cmd+7", Some("Shift+Super+7")),
            ("Option+pageup", Some("Alt+PageUp")),
            ("f9", Some("F9")),
            ("Shift+F24", Some("Shift+F24")),
            ("Super+F", Some("Super+F")),
            ("P", None),
            ("Shift+P", None),
            ("F", None),
            ("F25", None),
            ("F09", None),
            ("Ctrl", None),
            ("Ctrl+", None),
            ("+P", None),
            ("Ctrl+Control+P", None),
            ("Ctrl+P+Alt", None),
            ("Ctrl+PP", None),
            ("Ctrl+ß", None),
            ("Hyper+P", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(shortcut(text).as_deref(), wanted, "{text}");
            if let Some(again) = wanted {
                assert_eq!(shortcut(again).as_deref(), wanted, "its own spelling stays");
            }
        }
    }
}
