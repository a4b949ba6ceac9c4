use super::{test::ask_within, *};
use pilothouse_domain::connect::{Dialect, NO_KEY, NoOllama, System, app, apps};
use std::{fs, time::Duration};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Home {
    folder: TempDir,
    files: AppFiles,
}

impl Home {
    fn new() -> Self {
        Self::with(&|_| None)
    }

    fn with(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::resolve(folder.path().join("home"), System::Linux, variable);
        let files = AppFiles::new(places, folder.path().join("data/connected"));
        fs::create_dir_all(folder.path().join("home")).unwrap();
        Self { folder, files }
    }

    fn path(&self, app: &App) -> PathBuf {
        self.files.look(app, None).path.unwrap()
    }

    fn put(&self, app: &App, bytes: &[u8]) -> PathBuf {
        let path = self.path(app);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn write(&self, app: &App, port: u16) -> Result<FileChange, ApiError> {
        self.files.write(app, &wanted(port), None, false)
    }
}

fn wanted(port: u16) -> Wanted {
    Wanted {
        root: format!("http://127.0.0.1:{port}"),
        ollama: Err(NoOllama { reason: "switched off".into(), port: Some(11_435) }),
        key: None,
        model: "active".into(),
        small: "active".into(),
        context: Some(8192),
        system: System::Linux,
        bridges: None,
    }
}

fn with_files() -> impl Iterator<Item = &'static App> {
    apps().iter().filter(|app| app.file.is_some())
}

fn claude() -> &'static App {
    app("claude-code").unwrap()
}

#[test]
fn what_is_written_comes_back_byte_for_byte() {
    for app in with_files() {
        for before in [&b""[..], b"# x\r\n", b"\xef\xbb\xbf", b"\n\n"] {
            let before =
                if app.id == "codex" || before != b"# x\r\n" || is_yaml(app) { before } else { b"// x\r\n" };
            let home = Home::new();
            let path = home.put(app, before);
            assert_eq!(home.files.look(app, Some(&wanted(1))).state, Some(FileState::Differs));
            let shown = home.files.write(app, &wanted(1), None, true).unwrap();
            assert!(!shown.written && shown.diff.contains("+"), "{}", app.id);
            assert_eq!(fs::read(&path).unwrap(), before, "a dry run writes nothing");
            assert!(home.write(app, 1).unwrap().written);
            let looked = home.files.look(app, Some(&wanted(1)));
            assert_eq!(looked.state, Some(FileState::SetUp), "{}", app.id);
            assert!(looked.written_at.is_some() && looked.change.unwrap().diff.is_empty());
            // Once more with another port, and with nothing to do: it is still the way back to before.
            home.write(app, 2).unwrap();
            assert!(!home.write(app, 2).unwrap().written);
            assert!(home.files.undo(app, true).unwrap().diff.contains("-"));
            assert!(fs::read_to_string(&path).unwrap().contains("127.0.0.1:2"), "a dry run");
            assert!(home.files.undo(app, false).unwrap().written);
            assert_eq!(fs::read(&path).unwrap(), before, "{}", app.id);
            assert_eq!(home.files.undo(app, false).unwrap_err().code, ErrorCode::NotFound);
            assert_eq!(fs::read_dir(home.folder.path().join("data/connected")).unwrap().count(), 0);
        }
    }
}

fn is_yaml(app: &App) -> bool {
    app.file.as_ref().is_some_and(|file| file.form == edit::Form::Yaml)
}

#[test]
fn a_file_that_was_not_there_goes_away_again() {
    for app in with_files() {
        let home = Home::new();
        let path = home.path(app);
        assert_eq!(home.files.look(app, Some(&wanted(1))).state, Some(FileState::NoFile));
        let change = home.write(app, 1).unwrap();
        assert_eq!(change.digest, ABSENT);
        assert!(change.diff.starts_with("--- /dev/null"));
        assert!(path.exists());
        home.files.undo(app, false).unwrap();
        let left: Vec<_> = fs::read_dir(home.folder.path().join("home")).unwrap().collect();
        assert!(left.is_empty(), "{}: {left:?}", app.id);
    }
}

