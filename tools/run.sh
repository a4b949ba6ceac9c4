#!/usr/bin/env bash
# make run: installs what is missing, builds, fetches the embedded server and model, starts Pilothouse.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/lib.sh

if [ "$(uname)" = Darwin ]; then
    command -v llama-server >/dev/null || echo "hint: brew install llama.cpp  (the embedded server)" >&2
    command -v cargo >/dev/null || { echo "hint: brew install rustup node" >&2; exit 1; }
fi
need_commands cargo node npm
display=
if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || [ "$(uname)" = Darwin ]; then display=yes; fi
if [ -n "$display" ]; then
    need_packages "${WINDOW_PACKAGES[@]}" libayatana-appindicator3-1
else
    need_packages build-essential pkg-config
fi
# Where the prebuilt llama-server does not suit the processor, `pilothouse setup` builds one from source.
if [ "$(uname)" = Linux ] && { [ "$(uname -m)" != x86_64 ] || ! grep -qw avx2 /proc/cpuinfo; }; then
    need_packages cmake ninja-build
fi
build_ui
packages=(-p pilothouse-cli)
[ -n "$display" ] && packages+=(-p pilothouse-tray --features pilothouse-tray/custom-protocol)
say "Building Pilothouse (minutes at the first time, seconds later)"
cargo build --release "${packages[@]}"
program="${CARGO_TARGET_DIR:-target}/release/pilothouse"
"$program" setup --yes || echo "Setup did not finish; Pilothouse starts all the same and offers it again." >&2
echo "The program is at $program" >&2
if [ -n "$display" ]; then
    exec "$program-tray"
fi
exec "$program" serve
