//! The gateway on a bridge of containers. The test has a network of its own, with a bridge as Docker makes one: a container hangs on
//! it, and a neighbour on another card, each with a network of its own too. All of it is gone with its threads.

use pilothouse_tests::{
    sandbox::{Group, Sandbox, Tools, command, found, is_root, or_skip, skip},
    sims::ollama::{Fault, MODEL, OllamaSim},
};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

const BRIDGE: &str = "br-0123456789ab";
const NOTICED: Duration = Duration::from_secs(100);

/// Puts this thread, and whatever it starts from now on, into namespaces of its own. False: it may not.
#[expect(unsafe_code, reason = "the standard library knows no namespaces")]
fn unshare(kinds: libc::c_int) -> bool {
    // SAFETY: unshare takes a number and changes only what this thread belongs to.
    unsafe { libc::unshare(kinds) == 0 }
}

#[expect(unsafe_code, reason = "the standard library does not tell the kernel's number of a thread")]
fn own_thread() -> i32 {
    // SAFETY: gettid takes nothing, touches no memory of ours and cannot fail.
    unsafe { libc::gettid() }
}

fn done(program: &str, words: &str) -> bool {
    let mut command = command(found(program).unwrap());
    command.args(words.split(' ')).status().unwrap().success()
}

fn ip(words: &str) {
    assert!(done("ip", words), "ip {words}");
}

/// A program elsewhere on a network: it sends what it is told to and gives what came back.
struct Elsewhere {
    asks: Sender<(SocketAddr, String)>,
    heard: Receiver<Result<String, ErrorKind>>,
    number: i32,
    go: Sender<Vec<String>>,
    _thread: JoinHandle<()>,
}

impl Elsewhere {
    /// A network of its own, with nothing in it.
    fn start() -> Self {
        let (asks, asked) = channel::<(SocketAddr, String)>();
        let (tell, heard) = channel();
        let (told, number) = channel();
        let (go, commands) = channel::<Vec<String>>();
        let thread = thread::spawn(move || {
            assert!(unshare(libc::CLONE_NEWNET));
            told.send(own_thread()).unwrap();
            for words in commands.recv().unwrap() {
                ip(&words);
            }
            for (address, request) in asked {
                let answer = exchange(address, &request).map_err(|error| error.kind());
                if tell.send(answer).is_err() {
                    return;
                }
            }
        });
        let number = number.recv().unwrap();
        Self { asks, heard, number, go, _thread: thread }
    }

    /// What it does once its card is there.
    fn begin(&self, commands: &[&str]) {
        self.go.send(commands.iter().map(|words| (*words).to_owned()).collect()).unwrap();
    }

    /// The status and the answer; `Err`: nobody listened, or nobody heard it.
    fn ask(
        &self,
        address: SocketAddr,
        host: &str,
        key: Option<&str>,
        path: &str,
    ) -> Result<(u16, String), ErrorKind> {
        let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let body = json!({ "model": "active", "prompt": "Hello", "max_tokens": 2 }).to_string();
        let (method, body) = if path == "/v1/completions" { ("POST", body) } else { ("GET", String::new()) };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{key}content-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        self.asks.send((address, request)).unwrap();
        let answer = self.heard.recv().unwrap()?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(ErrorKind::InvalidData)?, answer))
    }
}

fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Runs a test in a network and with a `/sys` of its own. `None`: that may not be done here.
fn in_own_network(test: impl FnOnce() + Send) -> Option<()> {
    or_skip(found("ip"))?;
    if !is_root() {
        return skip("a network of its own is made by root alone");
    }
    let run = || {
        let may = unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS)
            && done("mount", "--make-rprivate /")
            && done("mount", "-t sysfs sysfs /sys");
        if !may {
            return skip("this machine lets nobody make a network of its own");
        }
        ip("link set lo up");
        test();
        Some(())
    };
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The bridge with the container on it.
fn build_bridge(address: &str) {
    ip(&format!("link add {BRIDGE} type bridge"));
    ip(&format!("address add {address}/24 dev {BRIDGE}"));
    ip(&format!("link set {BRIDGE} up"));
    ip(&format!("link set veth0 master {BRIDGE}"));
    ip("link set veth0 up");
}

struct Scene {
    sandbox: Sandbox,
    engine: Group,
    http: reqwest::Client,
}

impl Scene {
    /// A program of this machine, which needs no key and notices nothing of all this.
    async fn here(&self, address: &str) -> u16 {
        let url = format!("http://{address}:{}/v1/models", self.sandbox.gateway_port);
        self.http.get(url).send().await.unwrap().status().as_u16()
    }

