#!/usr/bin/env bash
# Lets foreign clients, judges and agents speak to the address of a real `pilothouse serve`, before the real llama-server and the real Ollama.
# Reads the variables of test-tools.sh. `--write` writes what came of it into docs/clients.md; else the page must say it already.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
here="$PWD/tests/judges"
cache="$(test_cache)/judges"
mkdir -p "$cache"

# installed NAME FILE…: whether it was installed from just these files.
installed() { local name="$1"; shift; [ "$(cat "$cache/$name.sum" 2>/dev/null)" = "$(cat "$@" | sha256sum)" ]; }
note_installed() { local name="$1"; shift; cat "$@" | sha256sum >"$cache/$name.sum"; }

if ! installed python "$here/requirements.txt"; then
    say "Installing the judges for Python"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    note_installed python "$here/requirements.txt"
fi
if ! installed node "$here/package-lock.json"; then
    say "Installing the judges for Node"
    mkdir -p "$cache/node"
    cp .npmrc "$here/package.json" "$here/package-lock.json" "$cache/node/"
    (cd "$cache/node" && npm ci --no-audit --no-fund --loglevel=error >&2)
    note_installed node "$here/package-lock.json"
fi
# The agents bring programs for each system; only that of this one is installed. No script of theirs is run.
if ! installed agents "$here/agents/package-lock.json"; then
    say "Installing the agents"
    mkdir -p "$cache/agents"
    cp .npmrc "$here/agents/package.json" "$here/agents/package-lock.json" "$cache/agents/"
    (cd "$cache/agents" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    note_installed agents "$here/agents/package-lock.json"
fi
tools_model="$(tools/lab-models.sh qwen2.5-coder-0.5b)"

home="$(mktemp -d)"
mkdir -p "$home/config" "$home/models" artefacts/judges
ln -s "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf" "$home/models/smollm2.gguf"
ln -s "$tools_model" "$home/models/qwen2.5-coder.gguf"
ln -s "$PILOTHOUSE_TEST_EMBEDDING" "$home/models/all-minilm.gguf"
shallow() { python3 "$here/shallow.py" "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf" "$home/models/$1.gguf" "${@:2}"; }
shallow shallow
port="$(free_ports 1)"
# No answer is long: judges that name no limit would else wait for a small model that cannot find its end.
cat >"$home/config/settings.toml" <<SETTINGS
[gateway]
port = 0
[gateway.aliases]
"claude-*haiku*" = "llama-server/smollm2"
"claude-haiku-of-ollama" = "ollama/smollm2"
[servers.lmstudio]
enabled = false
[servers.ollama]
program = "$PILOTHOUSE_TEST_OLLAMA"
address = "http://127.0.0.1:$port"
models_dir = "$home/ollama-models"
context = 1024
[servers.llama-server]
models_dir = "$home/models"
context = 1024
[servers.llama-server.models."smollm2".options]
predict = "48"
[servers.llama-server.models."shallow"]
context = 49152
[servers.llama-server.models."shallow".options]
predict = "200"
SETTINGS
# caller TOOL ARGUMENTS: a model that answers with a call of the tool.
caller() {
    shallow "calls-$1" "{\"name\": \"$1\", \"arguments\": $2}"
    printf '[servers.llama-server.models."calls-%s"]\ncontext = 49152\n' "$1" >>"$home/config/settings.toml"
    printf '[servers.llama-server.models."calls-%s".options]\npredict = "200"\nlogit-bias = "3+1000"\n' "$1" >>"$home/config/settings.toml"
}
caller Bash '{"command": "ls", "description": "x"}'
caller exec_command '{"cmd": "ls"}'
caller apply_patch '{"input": "*** Begin Patch"}'
caller mcp__calendar__create_event '{"title": "x"}'
program="${CARGO_TARGET_DIR:-target}/debug/pilothouse"
export PILOTHOUSE_HOME="$home" HOME="$home"
finish() {
    code=$?
    if [ "$code" != 0 ]; then
        "$program" status --json || true
        "$program" traffic --failed || true
    fi
    end_serving artefacts/judges/ || code=1
    exit "$code"
}
trap finish EXIT
begin_serving artefacts/judges/serve.log
JUDGES_GATEWAY="$(served gateway)"
ollama="http://127.0.0.1:$port"
tools/ollama-model.sh "$ollama" smollm2 "$PILOTHOUSE_EMBEDDED/models/SmolLM2-135M-Instruct.Q4_1.gguf" '{"num_predict":48}'
tools/ollama-model.sh "$ollama" qwen2.5-coder "$tools_model"
# Its template is not one that Ollama knows; with one that has tools it takes them.
tools/ollama-model.sh "$ollama" shallow "$home/models/shallow.gguf" '{"num_ctx":49152,"num_predict":200}'
python3 "$here/shallow.py" --ollama shallow | curl -sf -m 60 "$ollama/api/create" -d @- | grep -q success
tools/ollama-model.sh "$ollama" all-minilm "$PILOTHOUSE_TEST_EMBEDDING"
"$program" models >&2

JUDGES_FOUND="$home/found"
JUDGES_MODELS='{"llama-server": {"chat": "llama-server/smollm2", "tools": "llama-server/qwen2.5-coder", "embeddings": "llama-server/all-minilm",
        "agent": "llama-server/shallow", "callers": "llama-server/calls-", "background": "claude-haiku-4-5-20251001"},
    "ollama": {"chat": "ollama/smollm2", "tools": "ollama/qwen2.5-coder", "embeddings": "ollama/all-minilm",
        "agent": "ollama/shallow", "background": "claude-haiku-of-ollama"}}'
JUDGES_AGENTS="$cache/agents"
JUDGES_PROGRAM="$(realpath "$program")"
JUDGES_ARTEFACTS="$PWD/artefacts/judges"
export JUDGES_GATEWAY JUDGES_FOUND JUDGES_MODELS JUDGES_AGENTS JUDGES_PROGRAM JUDGES_ARTEFACTS PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=ignore
result=0
for suite in test_comply test_openai test_anthropic test_litellm test_langchain test_agents_by_hand; do
    (cd "$here" && timeout 150 "$cache/python/bin/python" -m unittest -v "$suite") 2>&1 || result=1
done
# Each task of an agent has a limit of its own.
(cd "$here" && timeout 1800 "$cache/python/bin/python" -m unittest -v test_agents) 2>&1 || result=1
# A module finds its packages beside itself, not where it is run.
cp "$here/clients.test.mjs" "$cache/node/"
timeout 150 node --test "$cache/node/clients.test.mjs" || result=1
"$cache/python/bin/python" "$here/table.py" "$JUDGES_FOUND" "$@" || result=1
# Nothing of this was lost on its way: what was answered whole is recorded as done, and nobody left early.
"$program" traffic --limit 500 --json >"$home/traffic.json"
python3 "$here/records.py" "$home/traffic.json" || result=1
exit "$result"