#[test]
fn what_somebody_else_has_written_is_never_written_over() {
    let home = Home::new();
    let path = home.put(claude(), b"{}");
    let seen = home.files.write(claude(), &wanted(1), None, true).unwrap().digest;
    fs::write(&path, "{\"theme\": 1}").unwrap();
    let refused = home.files.write(claude(), &wanted(1), Some(&seen), false).unwrap_err();
    assert_eq!(
        (refused.code, fs::read_to_string(&path).unwrap().as_str()),
        (ErrorCode::Busy, "{\"theme\": 1}")
    );
    assert_eq!(
        home.files.write(claude(), &wanted(1), Some(ABSENT), false).unwrap_err().code,
        ErrorCode::Busy
    );
    let seen = home.files.write(claude(), &wanted(1), None, true).unwrap().digest;
    home.files.write(claude(), &wanted(1), Some(&seen), false).unwrap();
    // A change after ours: no way back over it, and the old bytes stay where they can be found.
    let theirs = fs::read_to_string(&path).unwrap().replace("theme", "their");
    fs::write(&path, &theirs).unwrap();
    assert_eq!(home.files.look(claude(), Some(&wanted(1))).written_at, None);
    let refused = home.files.undo(claude(), false).unwrap_err();
    assert_eq!((refused.code, fs::read_to_string(&path).unwrap()), (ErrorCode::Busy, theirs.clone()));
    assert!(refused.hint.unwrap().contains("claude-code.before"));
    // Written again, the way back leads to their change.
    home.write(claude(), 2).unwrap();
    home.files.undo(claude(), false).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
    // Somebody has put the old file back by hand: there is nothing to undo.
    home.write(claude(), 3).unwrap();
    fs::write(&path, &theirs).unwrap();
    assert_eq!(home.files.undo(claude(), false).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn what_cannot_be_changed_is_left_alone() {
    for bytes in [&b"{"[..], b"\xff\xfe{}", b"[]", b"{\"env\": 5}", &vec![b' '; MOST_BYTES + 1]] {
        let home = Home::new();
        let path = home.put(claude(), bytes);
        let refused = home.write(claude(), 1).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported, "{refused}");
        assert!(refused.message.starts_with("~/.claude/settings.json ") && refused.hint.is_some());
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let looked = home.files.look(claude(), Some(&wanted(1)));
        assert_eq!((looked.state, looked.refused), (Some(FileState::Refused), Some(refused)));
        assert!(!home.folder.path().join("data").exists());
    }
    let home = Home::new();
    fs::create_dir_all(home.path(claude())).unwrap();
    assert_eq!(home.write(claude(), 1).unwrap_err().code, ErrorCode::Unsupported);
    assert_eq!(home.write(app("cline").unwrap(), 1).unwrap_err().code, ErrorCode::Unsupported);
    assert_eq!(home.files.look(app("cline").unwrap(), Some(&wanted(1))).state, None);
    // A new config.yaml would put Continue's older file out of force.
    let older = home.path(app("continue").unwrap()).with_file_name("config.json");
    fs::create_dir_all(older.parent().unwrap()).unwrap();
    fs::write(&older, "{}").unwrap();
    let refused = home.write(app("continue").unwrap(), 1).unwrap_err();
    assert!(refused.message.contains("~/.continue/config.json"), "{refused}");
}

#[cfg(unix)]
#[test]
fn links_stay_and_so_do_the_rights() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = Home::new();
    let link = home.path(claude());
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let real = home.folder.path().join("dotfiles.json");
    symlink(&real, &link).unwrap();
    assert_eq!(home.write(claude(), 1).unwrap_err().code, ErrorCode::System, "it leads nowhere");
    assert!(link.is_symlink() && !real.exists());
    fs::write(&real, "{}").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let rights = || fs::metadata(&real).unwrap().permissions().mode() & 0o777;
    home.write(claude(), 1).unwrap();
    assert!(link.is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("ANTHROPIC_BASE_URL"));
    assert_eq!(rights(), 0o640);
    home.files.undo(claude(), false).unwrap();
    assert_eq!(
        (link.is_symlink(), fs::read_to_string(&real).unwrap().as_str(), rights()),
        (true, "{}", 0o640)
    );
    // A new one may hold a key.
    let codex = app("codex").unwrap();
    home.write(codex, 1).unwrap();
    assert_eq!(fs::metadata(home.path(codex)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(home.files.kept.bytes_file("codex")).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

const KEY: &str = "ph_0123456789abcdef";

fn keyed(port: u16, key: &str) -> Wanted {
    Wanted { key: Some(KeyText(key.into())), ..wanted(port) }
}

#[test]
fn a_key_that_stands_in_a_file_stays_there_when_none_is_named() {
    for app in with_files().filter(|app| app.id != "zed") {
        let home = Home::new();
        let path = home.path(app);
        home.files.write(app, &keyed(1, KEY), None, false).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains(KEY), "{}", app.id);
        let looked = home.files.look(app, Some(&wanted(1)));
        assert_eq!(looked.state, Some(FileState::SetUp), "{}", app.id);
        assert_eq!(
            (looked.kept_key, looked.change.unwrap().diff),
            (Some(KeyText(KEY.into())), String::new())
        );
        assert!(!home.write(app, 1).unwrap().written);
        // Another port: the address changes, and the key of a program stays.
        assert_eq!(home.files.look(app, Some(&wanted(2))).state, Some(FileState::Differs));
        home.write(app, 2).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            written.replace("127.0.0.1:1/", "127.0.0.1:2/").replace("127.0.0.1:1\"", "127.0.0.1:2\"")
        );
        // Another key is a change, and so is to have none again.
        let other = home.files.look(app, Some(&keyed(2, "ph_fedcba9876543210")));
        assert_eq!((other.state, other.kept_key), (Some(FileState::Differs), None), "{}", app.id);
        home.files.write(app, &keyed(2, NO_KEY), None, false).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("ph_"), "{}", app.id);
        assert_eq!(home.files.look(app, Some(&wanted(2))).kept_key, None);
    }
}

