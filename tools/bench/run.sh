#!/usr/bin/env bash
# Starts quickstart on a fresh data folder, runs `zmqim bench` with the given words (default: the
# shape that releases are judged by), appends its JSON line to tools/bench/results/, stops.
set -euo pipefail
cd "$(dirname "$0")/../.."

data=$(mktemp -d "${TMPDIR:-/tmp}/zmqim-bench.XXXXXX")
.venv/bin/zmqim up quickstart --data "$data" &
up=$!
trap 'kill -TERM $up 2>/dev/null || true; wait $up || true; rm -rf "$data"' EXIT
until .venv/bin/zmqim status --data "$data" --json 2>/dev/null |
    .venv/bin/python -c 'import json,sys; sys.exit(any(p["state"] != "alive" for p in json.load(sys.stdin)["processes"]))' 2>/dev/null; do
    kill -0 $up
    sleep 0.2
done

if [ $# -eq 0 ]; then
    set -- person --connections 100 --in-flight 4 --payload 100
fi
result=tools/bench/results/$(date -u +%Y-%m-%d).jsonl
.venv/bin/zmqim bench "$@" --data "$data" --json | tee -a "$result"
echo "appended to $result" >&2
