//! One reading, and why there is none.

use crate::Scene;
use pilothouse_domain::container::{
    ContainerHealth, ContainerReading, ContainerState, Containers, RestartPolicy,
};
use pilothouse_system::gauges::Docker;
use pilothouse_tests::sims::docker::{Container, Fault};

async fn read(scene: &Scene) -> Result<Containers, String> {
    Docker::at(&scene.sim.socket).read().await
}

fn named<'a>(containers: &'a Containers, name: &str) -> &'a ContainerReading {
    containers.list.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}: {containers:#?}"))
}

#[tokio::test]
async fn every_kind_of_container_is_read_as_it_is() {
    let starting = Container { health: Some("starting".into()), ..Container::running("fresh") };
    let plain = Container { health: None, ports: vec![], ..Container::running("plain") };
    let (first, done) = (Container::running("db"), Container::exited("done", 0));
    let (started_at, finished_at) = (first.started_at, done.finished_at);
    let scene = Scene::new(
        vec![
            first,
            Container::unhealthy("search"),
            starting,
            plain,
            Container { state: "paused".into(), ..Container::running("still") },
            Container::restarting("loop", 9),
            done,
            Container { oom_killed: true, ..Container::exited("killed", 137) },
            Container { state: "created".into(), ..Container::exited("new", 0) },
            Container { state: "dead".into(), ..Container::exited("dead", 1) },
        ],
        Fault::None,
    );
    let all = read(&scene).await.unwrap();
    assert_eq!(all.engine_version.as_deref(), Some("24.0.7-simulated"));
    assert_eq!(all.incomplete, None);
    assert_eq!(all.socket, scene.sim.socket.display().to_string());
    for (name, state, health, exit_code) in [
        ("db", ContainerState::Running, ContainerHealth::Healthy, None),
        ("search", ContainerState::Running, ContainerHealth::Unhealthy, None),
        ("fresh", ContainerState::Running, ContainerHealth::Starting, None),
        ("plain", ContainerState::Running, ContainerHealth::None, None),
        ("still", ContainerState::Paused, ContainerHealth::Healthy, None),
        ("loop", ContainerState::Restarting, ContainerHealth::None, Some(1)),
        ("done", ContainerState::Exited, ContainerHealth::None, Some(0)),
        ("killed", ContainerState::Exited, ContainerHealth::None, Some(137)),
        ("new", ContainerState::Created, ContainerHealth::None, None),
        ("dead", ContainerState::Dead, ContainerHealth::None, Some(1)),
    ] {
        let one = named(&all, name);
        assert_eq!((one.state, one.health, one.exit_code), (state, health, exit_code), "{one:#?}");
        let known = one.memory_bytes.is_some();
        assert_eq!(known, state.is_up(), "{one:#?}");
        assert_eq!(known, one.memory_bytes_absent.is_none(), "absent has a reason: {one:#?}");
    }
    let db = named(&all, "db");
    assert_eq!((db.memory_bytes, db.memory_limit_bytes), (Some(200_000_000), Some(8_000_000_000)));
    assert!(db.memory_source.as_deref().unwrap().contains("inactive_file"));
    assert_eq!((&db.image[..], &db.ports[..]), ("db:simulated", &["8080 → 80/tcp".to_owned()][..]));
    assert_eq!((db.restart_count, db.restart_policy), (Some(0), Some(RestartPolicy::No)));
    assert_eq!((db.since, named(&all, "done").since), (Some(started_at), Some(finished_at)));
    assert_eq!(named(&all, "killed").oom_killed, Some(true));
    assert_eq!(named(&all, "loop").restart_count, Some(9));
    assert_eq!(all.memory_bytes(), Some(5 * 200_000_000), "those that are up");
}

#[tokio::test]
async fn the_share_of_a_core_takes_two_readings() {
    let scene = Scene::new(vec![Container { cpu_percent: 130, ..Container::running("db") }], Fault::None);
    let mut docker = Docker::at(&scene.sim.socket);
    assert_eq!(named(&docker.read().await.unwrap(), "db").cpu_percent, None);
    let share = named(&docker.read().await.unwrap(), "db").cpu_percent.unwrap();
    assert!((share - 130.0).abs() < 0.01, "{share}");
}

