#!/usr/bin/env bash
# Builds llama-server and llama-bench of one source into the test cache, so that the two can be held against each other: about
# nine minutes on two cores, once. Prints the folder of both programs.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
archive="$(tools/llama-cpp-source.sh)"
folder="${archive%.tar.gz}"
if [ ! -x "$folder/llama-bench" ]; then
    need_packages cmake ninja-build g++ >&2
    work="$(mktemp -d "$(test_cache)/building-XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    tar -xzf "$archive" -C "$work" --strip-components=1
    say "Building llama-server and llama-bench"
    # As setup builds the server (engine/setup/source_build.rs).
    cmake -S "$work/llama.cpp" -B "$work/objects" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
        -DGGML_NATIVE=ON >&2
    cmake --build "$work/objects" --target llama-server llama-bench >&2
    mkdir -p "$folder"
    cp "$work/objects/bin/llama-server" "$work/objects/bin/llama-bench" "$folder/"
fi
echo "$folder"
