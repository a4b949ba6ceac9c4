//! Many at a time, by real connections: what limits let begin, wrong keys, and changes meanwhile.

use super::*;
use crate::{Admits, Gateway};
use futures_util::future::join_all;
use tokio::net::TcpStream;

/// One connection to a gateway.
struct Line(hyper::client::conn::http1::SendRequest<String>);

impl Line {
    async fn to(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn chat(&mut self, key: &str) -> Response<hyper::body::Incoming> {
        let request = Request::post("/v1/chat/completions")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {key}"))
            .body(CHAT.to_owned())
            .unwrap();
        self.0.ready().await.unwrap();
        self.0.send_request(request).await.unwrap()
    }
}

async fn gateway(server: &Server, ring: &KeyRing) -> (Gateway, Ended) {
    let (recorder, ended) = Recorder::new(0);
    let (admits, leases) = (Admits::default(), server.leases.clone());
    (Gateway::start(0, &admits, leases, recorder, None, ring.clone()).await.unwrap(), ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_at_a_time_as_many_begin_as_the_limit_says() {
    let server = Server::start(&["m"]).await;
    let ring = ring(&[ClientKey { at_once: Some(8), ..key("crowd") }, key("free")]);
    let (gateway, _ended) = gateway(&server, &ring).await;
    let secret = secret("crowd");
    let statuses = async || {
        let one = async || {
            let answer = Line::to(&gateway).await.chat(&secret).await;
            let status = answer.status().as_u16();
            let told = answer.headers().clone();
            whole(answer).await;
            if status == 429 {
                assert_eq!(
                    (&told["retry-after"], &told["x-should-retry"]),
                    (&"2".parse().unwrap(), &"true".parse().unwrap())
                );
            }
            status
        };
        let mut all = join_all((0..200).map(|_| one()));
        // Eight go on until the other 192 have heard that they are too many: sooner, and others would begin in their places.
        let go = async {
            while ring.uses()[&hash_of(&secret)].limited < 192 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(ring.uses()[&hash_of(&secret)].under_way, 8);
            server.go.add_permits(8);
        };
        let (statuses, ()) = tokio::join!(&mut all, go);
        [200, 429].map(|status| statuses.iter().filter(|one| **one == status).count())
    };
    assert_eq!(statuses().await, [8, 192]);
    assert_eq!(ring.uses()[&hash_of(&secret)].under_way, 0, "each is given back");
    // A client that leaves gives its place back too.
    let mut line = Line::to(&gateway).await;
    let comes_in = async {
        while ring.uses()[&hash_of(&secret)].under_way == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = line.chat(&secret) => panic!("nobody let it go on: {answer:?}"),
        () = comes_in => {}
    }
    drop(line);
    while ring.uses()[&hash_of(&secret)].under_way > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tokens_by_the_minute_are_what_the_records_count() {
    let server = Server::quick(&["m"]).await;
    let ring = ring(&[ClientKey { tokens_per_minute: Some(100), ..key("thrifty") }]);
    let (gateway, mut ended) = gateway(&server, &ring).await;
    let mut line = Line::to(&gateway).await;
    let mut spent = 0;
    let refused = loop {
        let answer = line.chat(&secret("thrifty")).await;
        if answer.status() == 429 {
            break answer;
        }
        whole(answer).await;
        let tokens = ended.recv().await.unwrap().tokens;
        spent += tokens.input.unwrap() + tokens.output.unwrap();
        assert!(spent <= 200, "without an end");
    };
    // Each takes 16 by its bytes until it is told to be 10.
    assert_eq!(spent, 90);
    let seconds: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds), "{seconds}: 10 are left, 16 are wanted, 1.67 come by the second");
    let text = String::from_utf8(whole(refused).await.to_vec()).unwrap();
    assert!(text.contains("100 tokens by the minute"), "{text}");
    let record = ended.recv().await.unwrap();
    assert_eq!((record.status, record.error.as_deref()), (Some(429), Some("rate_limit_exceeded")));
    assert_eq!(ring.uses()[&hash_of(&secret("thrifty"))].limited, 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_is_slowed_and_counted_and_does_not_hold_up_right_ones() {
    let server = Server::quick(&["m"]).await;
    let ring = ring(&[key("laptop")]);
    let (gateway, mut ended) = gateway(&server, &ring).await;
    let wrong = async |number: usize| {
        let began = Instant::now();
        let answer = Line::to(&gateway).await.chat(&format!("ph_{number}")).await;
        assert_eq!(answer.status(), 401);
        whole(answer).await;
        began.elapsed() >= SLOWED_FOR
    };
    let right = async || {
        // A door that is full sends idle connections away, so each request has one of its own.
        for _ in 0..20 {
            let answer = Line::to(&gateway).await.chat(&secret("laptop")).await;
            assert_eq!(answer.status(), 200);
            whole(answer).await;
        }
    };
    let flood = join_all((0..500).map(wrong));
    let right = async {
        while ring.0.slowed.0.available_permits() > 0 && ring.wrong().count < 500 {
            tokio::task::yield_now().await;
        }
        right().await;
    };
    let (slowed, ()) = tokio::join!(flood, right);
    assert!(slowed.iter().filter(|slowed| **slowed).count() >= SLOWED, "as many as there is room for wait");
    assert_eq!(ring.wrong().count, 500);
    assert!(ring.wrong().last_at.is_some());
    assert_eq!(ring.0.slowed.0.available_permits(), SLOWED, "nobody is left");
    let mut kept = 0;
    while let Ok(record) = ended.try_recv() {
        assert_eq!(record.client.name(), "laptop");
        kept += 1;
    }
    assert_eq!(kept, 20, "of wrong keys nothing is recorded");
    assert_eq!(server.leases.asked(), 20, "and none of them came to the queue");
    gateway.stop().await;
}

#[tokio::test]
async fn changes_are_in_force_at_once_and_cut_nothing() {
    let server = Server::start(&["m"]).await;
    let ring = ring(&[ClientKey { at_once: Some(2), ..key("laptop") }]);
    let (gateway, _ended) = gateway(&server, &ring).await;
    let (mut one, mut two) = (Line::to(&gateway).await, Line::to(&gateway).await);
    let secret = secret("laptop");
    let held = async { one.chat(&secret).await.status() };
    let changes = async {
        while ring.uses()[&hash_of(&secret)].under_way == 0 {
            tokio::task::yield_now().await;
        }
        let before = ring.uses()[&hash_of(&secret)];
        assert!(before.last_used_at.is_some());
        // Another key is made: this one keeps what it has under way.
        ring.set_keys([
            (hash_of(&secret), ClientKey { at_once: Some(2), ..key("laptop") }),
            (hash_of("ph_new"), key("new")),
        ]);
        assert_eq!(ring.uses()[&hash_of(&secret)], before);
        ring.set_keys([(hash_of("ph_new"), key("new"))]);
        let refused = two.chat(&secret).await;
        assert_eq!(refused.status(), 401);
        whole(refused).await;
        server.go.add_permits(2);
        assert_eq!(two.chat("ph_new").await.status(), 200);
    };
    let (status, ()) = tokio::join!(held, changes);
    assert_eq!(status, 200, "an answer under way goes on");
    gateway.stop().await;
}
