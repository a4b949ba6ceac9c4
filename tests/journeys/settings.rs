//! A settings file that is wrong.

use pilothouse_tests::{
    sandbox::{GGUF, Group, LIMIT, Sandbox, Tools, command, free_port, until},
    sims::lmstudio::{LmStudioSim, Options},
};
use std::{net::TcpListener, process::Stdio};

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

/// The port that `serve --port` asked for is no change of the file.
#[tokio::test(flavor = "multi_thread")]
async fn saving_the_settings_of_an_engine_with_a_port_of_its_own_needs_no_restart() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let settings = format!("[servers.llama-server]\nautostart = false\n\n[web]\nport = {}\n", free_port());
    let sandbox = Sandbox::new(&tools, &settings);
    let port = free_port().to_string();
    let mut command = command(&sandbox.cli);
    sandbox.surround(&mut command);
    command.args(["serve", "--port", &port]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut engine = Group::spawn(&mut command);
    sandbox.until(&mut engine, "an answer", |_| Some(())).await;
    let text = std::fs::read_to_string(sandbox.settings_file()).unwrap();
    // What is in force at once tells that the file was read again.
    std::fs::write(sandbox.settings_file(), format!("{text}\n[tray]\ngauge = \"both\"\n[gateway2]\n"))
        .unwrap();
    sandbox.until(&mut engine, "a mistake", first_trouble).await;
    std::fs::write(sandbox.settings_file(), format!("{text}\n[tray]\ngauge = \"both\"\n")).unwrap();
    sandbox
        .until(&mut engine, "its end", |status| status["troubles"].as_array()?.is_empty().then_some(()))
        .await;
    let moved = text.replace("[web]\nport = ", "[web]\nport = 1");
    std::fs::write(sandbox.settings_file(), format!("{moved}\n[gateway2]\n")).unwrap();
    sandbox.until(&mut engine, "another mistake", first_trouble).await;
    std::fs::write(sandbox.settings_file(), text.replace("wait_s = 20", "wait_s = 20\nenabled = false"))
        .unwrap();
    let needed = sandbox
        .until(&mut engine, "a restart to be needed", |status| {
            first_trouble(status).filter(|text| text.contains("not yet in force"))
        })
        .await;
    assert!(needed.contains("gateway") && !needed.contains("web"), "{needed}");
}

/// Servers of other owners come and go while Pilothouse runs, and with them what is active.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_that_is_removed_takes_the_active_model_along_and_says_so_simulated() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let folder = tempfile::tempdir().unwrap();
    let quick = Options { load_seconds: 0.1, ttft_ms: 5, ..Options::new(folder.path()) };
    let studio = LmStudioSim::start(quick).await.unwrap();
    let sandbox = Sandbox::new(&tools, "[servers.llama-server]\nautostart = false\n\n");
    let mut engine = sandbox.serve().await;
    let address = format!("{}/v1", studio.base_url().unwrap());
    assert_eq!(sandbox.run(&["servers", "add", "studio", &address]).code, Some(0));
    let model = until("a model of it", LIMIT, || async {
        let models = sandbox.ask(&["models"])?["models"].as_array()?.clone();
        let of_studio = models.into_iter().find(|model| model["server"] == "studio")?;
        Some(of_studio["name"].as_str()?.to_owned())
    })
    .await;
    assert_eq!(sandbox.switch(&model, "studio").code, Some(0));
    let removed = sandbox.run(&["servers", "remove", "studio"]);
    assert_eq!((removed.code, &removed.json["was_active"]), (Some(0), &true.into()), "{removed:?}");
    let status = sandbox.ask(&["status"]).unwrap();
    assert!(status["active"].is_null() && status["active_absent"].is_null(), "{status:#}");
    sandbox
        .until(&mut engine, "a word of it", |status| {
            let said = status["notices"].as_array()?.iter().find_map(|one| one["body"].as_str());
            said?.contains("studio is not in the settings any more").then_some(())
        })
        .await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
    let mut again = sandbox.serve().await;
    let status = sandbox.until(&mut again, "the next start", |status| Some(status.clone())).await;
    assert!(status["active"].is_null(), "nor after the next start: {status:#}");
    studio.stop().await;
}

/// As people write it, and as they sort their files.
#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_with_a_tilde_and_files_below_it_are_found() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    for written in ["~/llm", "$HOME/llm", "${HOME}/llm"] {
        let sandbox = Sandbox::new(&tools, &format!("[servers.llama-server]\nmodels_dir = {written:?}\n\n"));
        let home = sandbox.home().parent().unwrap().join("home");
        std::fs::create_dir_all(home.join("llm/owner/model")).unwrap();
        std::os::unix::fs::symlink(tools.embedded.join(GGUF), home.join("llm/owner/model/DEEP.GGUF"))
            .unwrap();
        let mut engine = sandbox.serve().await;
        sandbox.until_ready(&mut engine, "llama-server").await;
        sandbox.until_listed("DEEP").await;
        if written.starts_with('~') {
            sandbox.until_active(&mut engine, "llama-server").await;
            let switched = sandbox.switch("DEEP", "llama-server");
            assert_eq!(switched.code, Some(0), "the real server loads it: {switched:?}");
        }
        engine.terminate();
        sandbox.assert_clean_end(&mut engine).await;
    }
}

