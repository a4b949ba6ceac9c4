//! `pilothouse service`: the file it writes and what it asks of the service manager. That manager is a stand-in which writes
//! down how it was called: a test run has no systemd of a user.

use pilothouse_tests::{
    program,
    sandbox::{Sandbox, Tools, command},
};
use std::{path::Path, process::Stdio};

/// A `systemctl` that notes its arguments and ends with this code.
fn stand_in(folder: &Path, code: i32) {
    std::fs::create_dir_all(folder).unwrap();
    let program = folder.join("systemctl");
    let lines = format!("echo \"$@\" >>\"$(dirname \"$0\")/calls\"\nexit {code}");
    program::script(&program, &lines).unwrap();
}

fn service(sandbox: &Sandbox, tools: &Tools, stand_in: &Path, verb: &str) -> (Option<i32>, String) {
    let mut command = command(&tools.cli);
    sandbox.surround(&mut command);
    let path = format!("{}:/usr/bin:/bin", stand_in.display());
    let output = command
        .env("PATH", path)
        .env("XDG_CONFIG_HOME", sandbox.home().join("xdg"))
        .args(["service", verb, "--json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_service_is_installed_and_removed_and_a_failure_leaves_nothing() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let file = sandbox.home().join("xdg/systemd/user/pilothouse.service");

    let broken = sandbox.home().join("broken");
    stand_in(&broken, 1);
    let (code, said) = service(&sandbox, &tools, &broken, "install");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("systemctl") && !file.exists(), "{said}");
    assert_eq!(service(&sandbox, &tools, &broken, "remove").0, Some(4), "none is installed");

    let well = sandbox.home().join("well");
    stand_in(&well, 0);
    let (code, said) = service(&sandbox, &tools, &well, "install");
    assert_eq!(code, Some(0), "{said}");
    let unit = std::fs::read_to_string(&file).unwrap();
    assert!(unit.contains(&format!("ExecStart=\"{}\" serve", tools.cli.display())), "{unit}");
    assert!(unit.contains(&format!("PILOTHOUSE_HOME={}", sandbox.home().display())), "{unit}");
    // Another unit than before is put in force, the same one cuts nothing off.
    assert_eq!(service(&sandbox, &tools, &well, "install").0, Some(0));
    std::fs::write(&file, unit.replace("serve", "serve --port 1")).unwrap();
    assert_eq!(service(&sandbox, &tools, &well, "install").0, Some(0));
    let (code, said) = service(&sandbox, &tools, &well, "remove");
    assert!(code == Some(0) && !file.exists(), "{said}");
    let calls = std::fs::read_to_string(well.join("calls")).unwrap();
    let verbs: Vec<&str> = calls.lines().filter_map(|call| call.strip_prefix("--user ")).collect();
    let installed = |verb| ["daemon-reload", "enable pilothouse.service", verb];
    let start = installed("start pilothouse.service");
    let wanted = [&start, &start, &installed("restart pilothouse.service")[..]].concat();
    assert_eq!(verbs[..9], wanted);
    assert_eq!(verbs[9..], ["disable --now pilothouse.service"]);
}
