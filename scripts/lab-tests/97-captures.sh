#!/usr/bin/env bash
# The demo's transfers up to 1 MiB, captured on every leg, against the same without the gateway.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=scripts/common.sh
source scripts/common.sh
need_commands python3 tshark
kept=$(mktemp -d "$TG_LAB_DIR/kept.XXXXXX")
trap 'rm -rf "$kept"' EXIT
# The captures are taken behind what the lab itself loses on a busy machine, and cannot tell whose loss it was;
# but the lab counts it. A run in which it lost nothing is judged, whatever comes out; a run in which it did is
# made once more.
for attempt in 1 2; do
    rm -rf "${kept:?}"/*
    for run in through direct; do
        option=
        [ "$run" = direct ] && option=--direct
        if ! bash scripts/demo-lab.sh $option --only '(0|1|1MiB)$' --keep "$kept/$run" >"$kept/$run.log" 2>&1; then
            tail -n 20 "$kept/$run.log"
            echo "0 passed, 1 failed"
            exit 1
        fi
    done
    lost="$(cat "$kept/through/lab-lost") and $(cat "$kept/direct/lab-lost")"
    [ "$attempt" = 2 ] || [ "$lost" = "0 and 0" ] && break
    echo "the lab itself lost $lost frames: once more"
done
echo "the lab itself lost $lost frames (through the gateway and without it)"
python3 scripts/check-captures.py "$kept/through" "$kept/direct"
