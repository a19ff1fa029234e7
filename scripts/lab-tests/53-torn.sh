#!/usr/bin/env bash
# upstream_source = "client", and the gateway dies in mid-session: both ends keep a connection of the same four
# numbers. The gateway that comes back ends it at both, as soon as either speaks, and there is no storm.
source "$(dirname "$0")/harness.sh"
LAB_UPSTREAM=client
# A server that hangs up on the silent, in the last case.
t_begin idle_session_timeout=25
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
held() { lab_exec server ss -Htn state established 'sport = :21' | grep -c .; }
nothing_held() { [ "$(held)" = 0 ]; }
# torn WHO: a session, a new gateway, and who speaks then.
torn() {
    local who=$1 job spoken
    rm -f "$LAB_STATE/logged-in" "$LAB_STATE/killed"
    check "$what: the gateway joins" t_gateway "$DATA"
    script "$who" >"$LAB_STATE/session.out" 2>&1 <<'PY' &
import sys, time
from ftp import *
f = Ftp(timeout=40)
tell("logged-in")
wait_for("killed")
began = time.time()
try:
    if sys.argv[1] == "client":
        f.cmd("NOOP")
    else:
        f.reply()
    print("answered")
except (ConnectionResetError, EOFError):
    print("reset")
except TimeoutError:
    print("hangs")
print("after %.1f s" % (time.time() - began))
PY
    job=$!
    lab_wait 10 test -e "$LAB_STATE/logged-in"
    check "$what: the server has the session" [ "$(held)" = 1 ]
    lab_stop tidegate KILL
    check "$what: the next one joins" t_gateway "$DATA"
    t_capture client
    touch "$LAB_STATE/killed"
    wait "$job"
    sleep 10
    t_capture_stop
    check "$what: the $who speaks, and the client is reset" grep -q '^reset$' "$LAB_STATE/session.out"
    say "  $(tail -n 1 "$LAB_STATE/session.out")"
    check "$what: the server has nothing left" nothing_held
    spoken=$(t_captured 'tcp.port == 21' frame.number | wc -l)
    say "  $spoken packets on the client's leg"
    check "$what: no storm" [ "$spoken" -gt 0 -a "$spoken" -lt 20 ]
    check "$what: an event tells" event '"state":"torn"'
    check "$what: a new session works" transfer EPSV curl download 1MiB
    lab_stop tidegate
}
# What the server says comes from port 21, which either form lists; the narrower one stands for both.
for what in "all, client" "ports, client" "ports, server"; do
    LAB_REVERSE=${what%,*}
    t_router
    torn "${what#*, }"
done
