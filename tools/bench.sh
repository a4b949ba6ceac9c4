#!/usr/bin/env bash
# make bench: figures of the release build on this machine. The model's rates come from the embedded server; the cost
# of Pilothouse itself from /proc while nobody looks at it.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
build_ui
cargo build --quiet --release -p pilothouse-cli
program="$PWD/${CARGO_TARGET_DIR:-target}/release/pilothouse"
home="$(mktemp -d)"
export PILOTHOUSE_HOME="$home" PILOTHOUSE_EMBEDDED="${PILOTHOUSE_EMBEDDED:-$(test_cache)/embedded}"
mkdir -p "$home/config"
printf '[gateway]\nport = 0\n[servers.ollama]\nenabled = false\n' >"$home/config/settings.toml"
"$program" setup --yes
"$program" serve >"$home/serve.out" &
engine=$!
trap 'kill -TERM $engine; wait $engine || true; rm -rf "$home"' EXIT
for _ in $(seq 600); do
    "$program" status --json 2>/dev/null | grep -q '"active":{' && break
    sleep 0.2
done
say "The embedded model"
"$program" bench
seconds=60
say "Pilothouse itself (serve), idle for $seconds s"
ticks() { awk '{print $14 + $15}' "/proc/$engine/stat"; }
before="$(ticks)"
sleep "$seconds"
after="$(ticks)"
awk -v used=$((after - before)) -v hertz="$(getconf CLK_TCK)" -v seconds="$seconds" \
    'BEGIN { printf "processor  %.2f %% of a core\n", used / hertz / seconds * 100 }'
awk '/^Pss:/ { printf "memory     %.1f MB (PSS)\n", $2 * 1024 / 1e6 }' "/proc/$engine/smaps_rollup"
say "The page in a browser"
if [ -d node_modules/playwright-core ]; then
    url="$(python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["url"])' <"$home/serve.out")"
    node tools/page-cost.mjs "page=$url"
fi
# Ten minutes: samples come every 5 s, and mappings are walked every 30 s.
seconds="${BENCH_SECONDS:-600}"
say "The tray app, no window, twice $seconds s"
cargo build --quiet --release -p pilothouse-tray --features pilothouse-tray/custom-protocol
cargo build --quiet --workspace --all-targets
eval "$(tools/test-tools.sh 2>/dev/null)"
PILOTHOUSE_BENCH_APP="$program-tray" BENCH_SECONDS="$seconds" \
    cargo test --quiet --workspace --test desktop -- --ignored --nocapture own_cost | grep "^tray app"
say "A switch, less its server's load and first token"
tools/switch-overhead.py "$program" "$PILOTHOUSE_EMBEDDED" "$PILOTHOUSE_TEST_OLLAMA"
say "The one address, beside nginx and asking a server that answers at once directly"
tools/address-bench.sh
say "Models that fit together"
cargo run --quiet --release -p pilothouse-domain --example together_cost
say "A history of a million trials"
cargo run --quiet --release -p pilothouse-engine --example history_cost
