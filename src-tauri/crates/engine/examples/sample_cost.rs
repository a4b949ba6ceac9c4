//! What one sample of the gauges costs on this machine: `cargo run --release -p pilothouse-engine --example
//! sample_cost`. With process ids as arguments, their trees are watched as servers are.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use pilothouse_domain::server::ServerId;
use pilothouse_servers::ollama;
use pilothouse_system::gauges::{GaugeSource, MachineGauges, Watched};
use std::time::{Duration, Instant};

const SAMPLES: usize = 200;
/// Samples come from time to time; back to back, caches would be warmer than they are in use.
const PAUSE: Duration = Duration::from_millis(20);

fn main() {
    let pids = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let pids = pids.map(|pid| Watched {
        id: ServerId::new(format!("process-{pid}")),
        pid: Some(pid),
        runners: vec![],
    });
    let watched: Vec<Watched> = pids.collect();
    let mut gauges = MachineGauges::new(ollama::COMMAND_LINES);
    let started = Instant::now();
    let first = gauges.sample(&watched);
    let first_ms = started.elapsed().as_secs_f64() * 1000.0;
    let mut costs_ms: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            std::thread::sleep(PAUSE);
            let started = Instant::now();
            std::hint::black_box(gauges.sample(&watched));
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    costs_ms.sort_by(f64::total_cmp);
    println!("first sample  {first_ms:.2} ms");
    println!("median        {:.2} ms", costs_ms[SAMPLES / 2]);
    println!("p95           {:.2} ms", costs_ms[SAMPLES * 95 / 100]);
    println!("samples       {SAMPLES}, {} trees watched, {} GPUs", watched.len(), first.gpus.len());
}
