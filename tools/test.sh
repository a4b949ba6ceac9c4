#!/usr/bin/env bash
# make test: installs what the tests need, then runs all of them. A failing section does not stop the next one; the
# result at the end counts them all. Logs and pictures go to artefacts/.
set -uo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
mkdir -p artefacts/logs
rm -f artefacts/logs/*.log
failed=() summary=()
fast="${1:-}"

# section NAME COMMAND…: runs, times, keeps the log; prints its end when it failed.
section() {
    local name="$1" log="artefacts/logs/$1.log" start="$SECONDS"
    shift
    say "$name"
    if "$@" >"$log" 2>&1; then
        summary+=("$(printf '%-12s ok      %4d s' "$name" $((SECONDS - start)))")
    else
        summary+=("$(printf '%-12s FAILED  %4d s' "$name" $((SECONDS - start)))")
        failed+=("$name")
        tail -n 120 "$log"
    fi
}

need_commands cargo node npm go python3 || exit 1
need_packages "${WINDOW_PACKAGES[@]}" xvfb xauth x11-utils xfce4-panel dunst xdotool openbox dbus dbus-x11 imagemagick \
    chromium webkit2gtk-driver python3-venv curl procps faketime libayatana-appindicator3-1 fonts-dejavu-core \
    mmdebstrap systemd-container gnome-keyring docker.io podman busybox-static || exit 1
build_ui || exit 1

types() { git diff --exit-code --stat -- ui/src/api && [ -z "$(git status --porcelain -- ui/src/api)" ]; }
rust_units() { cargo test --workspace --exclude pilothouse-tests; }

section format cargo fmt --check
section clippy cargo clippy --quiet --workspace --all-targets -- -D warnings
section ui npm run --silent test
section units rust_units
section types types
if [ "$fast" != --fast ]; then
    section build cargo build --quiet --workspace
    if variables="$(tools/test-tools.sh 2>artefacts/logs/tools.log)"; then
        eval "$variables"
        export PILOTHOUSE_TEST_STRICT=1
        section contract cargo test --quiet -p pilothouse-tests --test contract -- --nocapture --test-threads=4
        # Without --quiet these name their tests: the count of the faults needs that.
        section journeys cargo test -p pilothouse-tests --test journeys -- --nocapture --test-threads=1
        section faults cargo test -p pilothouse-tests --test faults -- --nocapture --test-threads=6
        section storms cargo test -p pilothouse-tests --test storms -- --nocapture --test-threads=1
        section simulator cargo test --quiet -p pilothouse-tests --lib --test lmstudio_sim
        section containers cargo test -p pilothouse-tests --test containers -- --nocapture --test-threads=4
        section machines cargo test -p pilothouse-tests --test machines -- --nocapture --test-threads=1
        section desktop cargo test --quiet -p pilothouse-tests --test desktop -- --nocapture --test-threads=1
        section browser tools/browser-test.sh
    else
        tail -n 40 artefacts/logs/tools.log
        failed+=(tools)
    fi
    section macos tools/macos-check.sh
fi

say "Result"
printf '%s\n' "${summary[@]}"
python3 tools/count-tests.py artefacts/logs/*.log
if [ "$fast" != --fast ]; then
    echo "The program is at ${CARGO_TARGET_DIR:-target}/debug/pilothouse"
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