#[tokio::test]
async fn an_old_engine_is_asked_in_its_own_version_and_never_made_to_wait() {
    let scene = Scene::new(vec![Container::running("db"), Container::exited("done", 0)], Fault::None);
    read(&scene).await.unwrap();
    let asked = scene.sim.asked();
    assert!(asked.iter().any(|path| path == "/version"), "{asked:#?}");
    // The simulator refuses a newer one; a path without a version is the engine's own choice.
    let mut versioned = asked.iter().filter(|path| path.starts_with("/v"));
    assert!(versioned.all(|path| path == "/version" || path.starts_with("/v1.43/")), "{asked:#?}");
    let stats: Vec<&String> = asked.iter().filter(|path| path.contains("/stats")).collect();
    assert_eq!(stats.len(), 1, "only of what runs: {asked:#?}");
    assert!(stats[0].contains("stream=false") && stats[0].contains("one-shot=true"), "{stats:?}");
}

#[tokio::test]
async fn a_state_of_a_later_engine_hides_no_other_container() {
    let future = Container { state: "hibernating".into(), ..Container::running("future") };
    let scene = Scene::new(vec![future, Container::unhealthy("search")], Fault::None);
    let some = read(&scene).await.unwrap();
    assert_eq!(named(&some, "search").health, ContainerHealth::Unhealthy);
    assert!(some.incomplete.is_some());
}

#[tokio::test]
async fn without_details_the_list_alone_tells_health_and_exit_code() {
    let containers = vec![Container::unhealthy("search"), Container::exited("job", 137)];
    let scene = Scene::new(containers, Fault::NoDetails);
    let all = read(&scene).await.unwrap();
    let search = named(&all, "search");
    assert_eq!(
        (search.health, search.restart_count, search.memory_bytes),
        (ContainerHealth::Unhealthy, None, None)
    );
    assert!(search.memory_bytes_absent.as_deref().unwrap().contains("no details today"), "{search:#?}");
    assert_eq!(named(&all, "job").exit_code, Some(137));
}

#[tokio::test]
async fn of_hundreds_of_containers_those_that_run_are_asked_about_first() {
    let mut containers: Vec<Container> =
        (0..200).map(|n| Container::exited(&format!("old-{n}"), 0)).collect();
    containers.extend((0..10).map(|n| Container::running(&format!("up-{n}"))));
    let scene = Scene::new(containers, Fault::None);
    let all = read(&scene).await.unwrap();
    assert_eq!(all.list.len(), 210);
    assert_eq!(all.memory_bytes(), Some(10 * 200_000_000));
    assert!(scene.sim.asked().len() < 100, "{}", scene.sim.asked().len());
}

#[tokio::test]
async fn an_engine_that_fails_is_absent_with_the_reason() {
    for (fault, words) in [
        (Fault::Garbage, "makes no sense"),
        (Fault::Flood, "too long"),
        (Fault::AlwaysFails, "something is broken in here"),
    ] {
        let scene = Scene::new(vec![Container::running("db")], fault);
        let reason = read(&scene).await.unwrap_err();
        assert!(reason.contains(words), "{fault:?}: {reason}");
    }
}

#[tokio::test]
async fn an_engine_that_hangs_is_absent_and_read_again_when_it_answers() {
    let scene = Scene::new(vec![Container::running("db")], Fault::Silent);
    let mut docker = Docker::at(&scene.sim.socket);
    assert_eq!(docker.read().await.unwrap_err(), "Docker does not answer");
    scene.sim.set_fault(Fault::None);
    assert_eq!(docker.read().await.unwrap().list.len(), 1);
    scene.sim.set_fault(Fault::Silent);
    assert_eq!(docker.read().await.unwrap_err(), "Docker does not answer");
}

#[tokio::test]
async fn no_socket_and_one_where_nobody_listens_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let reason = Docker::at(&socket).read().await.unwrap_err();
    assert!(reason.contains("does not exist"), "{reason}");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let reason = Docker::at(&socket).read().await.unwrap_err();
    assert!(reason.contains("nobody listens"), "{reason}");
}

/// Root may use every socket, so the thread that asks gives up the right to files of others.
#[test]
fn a_socket_without_the_right_to_use_it_is_said() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
    let asking = std::thread::spawn(move || {
        act_as_nobody();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Docker::at(&socket).read().await })
    });
    let reason = asking.join().unwrap().unwrap_err();
    assert!(reason.contains("permission denied") && reason.contains("group docker"), "{reason}");
}

#[expect(unsafe_code, reason = "the standard library has no call for it")]
pub(crate) fn act_as_nobody() {
    // SAFETY: setfsuid takes a plain number and concerns this thread alone; without the right to it, nothing changes.
    unsafe { libc::setfsuid(65_534) };
}
