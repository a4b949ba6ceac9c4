//! What the search for models that fit together costs: 60 models under 128 GiB, the first 200 sets. `make bench` runs it.

use pilothouse_domain::fit::together;
use std::time::Instant;

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() {
    // Sizes between 0.4 and 42 GB that follow no pattern, the same each time.
    let size = |index: u64| 400_000_000 + index * index * 7_919 * 1_463 % 42_000_000_000;
    let models: Vec<(String, u64)> = (1..=60).map(|index| (format!("m{index}"), size(index))).collect();
    let mut took: Vec<f64> = (0..200)
        .map(|_| {
            let begun = Instant::now();
            std::hint::black_box(together(std::hint::black_box(&models), 128 << 30, 200));
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    println!("60 models under 128 GiB: median {:.2} ms, worst {:.2} ms", took[100], took[199]);
}
