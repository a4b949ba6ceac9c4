//! What the tray app itself costs while nobody looks at it: a measurement that `make bench` runs, no test.

use crate::{app::start_by, desktop::Desktop, tools::Tools, tray_menu::TrayItem};
use pilothouse_tests::sandbox::{Sandbox, until};
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(60);
/// What starts with the app is over by then.
const SETTLE: Duration = Duration::from_secs(30);
/// Of `/proc/<pid>/stat`: hundredths of a second on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processor time so far.
fn cpu_s(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS_PER_S
}

/// Proportional set size in MB.
fn pss_mb(pid: i32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<f64>().unwrap() * 1024.0 / 1e6
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of BENCH_SECONDS seconds (default 60; make bench takes 600)"]
async fn own_cost_without_a_window() {
    let Some(tools) = Tools::find() else { return };
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let program = std::env::var_os("PILOTHOUSE_BENCH_APP").map_or(tools.tray.clone(), PathBuf::from);
    let mut desktop = Desktop::start("cost").await;
    desktop.start_panel().await;
    let sandbox = Sandbox::new(&tools.sandbox, "[tray]\ngauge = \"both\"\n");
    let mut app = start_by(&desktop, &sandbox, desktop.command(&program));
    sandbox.until_active(&mut app, "llama-server").await;
    until("the icon", LIMIT, || TrayItem::find(&desktop.bus)).await;
    tokio::time::sleep(SETTLE).await;
    let pid = i32::try_from(app.child().id()).unwrap();
    println!("{}", measure("nobody looks", pid, seconds).await);
    // Somebody who follows the gauges brings the samples to one per second, and has each of them sent.
    let watching = sandbox.begin(&["gauges", "--watch"]);
    println!("{}", measure("gauges followed at 1 Hz", pid, seconds).await);
    drop(watching);
    app.stop();
}

async fn measure(what: &str, pid: i32, seconds: u64) -> String {
    let (begun, before) = (Instant::now(), cpu_s(pid));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let share = (cpu_s(pid) - before) / begun.elapsed().as_secs_f64() * 100.0;
    let memory = pss_mb(pid);
    format!("tray app, no window, {what}, {seconds} s: {share:.2} % of a core, {memory:.1} MB (PSS)")
}
