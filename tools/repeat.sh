#!/usr/bin/env bash
# tools/repeat.sh [TIMES]: the tests on real processes, again and again (default: 20 times), to find those that fail now and
# then. One line per round; what a failed round printed stays in artefacts/repeat/.
set -uo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
mkdir -p artefacts/repeat
cargo build --quiet --workspace --all-targets || exit 1
variables="$(tools/test-tools.sh)" || exit 1
eval "$variables"
export PILOTHOUSE_TEST_STRICT=1
# The threads of an answer wait for each other at every layer: beside other tests two take longer than one, and
# up to ten times the processor.
export OMP_THREAD_LIMIT=1
failed=0
for round in $(seq 1 "${1:-20}"); do
    start="$SECONDS" outcome=passed
    for tests in faults journeys; do
        log="artefacts/repeat/$tests-$round.log"
        # As make test runs them.
        threads=$([ "$tests" = faults ] && echo 6 || echo 1)
        if cargo test --quiet --workspace --test "$tests" -- --test-threads="$threads" >"$log" 2>&1; then
            rm -f "$log"
        else
            outcome="FAILED, see $log"
            failed=$((failed + 1))
        fi
    done
    echo "round $round: $outcome ($((SECONDS - start)) s)"
done
exit "$((failed > 0))"
