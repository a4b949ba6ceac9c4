//! An Ollama that the system's manager keeps, as its own installer sets it up.

use crate::machine::{Machine, write_unit};
use pilothouse_tests::sandbox::server;

/// As https://ollama.com/install.sh writes it.
const UNIT: &str = "[Unit]\nDescription=Ollama Service\nAfter=network-online.target\n\n[Service]\n\
    ExecStart=/usr/local/bin/ollama serve\nUser=ollama\nGroup=ollama\nRestart=always\nRestartSec=3\n\
    Environment=\"PATH=/usr/local/bin:/usr/bin:/bin\"\n\n[Install]\nWantedBy=default.target\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_of_the_system_is_used_and_not_taken_over_and_the_command_for_it_is_right() {
    let Some(mut machine) = Machine::new() else { return };
    machine.install(&machine.tools.ollama, "ollama");
    machine.boot().await;
    machine.add_user().await;
    let made =
        machine.run("useradd", &["--system", "--create-home", "--home-dir", "/usr/share/ollama", "ollama"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    write_unit(&machine, "ollama.service", UNIT);
    assert_eq!(machine.run("systemctl", &["enable", "--now", "ollama.service"]).code, Some(0));
    let pid =
        || machine.run("systemctl", &["show", "ollama.service", "--value", "--property=MainPID"]).stdout;
    let before = pid();

    assert_eq!(machine.pilothouse(&["service", "install"]).code, Some(0));
    let found = machine
        .until("Ollama", |status| {
            server(status, "ollama").filter(|ollama| ollama["state"] == "ready").cloned()
        })
        .await;
    assert_eq!(found["ownership"], "adopted", "{found:#}");

    let refused = machine.pilothouse(&["servers", "take-over", "ollama"]);
    assert_eq!((refused.code, &refused.json["error"]["code"]), (Some(5), &"not_ours".into()), "{refused:?}");
    let hint = refused.json["error"]["hint"].as_str().unwrap();
    let wanted = "sudo systemctl disable --now ollama.service";
    assert!(hint.contains(wanted), "{refused:?}");
    assert_eq!(pid(), before, "nobody touched it");

    // What the hint says, by somebody who may.
    let words: Vec<&str> = wanted.split(' ').skip(1).collect();
    assert_eq!(machine.run(words[0], &words[1..]).code, Some(0));
    machine
        .until("its end", |status| {
            server(status, "ollama").filter(|ollama| ollama["state"] != "ready").map(drop)
        })
        .await;
    let started = machine.pilothouse(&["servers", "start", "ollama"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    let ours = machine
        .until("an Ollama of ours", |status| {
            server(status, "ollama").filter(|ollama| ollama["state"] == "ready").cloned()
        })
        .await;
    assert_eq!(ours["ownership"], "ours", "{ours:#}");

    assert_eq!(machine.pilothouse(&["service", "remove"]).code, Some(0));
    machine.end().await;
}
