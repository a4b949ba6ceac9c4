use super::{edit::Form, *};
use crate::{error::ErrorCode, settings::Settings};
use proptest::prelude::*;

mod containers;
mod keys;

fn wanted() -> Wanted {
    Wanted {
        root: "http://127.0.0.1:11480".into(),
        ollama: Ok("http://127.0.0.1:11435".into()),
        key: None,
        model: "active".into(),
        small: "small".into(),
        context: Some(32_768),
        system: System::Linux,
        bridges: None,
    }
}

fn with_files() -> impl Iterator<Item = (&'static App, Form)> {
    apps().iter().filter_map(|app| Some((app, app.file.as_ref()?.form)))
}

#[test]
fn each_app_is_complete() {
    let mut ids = std::collections::BTreeSet::new();
    for one in apps() {
        assert!(ids.insert(one.id), "{} is there twice", one.id);
        assert_eq!(app(&one.id.to_uppercase()).unwrap().id, one.id);
        assert_eq!(app(one.title).unwrap().id, one.id);
        assert_eq!(entries(one, &wanted()).is_empty(), one.file.is_none(), "{}", one.id);
        for system in [System::Linux, System::Macos] {
            let wanted = Wanted { system, ..wanted() };
            let snippets = snippets(one, &wanted, None);
            assert!(!snippets.is_empty(), "{}", one.id);
            for snippet in &snippets {
                assert!(snippet.text.contains("active"), "{}: {}", one.id, snippet.text);
                let port = if one.dialect == Dialect::Ollama { ":11435" } else { ":11480" };
                assert!(snippet.text.contains(port), "{}: {}", one.id, snippet.text);
                assert!(!snippet.title.is_empty() && snippet.text.ends_with('\n'), "{}", one.id);
                assert_eq!(snippet.text.contains("host.docker.internal"), one.in_container, "{}", one.id);
                let has_path = snippet.text.contains("11480/v1");
                let wants_path = matches!(one.dialect, Dialect::Chat | Dialect::Responses);
                assert_eq!(has_path, wants_path, "{}: {}", one.id, snippet.text);
            }
            if one.has_small {
                assert!(snippets[0].text.contains("small"), "{}", one.id);
            }
            for note in notes(one, &wanted) {
                assert!(note.ends_with('.') && note.chars().count() < 160, "{}: {note}", one.id);
            }
        }
    }
    let unknown = app("emacs").unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    assert!(unknown.hint.unwrap().contains("claude-code"));
}

#[test]
fn names_that_need_quotation_marks_come_through_in_each_language() {
    for model in ["qwen/Qwen2.5 7B", "a'b", "x\"y\\z", "größe:7b", "on", "$HOME", "a: b # c", "-m"] {
        let wanted = Wanted { model: model.into(), ..wanted() };
        for (app, form) in with_files() {
            let text = edit::edit(form, None, &entries(app, &wanted)).unwrap();
            // Written and read again it is the same, so the name stands there as it is.
            assert_eq!(edit::edit(form, Some(&text), &entries(app, &wanted)).as_ref(), Ok(&text), "{model}");
        }
        let text = |id: &str| snippets(app(id).unwrap(), &wanted, None)[0].text.clone();
        let quoted = serde_json::json!(model).to_string();
        for id in ["openai-python", "openai-node", "anthropic-python", "langchain", "vscode", "librechat"] {
            assert!(text(id).contains(&quoted), "{id} {model}");
        }
        // What a shell makes of it: the part in single quotation marks.
        let line = text("curl");
        let data = line.split_once("-d ").unwrap().1.trim();
        let body = data.trim_matches('\'').replace(r"'\''", "'");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["model"], model);
    }
}

