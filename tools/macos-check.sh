#!/usr/bin/env bash
# Type-checks everything for macOS on any machine. Nothing is linked, so a stub stands in for Apple's compiler; see
# tools/stub. What is checked here has not been run: that needs a Mac.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-apple-darwin
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
export CC_aarch64_apple_darwin="$PWD/tools/stub/cc" CXX_aarch64_apple_darwin="$PWD/tools/stub/cc"
export AR_aarch64_apple_darwin="$PWD/tools/stub/ar"
export AWS_LC_SYS_CMAKE_BUILDER=0 AWS_LC_SYS_NO_ASM=0
cargo check --quiet --target "$target" --workspace --exclude pilothouse-tests "$@"
echo "type-checked for $target: every crate but the tests"
