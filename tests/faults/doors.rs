//! Local programs that ask for more than the gateway's API, and doors that are spoken to in unusual ways.

use crate::{
    answers::ask,
    scene::{LIMIT, NO_LLAMA, without_ollama},
};
use pilothouse_tests::sandbox::{EMBEDDED_MODEL, Sandbox, Tools};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Sends bytes as they are, which no HTTP library would; gives the answer.
async fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    timeout(LIMIT, read).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request whose first line and host are taken as they are.
async fn post(port: u16, line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    raw(port, &format!("{line}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_climbs_out_of_the_api_leaves_the_model_loaded() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, "");
    let mut engine = sandbox.serve().await;
    sandbox.until_active(&mut engine, "llama-server").await;
    let host = format!("host: 127.0.0.1:{}\r\n", sandbox.gateway_port);
    for path in [
        "/v1/..%2Fmodels%2Funload",
        "/v1/../models/unload",
        "/v1/%2e%2e/models/unload",
        "/v1/%2e%2e%2fmodels%2funload",
        "/v1/..%252Fmodels%252Funload",
        "/v1/chat/../../models/unload",
        "/v1/..%5Cmodels%5Cunload",
        "/v1//../models/unload",
        "/v1/models/unload",
        "/models/unload",
    ] {
        let answer =
            post(sandbox.gateway_port, &format!("POST {path} HTTP/1.1"), &host, "{\"model\":\"active\"}")
                .await;
        let refused = ["HTTP/1.1 404", "HTTP/1.1 405"].iter().any(|status| answer.starts_with(status));
        assert!(refused, "{path}: {answer}");
    }
    let models = sandbox.ask(&["models"]).unwrap();
    let ours = models["models"].as_array().unwrap().iter().find(|one| one["name"] == EMBEDDED_MODEL).unwrap();
    assert_eq!(ours["loaded"], true, "{ours:#}");
    assert_eq!(ask(&sandbox).await.status(), 200);
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_hidden_in_the_request_line_or_said_twice_stays_outside() {
    let Some(tools) = Tools::find().map(without_ollama) else { return };
    let sandbox = Sandbox::new(&tools, NO_LLAMA);
    let mut engine = sandbox.serve().await;
    let web = sandbox
        .until(&mut engine, "the address", |status| {
            let url = status["web_url"].as_str()?;
            url.split('/').nth(2)?.rsplit(':').next()?.parse::<u16>().ok()
        })
        .await;
    for (port, path) in [(sandbox.gateway_port, "/v1/models"), (web, "/")] {
        let own = format!("host: 127.0.0.1:{port}\r\n");
        let get = async |line: &str, headers: &str| post(port, line, headers, "").await;
        let well = get(&format!("GET {path} HTTP/1.1"), &own).await;
        // 404: the page was not built into the program.
        assert!(["HTTP/1.1 200", "HTTP/1.1 404"].iter().any(|status| well.starts_with(status)), "{well}");
        let line = format!("GET http://evil.example{path} HTTP/1.1");
        let refused = get(&line, &own).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "a foreign host in the request line: {refused}");
        for headers in [
            format!("{own}host: evil.example\r\n"),
            "host: evil.example\r\n".to_owned(),
            String::new(),
            format!("{own}origin: null\r\n"),
            format!("{own}origin: http://127.0.0.1:{port}\r\norigin: http://evil.example\r\n"),
        ] {
            let refused = get(&format!("GET {path} HTTP/1.1"), &headers).await;
            let status = refused.lines().next().unwrap_or_default();
            assert!(status.contains("403") || status.contains("400"), "{headers}: {refused}");
        }
    }
    engine.terminate();
    sandbox.assert_clean_end(&mut engine).await;
}
