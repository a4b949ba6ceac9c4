//! What the command line does with arguments that are no text, and with output that nobody takes.

use pilothouse_tests::sandbox::{Group, Sandbox, Tools, command};
use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::unix::ffi::OsStrExt,
    process::{Output, Stdio},
};

/// Every verb, in a shape that can be run without changing anything.
const VERBS: [&[&str]; 31] = [
    &["status"],
    &["servers"],
    &["servers", "check", "ollama"],
    &["servers", "discover"],
    &["servers", "end-orphans"],
    &["servers", "locate", "ollama"],
    &["servers", "remove", "nobody"],
    &["servers", "take-over", "ollama"],
    &["keys", "remove", "nobody"],
    &["models"],
    &["switch", "nobody", "--dry-run"],
    &["bench", "nobody"],
    &["sweep", "nobody"],
    &["compare", "1", "2"],
    &["history"],
    &["history", "size"],
    &["report"],
    &["report", "--owner"],
    // It is there already.
    &["export", "/dev/null"],
    &["import", "/no/such/file"],
    &["memory"],
    &["machine"],
    &["fit", "7b", "--machine", "m4-max-36"],
    &["gauges"],
    &["gauges", "--watch"],
    &["gauges", "--history", "15m"],
    &["logs", "ollama"],
    &["logs", "ollama", "--search", "a"],
    &["doctor"],
    &["completions", "bash"],
    &["--help"],
];

/// Settings that start nothing.
const NOTHING: &str = "[servers.llama-server]\nautostart = false\n\n";

fn sandbox(settings: &str) -> Option<Sandbox> {
    let tools = Tools { ollama: "/no/ollama".into(), ..Tools::find()? };
    Some(Sandbox::new(&tools, settings))
}

fn run(sandbox: &Sandbox, arguments: &[&OsStr], stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.spawn().unwrap().wait_with_output().unwrap()
}

