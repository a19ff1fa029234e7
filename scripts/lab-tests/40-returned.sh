#!/usr/bin/env bash
# R000.9: packets of connections that the gateway does not know go back to the router in GRE and reach the
# server: a session that began before the gateway joined lives on.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
echo before >"$LAB_STATE/ftproot/pub/before"
script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp()
tell("logged-in")
wait_for("joined")
f.expect(200, 250, command="NOOP")
address, port = f.pasv()
need(f.retrieve("RETR pub/before", f.connect(port)) == b"before\n", "other bytes")
f.expect(221, command="QUIT")
print("done")
PY
job=$!
lab_wait 10 test -e "$LAB_STATE/logged-in"
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
touch "$LAB_STATE/joined"
wait "$job"
check "the old session transfers and ends in order" grep -q '^done$' "$LAB_STATE/session.out"
check "its packets were returned" more_than /counters/returned 3
before=$(lab_get /counters/returned)
check "a new session transfers" transfer EPSV curl download 1MiB
check "nothing of a new session is returned" seen /counters/returned "$before"
