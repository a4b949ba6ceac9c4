#!/usr/bin/env bash
# Runs llama.cpp's own server tests against its server directly, and those that pass and ask a path that the gateway lists once more
# through the gateway of a real `pilothouse serve`. What passes directly has to pass through it. Reads the variables of test-tools.sh.
# With names only those files: llama-tests.sh test_embedding. LLAMA_TESTS_SERVER is another llama-server than the embedded one.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
here="$PWD/tests/llama_cpp"
cache="$(test_cache)/llama-tests"
found="$PWD/artefacts/llama-tests"
program="$(realpath "${CARGO_TARGET_DIR:-target}/debug/pilothouse")"
rm -rf "$found"
mkdir -p "$cache" "$found"

if [ "$(cat "$cache/python.sum" 2>/dev/null)" != "$(sha256sum <"$here/requirements.txt")" ]; then
    say "Installing what llama.cpp's tests need"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    sha256sum <"$here/requirements.txt" >"$cache/python.sum"
fi
python="$cache/python/bin/python"

home="$(mktemp -d)"
mkdir -p "$home/config"
finish() {
    code=$?
    end_serving "$found/" || code=1
    exit "$code"
}
trap finish EXIT

# Their tests read the templates, write beside themselves, and gguf-py makes the model.
tar -xzf "$(tools/llama-cpp-source.sh)" -C "$home" --strip-components=1 --wildcards \
    '*/llama.cpp/tools/server/tests' '*/llama.cpp/models/templates' '*/llama.cpp/gguf-py'
source="$home/llama.cpp"
LLAMA_TESTS_CHAT="$home/tiny.gguf"
PYTHONPATH="$source/gguf-py" "$python" "$here/tiny_model.py" \
    "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf" "$LLAMA_TESTS_CHAT"
export LLAMA_TESTS_PATHS="$PWD/src-tauri/crates/gateway/src/path.rs"
export LLAMA_TESTS_CHAT LLAMA_TESTS_EMBEDDING="$PILOTHOUSE_TEST_EMBEDDING" LLAMA_TESTS_RERANKER="$PILOTHOUSE_TEST_RERANKER"
export LLAMA_SERVER_BIN_PATH="${LLAMA_TESTS_SERVER:-$PILOTHOUSE_EMBEDDED/llama-server/bin/llama-server}"
export PYTHONPATH="$source/tools/server/tests:$here" PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore
# Threads that spin for each other take few processors from everything else.
export OMP_THREAD_LIMIT="${OMP_THREAD_LIMIT:-1}" GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"
# Their servers listen on one port, one after the other.
PORT="$(free_ports 1)"
export PORT

cd "$source/tools/server/tests"
mkdir -p tmp
files=(unit)
if [ $# -gt 0 ]; then
    files=("${@/#/unit/}")
    files=("${files[@]/%/.py}")
fi

# tests NAME TEST…: what came of them goes to NAME.jsonl. That tests fail is no failure here; that they were not all run is one.
tests() {
    local name="$1" code=0
    shift
    # Slow ones are those with models of several gigabytes.
    LLAMA_TESTS_FOUND="$found/$name.jsonl" timeout 2400 "$python" -m pytest -p shim -p no:cacheprovider -q --tb=short \
        --timeout 120 -m "not slow" "$@" >"$found/$name.log" 2>&1 || code=$?
    if [ "$code" -gt 1 ]; then
        tail -n 20 "$found/$name.log" >&2
        echo "the tests were not run: $code" >&2
        return 1
    fi
}

say "llama.cpp's tests, directly"
tests direct "${files[@]}"

cat >"$home/config/settings.toml" <<'SETTINGS'
[gateway]
port = 0
# Each test asks by a name of its own, and means the one model that its server has.
[gateway.aliases]
"*" = "active"
[gauges]
docker = false
[servers.llama-server]
enabled = false
[servers.ollama]
enabled = false
[servers.lmstudio]
enabled = false
SETTINGS
export PILOTHOUSE_HOME="$home" LLAMA_TESTS_PROGRAM="$program"
begin_serving "$found/serve.log"
LLAMA_TESTS_GATEWAY="$(served gateway)"
export LLAMA_TESTS_GATEWAY

say "Those that pass and ask a path of the gateway, through it"
"$python" - "$found/direct.jsonl" >"$home/counted" <<'COUNTED'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    for one in map(json.loads, file):
        if one["found"] == "passed" and one["asked"]:
            print(one["test"].replace("\n", "\\n"))
COUNTED
if [ ! -s "$home/counted" ]; then
    echo "no test passes directly and asks a path of the gateway" >&2
    exit 1
fi
tests through "@$home/counted"
"$python" "$here/table.py" "$found/direct.jsonl" "$found/through.jsonl" "$here/expected.toml" | tee "$found/table.txt"
