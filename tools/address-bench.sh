#!/usr/bin/env bash
# What the one address adds to an answer, beside nginx and the server itself, in turns: a whole `pilothouse serve` of the release
# build with keys, records and metrics on, in front of a server that answers at once. Then its memory after many requests; with
# CROWD_SECONDS=600 a crowd asks before.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh
ulimit -n "$(ulimit -Hn)"
need_packages nginx-light python3 curl
cargo build --quiet --release -p pilothouse-cli
cargo build --quiet --release -p pilothouse-gateway --example stream_cost
built="$PWD/${CARGO_TARGET_DIR:-target}/release"
program="$built/pilothouse" stream_cost="$built/examples/stream_cost"
home="$(mktemp -d)"
read -r upstream proxy address < <(free_ports 3)
export PILOTHOUSE_HOME="$home"
mkdir -p "$home/config" "$home/nginx"
cat >"$home/config/settings.toml" <<SETTINGS
[gateway]
port = $address
require_key = true
metrics = true
[servers.ollama]
enabled = false
[servers.llama-server]
enabled = false
[servers.lmstudio]
enabled = false
[servers.remote.instant]
address = "http://127.0.0.1:$upstream/v1"
SETTINGS
# As its own manual has it for streams: kept connections, nothing gathered, no log.
cat >"$home/nginx/nginx.conf" <<NGINX
worker_processes auto;
pid $home/nginx/pid;
error_log $home/nginx/error.log;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $home/nginx/body;
    proxy_temp_path $home/nginx/proxy;
    fastcgi_temp_path $home/nginx/fastcgi;
    uwsgi_temp_path $home/nginx/uwsgi;
    scgi_temp_path $home/nginx/scgi;
    upstream instant { server 127.0.0.1:$upstream; keepalive 128; }
    server {
        listen 127.0.0.1:$proxy;
        location / {
            proxy_pass http://instant;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
    }
}
NGINX
started=()
finish() {
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait || true
    rm -rf "$home"
}
trap finish EXIT
"$stream_cost" --serve "$upstream" &
started+=($!)
nginx -c "$home/nginx/nginx.conf" -g 'daemon off;' 2>"$home/nginx/start.log" &
started+=($!)
"$program" serve >"$home/serve.out" 2>"$home/serve.log" &
engine=$!
started+=("$engine")
for _ in $(seq 100); do
    [ -s "$home/serve.out" ] && "$program" models --json 2>/dev/null | grep -q '"instant"' && break
    sleep 0.2
done
"$program" switch instant/a >/dev/null
key="$("$program" keys client add bench --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["key"])')"
"$stream_cost" --upstream "$upstream" --via "nginx=127.0.0.1:$proxy" --via "pilothouse=127.0.0.1:$address" --key "$key" "$@"
memory() { awk '/^Pss:/ { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/$engine/smaps_rollup"; }
if [ -n "${CROWD_SECONDS:-}" ]; then
    say "1,000 clients for $CROWD_SECONDS s, 100 of them slow"
    "$stream_cost" --crowd "$CROWD_SECONDS" --via "pilothouse=127.0.0.1:$address" --key "$key" --pid "$engine"
fi
requests="$("$program" traffic --json --limit 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["requests"][0]["id"])')"
echo "memory of pilothouse after $requests requests: $(memory) MB (PSS)"
