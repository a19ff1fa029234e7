#!/usr/bin/env bash
# With another password at the router nothing is redirected, the transfer goes directly, and the demo fails.
set -u
cd "$(dirname "$0")/../.." || exit 1
bash scripts/demo-lab.sh --wrong-password --only 'PASV curl list 0' >/tmp/tg-wrong.$$ 2>&1
status=$?
cat /tmp/tg-wrong.$$
if [ "$status" = 1 ] && grep -q 'passwords differ' /tmp/tg-wrong.$$ &&
    grep -q 'nothing was redirected' /tmp/tg-wrong.$$ &&
    [ "$(tail -n 1 /tmp/tg-wrong.$$)" = "demo: 0 transfers, 0 identical, 1 failed" ]; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    status=9
fi
rm -f /tmp/tg-wrong.$$
[ "$status" = 1 ]
