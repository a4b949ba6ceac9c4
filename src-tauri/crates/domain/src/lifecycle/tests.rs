use super::*;

fn exited(now_ms: u64) -> Event {
    Event::Exited { reason: "killed by signal 9".into(), now_ms, jitter: 0.0 }
}

/// An event's name, how often it happens in a row, and how to make one.
type Happens = (&'static str, usize, fn() -> Event);

/// All transitions, found by asking the machine itself, as the list of ARCHITECTURE.md.
fn table() -> String {
    use ServerState as S;
    let states = [
        ("not installed", S::NotInstalled),
        ("stopped", S::Stopped),
        ("starting", S::Starting),
        ("ready", S::Ready),
        ("degraded", S::Degraded),
        ("stopping", S::Stopping),
        ("failed", S::Failed),
        ("gave up", S::GaveUp),
        ("not ours", S::NotOurs),
    ];
    let events: [Happens; 18] = [
        ("start wanted", 1, || Event::StartWanted),
        ("stop wanted", 1, || Event::StopWanted),
        ("program missing", 1, || Event::ProgramMissing),
        ("program found", 1, || Event::ProgramFound),
        ("found running", 1, || Event::FoundRunning),
        ("start failed", 1, || Event::StartFailed { reason: String::new() }),
        ("answered", 1, || Event::Answered),
        ("silent twice", 2, || Event::Silent { reason: String::new() }),
        ("no token", 1, || Event::Mute { reason: String::new() }),
        ("spoke", 1, || Event::Spoke),
        ("hung", 1, || Event::Hung { reason: String::new() }),
        ("exited", 1, || exited(0)),
        ("exited five times", 5, || exited(0)),
        ("backoff over", 1, || Event::BackoffOver),
        ("stop failed", 1, || Event::StopFailed),
        ("gone", 1, || Event::Gone { reason: String::new() }),
        ("port held", 1, || Event::PortHeld { reason: String::new() }),
        ("port free", 1, || Event::PortFree),
    ];
    let policy = RestartPolicy::default();
    let mut lines = Vec::new();
    for (from_name, from) in states {
        let mut ways = Vec::new();
        for (name, times, event) in &events {
            let mut life = Life::new(from);
            let effects: Vec<Effect> = (0..*times).flat_map(|_| life.on(event(), &policy)).collect();
            let (to, _) = states.iter().find(|(_, state)| *state == life.state).unwrap();
            let does = match effects.last() {
                _ if life.state == ServerState::GaveUp => "",
                Some(Effect::Spawn) => " (start its process)",
                Some(Effect::Stop) => " (stop it)",
                Some(Effect::RestartAfter { .. }) => " (wait, then start it again)",
                Some(Effect::Kill) => " (kill its process)",
                Some(Effect::CancelRestart) | None => "",
            };
            if life.state != from || !does.is_empty() {
                ways.push(format!("{name} → {to}{does}"));
            }
        }
        lines.push(format!("- *{from_name}*: {}", ways.join("; ")));
    }
    lines.join("\n")
}

#[test]
fn the_architecture_page_has_every_transition() {
    let page = include_str!("../../../../../ARCHITECTURE.md");
    let table = table();
    assert!(page.contains(&table), "put this into \"A server's life\":\n{table}");
}

#[test]
fn a_start_goes_through_starting_to_ready() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Stopped);
    assert_eq!(life.on(Event::StartWanted, &policy), [Effect::Spawn]);
    assert_eq!(life.on(Event::Spawned, &policy), []);
    assert_eq!(life.state, ServerState::Starting);
    assert_eq!(life.on(Event::Answered, &policy), []);
    assert_eq!(life.state, ServerState::Ready);
}

#[test]
fn a_crash_is_restarted_and_too_many_give_up_with_the_reason() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    let mut now = 0;
    for n in 1..policy.max_crashes {
        now += 1000;
        let effects = life.on(exited(now), &policy);
        assert!(matches!(effects[..], [Effect::RestartAfter { .. }]), "crash {n}: {effects:?}");
        assert_eq!(life.on(Event::BackoffOver, &policy), [Effect::Spawn]);
        assert_eq!(life.restarts, n);
        life.on(Event::Answered, &policy);
    }
    assert_eq!(life.on(exited(now + 1000), &policy), []);
    assert_eq!(life.state, ServerState::GaveUp);
    assert!(life.reason.clone().unwrap().contains("killed by signal 9"));
    assert_eq!(life.on(Event::StartWanted, &policy), [Effect::Spawn], "a person can start it again");
}

#[test]
fn good_health_forgets_old_crashes() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    for n in 0..20 {
        life.on(exited(n * 1000), &policy);
        assert_eq!(life.state, ServerState::Starting, "crash {n}");
        life.on(Event::BackoffOver, &policy);
        life.on(Event::Answered, &policy);
        life.healthy_for(policy.reset_after_ms, &policy);
    }
}

