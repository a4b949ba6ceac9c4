use super::*;
use crate::upstream::Onward;
use axum::http::{HeaderMap, Uri};
use futures_util::StreamExt;
use pilothouse_domain::endpoint::{Endpoint, Secret};
use pilothouse_leases::Target;
use reqwest::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

/// What a server saw of its connections, in the order in which it happened.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Opened,
    Asked(String),
    Closed,
}

/// A server that gives these pieces as its answer to each request, each as soon as it is told to.
struct Server {
    at: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    say: mpsc::UnboundedSender<&'static str>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let (say, mut pieces) = mpsc::unbounded_channel::<&'static str>();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = tell.send(Seen::Opened);
                loop {
                    let mut bytes = vec![0; 1 << 16];
                    tokio::select! {
                        read = connection.read(&mut bytes) => match read {
                            Ok(read) if read > 0 => {
                                let _ = tell.send(Seen::Asked(String::from_utf8_lossy(&bytes[..read]).into_owned()));
                            }
                            _ => break,
                        },
                        piece = pieces.recv() => {
                            let Some(piece) = piece else { return };
                            let _ = connection.write_all(piece.as_bytes()).await;
                        }
                    }
                }
                let _ = tell.send(Seen::Closed);
            }
        });
        Self { at, seen, say }
    }

    async fn asked(&mut self) -> String {
        match self.seen.recv().await.unwrap() {
            Seen::Asked(text) => text,
            other => panic!("{other:?}"),
        }
    }
}

async fn ask(lines: &Lines, to: SocketAddr) -> Result<Response, Failure> {
    let headers: HeaderMap =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
    let onward = Onward::new(&Uri::from_static("/v1/chat/completions?beta=true"), &headers).unwrap();
    let target = Target {
        server: "s".into(),
        model: "a".into(),
        instance: "a".into(),
        openai: Endpoint { base_url: format!("http://{to}/openai/v1"), key: Some(Secret::new("the-key")) },
        slots: 1,
    };
    onward.send(lines, &target, None, Pieces::new(vec![Bytes::from_static(b"{}")])).await
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_once_its_answer_was_read() {
    let (lines, mut server) = (Lines::default(), Server::start().await);
    let mut opened = 0;
    for whole in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let serving = async {
            loop {
                match server.seen.recv().await.unwrap() {
                    Seen::Opened => opened += 1,
                    Seen::Asked(text) => break text,
                    Seen::Closed => panic!("it was to be kept"),
                }
            }
        };
        let (answer, text) = tokio::join!(ask(&lines, server.at), async {
            let text = serving.await;
            server.say.send(whole).unwrap();
            text
        });
        let answer = answer.unwrap();
        assert_eq!(answer.url().path(), "/openai/v1/chat/completions");
        let wanted = if answer.status() == 204 { "" } else { "ok" };
        assert_eq!(answer.text().await.unwrap(), wanted);
        assert_eq!(lines.unused(server.at), 1);
        assert!(text.starts_with("POST /openai/v1/chat/completions?beta=true HTTP/1.1\r\n"), "{text}");
        for line in [
            "authorization: Bearer the-key",
            "accept: */*",
            "content-length: 2",
            "content-type: application/json",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
        assert!(
            text.contains(&format!("\r\nhost: {}\r\n", server.at)) && text.ends_with("\r\n\r\n{}"),
            "{text}"
        );
    }
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn whoever_leaves_an_answer_ends_its_request_at_the_server() {
    let (lines, mut server) = (Lines::default(), Server::start().await);
    // Before the head of the answer, before its first piece, and in the middle.
    for said in ["", HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"] {
        {
            let asking = ask(&lines, server.at);
            tokio::pin!(asking);
            tokio::select! {
                _ = &mut asking => panic!("nothing was said yet"),
                opened = server.seen.recv() => assert_eq!(opened, Some(Seen::Opened)),
            }
            tokio::select! {
                _ = &mut asking => panic!("nothing was said yet"),
                _ = server.asked() => {}
            }
            if !said.is_empty() {
                server.say.send(said).unwrap();
                let mut pieces = asking.await.unwrap().bytes_stream();
                if said != HEAD {
                    assert_eq!(pieces.next().await.unwrap().unwrap(), "ok");
                }
            }
        }
        assert_eq!(server.seen.recv().await, Some(Seen::Closed), "{said:?}");
        assert_eq!(lines.unused(server.at), 0, "it is in the middle of an answer");
    }
}

#[tokio::test]
async fn what_is_not_used_for_a_while_is_closed() {
    let (lines, mut server) = (Lines::default(), Server::start().await);
    let answer = tokio::join!(ask(&lines, server.at), async {
        assert_eq!(server.seen.recv().await, Some(Seen::Opened));
        server.asked().await;
        server.say.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    drop(answer.0.unwrap());
    assert_eq!(lines.unused(server.at), 1);
    tokio::time::pause();
    tokio::time::sleep(2 * IDLE_LIMIT).await;
    assert_eq!(lines.unused(server.at), 0);
    tokio::time::resume();
    assert_eq!(server.seen.recv().await, Some(Seen::Closed));
}

#[tokio::test]
async fn a_server_that_ends_the_connection_is_told_from_one_that_ends_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for said in [
            "",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        ] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await;
            connection.write_all(said.as_bytes()).await.unwrap();
        }
    });
    let lines = Lines::default();
    assert!(ask(&lines, at).await.unwrap_err().is_unheard(), "it may be sent again");
    assert_eq!(ask(&lines, at).await.unwrap().text().await.unwrap(), "whole");
    assert!(ask(&lines, at).await.unwrap().text().await.is_err(), "the rest is missing");
    assert_eq!(lines.unused(at), 0);
    let failure = {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        ask(&lines, closed).await.unwrap_err()
    };
    assert!(matches!(failure, Failure::Unconnected(_)) && !failure.is_unheard());
}