/// Files as people have them, one list for each form.
fn existing(form: Form) -> Vec<String> {
    let texts: &[&str] = match form {
        Form::Json => &[
            "",
            "{}",
            "{\n  \"theme\": \"dark\"\n}\n",
            "// mine\n{\n  // about the theme\n  \"theme\": \"dark\", // so\n\n  /* old */\n}\n",
            "{\"env\":{\"EDITOR\":\"vim\"},\"permissions\":{\"allow\":[\"Bash(ls:*)\"]}}",
            "{\n\t\"env\": {\n\t\t\"ANTHROPIC_MODEL\": \"sonnet\", // theirs\n\t\t\"EDITOR\": \"größe→😀\",\n\t},\n}",
            "{\n  \"provider\": {\n    \"other\": {\n      \"npm\": \"x\",\n      \"options\": {\"baseURL\": \"http://127.0.0.1:1/v1\"}\n    }\n  },\n  \"model\": \"other/x\"\n}\n",
            "{\n  \"language_models\": {\n    \"openai_compatible\": {\n      \"Other\": {\n        \"available_models\": [{\"name\": \"active\"}]\n      },\n      \"Pilothouse\": { \"available_models\": [] }\n    }\n  }\n}\n",
        ],
        Form::Toml => &[
            "",
            "# mine\n",
            "model = \"gpt-5\" # theirs\napproval_policy = \"never\"\n\n[mcp_servers.x]\ncommand = \"y\"\nargs = [\n  \"a\", # first\n  \"b\",\n]\n",
            "[model_providers.other]\nname = \"Other\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\n[projects.\"/srv/größe\"]\ntrust_level = \"trusted\"\n",
            "model_providers = { other = { name = \"x\" } }\n",
            "[model_providers]\n[model_providers.pilothouse]\nname = \"Old\" # x\n\n[tui]\n",
        ],
        Form::Yaml => &["", "# mine\n", "---\n"],
    };
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn existing_for(app: &App, form: Form) -> Vec<String> {
    let mut texts = existing(form);
    let more: &[&str] = match app.id {
        "aider" => &[
            "dark-mode: true # so\nmodel: gpt-4o\nread:\n  - A.md\n  - B.md\n",
            "read: [a, b]\nmodel:\n\n# end\n",
        ],
        "continue" => &[
            "name: Mine\nversion: 0.0.1\nschema: v1\nmodels: []\n",
            "name: Mine\nmodels:\n  - name: Other\n    provider: ollama\n    model: größe\n    prompt: |\n      # text\n      more\ncontext:\n  - provider: code\n",
            "models:\n- provider: openai\n  name: Pilothouse\n  apiBase: http://127.0.0.1:1/v1 # old\n  roles: [chat]\nrules:\n- one\n",
        ],
        "llm" => &[
            "- model_id: x\n  model_name: y\n  headers:\n    a: b\n",
            "# mine\n- model_id: pilothouse\n  can_stream: false # x\n",
        ],
        _ => &[],
    };
    texts.extend(more.iter().map(|text| (*text).to_owned()));
    let of_windows: Vec<String> = texts.iter().map(|text| text.replace('\n', "\r\n")).collect();
    let marked: Vec<String> = texts.iter().map(|text| format!("\u{feff}{text}")).collect();
    let lines: String = (0..9000).map(|n| format!("# line {n}: {{}}, [ü]\n")).collect();
    if form != Form::Json {
        texts.push(lines);
    }
    texts.extend(of_windows);
    texts.extend(marked);
    texts
}

/// The lines that went and came, of a difference.
fn moved(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let shown = edit::difference("f", Some(before), Some(after));
    let lines = |mark: char| {
        let body = shown.lines().skip(2).filter_map(|line| line.strip_prefix(mark));
        body.map(str::to_owned).collect()
    };
    (lines('-'), lines('+'))
}

#[test]
fn every_app_fits_into_every_file_of_its_form() {
    let (now, later) = (wanted(), Wanted { root: "http://127.0.0.1:23456".into(), ..wanted() });
    for (app, form) in with_files() {
        for before in existing_for(app, form) {
            let shown: String = before.chars().take(300).collect();
            let after = edit::edit(form, Some(&before), &entries(app, &now));
            let after = after.unwrap_or_else(|refused| panic!("{}: {refused}\n{shown}", app.id));
            assert_eq!(
                edit::edit(form, Some(&after), &entries(app, &now)).as_ref(),
                Ok(&after),
                "{}",
                app.id
            );
            let (gone, _) = moved(&before, &after);
            for line in &gone {
                let ours = ["model", "ANTHROPIC_MODEL", "apiBase", "available_models", "Old", "weak-model"];
                let comma = after.contains(&format!("{},", line.trim_end()));
                let in_one_line = !before.trim().contains('\n');
                let last =
                    before.ends_with(line.as_str()) || before.trim_start_matches('\u{feff}').trim() == "{}";
                let is_ours = ours.iter().any(|word| line.contains(word));
                assert!(
                    is_ours || comma || in_one_line || last,
                    "{} lost {line}\n{shown}\n---\n{after}",
                    app.id
                );
            }
            if before.contains("\r\n") && before.matches('\n').count() > 1 {
                assert_eq!(after.matches('\n').count(), after.matches("\r\n").count(), "{}\n{after}", app.id);
            }
            assert_eq!(before.starts_with('\u{feff}'), after.starts_with('\u{feff}'));
            // Another port changes the lines with the address and no other.
            let moved_on = edit::edit(form, Some(&after), &entries(app, &later)).unwrap();
            assert_eq!(moved_on, after.replace("11480", "23456"), "{}", app.id);
        }
    }
}

proptest! {
    #[test]
    fn no_file_brings_it_down(text in "\\PC{0,200}|[\\[\\]{}:,\"'#/*a=\\- \n\t]{0,60}") {
        for (app, form) in with_files() {
            if let Ok(after) = edit::edit(form, Some(&text), &entries(app, &wanted())) {
                prop_assert_eq!(edit::edit(form, Some(&after), &entries(app, &wanted())), Ok(after.clone()));
            }
        }
    }

    #[test]
    fn no_answer_brings_it_down(lines in proptest::collection::vec("(data: )?[\\[\\]{}:,\"a-z ]{0,40}", 0..8)) {
        for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages, Dialect::Ollama] {
            let mut heard = Heard::new(dialect);
            lines.iter().for_each(|line| heard.line(line));
            prop_assert!(!heard.is_whole() || heard.begun);
        }
    }
}

