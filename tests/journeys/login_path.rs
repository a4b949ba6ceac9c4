//! A program that only the user's login shell finds: what a start from a desktop looks like.

use pilothouse_tests::sandbox::{Sandbox, Tools};
use std::{ffi::OsStr, fs};

#[tokio::test]
async fn a_server_is_found_where_only_the_login_shell_looks() {
    let Some(tools) = Tools::find() else { return };
    let sandbox = Sandbox::new(&tools, "[servers.llama-server]\nprogram = \"my-llama-server\"\n");
    let folder = sandbox.home().join("brew");
    fs::create_dir_all(&folder).unwrap();
    let program = tools.embedded.join("llama-server/bin/llama-server");
    std::os::unix::fs::symlink(program, folder.join("my-llama-server")).unwrap();
    let profile = format!("echo Welcome back.\nexport PATH=\"$PATH:{}\"\n", folder.display());
    fs::write(sandbox.home().join("../home/.bash_profile"), profile).unwrap();

    let as_from_a_desktop = [("TERM", ""), ("SHELL", "/bin/bash"), ("PATH", "/usr/bin:/bin")];
    let variables = as_from_a_desktop.map(|(name, value)| (name, OsStr::new(value)));
    let mut engine = sandbox.serve_with(&variables).await;
    sandbox.until_ready(&mut engine, "llama-server").await;
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