/// Linux keeps as many connections as this for whoever listens, and one more, and lets all others wait.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_without_room_for_one_more_connection_may_be_asked_again() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let crowd = [TcpStream::connect(at).await.unwrap(), TcpStream::connect(at).await.unwrap()];
    let failure = ask(&Lines::default(), at).await.unwrap_err();
    assert!(matches!(failure, Failure::Unconnected(_)) && failure.is_unheard(), "{failure:?}");
    drop(crowd);
}

#[tokio::test]
async fn a_long_answer_that_comes_faster_than_it_is_read_comes_whole() {
    const BYTES: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
        write!(connection, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let piece = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(64);
        for _ in 0..BYTES / (64 << 10) {
            connection.write_all(piece.as_bytes()).unwrap();
        }
        connection.write_all(b"0\r\n\r\n").unwrap();
        // Open: one that is closed is not kept.
        connection
    });
    let lines = Lines::default();
    let answer = ask(&lines, at).await.unwrap();
    assert_eq!(answer.bytes().await.unwrap().len(), BYTES);
    assert_eq!(lines.unused(at), 1);
    drop(server.join().unwrap());
}

#[test]
fn only_plain_connections_to_numbers_of_this_machine_are_ours() {
    for (url, place) in [
        ("http://127.0.0.1:11434/v1", Some("127.0.0.1:11434")),
        ("http://127.8.9.1/v1", Some("127.8.9.1:80")),
        ("http://[::1]:8080/v1", Some("[::1]:8080")),
        ("http://localhost:11434/v1", None),
        ("https://127.0.0.1:11434/v1", None),
        ("http://192.168.0.7:11434/v1", None),
        ("http://127.0.0.1.evil.example/v1", None),
        ("http://[::ffff:192.168.0.7]/v1", None),
    ] {
        let found = Lines::place(&url.parse().unwrap()).map(|place| place.to_string());
        assert_eq!(found.as_deref(), place, "{url}");
    }
}
