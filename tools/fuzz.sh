#!/usr/bin/env bash
# Fuzzes each parser of foreign files for FUZZ_SECONDS (600). Needs cargo-fuzz; see fuzz/README.md.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
# The sanitizer's flags are unstable; this lets the stable compiler take them, as it does for a nightly one.
export RUSTC_BOOTSTRAP=1
[ "$#" -gt 0 ] || set -- $(cargo fuzz list)
for target in "$@"; do
    echo "== $target"
    mkdir -p "corpus/$target"
    cargo fuzz run "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-600}" -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1
done
