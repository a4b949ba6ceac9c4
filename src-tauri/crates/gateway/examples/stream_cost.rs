//! What the one address adds to an answer: the same requests straight to a server that answers at once, through the gateway, and
//! through any other proxies, in turns, so that a noisy machine is noisy for all of them.
//!
//! `stream_cost [--upstream PORT] [--via NAME=HOST:PORT]... [--key KEY] [--rounds N] [--only stream-64]`. A proxy given by `--via` passes
//! everything on to 127.0.0.1 and the port of `--upstream`; `--key` is shown to all, and leaves out the gateway of its own. Printed are medians over all rounds: the time of an
//! answer, what the way adds to it, and answers a second as a share of those of the direct way; with a proxy named nginx also as a share
//! of its own. `stream_cost --crowd SECONDS --via NAME=HOST:PORT --pid PID` lets 1,000 clients ask there without a pause, 100 of which
//! read slowly, and prints memory and open files of that process as time goes by. `stream_cost --serve PORT` is only the server that answers at once, for a Pilothouse that is to find it; `--upstream` of
//! that port uses it then.

use pilothouse_domain::endpoint::Endpoint;
use pilothouse_gateway::Gateway;
use pilothouse_leases::{ActiveRoute, Leases, Routes, Target};
use std::{
    io::{self, Error},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::JoinSet,
};

const CHUNKS: usize = 64;
const NO_KEY: &str = "none";
/// As long as a token of llama-server with its JSON around it.
const CHUNK: &str = "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\" word\"}}],\"created\":1796000000,\
                     \"id\":\"chatcmpl-Xa1Wq2\",\"model\":\"a\",\"object\":\"chat.completion.chunk\"}\n\n";

/// Options as they are written on the command line.
struct Options {
    serve: Option<u16>,
    /// How long a crowd asks, in seconds, and the process that is watched.
    crowd: Option<(u64, u32)>,
    upstream: u16,
    key: String,
    via: Vec<(String, String)>,
    rounds: usize,
    only: Option<String>,
}

fn options() -> Options {
    let mut options = Options {
        serve: None,
        crowd: None,
        upstream: 0,
        key: NO_KEY.into(),
        via: vec![],
        rounds: 15,
        only: None,
    };
    let mut words = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name.as_str() {
            "--upstream" => options.upstream = value.parse().unwrap_or_default(),
            "--serve" => options.serve = value.parse().ok(),
            "--key" => options.key = value,
            "--crowd" => options.crowd = value.parse().ok().map(|seconds| (seconds, 0)),
            "--pid" => options.crowd = options.crowd.zip(value.parse().ok()).map(|((s, _), pid)| (s, pid)),
            "--only" => options.only = Some(value),
            "--rounds" => options.rounds = value.parse().unwrap_or(options.rounds),
            _ => options.via.extend(value.split_once('=').map(|(name, at)| (name.to_owned(), at.to_owned()))),
        }
    }
    options
}

/// Answers at once: a stream in pieces, each written by itself as servers do, or one short document.
async fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut request = Vec::new();
    loop {
        let (length, streams) = loop {
            if let Some(found) = whole_request(&request) {
                break found;
            }
            if connection.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        };
        let lists = request.starts_with(b"GET ");
        request.drain(..length);
        if lists {
            let list = "{\"object\":\"list\",\"data\":[{\"id\":\"a\",\"object\":\"model\"}]}";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            connection.write_all(format!("{head}{}\r\n\r\n{list}", list.len()).as_bytes()).await?;
            continue;
        }
        if !streams {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"choices\":[]}";
            connection.write_all(head.as_bytes()).await?;
            continue;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.write_all(head.as_bytes()).await?;
        let piece = format!("{:x}\r\n{CHUNK}\r\n", CHUNK.len());
        for _ in 0..CHUNKS {
            connection.write_all(piece.as_bytes()).await?;
        }
        connection.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await?;
    }
}

/// Answers all who connect, on one thread, for as long as the program runs.
fn serve(port: u16, tell: impl FnOnce(u16)) -> io::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        tell(listener.local_addr()?.port());
        loop {
            let (connection, _) = listener.accept().await?;
            tokio::spawn(answer(connection));
        }
    })
}

/// Of the crowd, and how many of them take their time.
const CROWD: usize = 1000;
const SLOW: usize = 100;

