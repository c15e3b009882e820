#!/usr/bin/env bash
# Prints the path of the anvil binary. npm's own launcher is a node script around it; a test that
# kills what it started must start the binary itself, or it kills only the launcher.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-amd64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  Darwin-x86_64) platform=darwin-amd64 ;;
  Darwin-arm64) platform=darwin-arm64 ;;
  *) echo "find-anvil: there is no anvil package for $(uname -s) $(uname -m)" >&2; exit 1 ;;
esac
anvil="$here/node_modules/@foundry-rs/anvil-$platform/bin/anvil"
if [ ! -x "$anvil" ]; then
  echo "find-anvil: $anvil is missing: run 'npm ci --ignore-scripts' in $here, or tests/run, which does" >&2
  exit 1
fi
printf '%s\n' "$anvil"
