#!/usr/bin/env bash
# Fail open, the rest: a gateway that comes back in mid-session, a router that does, a drain that takes too long.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
check "the gateway joins" t_gateway "$DATA"
# A session of the gateway that dies is broken: its segments go to a server that does not know them, which resets
# it. Nothing hangs, and the new gateway takes new sessions at once.
t_held 'f.sock.settimeout(15)
try:
    f.cmd("NOOP")
    f.cmd("NOOP")
except (ConnectionResetError, EOFError):
    print("reset")'
lab_stop tidegate KILL
check "the next one joins" t_gateway "$DATA"
t_go
check "the old session is reset, and does not hang" t_held_says reset
check "its segments were returned" more_than /counters/returned 0
check "a new one works" transfer EPSV curl download 1MiB
# The router starts anew: its receive IDs and change numbers begin again.
lab_stop router KILL
t_router
check "the gateway joins a router that was started again" lab_wait 15 lab_assigned
check "a transfer goes through it" transfer PORT curl upload 1MiB
check "as redirected packets" more_than /groups/0/counters/redirected 100
# A session that does not end: the drain ends by its limit, with exit status 0.
check "the gateway joins, with two seconds to drain" t_gateway "$DATA"$'\n[timers]\ndrain_timeout = "2s"'
t_held 'print("held")'
start=$EPOCHREALTIME
t_tell
check "a session that does not end is not waited for, and the exit status is 0" t_ended 6
check "but for two seconds" awk "BEGIN { exit !($EPOCHREALTIME - $start > 1.8) }"
check "the router was told" lab_wait 1 t_nobody
t_go
wait "$t_job"
check "a transfer goes directly" transfer EPSV curl download 1MiB