fn first_trouble(status: &serde_json::Value) -> Option<String> {
    Some(status["troubles"][0]["message"].as_str()?.to_owned())
}

/// By the command line, with an engine and without: the same words, the same file, its remarks kept.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_read_and_written_by_the_command_line_with_and_without_an_engine() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let sandbox = Sandbox::new(
        &tools,
        "[tray] # mine\ntext = false # no text\n\n[servers.llama-server]\nautostart = false\n",
    );
    let read = || std::fs::read_to_string(sandbox.settings_file()).unwrap();
    let before = read();
    let value = |key: &str| sandbox.ask(&["settings", "get", key]).unwrap()["value"].clone();
    let all_of = || {
        assert_eq!(value("gateway.wait_s"), 20);
        assert_eq!(value("gateway.queue"), 1024, "a default that is not written");
        for (arguments, code, said) in [
            (&["get", "gateway.wait"][..], 4, "gateway.wait_s"),
            (&["set", "gateway.wait", "5"], 4, "gateway.wait_s"),
            (&["set", "gateway.wait_s", "601"], 2, "1 to 600"),
            (&["set", "gateway.wait_s", "soon"], 2, "1 to 600"),
            (&["set", "servers.remote", "x"], 5, "page Servers"),
        ] {
            let refused = sandbox.run(&[&["settings"], arguments].concat());
            assert_eq!(refused.code, Some(code), "{arguments:?}: {refused:?}");
            assert!(refused.stdout.contains(said), "{arguments:?}: {refused:?}");
        }
        assert_eq!(read(), before, "nothing was written");
        let set = sandbox.run(&["settings", "set", "tray.text", "on"]);
        assert_eq!((set.code, &set.json["value"]), (Some(0), &true.into()), "{set:?}");
        assert_eq!(read(), before.replace("text = false # no text", "text = true # no text"));
        let reset = sandbox.run(&["settings", "reset", "tray.text"]);
        assert_eq!((reset.code, &reset.json["differs"]), (Some(0), &false.into()), "{reset:?}");
        assert_eq!(read(), before);
        let path = sandbox.ask(&["settings", "path"]).unwrap()["path"].clone();
        assert_eq!(path, sandbox.settings_file().display().to_string());
        let list = sandbox.ask(&["settings"]).unwrap();
        assert!(list["settings"].as_array().unwrap().len() > 40, "{list:#}");
    };
    all_of();
    let mut engine = sandbox.serve().await;
    all_of();
    let waits = sandbox.run(&["settings", "set", "gateway.port", &free_port().to_string()]);
    assert_eq!((waits.code, &waits.json["waits_for"]), (Some(0), &"pilothouse".into()), "{waits:?}");
    let needed = sandbox.until(&mut engine, "a word of the restart", first_trouble).await;
    assert!(needed.contains("gateway.port"), "{needed}");
    let back = sandbox.run(&["settings", "set", "gateway.port", &sandbox.gateway_port.to_string()]);
    assert!(back.json["waits_for"].is_null(), "{back:?}");
    std::fs::write(sandbox.settings_file(), "gateway = 5\n").unwrap();
    let refused = sandbox.run(&["settings", "set", "tray.text", "on"]);
    assert_eq!((refused.code, &refused.json["error"]["code"]), (Some(1), &"settings_invalid".into()));
    assert_eq!(read(), "gateway = 5\n");
    std::fs::write(sandbox.settings_file(), &before).unwrap();
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// What a server reads at its start is in force after a restart of that server alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_setting_of_a_server_is_in_force_after_its_own_restart() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: "/no/ollama".into(), ..tools };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let set = sandbox.run(&["settings", "set", "servers.llama-server.parallel", "3"]);
    assert_eq!(set.json["waits_for"], "llama-server", "{set:?}");
    assert_eq!(sandbox.run(&["servers", "restart", "llama-server"]).code, Some(0));
    let now = sandbox.ask(&["settings", "get", "servers.llama-server.parallel"]).unwrap();
    assert_eq!((&now["value"], &now["waits_for"]), (&3.into(), &serde_json::Value::Null));
    assert_eq!(sandbox.switch(pilothouse_tests::sandbox::EMBEDDED_MODEL, "llama-server").code, Some(0));
    let preset = std::fs::read_to_string(sandbox.home().join("run/llama-server.ini")).unwrap();
    assert!(preset.contains("parallel = 3"), "what it was started with: {preset}");
    let troubles = sandbox.ask(&["status"]).unwrap()["troubles"].clone();
    assert_eq!(troubles, serde_json::json!([]), "nothing waits any more");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
