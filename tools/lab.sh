#!/usr/bin/env bash
# make lab: how true the figures of a benchmark are. Pilothouse's clock is held against the server's own, and its decode rate
# against llama-bench of the same build on the same file. Wants a quiet machine; about 15 minutes once everything is built.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
build_ui
cargo build --quiet --release -p pilothouse-cli
eval "$(tools/test-tools.sh)"
programs="$(tools/llama-cpp.sh)"
models=("$PILOTHOUSE_EMBEDDED"/models/*.gguf)
if [ "${LAB_MODELS:-small}" = all ]; then
    mapfile -t more < <(tools/lab-models.sh)
    models+=("${more[@]}")
fi
for model in "${models[@]}"; do
    python3 tools/fidelity.py --programs "$programs" --model "$model" "$@"
done
