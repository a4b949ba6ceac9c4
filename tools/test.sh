#!/usr/bin/env bash
# make test: installs what the tests need, then runs all of them. A failing section does not stop the next one; the
# result at the end counts them all. Logs and pictures go to artefacts/.
set -uo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
mkdir -p artefacts/logs
rm -f artefacts/logs/*.log
fast="${1:-}"
results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT

# What the commands of this shell have computed so far, in whole seconds, into `computed`: it tells which sections wait, and may
# run beside others. A file, since a pipe would be another shell.
look_at_processor() {
    local seen="$results/times.$BASHPID"
    times >"$seen"
    computed="$(awk -F '[ms ]' 'NR == 2 { print int($1 * 60 + $2 + $4 * 60 + $5) }' "$seen")"
}

# No section takes longer, in seconds: one test that waits for ever shall not hide what the others found.
limit=1500

# section NAME COMMAND…: runs, times, keeps the log; shows its end when it failed. A lane is another shell: what came of it
# goes to a file. Nothing is asked of a terminal.
section() {
    local name="$1" log="artefacts/logs/$1.log" start="$SECONDS" word=ok before computed running
    shift
    say "$name ($((SECONDS / 60)) min since the start)"
    look_at_processor
    before="$computed"
    # The functions are exported: what has a limit is a program of its own.
    timeout --kill-after=20 "$limit" bash -c '"$@"' "$name" "$@" >"$log" 2>&1 </dev/null &
    running=$!
    # In the background it hears no Ctrl-C.
    trap 'kill "$running"; exit 130' INT TERM
    wait "$running" || word=FAILED
    trap - INT TERM
    if [ $((SECONDS - start)) -ge "$limit" ]; then
        echo "stopped after $limit s" | tee -a "$log"
    fi
    look_at_processor
    printf '%-12s %-7s %4d s, %4d s of a processor\n' "$name" "$word" $((SECONDS - start)) \
        $((computed - before)) >"$results/$(date +%s%N)"
    if [ "$word" = FAILED ]; then
        echo "$name" >>"$results/failed"
        tail -n 120 "$log"
    fi
}

# side_by_side LANE…: runs these functions at the same time and waits for all of them. Only what has a home and ports of its
# own, and no assertion on time, runs beside something else.
side_by_side() {
    local lane
    for lane in "$@"; do "$lane" & done
    wait
}

need_commands cargo node npm go python3 || exit 1
need_packages "${WINDOW_PACKAGES[@]}" xvfb xauth x11-utils xfce4-panel lxqt-panel trayer dunst xdotool openbox dbus dbus-x11 imagemagick \
    chromium webkit2gtk-driver python3-venv curl procps faketime libayatana-appindicator3-1 fonts-dejavu-core \
    mmdebstrap systemd-container gnome-keyring docker.io podman busybox-static iproute2 || exit 1
build_ui || exit 1

# Called by section.
build() { cargo build --quiet --workspace && cargo test --quiet -p pilothouse-tests --no-run; }
faults_lane() {
    # Without --quiet these name their tests: the count of the faults needs that.
    section faults cargo test -p pilothouse-tests --test faults -- --nocapture --test-threads=6
    section containers cargo test -p pilothouse-tests --test containers -- --nocapture --test-threads=4
    section machines cargo test -p pilothouse-tests --test machines -- --nocapture --test-threads=1
}
browser_lane() { section browser tools/browser-test.sh; }
storms_lane() {
    section storms cargo test -p pilothouse-tests --test storms -- --nocapture --test-threads=1
}
journeys_lane() {
    section journeys cargo test -p pilothouse-tests --test journeys -- --nocapture --test-threads=2
    section contract cargo test --quiet -p pilothouse-tests --test contract -- --nocapture --test-threads=4
    section simulator cargo test --quiet -p pilothouse-tests --lib --test lmstudio_sim
    section macos tools/macos-check.sh
}

types() { git diff --exit-code --stat -- ui/src/api && [ -z "$(git status --porcelain -- ui/src/api)" ]; }
# One that fails does not keep the others from being run.
rust_units() { cargo test --workspace --exclude pilothouse-tests --no-fail-fast; }
export -f build types rust_units

section format cargo fmt --check
section clippy cargo clippy --quiet --workspace --all-targets -- -D warnings
section ui npm run --silent test
section compile cargo test --quiet --workspace --exclude pilothouse-tests --no-run
section units rust_units
section types types
if [ "$fast" != --fast ]; then
    section build build
    if variables="$(tools/test-tools.sh 2>artefacts/logs/tools.log)"; then
        eval "$variables"
        export PILOTHOUSE_TEST_STRICT=1
        side_by_side storms_lane journeys_lane
        side_by_side faults_lane browser_lane
        section desktop cargo test --quiet -p pilothouse-tests --test desktop -- --nocapture --test-threads=1
    else
        tail -n 40 artefacts/logs/tools.log
        echo tools >>"$results/failed"
        section macos tools/macos-check.sh
    fi
fi

say "Result"
cat "$results"/[0-9]*
python3 tools/count-tests.py artefacts/logs/*.log
if [ "$fast" != --fast ]; then
    echo "The program is at ${CARGO_TARGET_DIR:-target}/debug/pilothouse"
fi
if [ -s "$results/failed" ]; then
    echo "failed: $(paste -sd ' ' "$results/failed")" >&2
    exit 1
fi
