//! A settings file that is wrong.

use pilothouse_tests::sandbox::{Sandbox, Tools};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_settings_changes_nothing_and_is_named() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    let good = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let gateway = sandbox.ask(&["status"]).unwrap()["gateway"].clone();
    let bad = good.replace("wait_s = 20", "wait_s = \"soon\"");
    assert_ne!(good, bad);
    std::fs::write(sandbox.settings_file(), &bad).unwrap();
    let message = sandbox
        .until(&mut engine, "a trouble", |status| Some(status["troubles"][0]["message"].as_str()?.to_owned()))
        .await;
    assert!(message.contains("wait_s"), "the key: {message}");
    assert!(message.contains("line 3"), "the line: {message}");
    assert_eq!(sandbox.ask(&["status"]).unwrap()["gateway"], gateway, "the last good settings hold");
    assert_eq!(std::fs::read_to_string(sandbox.settings_file()).unwrap(), bad, "the file is the person's");

    std::fs::write(sandbox.settings_file(), &good).unwrap();
    sandbox
        .until(&mut engine, "the end of the trouble", |status| {
            status["troubles"].as_array()?.is_empty().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_bad_settings_uses_the_defaults_and_says_so() {
    let Some(tools) = Tools::find() else { return };
    // A file that is not in force can give no ports: the defaults have theirs, where a person's own servers may be.
    let held =
        [11480_u16, 11434, 1234].into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err());
    if let Some(port) = held {
        println!("skipped: port {port} of the defaults is held");
        return;
    }
    let sandbox = Sandbox::new(&tools, "");
    let good = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    // Everything but the mistake would still be the sandbox's, were the file in force.
    let bad = format!("{good}\nnonsense = = 1\n");
    std::fs::write(sandbox.settings_file(), &bad).unwrap();
    let mut engine = sandbox.serve().await;
    let message = sandbox
        .until(&mut engine, "a trouble", |status| Some(status["troubles"][0]["message"].as_str()?.to_owned()))
        .await;
    assert!(message.contains("line"), "{message}");
    assert_eq!(std::fs::read_to_string(sandbox.settings_file()).unwrap(), bad);
    std::fs::write(sandbox.settings_file(), good).unwrap();
}
