//! What Pilothouse itself may use up: memory for bodies, connections, file descriptors.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, QUICK, without_ollama},
};
use futures_util::future::join_all;
use pilothouse_tests::sandbox::{
    EMBEDDED_MODEL, Group, Sandbox, Tools, command, limit_descriptors, server, until,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// The most memory that a process has ever had resident.
fn peak_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Sends the head and all but the last byte of a body of 60 MB.
async fn begin_large(port: u16) -> TcpStream {
    const LENGTH: usize = 60 << 20;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
         content-length: {LENGTH}\r\n\r\n{{\"x\":\""
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'y'; 1 << 20];
    let mut left = LENGTH - 6 - 1;
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(&piece[..now]).await.unwrap();
        left -= now;
    }
    stream
}

/// The end of the body, and the answer's first bytes.
async fn finish(mut stream: TcpStream) -> String {
    stream.write_all(b"}").await.unwrap();
    let mut answer = vec![0; 4096];
    let read = timeout(LIMIT, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_large_bodies_take_no_more_memory_than_is_set_aside_for_them() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut engine = sandbox.serve().await;
    let before = peak_bytes(engine.pid());
    let begun = join_all((0..10).map(|_| begin_large(sandbox.gateway_port))).await;
    let answers = join_all(begun.into_iter().map(finish)).await;
    let busy = answers.iter().filter(|answer| answer.contains("\"busy\"")).count();
    for answer in answers.iter().filter(|answer| answer.contains("\"busy\"")) {
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 5"), "{answer}");
    }
    // Four fit into 256 MB; the others were refused while those were held.
    assert!((6..=9).contains(&busy), "{answers:#?}");
    let taken = peak_bytes(engine.pid()) - before;
    println!("ten bodies of 60 MB took {} MB", taken >> 20);
    assert!(taken < 400 << 20, "{} MB", taken >> 20);
    // Everything was given back.
    let again = finish(begin_large(sandbox.gateway_port).await).await;
    assert!(!again.contains("\"busy\""), "{again}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_beyond_every_limit_lock_nobody_out_and_harm_no_server() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, QUICK);
    let mut limited = command("/bin/sh");
    sandbox.surround(&mut limited);
    limited.args(["-c", "ulimit -n 256; exec \"$0\" serve"]).arg(&sandbox.cli);
    let mut engine = Group::spawn(limited.stdin(Stdio::null()).stdout(Stdio::null()));
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await.unwrap();
    let web: u16 = sandbox
        .until(&mut engine, "the address", |status| {
            status["web_url"].as_str()?.split('/').nth(2)?.rsplit(':').next()?.parse().ok()
        })
        .await;
    let mut idle = Vec::new();
    for port in [sandbox.gateway_port, web] {
        for _ in 0..400 {
            idle.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
    }
    // Longer than it takes to end a server that does not answer.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let status = sandbox.run(&["status"]);
        assert_eq!(status.code, Some(0), "the command line is locked out: {status:?}");
        let ours = server(&status.json, "llama-server").unwrap();
        assert_eq!((&ours["state"], &ours["pid"]), (&"ready".into(), &before.into()), "{ours:#}");
        assert_eq!(ask(&sandbox).await.status(), 200);
    }
    drop(idle);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

/// As when the whole system has no descriptor left: nothing of ours can be opened, and the server is well.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_single_free_descriptor_no_server_is_blamed() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, QUICK);
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let before = sandbox.until_ready(&mut engine, "llama-server").await.unwrap();
    let log = || std::fs::read_to_string(sandbox.home().join("logs/pilothouse.log")).unwrap();
    limit_descriptors(engine.pid(), 0);
    // A kept connection needs no descriptor: the lack is met when the server has closed it, as it does after so many requests.
    until("the lack to be met", LIMIT, || async { log().contains("could not be asked").then_some(()) }).await;
    // Longer than it takes to end a server that does not answer.
    tokio::time::sleep(Duration::from_secs(10)).await;
    limit_descriptors(engine.pid(), u64::MAX);
    let after = until("the command line to be answered", LIMIT, || async { sandbox.ask(&["status"]) }).await;
    let ours = server(&after, "llama-server").unwrap();
    assert_eq!((&ours["pid"], &ours["restarts"]), (&before.into(), &0.into()), "{ours:#}");
    sandbox.until_ready(&mut engine, "llama-server").await;
    assert_eq!(after["active"]["model"], EMBEDDED_MODEL, "{after:#}");
    assert_eq!(ask(&sandbox).await.status(), 200);
    let log = log();
    let blamed: Vec<&str> = log.lines().filter(|line| line.contains("ending it")).collect();
    assert!(blamed.is_empty() && !after["notices"].to_string().contains("hung"), "{blamed:#?}");
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
