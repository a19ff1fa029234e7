#!/usr/bin/env bash
# Fail open, the rest: a gateway that comes back in mid-session, a router that does, a drain that takes too long.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
gone() { ! lab_alive tidegate; }
nobody() { seen /groups/0/caches '[]'; }
check "the gateway joins" t_gateway "$DATA"
# A session of the gateway that dies is broken: its segments go to a server that does not know them, which resets
# it. Nothing hangs, and the new gateway takes new sessions at once.
rm -f "$LAB_STATE/logged-in" "$LAB_STATE/killed"
script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp(timeout=15)
tell("logged-in")
wait_for("killed")
try:
    f.cmd("NOOP")
    f.cmd("NOOP")
except (ConnectionResetError, EOFError):
    print("reset")
PY
job=$!
lab_wait 10 test -e "$LAB_STATE/logged-in"
lab_stop tidegate KILL
check "the next one joins" t_gateway "$DATA"
touch "$LAB_STATE/killed"
wait "$job"
check "the old session is reset, and does not hang" grep -q '^reset$' "$LAB_STATE/session.out"
check "a new one works" transfer EPSV curl download 1MiB
# The router starts anew: its receive IDs and change numbers begin again.
lab_stop router KILL
t_router
check "the gateway joins a router that was started again" lab_wait 15 lab_assigned
check "a transfer goes through it" transfer PORT curl upload 1MiB
check "as redirected packets" more_than /groups/0/counters/redirected 100
# A session that does not end: the drain ends by its limit, with exit status 0.
lab_stop tidegate
lab_gateway_config af_xdp "$DATA"$'\n[timers]\ndrain_timeout = "2s"' >"$LAB_STATE/tidegate.toml"
cat >"$LAB_STATE/run.sh" <<SH_
"$LAB_TIDEGATE_BIN" run --config "$LAB_STATE/tidegate.toml"
echo \$? >"$LAB_STATE/exit"
SH_
rm -f "$LAB_STATE/exit" "$LAB_STATE/logged-in" "$LAB_STATE/killed"
lab_spawn tidegate gw bash "$LAB_STATE/run.sh"
check "the gateway joins, with two seconds to drain" lab_joined 15
script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp()
tell("logged-in")
wait_for("killed")
PY
job=$!
lab_wait 10 test -e "$LAB_STATE/logged-in"
start=$EPOCHREALTIME
kill -s TERM "$(pgrep -P "$(lab_pid tidegate)")"
check "a session that does not end is not waited for" lab_wait 6 test -e "$LAB_STATE/exit"
check "but for two seconds" awk "BEGIN { exit !($EPOCHREALTIME - $start > 1.8) }"
check "the exit status is 0" grep -qx 0 "$LAB_STATE/exit"
check "the router was told" lab_wait 1 nobody
touch "$LAB_STATE/killed"
wait "$job"
check "a transfer goes directly" transfer EPSV curl download 1MiB
