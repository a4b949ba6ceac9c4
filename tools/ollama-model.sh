#!/usr/bin/env bash
# Makes an Ollama model from a GGUF file: ollama-model.sh ADDRESS NAME FILE [PARAMETERS]. Waits until Ollama answers. PARAMETERS are
# Ollama's, as JSON.
set -euo pipefail
address="$1" name="$2" file="$3" parameters="${4:-{\}}"
for _ in $(seq 300); do
    curl -sf -m 2 -o /dev/null "$address/api/version" && break
    sleep 0.2
done
digest="sha256:$(sha256sum "$file" | cut -d' ' -f1)"
curl -sf -X POST -T "$file" -o /dev/null "$address/api/blobs/$digest"
curl -sf "$address/api/create" -d "{\"model\":\"$name\",\"files\":{\"model.gguf\":\"$digest\"},\"parameters\":$parameters,\"stream\":false}" | grep -q success