#[test]
fn the_key_of_another_service_stays_only_where_all_the_rest_is_ours() {
    let aider = app("aider").unwrap();
    let home = Home::new();
    let path = home.put(aider, b"openai-api-key: sk-theirs\n");
    let looked = home.files.look(aider, Some(&wanted(1)));
    assert_eq!((looked.state, looked.kept_key), (Some(FileState::Differs), None));
    home.write(aider, 1).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(NO_KEY) && !text.contains("sk-theirs"), "{text}");
    fs::write(&path, text.replace(NO_KEY, "sk-own")).unwrap();
    let looked = home.files.look(aider, Some(&wanted(1)));
    assert_eq!((looked.state, looked.kept_key), (Some(FileState::SetUp), Some(KeyText("sk-own".into()))));
}

#[cfg(unix)]
#[test]
fn a_file_with_a_key_is_its_owners_and_one_that_others_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    for app in with_files().filter(|app| app.id != "zed") {
        let home = Home::new();
        let path = home.path(app);
        home.files.write(app, &keyed(1, KEY), None, false).unwrap();
        let rights = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(rights(), 0o600, "{}", app.id);
        assert!(!home.files.look(app, Some(&wanted(1))).open_to_others);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        home.files.write(app, &keyed(2, KEY), None, false).unwrap();
        assert_eq!(rights(), 0o644, "they are a person's");
        assert!(home.files.look(app, Some(&wanted(2))).open_to_others, "{}", app.id);
        home.files.write(app, &keyed(2, NO_KEY), None, false).unwrap();
        assert!(!home.files.look(app, Some(&wanted(2))).open_to_others, "there is none in it");
    }
}

#[test]
fn files_lie_where_each_program_looks() {
    let moved = |name: &str| match name {
        "CODEX_HOME" => Some("/srv/codex".into()),
        "OPENCODE_CONFIG" => Some("/srv/oc.json".into()),
        "XDG_CONFIG_HOME" => Some("/srv/config".into()),
        "CLAUDE_CONFIG_DIR" => Some("relative".into()),
        _ => None,
    };
    for (variable, system, id, wanted) in [
        (false, System::Linux, "claude-code", "/h/.claude/settings.json"),
        (false, System::Linux, "codex", "/h/.codex/config.toml"),
        (false, System::Macos, "opencode", "/h/.config/opencode/opencode.json"),
        (false, System::Linux, "aider", "/h/.aider.conf.yml"),
        (false, System::Macos, "continue", "/h/.continue/config.yaml"),
        (
            false,
            System::Macos,
            "llm",
            "/h/Library/Application Support/io.datasette.llm/extra-openai-models.yaml",
        ),
        (false, System::Linux, "llm", "/h/.config/io.datasette.llm/extra-openai-models.yaml"),
        (true, System::Linux, "claude-code", "/h/.claude/settings.json"),
        (true, System::Linux, "codex", "/srv/codex/config.toml"),
        (true, System::Linux, "opencode", "/srv/oc.json"),
        (true, System::Linux, "zed", "/srv/config/zed/settings.json"),
        (true, System::Macos, "zed", "/h/.config/zed/settings.json"),
    ] {
        let none = |_: &str| None;
        let variable: &dyn Fn(&str) -> Option<std::ffi::OsString> = if variable { &moved } else { &none };
        let places = Places::resolve("/h".into(), system, variable);
        assert_eq!(places.path(app(id).unwrap().file.as_ref().unwrap()), Path::new(wanted), "{id}");
    }
    let home = Home::new();
    let opencode = app("opencode").unwrap();
    let with_comments = home.path(opencode).with_file_name("opencode.jsonc");
    home.put(opencode, b"{}");
    fs::write(&with_comments, "{}").unwrap();
    assert_eq!(home.path(opencode), with_comments, "that one wins in opencode too");
}