#[test]
fn an_unknown_context_is_left_out_or_said_to_be_assumed() {
    let unknown = Wanted { context: None, ..wanted() };
    for (app, form) in with_files() {
        let text = edit::edit(form, None, &entries(app, &unknown)).unwrap();
        assert!(!text.contains("32768"), "{text}");
        assert_eq!(text.contains("8192"), app.id == "zed", "{text}");
        let says = notes(app, &unknown).iter().any(|note| note.contains("not known"));
        let names = edit::edit(form, None, &entries(app, &wanted())).unwrap().contains("32768");
        assert_eq!(says, names, "{}", app.id);
    }
    assert_eq!(unknown.output(), 2048);
    assert_eq!(Wanted { context: Some(1_000_000), ..wanted() }.output(), 8192);
}

#[test]
fn names_by_which_an_app_asks_differently_are_told() {
    let warns = |id: &str, model: &str| {
        let wanted = Wanted { model: model.into(), ..wanted() };
        notes(app(id).unwrap(), &wanted).iter().any(|note| note.contains("asks differently"))
    };
    for (id, model, wanted) in [
        ("continue", "gpt-5-mini", true),
        ("langchain", "x/codex-small", true),
        ("open-webui", "o3", true),
        ("continue", "gpt-55", false),
        ("continue", "o1x", false),
        ("continue", "active", false),
        ("zed", "gpt-5", false),
    ] {
        assert_eq!(warns(id, model), wanted, "{id} {model}");
    }
}

