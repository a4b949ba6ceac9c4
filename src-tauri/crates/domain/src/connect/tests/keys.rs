//! Keys in lines and files of apps.

use super::*;

fn keyed() -> Wanted {
    Wanted { key: Some(KeyText(KEY.into())), ..wanted() }
}

#[test]
fn a_key_that_is_named_stands_wherever_the_app_has_a_place_for_it() {
    for app in apps() {
        let (plain, keyed) = (wanted(), keyed());
        let text = |wanted: &Wanted| {
            snippets(app, wanted, None)
                .iter()
                .map(|snippet| snippet.text.clone())
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(!text(&plain).contains(KEY), "{}", app.id);
        // VS Code asks for it and keeps it apart; the rest have it in their lines.
        assert_eq!(text(&keyed).contains(KEY), app.id != "vscode", "{}: {}", app.id, text(&keyed));
        for note in notes(app, &keyed) {
            assert!(note.ends_with('.') && note.chars().count() < 160, "{}: {note}", app.id);
        }
    }
    let says =
        |id: &str, what: &str| notes(app(id).unwrap(), &keyed()).iter().any(|note| note.contains(what));
    assert!(says("zed", "paste this one") && says("vscode", "asks for the key"));
    assert!(!format!("{:?}", keyed()).contains(KEY), "no log shows it");
}

#[test]
fn the_key_of_a_file_is_found_again_and_placeholders_are_none() {
    for (app, form) in with_files() {
        for before in existing_for(app, form) {
            let write = |wanted: &Wanted| edit::edit(form, Some(&before), &entries(app, wanted)).unwrap();
            assert_eq!(kept_key(app, &write(&wanted())), None, "{}", app.id);
            let found = kept_key(app, &write(&keyed()));
            let wanted = (app.id != "zed").then(|| KeyText(KEY.into()));
            assert_eq!(found, wanted, "{}\n{}", app.id, write(&keyed()));
        }
    }
    let aider = app("aider").unwrap();
    for (text, key) in [
        ("openai-api-key: sk-x # mine\n", Some("sk-x")),
        ("openai-api-key: ''\n", None),
        ("openai-api-key: 5\n", None),
        ("openai-api-key:\n", None),
        ("- a\n", None),
        ("{", None),
    ] {
        assert_eq!(kept_key(aider, text).map(|key| key.0).as_deref(), key, "{text}");
    }
    assert_eq!(kept_key(app("curl").unwrap(), KEY), None);
}

#[test]
fn keys_are_one_line_of_plain_signs() {
    for (key, sound) in [
        (KEY, true),
        ("k", true),
        ("a-b_c.d/e+f=~!\"'", true),
        (&"k".repeat(200), true),
        (&"k".repeat(201), false),
        ("", false),
        ("a b", false),
        ("a\nb", false),
        ("a\tb", false),
        ("schlüssel", false),
        ("a\u{7f}", false),
    ] {
        let checked = check_key(key);
        assert_eq!(checked.is_ok(), sound, "{key:?}");
        assert!(checked.err().is_none_or(|allowed| allowed.contains("200") && !allowed.contains('`')));
    }
}