    async fn until_bridges(&mut self, wanted: &[&str]) {
        let port = self.sandbox.gateway_port;
        let wanted: Vec<String> = wanted.iter().map(|ip| format!("http://{ip}:{port}/v1")).collect();
        let wanted = json!(wanted);
        let what = format!("the bridges {wanted}");
        let seen = self
            .sandbox
            .until(&mut self.engine, &what, |status| (status["gateway_bridges"] == wanted).then_some(()));
        tokio::time::timeout(NOTICED, seen).await.unwrap();
        assert_eq!(self.here("127.0.0.1").await, 200);
    }

    async fn until_ollama_bridges(&mut self, wanted: &[SocketAddr]) {
        let wanted: Vec<String> = wanted.iter().map(|address| format!("http://{address}")).collect();
        let wanted = json!(wanted);
        let seen = self.sandbox.until(&mut self.engine, "the bridges in Ollama's words", |status| {
            (status["gateway_ollama_bridges"] == wanted).then_some(())
        });
        tokio::time::timeout(NOTICED, seen).await.unwrap();
    }

    fn set(&self, key: &str, value: &str) {
        assert_eq!(self.sandbox.run(&["settings", "set", key, value]).code, Some(0), "{key} = {value}");
    }

    fn check_of_doctor(&self) -> Value {
        let checks = self.sandbox.run(&["doctor"]).json["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == "gateway for containers").unwrap_or_default()
    }
}

#[test]
fn the_gateway_follows_a_bridge_that_is_held_goes_and_comes_back_and_wants_a_key_there_simulated() {
    let Some(tools) = Tools::find() else { return };
    let tools = Tools { ollama: PathBuf::from("/no/ollama"), ..tools };
    in_own_network(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(on_a_bridge(&tools));
    });
}