/// A server that gives one answer and tells what it was asked.
async fn answering(answer: &'static str, then_close: bool) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        let whole = |asked: &[u8]| {
            let text = String::from_utf8_lossy(asked).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            length.is_none_or(|length: usize| body.len() >= length)
        };
        while !whole(&asked) {
            if stream.read_buf(&mut asked).await.unwrap() == 0 {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        if !then_close {
            // Until the other side has had enough.
            let _ = stream.read_buf(&mut Vec::new()).await;
        }
        String::from_utf8(asked).unwrap()
    });
    (port, asked)
}

#[tokio::test]
async fn what_comes_back_is_said() {
    const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\nx-pilothouse-server: ollama\r\nx-pilothouse-model: qwen3:8b\r\n\r\n";
    let chat = "data: {\"choices\":[{\"delta\":{\"content\":\"Ready.\"}}]}\n\ndata: [DONE]\n\n";
    let messages = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Ready.\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}";
    let said = |text: &str| -> &'static str { Box::leak(format!("{OK}{text}").into_boxed_str()) };
    let refused = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 41\r\n\r\n{\"error\":{\"message\":\"No model is there\"}}";
    let html = "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>";
    for (id, answer, ok, status, words, detail) in [
        ("curl", said(chat), true, Some(200), Some("Ready."), "It answered “Ready.”"),
        (
            "claude-code",
            said(messages),
            true,
            Some(200),
            Some("Ready."),
            "as Claude Code asks (Anthropic messages)",
        ),
        ("curl", said("data: [DONE]\n"), false, Some(200), None, "an answer without a word"),
        (
            "curl",
            said(chat.split_once("data: [DONE").unwrap().0),
            false,
            Some(200),
            Some("Ready."),
            "no whole answer",
        ),
        ("curl", refused, false, Some(404), None, "refused with 404: No model is there."),
        ("curl", html, false, Some(502), None, "refused with 502: <html>."),
    ] {
        let (port, asked) = answering(answer, true).await;
        let report = ask_within(app(id).unwrap(), &keyed(port, KEY), Duration::from_secs(60)).await;
        assert_eq!((report.ok, report.status, report.words.as_deref()), (ok, status, words), "{report:?}");
        assert!(report.detail.contains(detail), "{report:?}");
        assert_eq!(report.first_token_ms.is_some(), words.is_some(), "{report:?}");
        assert_eq!(report.answered_by.is_some(), status == Some(200));
        let asked = asked.await.unwrap();
        let path = if report.dialect == Dialect::Messages {
            "POST /v1/messages "
        } else {
            "POST /v1/chat/completions "
        };
        assert!(asked.starts_with(path) && asked.contains("\"model\":\"active\""), "{asked}");
        assert!(asked.contains(&format!("authorization: Bearer {KEY}")), "{asked}");
        assert!(!format!("{report:?}").contains(KEY));
    }
}

#[tokio::test]
async fn who_speaks_ollamas_own_api_is_asked_at_its_own_port_or_not_at_all() {
    let assistant = app("home-assistant").unwrap();
    // Nothing listens at the main port either: it is not asked.
    let report = ask_within(assistant, &wanted(1), Duration::from_secs(60)).await;
    assert_eq!((report.ok, report.url, report.status), (false, None, None));
    assert!(report.detail.contains("Set gateway.ollama_port to 11435"), "{}", report.detail);
    let line = "{\"message\":{\"content\":\"Ready.\"},\"done\":true}\n";
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{line}");
    let (port, asked) = answering(Box::leak(answer.into_boxed_str()), true).await;
    let wanted = Wanted { ollama: Ok(format!("http://127.0.0.1:{port}")), ..keyed(1, KEY) };
    let report = ask_within(assistant, &wanted, Duration::from_secs(60)).await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.url, Some(format!("http://127.0.0.1:{port}/api/chat")));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /api/chat ") && asked.contains(&format!("Bearer {KEY}")), "{asked}");
}

#[tokio::test]
async fn silence_has_an_end_and_an_empty_port_is_said() {
    let (port, _asked) =
        answering("HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n", false)
            .await;
    let report = ask_within(app("curl").unwrap(), &wanted(port), Duration::from_millis(300)).await;
    assert!(!report.ok && report.detail.contains("was not over"), "{report:?}");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let report = ask_within(app("curl").unwrap(), &wanted(free), Duration::from_secs(60)).await;
    assert!(
        !report.ok && report.status.is_none() && report.detail.contains("nothing answers there"),
        "{report:?}"
    );
}
