#!/usr/bin/env bash
# Starts quickstart on a fresh data folder, runs `zmqim bench` with the given words, appends its JSON
# line with the commit to tools/bench/results/, stops. Without words: every line of the schedule.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ $# -eq 0 ]; then
    grep -v '^#' tools/bench/schedule | while read -r line; do
        # shellcheck disable=SC2086
        "$0" $line </dev/null
    done
    exit
fi

data=$(mktemp -d "${TMPDIR:-/tmp}/zmqim-bench.XXXXXX")
.venv/bin/zmqim up quickstart --data "$data" >"$data/up.log" 2>&1 &
up=$!
trap 'kill -TERM $up 2>/dev/null || true; wait $up || true; rm -rf "$data"' EXIT
until .venv/bin/zmqim status --data "$data" --json 2>/dev/null |
    .venv/bin/python -c 'import json,sys; sys.exit(any(p["state"] != "alive" for p in json.load(sys.stdin)["processes"]))' 2>/dev/null; do
    kill -0 $up || { cat "$data/up.log"; exit 1; }
    sleep 0.2
done

result=tools/bench/results/$(date -u +%Y-%m-%d).jsonl
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
.venv/bin/zmqim bench "$@" --data "$data" --json |
    sed "s/^{/{\"commit\":\"$commit\",\"at\":\"$(date -u +%H:%M)\",/" | tee -a "$result"
echo "appended to $result" >&2
