use super::*;

fn process(cpu_s: f64) -> ProcessTime {
    ProcessTime { cpu_s, waited_pages: 0, wants: false }
}

fn slot(busy: bool, done: u64) -> Slot {
    Slot { id: 0, busy, task: Some(4), done }
}

/// A server with a child, as one that does nothing is read.
fn quiet() -> Reading {
    Reading {
        processes: Some([(7, process(1.0)), (8, process(30.0))].into()),
        slots: [(4000, vec![slot(false, 0)])].into(),
        lines: Some(10),
        gpu: GpuWork::Idle,
    }
}

fn with(change: impl FnOnce(&mut Reading)) -> Reading {
    let mut reading = quiet();
    change(&mut reading);
    reading
}

fn processes(reading: &mut Reading) -> &mut ProcessWork {
    reading.processes.as_mut().unwrap()
}

/// One process has done this.
fn put(pid: u32, time: ProcessTime) -> Reading {
    with(|one| *processes(one).entry(pid).or_insert(time) = time)
}

fn gone(pid: u32) -> Reading {
    with(|one| processes(one).retain(|other, _| *other != pid))
}

#[test]
fn only_what_was_seen_and_did_not_move_is_still() {
    let at_work = |sign| Verdict::AtWork(sign);
    let unknown = |why| Verdict::Unknown(why);
    let busy = with(|one| one.slots = [(4000, vec![slot(true, 5)])].into());
    let no_cpu = with(|one| one.processes = None);
    let rows: Vec<(&str, Reading, Reading, Verdict)> = vec![
        ("nothing moved", quiet(), quiet(), Verdict::Still),
        (
            "its own upkeep",
            quiet(),
            with(|one| *processes(one) = [(7, process(1.04)), (8, process(30.0))].into()),
            Verdict::Still,
        ),
        ("the child used the processor", quiet(), put(8, process(30.2)), at_work(Sign::Processes)),
        ("the server itself used it", quiet(), put(7, process(1.2)), at_work(Sign::Processes)),
        (
            "it waits for the disk",
            quiet(),
            put(8, ProcessTime { waited_pages: 9, ..process(30.0) }),
            at_work(Sign::Processes),
        ),
        (
            "it is starved",
            put(8, ProcessTime { wants: true, ..process(30.0) }),
            put(8, ProcessTime { wants: true, ..process(30.0) }),
            at_work(Sign::Processes),
        ),
        (
            "it happened to run when it was looked at",
            quiet(),
            put(8, ProcessTime { wants: true, ..process(30.0) }),
            Verdict::Still,
        ),
        ("a child has come", quiet(), put(9, process(0.0)), at_work(Sign::Processes)),
        ("a child has gone", quiet(), gone(8), at_work(Sign::Processes)),
        (
            "a slot got on without the processor",
            busy.clone(),
            with(|one| one.slots = [(4000, vec![slot(true, 6)])].into()),
            at_work(Sign::Slots),
        ),
        (
            "another answer has its slot",
            busy.clone(),
            with(|one| one.slots = [(4000, vec![Slot { task: Some(5), ..slot(true, 5) }])].into()),
            at_work(Sign::Slots),
        ),
        ("a busy slot stands still", busy.clone(), busy.clone(), Verdict::Still),
        ("its slots fell silent", busy.clone(), with(|one| one.slots.clear()), Verdict::Still),
        ("its slots are told again", with(|one| one.slots.clear()), busy.clone(), at_work(Sign::Slots)),
        ("it wrote", quiet(), with(|one| one.lines = Some(11)), at_work(Sign::Log)),
        (
            "its log is not ours to read",
            with(|one| one.lines = None),
            with(|one| one.lines = None),
            Verdict::Still,
        ),
        ("a GPU computes for it", quiet(), with(|one| one.gpu = GpuWork::Its), at_work(Sign::Gpu)),
        (
            "a GPU computes for somebody",
            quiet(),
            with(|one| one.gpu = GpuWork::Somebodys),
            unknown("a GPU computes, and for whom is not told"),
        ),
        (
            "no GPU is told",
            with(|one| one.gpu = GpuWork::NotTold),
            with(|one| one.gpu = GpuWork::NotTold),
            Verdict::Still,
        ),
        (
            "no processor time then",
            no_cpu.clone(),
            quiet(),
            unknown("the processor time of its processes is not told"),
        ),
        (
            "no processor time now",
            quiet(),
            no_cpu.clone(),
            unknown("the processor time of its processes is not told"),
        ),
        (
            "no processor time, but slots that move",
            with(|one| {
                one.processes = None;
                one.slots = busy.slots.clone();
            }),
            no_cpu,
            at_work(Sign::Slots),
        ),
        (
            "its processes are not seen",
            with(|one| processes(one).clear()),
            with(|one| processes(one).clear()),
            unknown("its processes are not seen"),
        ),
        (
            "nothing is told at all",
            Reading::default(),
            Reading::default(),
            unknown("the processor time of its processes is not told"),
        ),
    ];
    for (what, before, after, wanted) in rows {
        assert_eq!(judge(&before, &after, 5_000), wanted, "{what}");
        assert_eq!(judge(&before, &after, MIN_APART_MS - 1), Verdict::TooSoon, "{what}");
    }
}