#[test]
fn an_exit_while_stopping_is_no_crash() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    assert_eq!(life.on(Event::StopWanted, &policy), [Effect::CancelRestart, Effect::Stop]);
    assert_eq!(life.on(exited(5), &policy), []);
    assert_eq!((life.state, life.restarts), (ServerState::Stopped, 0));
}

#[test]
fn one_missed_probe_is_not_degraded_but_two_are() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    let silent = || Event::Silent { reason: "no answer in 2 s".into() };
    life.on(silent(), &policy);
    assert_eq!(life.state, ServerState::Ready);
    life.on(silent(), &policy);
    assert_eq!(life.state, ServerState::Degraded);
    life.on(Event::Answered, &policy);
    assert_eq!((life.state, life.reason.clone()), (ServerState::Ready, None));
}

#[test]
fn a_mute_server_answers_and_is_still_degraded_until_it_speaks() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    life.on(Event::Mute { reason: "no token in 15 s".into() }, &policy);
    life.on(Event::Answered, &policy);
    assert_eq!((life.state, life.reason.as_deref()), (ServerState::Degraded, Some("no token in 15 s")));
    life.on(Event::Spoke, &policy);
    assert_eq!((life.state, life.reason.as_deref()), (ServerState::Ready, None));
}

#[test]
fn a_hung_server_is_killed_and_that_counts_as_a_crash() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    life.on(Event::Mute { reason: "mute".into() }, &policy);
    assert_eq!(life.on(Event::Hung { reason: "silent for 60 s".into() }, &policy), [Effect::Kill]);
    assert!(matches!(life.on(exited(0), &policy)[..], [Effect::RestartAfter { .. }]));
    life.on(Event::BackoffOver, &policy);
    life.on(Event::Answered, &policy);
    assert_eq!(life.state, ServerState::Ready, "an old silence does not stick to the next process");
}

#[test]
fn an_address_that_somebody_else_holds_is_not_ours_until_it_is_free() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Starting);
    let held = || Event::PortHeld { reason: "python3, pid 7, holds it".into() };
    assert_eq!(life.on(held(), &policy), [Effect::CancelRestart]);
    assert_eq!(life.state, ServerState::NotOurs);
    assert_eq!(life.on(Event::BackoffOver, &policy), [], "no restart goes on behind it");
    life.on(Event::PortFree, &policy);
    assert_eq!(life.state, ServerState::Stopped);
    life.on(held(), &policy);
    assert_eq!(life.on(Event::StartWanted, &policy), [Effect::Spawn], "a person may try again");
}

proptest::proptest! {
    /// Whatever happens in whatever order: a state that needs words has them, and only a stopped server is spawned.
    #[test]
    fn any_order_of_events_keeps_the_machine_whole(codes in proptest::collection::vec(0u8..17, 0..60)) {
        let policy = RestartPolicy::default();
        let mut life = Life::new(ServerState::Stopped);
        for (step, code) in codes.into_iter().enumerate() {
            let before = life.state;
            let effects = life.on(event(code, step as u64 * 700), &policy);
            let spawns = effects.contains(&Effect::Spawn);
            proptest::prop_assert!(!spawns || life.state == ServerState::Starting, "{before:?} {code}");
            proptest::prop_assert!(!(spawns && before.is_up()), "a second one beside a running one");
            let wordy = matches!(life.state, ServerState::GaveUp | ServerState::Failed | ServerState::NotOurs | ServerState::Degraded);
            proptest::prop_assert!(!wordy || life.reason.is_some(), "{:?} has no reason", life.state);
        }
    }
}

fn event(code: u8, now_ms: u64) -> Event {
    let reason = || "because".to_owned();
    match code {
        0 => Event::StartWanted,
        1 => Event::StopWanted,
        2 => Event::ProgramMissing,
        3 => Event::ProgramFound,
        4 => Event::FoundRunning,
        5 => Event::Spawned,
        6 => Event::StartFailed { reason: reason() },
        7 => Event::Answered,
        8 => Event::Silent { reason: reason() },
        9 => exited(now_ms),
        10 => Event::BackoffOver,
        11 => Event::StopFailed,
        12 => Event::Gone { reason: reason() },
        13 => Event::PortHeld { reason: reason() },
        14 => Event::PortFree,
        15 => Event::Mute { reason: reason() },
        _ => Event::Hung { reason: reason() },
    }
}

#[test]
fn a_stop_during_backoff_cancels_the_restart() {
    let policy = RestartPolicy::default();
    let mut life = Life::new(ServerState::Ready);
    life.on(exited(0), &policy);
    assert_eq!(life.on(Event::StopWanted, &policy), [Effect::CancelRestart, Effect::Stop]);
    assert_eq!(life.on(Event::BackoffOver, &policy), []);
}