/// Asks for streams one after the other until the end, each on the same connection as long as that is kept. A slow one reads a little at
/// a time and waits between.
async fn one_of_many(address: String, key: String, slow: bool, end: Instant, ended: Arc<Ended>) {
    while Instant::now() < end {
        let asked = async {
            let mut connection = TcpStream::connect(&address).await?;
            while Instant::now() < end {
                connection.write_all(request(&key, true).as_bytes()).await?;
                let (mut read, mut piece) = (Vec::with_capacity(16 << 10), [0; 512]);
                while !is_whole(&read) {
                    let count = match slow {
                        true => connection.read(&mut piece).await?,
                        false => connection.read_buf(&mut read).await?,
                    };
                    if count == 0 {
                        return Err(Error::other("closed in the middle"));
                    }
                    if slow {
                        read.extend_from_slice(&piece[..count]);
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                }
                if !read.starts_with(b"HTTP/1.1 200") {
                    return Err(Error::other(
                        String::from_utf8_lossy(&read[..read.len().min(400)]).into_owned(),
                    ));
                }
                ended.whole.fetch_add(1, Relaxed);
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = asked.await {
            ended.failed.fetch_add(1, Relaxed);
            ended.last.lock().unwrap_or_else(PoisonError::into_inner).replace(error.to_string());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What came of the requests of a crowd.
#[derive(Default)]
struct Ended {
    whole: AtomicU64,
    failed: AtomicU64,
    /// Why one failed.
    last: Mutex<Option<String>>,
}

/// Memory of a process in MB (PSS) and its open files.
fn held_by(pid: u32) -> (f64, usize) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (kib.unwrap_or(f64::NAN) * 1024.0 / 1e6, files)
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
async fn crowd(address: String, key: String, seconds: u64, pid: u32) {
    let (begun, ended) = (Instant::now(), Arc::new(Ended::default()));
    let end = begun + Duration::from_secs(seconds);
    let mut all = JoinSet::new();
    for number in 0..CROWD {
        all.spawn(one_of_many(address.clone(), key.clone(), number < SLOW, end, ended.clone()));
    }
    let say = || {
        let (megabytes, files) = held_by(pid);
        let (whole, failed) = (ended.whole.load(Relaxed), ended.failed.load(Relaxed));
        let after = begun.elapsed().as_secs();
        println!("{after:4} s  {whole:8} whole  {failed:4} failed  {megabytes:6.1} MB  {files:5} open files");
    };
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs((seconds / 20).max(1))).await;
        say();
    }
    while all.join_next().await.is_some() {}
    tokio::time::sleep(Duration::from_secs(5)).await;
    say();
    if let Some(why) = ended.last.lock().unwrap_or_else(PoisonError::into_inner).take() {
        println!("the last that failed: {why}");
    }
}

/// The length of the first request, and whether it wants a stream.
fn whole_request(bytes: &[u8]) -> Option<(usize, bool)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = value(head, "content-length").map_or(Some(0), |length| length.parse().ok())?;
    (body.len() >= length).then(|| (head.len() + 4 + length, body.contains("\"stream\":true")))
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// What a client sends.
fn request(key: &str, streams: bool) -> String {
    let body = format!(
        "{{\"model\":\"active\",\"stream\":{streams},\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}]}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One client that asks again and again on one connection, as SDKs do. How long each answer took.
async fn client(address: String, key: String, streams: bool, answers: usize) -> io::Result<Vec<f64>> {
    let mut connection = TcpStream::connect(&address).await?;
    connection.set_nodelay(true)?;
    let request = request(&key, streams);
    let (mut took, mut read) = (Vec::with_capacity(answers), Vec::with_capacity(64 << 10));
    for _ in 0..answers {
        read.clear();
        let begun = Instant::now();
        connection.write_all(request.as_bytes()).await?;
        while !is_whole(&read) {
            if connection.read_buf(&mut read).await? == 0 {
                return Err(Error::other(String::from_utf8_lossy(&read).into_owned()));
            }
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        if !read.starts_with(b"HTTP/1.1 200") {
            return Err(Error::other(String::from_utf8_lossy(&read).into_owned()));
        }
    }
    Ok(took)
}

/// A stream ends with the empty chunk; a document has its length.
fn is_whole(read: &[u8]) -> bool {
    if read.ends_with(b"\r\n0\r\n\r\n") {
        return true;
    }
    let begin = String::from_utf8_lossy(&read[..read.len().min(1024)]);
    let Some((head, _)) = begin.split_once("\r\n\r\n") else { return false };
    value(head, "content-length")
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| read.len() >= head.len() + 4 + length)
}

/// So many clients at once. The times of their answers, and answers a second.
async fn round(address: &str, key: &str, clients: usize, streams: bool) -> io::Result<(Vec<f64>, f64)> {
    let each = if clients == 1 { 150 } else { 12 };
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..clients {
        all.spawn(client(address.to_owned(), key.to_owned(), streams, each));
    }
    let mut took = Vec::new();
    while let Some(one) = all.join_next().await {
        took.extend(one.map_err(Error::other)??);
    }
    let a_second = took.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((took, a_second))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn gateway(upstream: u16) -> Result<Gateway, Error> {
    let target = Target {
        server: "s".into(),
        model: "a".into(),
        instance: "a".into(),
        openai: Endpoint { base_url: format!("http://127.0.0.1:{upstream}/v1"), key: None },
        slots: 256,
    };
    let leases = Leases::default();
    let active = ActiveRoute::Open(target.clone());
    leases.set_routes(Arc::new(Routes { active, loaded: vec![target], ..Routes::default() }));
    Gateway::start(
        0,
        &Default::default(),
        leases,
        pilothouse_records::Recorder::new(0).0,
        None,
        Default::default(),
    )
    .await
    .map_err(Error::other)
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() -> Result<(), Error> {
    let Options { serve: only_serve, crowd: many, upstream, key, via, rounds, only } = options();
    if let Some(port) = only_serve {
        return serve(port, |_| ());
    }
    if let (Some((seconds, pid)), Some((_, address))) = (many, via.first()) {
        let load = Builder::new_current_thread().enable_all().build()?;
        load.block_on(crowd(address.clone(), key, seconds, pid));
        return Ok(());
    }
    // Each side has a thread of its own, the gateway those that it has in the app.
    let upstream = if upstream != 0 && std::net::TcpStream::connect(("127.0.0.1", upstream)).is_ok() {
        upstream
    } else {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            serve(upstream, move |port| {
                let _ = tell.send(port);
            })
        });
        told.recv().map_err(Error::other)?
    };
    let app = Builder::new_multi_thread().enable_all().build()?;
    let gateway = app.block_on(gateway(upstream))?;
    let mut ways = vec![("direct".to_owned(), format!("127.0.0.1:{upstream}"))];
    // It knows no keys; a whole Pilothouse with keys of its own is measured in its place.
    if key == NO_KEY {
        ways.push(("gateway".to_owned(), gateway.address().to_string()));
    }
    ways.extend(via);
    let nginx = ways.iter().position(|(name, _)| name == "nginx");
    let load = Builder::new_current_thread().enable_all().build()?;
    for (what, streams, clients) in
        [("whole", false, 1), ("whole", false, 64), ("stream", true, 1), ("stream", true, 64)]
    {
        if only.as_ref().is_some_and(|only| *only != format!("{what}-{clients}")) {
            continue;
        }
        let mut times = vec![Vec::new(); ways.len()];
        let mut added = vec![Vec::new(); ways.len()];
        let mut shares = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            let mut direct = (0.0, 0.0);
            for (n, (_, address)) in ways.iter().enumerate() {
                let (mut took, a_second) = load.block_on(round(address, &key, clients, streams))?;
                let time = median(&mut took);
                if n == 0 {
                    direct = (time, a_second);
                }
                times[n].push(time);
                added[n].push(time - direct.0);
                shares[n].push(a_second / direct.1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // In the same round, so that a slow minute is slow for both; before the medians put the rounds in another order.
        let beside = |its: &[f64]| {
            let nginx = nginx.and_then(|nginx| shares.get(nginx))?;
            Some(median(&mut its.iter().zip(nginx).map(|(own, its)| own / its).collect::<Vec<_>>()))
        };
        let beside: Vec<String> = shares
            .iter()
            .map(|own| beside(own).map(|ratio| format!("  {ratio:5.2} of nginx")).unwrap_or_default())
            .collect();
        for (n, (name, _)) in ways.iter().enumerate() {
            let (time, added, share) = (median(&mut times[n]), median(&mut added[n]), median(&mut shares[n]));
            println!(
                "{what:6} {clients:2} clients  {name:10} {time:8.3} ms  {added:+8.3} ms  {share:5.2} of direct{}",
                beside[n]
            );
        }
    }
    app.block_on(gateway.stop());
    Ok(())
}
