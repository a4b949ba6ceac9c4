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
# All of it at once, and always of the whole workspace: the choice of packages decides which features their libraries have,
# and with a smaller one cargo would compile two hundred of them, ours too, once more.
build() { cargo build --quiet --workspace --all-targets; }
rust_units() { cargo test --workspace --lib --bins --no-fail-fast; }
# processes NAME THREADS: the tests of one program against real processes. Without --quiet they name their tests: the count
# of the faults needs that.
processes() { cargo test --workspace --test "$1" -- --nocapture --test-threads="$2"; }
# pages LETTERS: those of the simulated engine whose files begin so; in two halves, so that each lane has one.
pages() { node --test --test-concurrency=1 tests/browser/simulated/[$1]*.test.mjs; }
faults_lane() {
    section faults processes faults 6
    section containers processes containers 4
    section machines processes machines 1
    section contract processes contract 4
    section simulator processes lmstudio_sim 2
    section pages-s-z pages s-z
}
# The real engine measures there: not beside the faults.
browser_lane() {
    section pages-a-r pages a-r
    section browser tools/browser-test.sh
    section macos tools/macos-check.sh
}
storms_lane() { section storms processes storms 1; }
journeys_lane() { section journeys processes journeys 2; }

types() { git diff --exit-code --stat -- ui/src/api && [ -z "$(git status --porcelain -- ui/src/api)" ]; }
export -f build types rust_units processes pages

section format cargo fmt --check
section clippy cargo clippy --quiet --workspace --all-targets -- -D warnings
section ui npm run --silent test
[ "$fast" = --fast ] || section build build
section units rust_units
section types types
if [ "$fast" != --fast ]; then
    if variables="$(tools/test-tools.sh 2>artefacts/logs/tools.log)"; then
        eval "$variables"
        export PILOTHOUSE_TEST_STRICT=1
        # The threads of an answer wait for each other at every layer: beside other tests two take longer than one, and
        # up to ten times the processor.
        export OMP_THREAD_LIMIT=1
        side_by_side storms_lane journeys_lane
        side_by_side faults_lane browser_lane
        section desktop processes desktop 1
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
