#!/usr/bin/env bash
# With another password at the router nothing is redirected, the transfer goes directly, and the demo fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
out=$(mktemp) || exit 1
bash scripts/demo-lab.sh --wrong-password --only 'PASV curl list 0' >"$out" 2>&1
status=$?
cat "$out"
if [ "$status" = 1 ] && grep -q 'passwords differ' "$out" &&
    grep -q 'nothing was redirected' "$out" &&
    [ "$(tail -n 1 "$out")" = "demo: 0 transfers, 0 identical, 1 failed" ]; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    status=9
fi
rm -f "$out"
[ "$status" = 1 ]
