//! A real Docker engine and a real Podman, each with everything it has in a folder of the test's own.

use crate::watch::Seen;
use pilothouse_domain::container::{
    ContainerHealth, ContainerReading, ContainerState, Containers, RestartPolicy,
};
use pilothouse_engine::actors::containers::Intervals;
use pilothouse_system::gauges::Docker;
use pilothouse_tests::sandbox::{
    Group, LIMIT, command, found, is_root, marked, or_skip, signal, skip, until,
};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

/// An engine is asked as often as this, and not more: it is a real one.
const OFTEN: Intervals =
    Intervals { with_engine: Duration::from_millis(300), without: Duration::from_millis(300) };
/// By which whatever an engine starts is known again.
const MARK: &str = "TEST_CONTAINERS";
const IMAGE: &str = "box";

/// The kinds of engines, with what is particular to each.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Docker,
    Podman,
}

struct Engine {
    kind: Kind,
    folder: tempfile::TempDir,
    process: Option<Group>,
}

impl Engine {
    /// `None`: it is not installed, or this is not root.
    async fn start(kind: Kind) -> Option<Self> {
        for program in match kind {
            Kind::Docker => &["dockerd", "docker", "busybox"][..],
            Kind::Podman => &["podman", "conmon", "runc", "busybox"],
        } {
            or_skip(found(program))?;
        }
        if !is_root() {
            return skip("a container engine can be started by root alone");
        }
        let folder = tempfile::Builder::new().prefix("engine-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut engine = Self { kind, folder, process: None };
        engine.make_image();
        engine.go().await;
        engine.load_image();
        Some(engine)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("engine.sock")
    }

    /// Starts the engine and waits until it answers.
    async fn go(&mut self) {
        // What an engine before this one has left. Where nobody reaps orphans, their numbers still pass for processes.
        let mark = self.folder.path().display().to_string();
        let over = || marked(MARK, &mark).iter().all(|(_, name)| name != "containerd").then_some(());
        until("the end of its containerd", LIMIT, || async { over() }).await;
        for name in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.at(name));
        }
        let data = self.at("data").display().to_string();
        for at in self.mounts().iter().filter(|at| **at == data) {
            assert!(command("umount").arg(at).status().unwrap().success());
        }
        let mut command = self.engine_command();
        let log = std::fs::File::create(self.at("log")).unwrap();
        command.env(MARK, self.folder.path()).env_remove("DOCKER_HOST").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(Group::spawn(&mut command));
        until("an answer of the engine", LIMIT, || async { Docker::at(&self.socket()).read().await.ok() })
            .await;
    }

    fn engine_command(&self) -> std::process::Command {
        let socket = format!("unix://{}", self.socket().display());
        match self.kind {
            Kind::Docker => {
                let mut command = command(found("dockerd").unwrap());
                command.args([
                    "--storage-driver=vfs",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--bridge=none",
                ]);
                command.arg("--data-root").arg(self.at("data")).arg("--exec-root").arg(self.at("exec"));
                command.arg("--pidfile").arg(self.at("pid")).arg("--host").arg(socket);
                command
            }
            Kind::Podman => {
                let mut command = self.podman();
                command.args(["system", "service", "--time=0"]).arg(socket);
                command
            }
        }
    }

    /// The engine's own command line.
    fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = match self.kind {
            Kind::Docker => {
                let mut command = command("docker");
                command.arg("--host").arg(format!("unix://{}", self.socket().display()));
                command
            }
            Kind::Podman => self.podman(),
        };
        command.env_remove("DOCKER_HOST").env(MARK, self.folder.path());
        command.args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    fn podman(&self) -> std::process::Command {
        let mut command = command("podman");
        command.arg("--root").arg(self.at("root")).arg("--runroot").arg(self.at("run"));
        command.args([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--runtime=runc",
            "--events-backend=none",
        ]);
        command
    }

    fn act(&self, arguments: &[&str]) {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, name: &str, options: &[&str], program: &[&str]) {
        let mut arguments = vec!["run", "--detach", "--name", name, "--network=none"];
        if self.kind == Kind::Podman {
            // It asks for more than a machine may have to give.
            arguments.extend(["--ulimit=nofile=256:256", "--ulimit=nproc=256:256"]);
        }
        arguments.extend(options);
        arguments.push(IMAGE);
        arguments.extend(program);
        self.act(&arguments);
    }

    fn make_image(&self) {
        let bin = self.at("image/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy(found("busybox").unwrap(), bin.join("busybox")).unwrap();
        for name in ["sh", "sleep", "true", "false", "tail"] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let made = command("tar")
            .arg("-C")
            .arg(self.at("image"))
            .arg("-cf")
            .arg(self.at("image.tar"))
            .arg(".")
            .status();
        assert!(made.unwrap().success());
    }

    fn load_image(&self) {
        self.act(&["import", &self.at("image.tar").display().to_string(), IMAGE]);
    }

    /// Ends the containers, then the engine; nothing of both may be left.
    async fn end(mut self) {
        self.remove_all();
        self.stop();
        let left =
            || Some(marked(MARK, &self.folder.path().display().to_string())).filter(|left| left.is_empty());
        until("the end of all that the engine has started", LIMIT, || async { left() }).await;
        assert_eq!(self.mounts(), Vec::<String>::new(), "mounts");
    }

    fn remove_all(&self) {
        let listed = self.tool(&["ps", "--all", "--quiet"]);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for id in listed.split_whitespace() {
            self.tool(&["rm", "--force", id]);
        }
    }

    fn stop(&mut self) {
        self.process.take().unwrap().stop();
    }

    fn mounts(&self) -> Vec<String> {
        let all = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let folder = self.folder.path().display().to_string();
        let mut own: Vec<String> = all
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|at| at.starts_with(&folder))
            .map(str::to_owned)
            .collect();
        own.reverse();
        own
    }
}