fn words(verb: &[&'static str]) -> Vec<&'static OsStr> {
    verb.iter().map(|word| OsStr::new(*word)).collect()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn an_argument_that_is_no_text_is_wrong_usage_for_every_verb() {
    let Some(sandbox) = sandbox(NOTHING) else { return };
    let odd = OsStr::from_bytes(b"caf\xe9.gguf");
    for verb in VERBS.into_iter().filter(|verb| verb[0] != "--help").chain([&["serve"][..], &["setup"], &[]])
    {
        for json in [false, true] {
            let mut arguments = words(verb);
            arguments.push(odd);
            arguments.extend(json.then_some(OsStr::new("--json")));
            let output = run(&sandbox, &arguments, Stdio::piped(), Stdio::piped());
            let said =
                String::from_utf8_lossy(if json { &output.stdout } else { &output.stderr }).into_owned();
            assert_eq!(output.status.code(), Some(2), "{verb:?}: {said}");
            assert!(said.contains("error") && !said.contains("panicked"), "{verb:?}: {said}");
            if json {
                let document: serde_json::Value = serde_json::from_str(&said).unwrap();
                assert_eq!(document["error"]["code"], "invalid_call", "{verb:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_none() {
    let Some(sandbox) = sandbox(NOTHING) else { return };
    let check = |engine: &str| {
        for verb in VERBS {
            for json in [false, true] {
                let mut arguments = words(verb);
                arguments.extend((json && verb[0] != "--help").then_some(OsStr::new("--json")));
                let what = format!("{arguments:?} {engine}");
                // With an engine it goes on for ever.
                let endless = verb.contains(&"--watch") && engine == "with one";
                let whole = (!endless).then(|| run(&sandbox, &arguments, Stdio::piped(), Stdio::piped()));
                let lost = run(&sandbox, &arguments, full(), Stdio::piped());
                let said = String::from_utf8_lossy(&lost.stderr).into_owned();
                assert!(matches!(lost.status.code(), Some(1..=5)), "{what}: {:?} {said}", lost.status);
                assert!(!said.contains("panicked"), "{what}: {said}");
                // Without --json an error of the verb's own goes to stderr, and stdout stays empty.
                let prints = whole.as_ref().is_none_or(|whole| !whole.stdout.is_empty());
                assert_eq!(said.contains("could not be written"), prints, "{what}: {said}");

                let left = run(&sandbox, &arguments, closed(), Stdio::piped());
                let Some(whole) = whole else {
                    assert_eq!((left.status.code(), left.stderr), (Some(0), vec![]), "{what}");
                    continue;
                };
                let said = String::from_utf8_lossy(&left.stderr).into_owned();
                assert_eq!(left.status.code(), whole.status.code(), "{what}: {said}");
                assert_eq!(said, String::from_utf8_lossy(&whole.stderr), "{what}: nothing is said of it");

                let mute = run(&sandbox, &arguments, Stdio::piped(), full());
                assert_eq!(mute.status.code(), whole.status.code(), "{what}: an stderr that takes nothing");
            }
        }
    };
    check("without an engine");
    let mut engine = sandbox.serve().await;
    sandbox.until(&mut engine, "a first sample", |_| sandbox.ask(&["gauges"])).await;
    check("with one");
}

/// It ends in order, its servers with it: whoever started it waits for its first line.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_first_line_is_lost_ends_and_leaves_nothing() {
    let Some(sandbox) = sandbox(NOTHING) else { return };
    for (stdout, code) in [(full(), 1), (closed(), 0)] {
        let mut command = command(&sandbox.cli);
        sandbox.surround(&mut command);
        command.arg("serve").stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        let mut engine = Group::spawn(&mut command);
        assert_eq!(sandbox.assert_clean_end(&mut engine).await.code(), Some(code));
    }
}

/// Without a window or a browser nobody else would say it.
#[tokio::test(flavor = "multi_thread")]
async fn troubles_are_said_on_stderr_by_serve_and_by_doctor_without_an_engine() {
    let Some(sandbox) = sandbox(NOTHING) else { return };
    let good = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let checked = |name: &str| {
        let answer = sandbox.run(&["doctor"]);
        let checks = answer.json["checks"].as_array().unwrap().clone();
        let hit = checks.into_iter().find(|check| check["name"] == name);
        (answer.code, hit.map(|hit| (hit["result"].clone(), hit["detail"].clone())))
    };
    assert_eq!(checked("settings file").1.unwrap().0, "ok");
    std::fs::write(sandbox.settings_file(), good.replace("wait_s = 20", "wait_s = \"soon\"")).unwrap();
    let (code, hit) = checked("settings file");
    let (result, detail) = hit.unwrap();
    assert_eq!((code, &result), (Some(1), &"fail".into()), "{detail}");
    assert!(detail.as_str().unwrap().contains("gateway.wait_s"), "{detail}");
    let missing = format!("{good}\nmodels_dir = \"~/no such folder\"\n");
    let missing = missing
        .replace(NOTHING.trim_end(), "")
        .replace("\nmodels_dir = \"~/no", "\n[servers.llama-server]\nautostart = false\nmodels_dir = \"~/no");
    std::fs::write(sandbox.settings_file(), &missing).unwrap();
    assert_eq!(checked("folders").0, Some(1));

    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut engine = Group::spawn(&mut command);
    let mut stderr = engine.child().stderr.take().unwrap();
    let told = |status: &serde_json::Value| status["troubles"].as_array().map(Vec::len);
    sandbox.until(&mut engine, "the trouble", |status| (told(status)? == 1).then_some(())).await;
    let home = sandbox.home().parent().unwrap().join("home");
    std::fs::create_dir(home.join("no such folder")).unwrap();
    sandbox.until(&mut engine, "its end", |status| (told(status)? == 0).then_some(())).await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let line = |begin: &str| lines.iter().position(|line| line.starts_with(begin));
    let (trouble, over) = (line("Trouble  servers.llama-server.models_dir"), line("Over "));
    assert!(trouble.is_some() && trouble < over, "{said}");
    assert!(said.contains("home/no such folder"), "the path as it was read: {said}");
    assert!(lines[trouble.unwrap() + 1].contains("Make the folder"), "what to do: {said}");
}
