#!/usr/bin/env bash
# What is not ours goes back also when redirection made it larger than the link: an upload of full packets, by
# a session that began before the gateway joined, is redirected in fragments and returned in fragments.
source "$(dirname "$0")/harness.sh"
t_begin
t_router
mkdir -p "$LAB_STATE/ftproot/pub/old" && chmod 777 "$LAB_STATE/ftproot/pub/old"
script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp()
f.expect(200, command="TYPE I")
tell("logged-in")
wait_for("joined")
listen = f.port()
f.send("STOR pub/old/file")
data, peer = listen.accept()
f.expect(150, 125)
data.sendall(bytes(range(256)) * 2000)
data.close()
f.expect(226)
print("done")
PY
job=$!
lab_wait 10 test -e "$LAB_STATE/logged-in"
check "the gateway joins" t_gateway 'data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
touch "$LAB_STATE/joined"
wait "$job"
cat "$LAB_STATE/session.out"
check "the old session uploads 512,000 bytes" grep -q '^done$' "$LAB_STATE/session.out"
check "all of them" [ "$(stat -c %s "$LAB_STATE/ftproot/pub/old/file")" = 512000 ]
check "its packets were returned" more_than /counters/returned 100
kill -s TERM "$(lab_pid tidegate)"
gone() { ! lab_alive tidegate; }
check "the gateway ends" lab_wait 10 gone
check "having put fragments together" event '"state":"stopped".*reassembled=[0-9]{3}'
