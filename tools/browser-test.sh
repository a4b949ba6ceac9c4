#!/usr/bin/env bash
# Runs the browser tests against a real `pilothouse serve` with a real model. Reads the variables of test-tools.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
home="$(mktemp -d)"
mkdir -p "$home/config" artefacts/browser
port="$(free_ports 1)"
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
finish() {
    code=$?
    if [ "$code" != 0 ]; then
        "$program" status --json || true
        "$program" history --json | head -c 3000 || true
        tail -n 15 "$home"/logs/*.log "$home"/logs/*/*.log 2>/dev/null || true
    fi
    end_serving artefacts/browser/ || code=1
    exit "$code"
}
trap finish EXIT
begin_serving artefacts/browser/serve.log
PILOTHOUSE_URL="$(served url)"
export PILOTHOUSE_URL
tools/ollama-model.sh "http://127.0.0.1:$port" smollm2:135m "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf"
"$program" models >&2
npm run --silent test:browser
