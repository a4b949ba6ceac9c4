#!/usr/bin/env bash
# Makes an Ollama model from a GGUF file: ollama-model.sh ADDRESS NAME FILE. Waits until Ollama answers.
set -euo pipefail
address="$1" name="$2" file="$3"
for _ in $(seq 300); do
    curl -sf -m 2 -o /dev/null "$address/api/version" && break
    sleep 0.2
done
digest="sha256:$(sha256sum "$file" | cut -d' ' -f1)"
curl -sf -X POST -T "$file" -o /dev/null "$address/api/blobs/$digest"
curl -sf "$address/api/create" -d "{\"model\":\"$name\",\"files\":{\"model.gguf\":\"$digest\"},\"stream\":false}" | grep -q success
