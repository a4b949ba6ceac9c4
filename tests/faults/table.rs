//! The table and the tests are one: a row without a test, or a test without a row, is a failure.

use std::{collections::BTreeSet, path::Path};

const TABLE: &str = include_str!("../FAULTS.md");
/// From here on each failure stands with all of its tests, those of the engine on scripted servers among them.
const BY_FAILURE: &str = "## A change of what is in memory\n";
const RESIDENCY: &str = "../src-tauri/crates/engine/src/actors/residency";
const STORE: &str = "../src-tauri/crates/engine/src/store";
/// Crowds at the address with keys need no process.
const KEYS: &str = "../src-tauri/crates/gateway/src/keys";

/// The sources of a folder beside the table.
fn sources(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = files.filter(|file| file.extension().is_some_and(|name| name == "rs"));
    // This one names no fault, and its own words would be taken for tests.
    let sources = sources.filter(|file| file.file_stem().is_some_and(|name| name != "table"));
    sources.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let marks = ["test(flavor = \"multi_thread\")]\n", "test(start_paused = true)]\n", "#[test]\n"];
    let functions = marks.into_iter().flat_map(|mark| source.split(mark).skip(1));
    functions.filter_map(|text| {
        let rest = text.strip_prefix("async fn ").or_else(|| text.strip_prefix("fn "))?;
        rest.split('(').next()
    })
}

/// Those of the crates too, which may stand in modules of their own.
fn any_tests_in(source: &str) -> impl Iterator<Item = &str> {
    // Whatever stands in the brackets behind "test", if there are any.
    let functions = source.split("test").skip(1).filter_map(|text| {
        let rest =
            text.strip_prefix(']').or_else(|| text.strip_prefix('(')?.split_once(")]").map(|(_, rest)| rest));
        rest?.strip_prefix('\n')
    });
    functions.filter_map(|text| {
        let text = text.trim_start();
        let rest = text.strip_prefix("async fn ").or_else(|| text.strip_prefix("fn "))?;
        rest.split('(').next()
    })
}

#[test]
fn every_fault_has_a_test_and_every_test_a_row() {
    let (table, _) = TABLE.split_once(BY_FAILURE).unwrap();
    let named: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .filter_map(|line| line.rsplit('`').nth(1))
        .collect();
    let rows: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(rows.len(), named.len(), "a test is named twice");
    // Folders of faults only; of the others those that the table names.
    let journeys = [sources("journeys"), sources("containers"), sources("machines")].concat();
    let faults = [sources("faults"), sources("storms"), sources("storms/kills")].concat();
    let faults: BTreeSet<&str> = faults.iter().flat_map(|source| tests_in(source)).collect();
    let of_keys = [KEYS, &format!("{KEYS}/tests")].map(sources).concat();
    let of_keys = of_keys.iter().flat_map(|source| any_tests_in(source));
    let journeys = journeys.iter().flat_map(|source| tests_in(source));
    let all: BTreeSet<&str> = journeys.chain(of_keys).chain(faults.clone()).collect();
    let without_test: Vec<_> = rows.difference(&all).collect();
    let without_row: Vec<_> = faults.difference(&rows).collect();
    assert!(without_test.is_empty(), "rows without a test: {without_test:?}");
    assert!(without_row.is_empty(), "tests without a row: {without_row:?}");
    println!("{} faults", rows.len());
    assert!(rows.len() >= 40, "{} faults", rows.len());
}

#[test]
fn every_test_that_a_failure_of_a_change_names_is_there() {
    let (_, table) = TABLE.split_once(BY_FAILURE).unwrap();
    let folders = ["faults", "journeys", "storms", "storms/kills"].map(sources).concat();
    let engine = [RESIDENCY, &format!("{RESIDENCY}/tests"), STORE].map(sources).concat();
    let tests: BTreeSet<&str> = folders.iter().flat_map(|source| tests_in(source)).collect();
    let of_engine = engine.iter().flat_map(|source| any_tests_in(source));
    let tests: BTreeSet<&str> = tests.into_iter().chain(of_engine).collect();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    // Every second piece between the marks is what they enclose; a flag of the command line is no test.
    let named: BTreeSet<&str> =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter(|name| name.contains('_')).collect();
    let unknown: Vec<_> = named.difference(&tests).collect();
    assert!(unknown.is_empty(), "tests that are not there: {unknown:?}");
    assert!(named.len() >= 30, "{} tests", named.len());
}
