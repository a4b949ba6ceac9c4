//! The table and the tests are one: a row without a test, or a test without a row, is a failure.

use std::collections::BTreeSet;

const TABLE: &str = include_str!("../FAULTS.md");
const TESTS: [&str; 15] = [
    include_str!("answers.rs"),
    include_str!("docker.rs"),
    include_str!("hangs.rs"),
    include_str!("lmstudio.rs"),
    include_str!("owners.rs"),
    include_str!("remotes.rs"),
    include_str!("places.rs"),
    include_str!("processes.rs"),
    include_str!("runners.rs"),
    include_str!("../journeys/crashes.rs"),
    include_str!("../journeys/engine_killed.rs"),
    include_str!("../journeys/first_start.rs"),
    include_str!("../journeys/settings.rs"),
    include_str!("../journeys/switches.rs"),
    include_str!("../journeys/doors.rs"),
];
/// The first nine files are faults only; of the journeys those that the table names.
const FAULTS_ONLY: usize = 9;

fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let functions =
        source.split("test(flavor = \"multi_thread\")]\n").chain(source.split("#[test]\n")).skip(1);
    functions.filter_map(|text| {
        let rest = text.strip_prefix("async fn ").or_else(|| text.strip_prefix("fn "))?;
        rest.split('(').next()
    })
}

#[test]
fn every_fault_has_a_test_and_every_test_a_row() {
    let named: Vec<&str> = TABLE
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .filter_map(|line| line.rsplit('`').nth(1))
        .collect();
    let rows: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(rows.len(), named.len(), "a test is named twice");
    let all: BTreeSet<&str> = TESTS.iter().flat_map(|source| tests_in(source)).collect();
    let faults: BTreeSet<&str> = TESTS.iter().take(FAULTS_ONLY).flat_map(|source| tests_in(source)).collect();
    let without_test: Vec<_> = rows.difference(&all).collect();
    let without_row: Vec<_> = faults.difference(&rows).collect();
    assert!(without_test.is_empty(), "rows without a test: {without_test:?}");
    assert!(without_row.is_empty(), "tests without a row: {without_row:?}");
    println!("{} faults", rows.len());
    assert!(rows.len() >= 40, "{} faults", rows.len());
}
