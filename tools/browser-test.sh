#!/usr/bin/env bash
# Runs the browser tests against a real `pilothouse serve` with a real model. Reads the variables of test-tools.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
home="$(mktemp -d)"
mkdir -p "$home/config" artefacts/browser
# Below the ports that the system hands out by itself: Pilothouse's own door might get one of those.
port="$(python3 -c '
import random, socket
while True:
    port = random.randrange(15000, 32000)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            print(port)
            break')"
cat >"$home/config/settings.toml" <<SETTINGS
[gateway]
port = 0
[servers.ollama]
program = "$PILOTHOUSE_TEST_OLLAMA"
address = "http://127.0.0.1:$port"
models_dir = "$home/ollama-models"
SETTINGS
program="${CARGO_TARGET_DIR:-target}/debug/pilothouse"
export PILOTHOUSE_HOME="$home" HOME="$home"
"$program" serve >"$home/serve.out" 2>artefacts/browser/serve.log &
engine=$!
finish() {
    code=$?
    if [ "$code" != 0 ]; then
        "$program" status --json || true
        "$program" history --json | head -c 3000 || true
        tail -n 15 "$home"/logs/*.log "$home"/logs/*/*.log 2>/dev/null || true
    fi
    kill -TERM "$engine" 2>/dev/null || true
    wait "$engine" || true
    cp -r "$home/logs" artefacts/browser/ 2>/dev/null || true
    if pgrep -f "$home" >/dev/null; then
        echo "left behind:" >&2
        pgrep -af "$home" >&2
        code=1
    fi
    rm -rf "$home"
    exit "$code"
}
trap finish EXIT
for _ in $(seq 300); do
    [ -s "$home/serve.out" ] && break
    kill -0 "$engine"
    sleep 0.1
done
PILOTHOUSE_URL="$(python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["url"])' <"$home/serve.out")"
export PILOTHOUSE_URL
tools/ollama-model.sh "http://127.0.0.1:$port" smollm2:135m "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf"
"$program" models >&2
npm run --silent test:browser