impl Drop for Engine {
    /// What `end` did not come to.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.at("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("the engine's log ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        if self.process.is_some() {
            self.remove_all();
            self.stop();
        }
        for (pid, _) in marked(MARK, &self.folder.path().display().to_string()) {
            signal(pid, libc::SIGKILL);
        }
        for at in self.mounts() {
            let _ = command("umount").arg("--lazy").arg(at).status();
        }
    }
}

fn named<'a>(containers: &'a Containers, name: &str) -> Option<&'a ContainerReading> {
    containers.list.iter().find(|one| one.name == name)
}

/// Reads until there is what is looked for.
async fn read_until<T>(what: &str, docker: &mut Docker, found: impl Fn(&Containers) -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let reading = docker.read().await;
        if let Some(answer) = reading.as_ref().ok().and_then(&found) {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}: {reading:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_container_of_a_real_docker_is_read_as_it_is() {
    let Some(engine) = Engine::start(Kind::Docker).await else { return };
    let sleep = ["sleep", "1000"];
    let check = |word: &'static str| ["--health-cmd", word, "--health-interval=1s", "--health-retries=1"];
    engine.run("well", &check("true"), &sleep);
    engine.run("sick", &check("false"), &sleep);
    engine.run("loop", &["--restart=always"], &["false"]);
    engine.run("done", &[], &["true"]);
    engine.run("still", &[], &sleep);
    engine.act(&["pause", "still"]);
    let seen = Seen::start(Docker::at(&engine.socket()), OFTEN);
    // What had failed before is old; this is news.
    seen.until("a first look", |snapshot| snapshot.containers.as_ref().map(drop)).await;
    // What is killed is not what the container ends with: an engine that hears of the end first never notes what it came of.
    let hungry = "tail /dev/zero; code=$?; sleep 1; exit $code";
    engine.run("hungry", &["--memory=16m"], &["sh", "-c", hungry]);
    let titles = seen
        .until("three notices", |snapshot| {
            let mut titles: Vec<String> =
                snapshot.notices.iter().map(|notice| notice.title.clone()).collect();
            titles.sort();
            (titles.len() == 3).then_some(titles)
        })
        .await;
    assert_eq!(
        titles,
        ["Container hungry has failed", "Container loop keeps restarting", "Container sick is unhealthy"]
    );

    let mut docker = Docker::at(&engine.socket());
    let all = read_until("health and restarts", &mut docker, |all| {
        let healthy = named(all, "well")?.health == ContainerHealth::Healthy;
        let looping = named(all, "loop")?;
        let restarts = looping.restart_count? > 2 && looping.state == ContainerState::Restarting;
        (healthy && restarts && named(all, "well")?.cpu_percent.is_some()).then(|| all.clone())
    })
    .await;
    for (name, state, health, exit_code, policy) in [
        ("well", ContainerState::Running, ContainerHealth::Healthy, None, RestartPolicy::No),
        ("sick", ContainerState::Running, ContainerHealth::Unhealthy, None, RestartPolicy::No),
        ("loop", ContainerState::Restarting, ContainerHealth::None, Some(1), RestartPolicy::Always),
        ("hungry", ContainerState::Exited, ContainerHealth::None, Some(137), RestartPolicy::No),
        ("done", ContainerState::Exited, ContainerHealth::None, Some(0), RestartPolicy::No),
        ("still", ContainerState::Paused, ContainerHealth::None, None, RestartPolicy::No),
    ] {
        let one = named(&all, name).unwrap();
        let read = (one.state, one.health, one.exit_code, one.restart_policy);
        assert_eq!(read, (state, health, exit_code, Some(policy)), "{one:#?}");
        assert_eq!(one.oom_killed, Some(name == "hungry"), "{one:#?}");
        assert_eq!((&one.image[..], one.since.is_some()), (IMAGE, true), "{one:#?}");
        assert_eq!(one.memory_bytes.is_some(), state.is_up(), "{one:#?}");
        assert_eq!(one.memory_bytes.is_none(), one.memory_bytes_absent.is_some(), "{one:#?}");
        assert!(one.memory_bytes.is_none_or(|bytes| (10_000..100_000_000).contains(&bytes)), "{one:#?}");
    }
    assert_eq!(all.socket, engine.socket().display().to_string());
    assert!(all.engine_version.is_some() && all.incomplete.is_none());

    engine.act(&["unpause", "still"]);
    read_until("an end of the pause", &mut docker, |all| {
        (named(all, "still")?.state == ContainerState::Running).then_some(())
    })
    .await;
    engine.act(&["rm", "--force", "sick"]);
    read_until("one less", &mut docker, |all| named(all, "sick").is_none().then_some(())).await;
    seen.until("one less", |snapshot| named(snapshot.containers.as_ref()?, "sick").is_none().then_some(()))
        .await;
    drop(seen);
    engine.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_docker_that_stops_is_found_again_and_one_that_may_not_be_read_is_said() {
    let Some(mut engine) = Engine::start(Kind::Docker).await else { return };
    engine.run("back", &["--restart=always"], &["sleep", "1000"]);
    engine.run("gone", &[], &["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 1; done"]);
    let mut docker = Docker::at(&engine.socket());
    let both = |all: &Containers| {
        let up = |name| named(all, name).is_some_and(|one| one.state == ContainerState::Running);
        (up("back") && up("gone")).then_some(())
    };
    read_until("both", &mut docker, both).await;

    let reason = refused_to_nobody(&engine.socket());
    assert!(reason.contains("permission denied") && reason.contains("group docker"), "{reason}");

    engine.stop();
    let reason = docker.read().await.unwrap_err();
    assert!(reason.contains("does not exist") || reason.contains("nobody listens"), "{reason}");
    engine.go().await;
    read_until("one that is back, and one that is not", &mut docker, |all| {
        let (back, gone) = (named(all, "back")?, named(all, "gone")?);
        (back.state == ContainerState::Running && gone.state == ContainerState::Exited).then_some(())
    })
    .await;
    // Killed, it leaves its socket and its containers behind.
    engine.process.as_mut().unwrap().kill_leader();
    let reason = docker.read().await.unwrap_err();
    assert!(reason.contains("nobody listens"), "{reason}");
    engine.process = None;
    engine.go().await;
    read_until("one that is back", &mut docker, |all| {
        (named(all, "back")?.state == ContainerState::Running).then_some(())
    })
    .await;
    engine.end().await;
}

/// Root may use every socket, so the thread that asks gives up the right to files of others.
fn refused_to_nobody(socket: &Path) -> String {
    let socket = socket.to_owned();
    let asking = std::thread::spawn(move || {
        crate::reader::act_as_nobody();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Docker::at(&socket).read().await })
    });
    asking.join().unwrap().unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_real_podman_are_read_by_its_socket() {
    let Some(engine) = Engine::start(Kind::Podman).await else { return };
    engine.run("up", &["--restart=always"], &["sleep", "1000"]);
    engine.run("failed", &[], &["false"]);
    engine.run("done", &[], &["true"]);
    let mut docker = Docker::at(&engine.socket());
    let all = read_until("all of them", &mut docker, |all| {
        let settled = named(all, "failed")?.exit_code.is_some() && named(all, "done")?.exit_code.is_some();
        (settled && named(all, "up")?.cpu_percent.is_some()).then(|| all.clone())
    })
    .await;
    for (name, state, exit_code) in [
        ("up", ContainerState::Running, None),
        ("failed", ContainerState::Exited, Some(1)),
        ("done", ContainerState::Exited, Some(0)),
    ] {
        let one = named(&all, name).unwrap();
        assert_eq!(
            (one.state, one.exit_code, one.health),
            (state, exit_code, ContainerHealth::None),
            "{one:#?}"
        );
        assert_eq!(one.memory_bytes.is_some(), state.is_up(), "{one:#?}");
    }
    assert_eq!(named(&all, "up").unwrap().restart_policy, Some(RestartPolicy::Always));
    assert!(all.engine_version.is_some() && all.incomplete.is_none(), "{all:#?}");
    engine.act(&["rm", "--force", "up"]);
    read_until("one less", &mut docker, |all| named(all, "up").is_none().then_some(())).await;
    engine.end().await;
}
