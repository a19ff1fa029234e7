#!/usr/bin/env bash
# The demos' transfers with the gateway in line, captured on both its sides, against the same without it: no frame is
# damaged, and TCP has no more to repair. As in 97-captures.sh, a run in which the lab itself lost frames is made once more.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=scripts/common.sh
source scripts/common.sh
need_commands python3 tshark
kept=$(mktemp -d "$TG_LAB_DIR/kept.XXXXXX")
trap 'rm -rf "$kept"' EXIT
status=0
for deployment in bridge route; do
    for attempt in 1 2; do
        rm -rf "${kept:?}"/*
        for run in through direct; do
            option=--transfers
            [ "$run" = direct ] && option=--direct
            if ! LAB_DEPLOYMENT=$deployment bash scripts/demo-lab.sh $option --only '^(PASV|EPSV|PORT|EPRT) curl (list|download|upload) 1MiB$' \
                --keep "$kept/$run" >"$kept/$run.log" 2>&1; then
                tail -n 20 "$kept/$run.log"
                echo "0 passed, 1 failed"
                exit 1
            fi
        done
        lost="$(cat "$kept/through/lab-lost") and $(cat "$kept/direct/lab-lost")"
        [ "$attempt" = 2 ] || [ "$lost" = "0 and 0" ] && break
        echo "the lab itself lost $lost frames: once more"
    done
    echo "$deployment: the lab itself lost $lost frames (through the gateway and without it)"
    python3 scripts/check-captures.py --inline "$kept/through" "$kept/direct" || status=1
done
exit $status