/// A reading every two seconds, as the supervisor takes them.
fn seen(readings: impl IntoIterator<Item = Reading>) -> Evidence {
    let mut evidence = Evidence::default();
    for (index, reading) in readings.into_iter().enumerate() {
        evidence.see(index as u64 * 2_000, reading);
    }
    evidence
}

#[test]
fn a_server_hangs_only_when_nothing_moved_for_as_long_as_the_limit_says() {
    let silent = |s: u64| Complaint { silent_ms: s * 1000, mute_ms: 0 };
    let mute = |s: u64| Complaint { silent_ms: 0, mute_ms: s * 1000 };
    let fine = Complaint::default();
    let moving =
        |from: u64| (0..40).map(move |n| with(|one| one.slots = [(4000, vec![slot(true, from + n)])].into()));
    let still = || std::iter::repeat_with(quiet);
    let stuck = || std::iter::repeat_with(|| with(|one| one.slots = [(4000, vec![slot(true, 5)])].into()));
    let fell_silent = || stuck().take(1).chain(std::iter::repeat_with(|| with(|one| one.slots.clear())));
    let blind = || std::iter::repeat_with(|| with(|one| one.processes = None));
    let rows: Vec<(&str, Complaint, Evidence, Finding)> = vec![
        ("nobody complains", fine, seen(still().take(40)), Finding::Fine),
        (
            "silent, and nothing moved",
            silent(64),
            seen(still().take(32)),
            Finding::Hangs { still_ms: 60_000 },
        ),
        ("mute, and nothing moved", mute(64), seen(still().take(32)), Finding::Hangs { still_ms: 60_000 }),
        ("silent for long, looked at only now", silent(600), seen(still().take(3)), Finding::Fine),
        ("silent for long, never looked at", silent(600), Evidence::default(), Finding::Fine),
        ("mute behind an answer that gets on", mute(600), seen(moving(0)), Finding::Works(Sign::Slots)),
        (
            "silent, and its processor time is not told",
            silent(600),
            seen(blind().take(40)),
            Finding::CannotTell("the processor time of its processes is not told"),
        ),
        ("nobody complains, and nothing is told", fine, seen(blind().take(40)), Finding::Fine),
        (
            "an answer stands still, and nobody has complained",
            fine,
            seen(stuck().take(32)),
            Finding::Hangs { still_ms: 60_000 },
        ),
        ("the same, told no more", fine, seen(fell_silent().take(32)), Finding::Hangs { still_ms: 60_000 }),
        ("an answer stands still for a while", fine, seen(stuck().take(20)), Finding::Fine),
        (
            "it moved a moment ago",
            silent(600),
            seen(still().take(30).chain([with(|one| one.lines = Some(11))])),
            Finding::Works(Sign::Log),
        ),
        (
            "it moved in between",
            silent(600),
            seen(
                still().take(20).chain(std::iter::repeat_with(|| with(|one| one.lines = Some(11))).take(20)),
            ),
            Finding::Fine,
        ),
    ];
    for (what, complaint, evidence, wanted) in rows {
        assert_eq!(find(complaint, &evidence, 60_000), wanted, "{what}");
        let never = find(complaint, &evidence, 0);
        assert_eq!(never, Finding::Fine, "{what}: a limit of 0 ends nobody");
    }
}

