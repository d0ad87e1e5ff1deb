#!/usr/bin/env bash
# Measures mzcanary beside pgbouncer (session pooling) and haproxy (TCP) in one
# run, interleaved, and prints medians and ratios. docs/performance.md describes
# the measures; bench/run.sh --help the options.
#
# Needs Go and the Debian packages postgresql, pgbouncer and haproxy.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

for tool in go psql pgbench pgbouncer haproxy; do
  command -v "$tool" >/dev/null || { echo "bench/run.sh: $tool is not installed" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # the servers run as another user
(cd "$root" && CGO_ENABLED=0 go build -o "$work/" ./cmd/mzcanary ./bench)
"$work/bench" --work "$work" --mzcanary "$work/mzcanary" "$@"
