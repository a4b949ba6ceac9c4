use super::*;
use crate::report::{Made, seeds};
use pilothouse_domain::{model::ModelRef, switch::StepTiming};

fn here() -> MachineKey {
    machine_of(&seeds::detail(1, "ollama", "m", 1.0).run)
}

fn filled(past: &Past) -> OwnerTables {
    tables(past, &here(), &NoiseFloor::assumed())
}

fn load(server: &str, model: &str, load_ms: u64) -> SwitchReport {
    SwitchReport {
        switch_id: 1,
        from: None,
        to: ModelRef::new(server, model),
        outcome: SwitchOutcome::Committed,
        dry_run: false,
        took_ms: load_ms,
        load_ms: Some(load_ms),
        first_token_ms: None,
        steps: vec![StepTiming { name: "load".into(), ms: load_ms }],
        answers_cut: 0,
        journalled: true,
        reason: None,
        error: None,
    }
}

#[test]
fn without_a_history_every_cell_says_how_it_would_be_measured() {
    let tables = filled(&Past::default());
    assert_eq!(tables.sizes.len(), 7);
    for row in &tables.sizes {
        for cell in [&row.memory_bytes, &row.decode_tok_s, &row.at_a_time] {
            assert_eq!((cell.value, cell.words.as_str()), (None, "not measured"));
            assert!(cell.measure.as_ref().is_some_and(|command| command.starts_with("pilothouse ")));
        }
        assert!(row.noted_decode_tok_s.is_some(), "{}: his estimate", row.size);
    }
    let seven = tables.servers.iter().find(|row| row.metric == "tok/s 7B").unwrap();
    let command = seven.difference.measure.as_deref().unwrap();
    assert_eq!(command, "pilothouse bench ollama/qwen2.5:7b --against lmstudio/qwen2.5-7b-instruct");
    assert_eq!((seven.noted_ollama.as_str(), seven.noted_difference.as_str()), ("50", "+20 %"));
    let text = text(&tables, &Made { at: seeds::at(0), version: "0.1.0".into() });
    assert!(text.contains("| 7B       | –"), "{text}");
    assert!(text.contains("not measured (") && text.contains("`pilothouse sweep qwen2.5:7b`"), "{text}");
    assert_eq!(text.matches("`pilothouse bench qwen2.5:7b`").count(), 1, "a command is named once: {text}");
}

#[test]
fn cells_hold_the_newest_measured_median_of_this_machine() {
    let old = seeds::detail(1, "ollama", "qwen2.5:7b", 40.0);
    let new = seeds::detail(5, "llama-server", "Qwen2.5-7B-Instruct", 50.0);
    let mut elsewhere = seeds::detail(9, "ollama", "qwen2.5:7b", 999.0);
    elsewhere.run.fingerprint.insert("chip".into(), "Apple M9".into());
    let mut eight_bits = seeds::detail(10, "ollama", "qwen2.5:7b", 30.0);
    eight_bits.run.fingerprint.insert("quantization".into(), "Q8_0".into());
    let runs = vec![new, old, elsewhere, eight_bits, seeds::sweep(2, "ollama", "qwen2.5:7b")];
    let tables = filled(&Past { runs, switches: vec![] });
    let row = tables.sizes.iter().find(|row| row.size == "7B").unwrap();
    assert_eq!(row.decode_tok_s.run_id, Some(5));
    assert!((row.decode_tok_s.value.unwrap() - 50.0).abs() < 1.0);
    assert!(row.decode_tok_s.words.ends_with(", run 5"), "{}", row.decode_tok_s.words);
    assert_eq!(row.memory_bytes.words, "5.10 GB, run 5");
    assert_eq!((row.at_a_time.value, row.at_a_time.run_id), (Some(2.0), Some(2)));
    assert_eq!(row.model.as_deref(), Some("Qwen2.5-7B-Instruct Q4_K_M on llama-server"));
    let others = tables.sizes.iter().filter(|row| row.size != "7B");
    assert!(others.into_iter().all(|row| row.decode_tok_s.value.is_none()), "no other size was measured");
}

#[test]
fn only_what_was_measured_in_turns_has_a_difference() {
    let apart = vec![
        seeds::detail(1, "ollama", "qwen2.5:7b", 50.0),
        seeds::detail(2, "lmstudio", "qwen2.5-7b", 60.0),
    ];
    let of = |runs: Vec<RunDetail>, metric: &str| {
        let switches = vec![load("ollama", "qwen2.5:7b", 2100), load("lmstudio", "qwen2.5-7b", 900)];
        let tables = filled(&Past { runs, switches });
        tables.servers.into_iter().find(|row| row.metric.starts_with(metric)).unwrap()
    };
    let row = of(apart.clone(), "tok/s 7B");
    assert_eq!((row.ollama.run_id, row.lmstudio.run_id), (Some(1), Some(2)));
    assert_eq!((row.difference.value, row.difference.words.as_str()), (None, "not measured in turns"));
    let [a, b] = seeds::pair(3, "qwen2.5:7b", (50.0, 60.0));
    let row = of(vec![a, b, apart[1].clone()], "tok/s 7B");
    assert_eq!(
        (row.ollama.run_id, row.lmstudio.run_id),
        (Some(3), Some(4)),
        "the pair goes before a newer single run"
    );
    assert!(row.difference.words.starts_with("+20 % (+"), "{}", row.difference.words);
    // Each pair of these runs has the same ratio.
    assert!((row.difference.value.unwrap() - 1.2).abs() < 1e-9 && row.difference.low.is_some());
    let [a, b] = seeds::pair(3, "qwen2.5:7b", (50.0, 60.0));
    let row = of(vec![a, b], "7B memory");
    assert_eq!((row.difference.words.as_str(), row.difference.low), ("−14 %, no interval", None));
    let gpu = of(apart.clone(), "GPU utilisation, 7B");
    assert_eq!(gpu.ollama.words, "80 %, mean of run 1");
    assert_eq!(gpu.difference.words, "+0 points, no interval");
    let start = of(apart, "start-up");
    assert_eq!((start.ollama.words.as_str(), start.lmstudio.value), ("2.10 s, one switch", Some(0.9)));
    assert_eq!(start.difference.words, "−1.2 s, no interval");
}