async fn on_a_bridge(tools: &Tools) {
    let (container, neighbour) = (Elsewhere::start(), Elsewhere::start());
    ip(&format!("link add veth0 type veth peer name eth0 netns {}", container.number));
    ip(&format!("link add lan0 type veth peer name eth0 netns {}", neighbour.number));
    build_bridge("10.213.7.1");
    ip("address add 192.168.77.1/24 dev lan0");
    ip("link set lan0 up");
    container.begin(&["address add 10.213.7.2/24 dev eth0", "link set eth0 up"]);
    let route = "route add 10.213.7.0/24 via 192.168.77.1";
    neighbour.begin(&["address add 192.168.77.2/24 dev eth0", "link set eth0 up", route]);

    let sandbox = Sandbox::new(tools, "[servers.llama-server]\nautostart = false\n\n");
    let port = sandbox.gateway_port;
    let ollama = OllamaSim::start(sandbox.ollama_port, Fault::None).await.unwrap();
    let engine = sandbox.serve().await;
    sandbox.until_listed(MODEL).await;
    assert_eq!(sandbox.switch(MODEL, "ollama").code, Some(0));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut scene = Scene { sandbox, engine, http };
    let bridge = SocketAddr::from(([10, 213, 7, 1], port));
    let (own, named) = (bridge.to_string(), format!("host.docker.internal:{port}"));
    let (own, named) = (own.as_str(), named.as_str());
    let models = "/v1/models";

    // Off: nobody listens there, and that is nothing to complain of.
    scene.until_bridges(&[]).await;
    assert_eq!(container.ask(bridge, own, None, models), Err(ErrorKind::ConnectionRefused));
    let check = scene.check_of_doctor();
    assert_eq!(check["result"], "skipped", "{check}");
    assert!(check["hint"].as_str().unwrap().contains("gateway.container_bridges"), "{check}");

    // On, but somebody has the port there: said, and nothing else is disturbed.
    let stranger = TcpListener::bind(bridge).unwrap();
    scene.set("gateway.container_bridges", "true");
    let held = |status: &Value| {
        let trouble = status["troubles"].as_array()?.first()?.clone();
        trouble["message"].as_str()?.contains(BRIDGE).then_some(trouble)
    };
    let trouble = scene.sandbox.until(&mut scene.engine, "the trouble", held).await;
    assert_eq!(trouble["code"], "port_taken", "{trouble:#}");
    assert_eq!(scene.here("127.0.0.1").await, 200);
    drop(stranger);
    // Any change of the settings is a reason to look again.
    scene.set("gateway.wait_s", "21");
    scene.until_bridges(&["10.213.7.1"]).await;
    let over = |status: &Value| status["troubles"].as_array()?.is_empty().then_some(());
    scene.sandbox.until(&mut scene.engine, "the end of the trouble", over).await;
    assert_eq!(scene.check_of_doctor()["result"], "ok");

    let made = scene.sandbox.run(&["keys", "client", "add", "query generator"]).json;
    let key = made["key"].as_str().unwrap();
    for (host, shown, path, status, words) in [
        (own, None, models, 401, "pilothouse keys client add NAME"),
        (named, None, "/v1/completions", 401, "pilothouse keys client add NAME"),
        (named, None, "/health", 401, "wants a key"),
        (named, Some("pilothouse"), models, 401, "wants a key"),
        (named, Some("ph_wrong"), models, 401, "not known here"),
        (named, None, "/metrics", 404, "/metrics"),
        (named, Some(key), models, 200, MODEL),
        (named, Some(key), "/v1/completions", 200, "choices"),
        (own, Some(key), "/v1/completions", 200, "choices"),
        ("evil.example", Some(key), models, 403, "evil.example"),
        ("10.213.7.1.evil.example", Some(key), models, 403, "evil.example"),
        (&*format!("192.168.77.1:{port}"), Some(key), models, 403, "192.168.77.1"),
        (&*format!("10.213.7.1:{}", port + 1), Some(key), models, 403, "refused"),
    ] {
        let (told, answer) = container.ask(bridge, host, shown, path).unwrap();
        assert_eq!(told, status, "{path} of {host} with {shown:?}: {answer}");
        assert!(answer.contains(words), "{path} of {host} with {shown:?}: {answer}");
    }
    assert_eq!(scene.here("10.213.7.1").await, 401, "by the bridge nobody is a program of this machine");
    assert_eq!(scene.here("127.0.0.1").await, 200);

    // The kernel would take it from the local network as well; there is nothing on its own address anyway.
    let unheard = neighbour.ask(bridge, named, Some(key), models);
    let cut = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::InvalidData];
    assert!(unheard.as_ref().is_err_and(|kind| cut.contains(kind)), "{unheard:?}");
    let lan = SocketAddr::from(([192, 168, 77, 1], port));
    assert_eq!(neighbour.ask(lan, named, Some(key), models), Err(ErrorKind::ConnectionRefused));

    let asked = scene.sandbox.run(&["traffic"]).json["requests"].as_array().unwrap().clone();
    let asked: Vec<&Value> = asked.iter().filter(|one| one["state"] == "done").collect();
    assert_eq!(asked.len(), 2, "{asked:#?}");
    for one in asked {
        assert_eq!(
            (&one["client"], &one["program"], &one["pid"]),
            (&json!("query generator"), &Value::Null, &Value::Null)
        );
    }
    let notes = scene.sandbox.run(&["connect", "open-webui"]).json["notes"].to_string();
    assert!(notes.contains(&format!("http://{own}/v1")) && notes.contains("host-gateway"), "{notes}");

    // Programs that only know Ollama have a port of their own there as well, and need a key too.
    let second = pilothouse_tests::sandbox::free_port();
    let as_ollama = SocketAddr::from(([10, 213, 7, 1], second));
    scene.set("gateway.ollama_port", &second.to_string());
    scene.until_ollama_bridges(&[as_ollama]).await;
    for (host, shown, path, status, words) in [
        (&*format!("host.docker.internal:{second}"), Some(key), "/api/tags", 200, MODEL),
        (&*as_ollama.to_string(), Some(key), models, 200, MODEL),
        (&*as_ollama.to_string(), None, "/api/tags", 401, "\"error\":\"This address wants a key"),
        (own, Some(key), "/api/tags", 403, "refused"),
    ] {
        let (told, answer) = container.ask(as_ollama, host, shown, path).unwrap();
        assert_eq!(told, status, "{path} of {host} with {shown:?}: {answer}");
        assert!(answer.contains(words), "{path} of {host} with {shown:?}: {answer}");
    }
    assert_eq!(container.ask(bridge, own, Some(key), "/api/tags").unwrap().0, 404, "the other port");
    let seen = scene.check_of_doctor();
    assert!(seen["detail"].as_str().unwrap().contains(&as_ollama.to_string()), "{seen}");
    scene.set("gateway.ollama_port", "0");
    scene.until_ollama_bridges(&[]).await;
    assert_eq!(container.ask(as_ollama, own, Some(key), models), Err(ErrorKind::ConnectionRefused));
    scene.until_bridges(&["10.213.7.1"]).await;

    // It goes, and comes back with another address.
    ip(&format!("link delete {BRIDGE}"));
    scene.until_bridges(&[]).await;
    build_bridge("10.213.7.9");
    scene.until_bridges(&["10.213.7.9"]).await;
    let moved = SocketAddr::from(([10, 213, 7, 9], port));
    assert_eq!(container.ask(moved, named, Some(key), models).unwrap().0, 200);
    scene.set("gateway.container_bridges", "false");
    scene.until_bridges(&[]).await;
    assert_eq!(container.ask(moved, named, Some(key), models), Err(ErrorKind::ConnectionRefused));
    scene.engine.terminate();
    ollama.stop().await;
    let Scene { sandbox, mut engine, .. } = scene;
    sandbox.assert_clean_end(&mut engine).await;
}
