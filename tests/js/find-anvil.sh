#!/usr/bin/env bash
# Prints the path of the anvil binary.
#
# package.json names the package with the binary, not `@foundry-rs/anvil`: that one is a node script
# around it, and a test that kills what it started must start the binary itself. It is an optional
# dependency, so that npm does not refuse other platforms; they use an anvil of their own from PATH.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
anvil="$here/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
if [ -x "$anvil" ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
  printf '%s\n' "$anvil"
elif ! command -v anvil; then
  echo "find-anvil: no anvil. On x86-64 Linux run 'npm ci --ignore-scripts' in $here (tests/run does)." >&2
  echo "find-anvil: On other machines put Foundry's anvil on PATH." >&2
  exit 1
fi