#[test]
fn answers_that_get_on_are_told_from_a_slot_that_became_free() {
    let busy = |done| with(|one| one.slots = [(4000, vec![slot(true, done)])].into());
    assert!(seen([busy(1), busy(2), busy(3)]).answers_get_on());
    assert!(!seen([busy(1), busy(2), quiet()]).answers_get_on(), "it is free");
    assert!(!seen([busy(1), busy(1), busy(1)]).answers_get_on());
}

#[test]
fn a_gpu_counts_only_for_those_who_hold_memory_of_it() {
    use crate::gauge::GpuProcess;
    let its: ProcessWork = [(8, process(0.0))].into();
    let gpu = |load: Option<f64>, pids: &[u32]| GpuReading {
        load_percent: load,
        processes: pids.iter().map(|pid| GpuProcess { pid: *pid, memory_bytes: None }).collect(),
        ..GpuReading::default()
    };
    let untold = GpuReading { processes_absent: Some("no right".into()), ..gpu(Some(90.0), &[8]) };
    let rows = [
        ("there is none", vec![], GpuWork::NotTold),
        ("its load is not told", vec![gpu(None, &[8])], GpuWork::NotTold),
        ("idle", vec![gpu(Some(3.0), &[8])], GpuWork::Idle),
        ("busy for it alone", vec![gpu(Some(90.0), &[8])], GpuWork::Its),
        ("busy for others alone", vec![gpu(Some(90.0), &[99])], GpuWork::Idle),
        ("busy for both", vec![gpu(Some(90.0), &[8, 99])], GpuWork::Somebodys),
        ("busy for nobody who is told", vec![gpu(Some(90.0), &[])], GpuWork::Somebodys),
        ("busy, and not all are told", vec![untold], GpuWork::Somebodys),
        ("one idle, one busy for it", vec![gpu(Some(0.0), &[]), gpu(Some(90.0), &[8])], GpuWork::Its),
    ];
    for (what, gpus, wanted) in rows {
        assert_eq!(gpu_work(&gpus, Some(&its)), wanted, "{what}");
    }
    assert_eq!(gpu_work(&[gpu(Some(90.0), &[8])], None), GpuWork::Somebodys, "no process of it is known");
}

#[test]
fn only_an_answer_seen_at_two_looks_that_nobody_waits_for_is_orphaned() {
    let at = |id: u32, busy: bool, task: i64| Slot { id, busy, task: Some(task), done: 0 };
    let one = [at(0, true, 7)];
    let two = [at(0, true, 7), at(1, true, 8)];
    for (before, now, awaited, wanted) in [
        (&one[..], &one[..], 0, 1),
        (&one, &one, 1, 0),
        (&one, &one, 5, 0),
        (&[], &one, 0, 0),
        (&[at(0, false, 7)], &one, 0, 0),
        (&one, &[at(0, false, 7)], 0, 0),
        (&one, &[at(0, true, 9)], 0, 0),
        (&one, &[at(1, true, 7)], 0, 0),
        (&two, &two, 0, 2),
        (&two, &two, 1, 1),
        (&two, &[at(0, true, 7), at(1, true, 11)], 0, 1),
        (&two, &[at(0, true, 7), at(1, true, 11)], 1, 0),
    ] {
        assert_eq!(orphaned(before, now, awaited), wanted, "{before:?} {now:?} {awaited}");
    }
}
