//! `pilothouse service` with a real manager of a user's services.

use crate::machine::{Machine, USER, USER_ID};
use pilothouse_tests::sandbox::until;

const UNIT: &str = "pilothouse.service";

impl Machine {
    /// What the user's manager says of the service.
    fn property(&self, name: &str) -> String {
        let shown = self.as_user("systemctl", &["--user", "show", UNIT, "--value", "--property", name]);
        shown.stdout.trim().to_owned()
    }

    fn journal(&self) -> String {
        self.run("journalctl", &["--sync"]);
        self.run("journalctl", &["--no-pager", &format!("_UID={USER_ID}")]).stdout
    }

    fn service_file(&self) -> std::path::PathBuf {
        self.root().join(format!("home/{USER}/.config/systemd/user/{UNIT}"))
    }

    fn check(&self, name: &str) -> Option<serde_json::Value> {
        let doctor = self.pilothouse(&["doctor"]);
        let checks = doctor.json["checks"].as_array().unwrap_or_else(|| panic!("{doctor:?}"));
        checks.iter().find(|check| check["name"] == name).cloned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_machine_runs_it_as_a_service_that_comes_back_after_a_crash_and_a_boot() {
    let Some(mut machine) = Machine::new() else { return };
    machine.boot().await;
    machine.add_user().await;

    // From `su`, say: the session knows nothing of the user's manager.
    let refused = machine.as_user_with(&[], "pilothouse", &["service", "install", "--json"]);
    assert!(refused.code == Some(1) && refused.stdout.contains("XDG_RUNTIME_DIR"), "{refused:?}");
    assert!(!machine.service_file().exists(), "nothing stays behind");

    let installed = machine.pilothouse(&["service", "install"]);
    assert_eq!((installed.code, &installed.json["service"]), (Some(0), &"installed".into()), "{installed:?}");
    let (pid, gateway) = machine
        .until("an answer", |status| Some((status["pid"].as_u64()?, status["gateway"].as_str()?.to_owned())))
        .await;
    assert_eq!(gateway, "http://127.0.0.1:11480/v1");
    assert_eq!(machine.property("MainPID"), pid.to_string());
    let ask = "exec 3<>/dev/tcp/127.0.0.1/11480; printf 'GET /v1/models HTTP/1.0\\r\\nHost: 127.0.0.1:11480\\r\\n\\r\\n' >&3; cat <&3";
    let models = machine.as_user("bash", &["-c", ask]);
    assert!(models.stdout.contains("200 OK") && models.stdout.contains("\"data\""), "{models:?}");
    let certificates = machine.check("certificates").unwrap();
    assert_eq!(certificates["result"], "warn", "{certificates:#}");
    assert_eq!(machine.check("service").unwrap()["result"], "ok");
    let setup = machine.pilothouse(&["setup", "--yes"]);
    assert!(setup.code == Some(1) && setup.stdout.contains("ca-certificates"), "{setup:?}");

    let killed = machine.as_user("systemctl", &["--user", "kill", "--kill-who=main", "--signal=KILL", UNIT]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    machine.until("another life", |status| status["pid"].as_u64().filter(|other| *other != pid)).await;
    assert_eq!(machine.property("NRestarts"), "1");
    let journal = machine.journal();
    let own: Vec<&str> =
        journal.lines().filter(|line| line.contains(&format!("pilothouse[{pid}]"))).collect();
    assert!(own.iter().any(|line| line.contains("Gateway  http://127.0.0.1:11480/v1")), "{journal}");
    assert!(own.iter().any(|line| line.contains("server state")), "its log: {journal}");
    assert!(!journal.contains("token=") && journal.contains("status=9/KILL"), "{journal}");

    // With the machine, without a login.
    machine.halt().await;
    machine.boot().await;
    machine.until_user_manager().await;
    machine.until("an answer after the boot", |status| status["gateway"].as_str().map(drop)).await;

    upgrade(&machine).await;

    let removed = machine.pilothouse(&["service", "remove"]);
    assert_eq!((removed.code, &removed.json["hint"]), (Some(0), &serde_json::Value::Null), "{removed:?}");
    assert!(!machine.service_file().exists());
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert_eq!(machine.pilothouse(&["status"]).code, Some(3), "it does not run");
    assert_eq!(machine.pilothouse(&["service", "remove"]).code, Some(4));
    machine.end().await;
}

/// The file of the program is replaced under a running service.
async fn upgrade(machine: &Machine) {
    let pid = machine.property("MainPID");
    assert_eq!(machine.check("Pilothouse"), None);
    machine.install(&machine.tools.cli, "pilothouse");
    machine
        .until("an answer of the old one", |status| {
            (status["pid"].as_u64() == pid.parse().ok()).then_some(())
        })
        .await;
    let replaced = machine.check("Pilothouse").unwrap();
    assert!(replaced["detail"].as_str().unwrap().contains("replaced"), "{replaced:#}");
    // The same service again cuts nothing off.
    assert_eq!(machine.pilothouse(&["service", "install"]).code, Some(0));
    assert_eq!(machine.property("MainPID"), pid);
    let hint = replaced["hint"].as_str().unwrap();
    let restart = hint.rsplit(": ").next().unwrap();
    let words: Vec<&str> = restart.split(' ').collect();
    assert_eq!(machine.as_user(words[0], &words[1..]).code, Some(0), "{restart}");
    until("the new one", crate::machine::LIMIT, || async {
        let answers = machine.pilothouse(&["status"]).code == Some(0);
        (answers && machine.property("MainPID") != pid && machine.check("Pilothouse").is_none()).then_some(())
    })
    .await;
}