#[test]
fn answers_of_each_dialect_are_heard() {
    use Dialect::{Chat, Messages, Ollama, Responses};
    for (dialect, lines, words, begun, ended, error) in [
        (
            Chat,
            &[
                "data: {\"choices\":[{\"delta\":{\"content\":\"Rea\"}}]}",
                ": wait",
                "data: {\"choices\":[{\"delta\":{\"content\":\"dy\"}}]}",
                "data: [DONE]",
            ][..],
            Some("Ready"),
            true,
            true,
            None,
        ),
        (
            Chat,
            &["data:{\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}", "data:[DONE]"],
            None,
            true,
            true,
            None,
        ),
        (
            Chat,
            &["data: {\"choices\":[]}", "data: {\"error\":{\"message\":\"no room\"}}"],
            None,
            false,
            false,
            Some("no room"),
        ),
        (
            Responses,
            &[
                "event: x",
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"ready\"}",
                "data: {\"type\":\"response.completed\",\"response\":{\"error\":null}}",
            ],
            Some("ready"),
            true,
            true,
            None,
        ),
        (
            Responses,
            &["data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"cut\"}}}"],
            None,
            false,
            false,
            Some("cut"),
        ),
        (Responses, &["data: {\"type\":\"error\",\"message\":\"flat\"}"], None, false, false, Some("flat")),
        (
            Messages,
            &[
                "data: {\"type\":\"ping\"}",
                "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\" a  b\\n\"}}",
                "data: {\"type\":\"message_stop\"}",
            ],
            Some("a b"),
            true,
            true,
            None,
        ),
        (
            Messages,
            &["data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}"],
            None,
            false,
            false,
            Some("busy"),
        ),
        (
            Ollama,
            &["{\"message\":{\"content\":\"ok\"},\"done\":false}", "{\"done\":true}"],
            Some("ok"),
            true,
            true,
            None,
        ),
        (Ollama, &["{\"error\":\"not here\"}"], None, false, false, Some("not here")),
        (Ollama, &["{\"message\":{\"content\":\"ok\"}}"], Some("ok"), true, false, None),
    ] {
        let mut heard = Heard::new(dialect);
        lines.iter().for_each(|line| heard.line(line));
        assert_eq!(heard.words().as_deref(), words, "{lines:?}");
        assert_eq!((heard.begun, heard.ended), (begun, ended), "{lines:?}");
        assert_eq!(heard.error.as_deref(), error, "{lines:?}");
        assert_eq!(heard.is_whole(), begun && ended && error.is_none());
    }
    let mut long = Heard::new(Ollama);
    long.line(&serde_json::json!({"message": {"content": "ü".repeat(500)}}).to_string());
    assert_eq!(long.words().unwrap().chars().count(), 81);
}

#[test]
fn questions_are_the_dialects_own() {
    for (dialect, path, place) in [
        (Dialect::Chat, "/v1/chat/completions", "/messages/0/content"),
        (Dialect::Responses, "/v1/responses", "/input/0/content/0/text"),
        (Dialect::Messages, "/v1/messages", "/messages/0/content"),
        (Dialect::Ollama, "/api/chat", "/messages/0/content"),
    ] {
        let asked = question(dialect, "m", "k");
        assert_eq!((asked.path, &asked.body["model"]), (path, &serde_json::json!("m")));
        assert!(asked.body.pointer(place).is_some_and(serde_json::Value::is_string));
        assert_eq!(asked.body["stream"], true);
        let shows =
            |asked: &Question, key: &str| asked.headers.contains(&("authorization", format!("Bearer {key}")));
        assert!(shows(&asked, "k"));
        // Programs of Ollama have no placeholder.
        assert_eq!(shows(&question(dialect, "m", NO_KEY), NO_KEY), dialect != Dialect::Ollama);
    }
}

const KEY: &str = "ph_0123456789abcdef";

#[test]
fn ollamas_own_api_has_a_port_of_its_own_or_none() {
    let assistant = app("home-assistant").unwrap();
    assert_eq!(wanted().base_for(assistant), Ok("http://host.docker.internal:11435".into()));
    let port = Settings::default().free_ollama_port();
    for (port, says) in [(Some(port), "set gateway.ollama_port to 11435"), (None, "not open: held by x.")] {
        let none = NoOllama { reason: "held by x".into(), port };
        let closed = Wanted { ollama: Err(none.clone()), ..wanted() };
        assert_eq!(closed.base_for(assistant), Err(&none));
        assert!(snippets(assistant, &closed, None).is_empty(), "no line names a port that does not speak so");
        let notes = notes(assistant, &closed);
        assert!(notes[0].contains(says), "{notes:?}");
        assert!(notes.iter().all(|note| note.ends_with('.') && !note.contains("11480")), "{notes:?}");
        // Whoever speaks otherwise does not care.
        let others = apps().iter().filter(|app| app.dialect != Dialect::Ollama);
        for app in others {
            assert_eq!(snippets(app, &closed, None), snippets(app, &wanted(), None), "{}", app.id);
        }
    }
}

#[test]
fn the_gateways_root_has_no_path() {
    for (gateway, root) in [
        ("http://127.0.0.1:11480/v1", Some("http://127.0.0.1:11480")),
        ("http://[::1]:1/v1", Some("http://[::1]:1")),
        ("http://box/v1", Some("http://box:80")),
        ("starting", None),
    ] {
        assert_eq!(root_of(gateway).as_deref(), root);
    }
}
