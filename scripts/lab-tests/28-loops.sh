#!/usr/bin/env bash
# A router that redirects also what the gateway sends (no "exclude in"): the gateway sees its packets come again,
# counts them and lets them go, and nothing goes around for ever.
source "$(dirname "$0")/harness.sh"
t_begin
export LAB_EXCLUDE_IN=false
DATA='data_ports = [2020, 2021, 2022, 2023, 2024, 2025]'
looped() { event '"event":"drop".*loop'; }
quiet() {
    local before after
    lab_refresh && before=$(lab_redirected)
    sleep 1
    lab_refresh && after=$(lab_redirected)
    [ $((after - before)) -lt 20 ]
}
# begun WORD: a session that began without the gateway, and speaks when it has joined.
begun() {
    rm -f "$LAB_STATE/logged-in" "$LAB_STATE/joined"
    script >"$LAB_STATE/session.out" 2>&1 <<'PY' &
from ftp import *
f = Ftp(timeout=6)
tell("logged-in")
wait_for("joined")
try:
    f.cmd("NOOP")
    print("answered")
except (TimeoutError, ConnectionResetError):
    print("broken")
PY
    job=$!
    lab_wait 10 test -e "$LAB_STATE/logged-in"
}
# By MAC address, and redirected where it leaves the router: what is returned comes back again.
LAB_REDIRECT=l2
lab_stop router
lab_router "$(lab_group | sed 's/^redirect_in = .*/redirect_out = ["to-server"]/')" || die "no router"
begun
check "L2: the gateway joins" t_gateway "$DATA"
touch "$LAB_STATE/joined"
check "L2: the loop is noticed" lab_wait 8 looped
wait "$job"
check "the session without the gateway goes on or breaks, and does not hang" grep -qE 'answered|broken' "$LAB_STATE/session.out"
check "L2: nothing goes around any more" quiet
check "L2: the gateway is alive" lab_alive tidegate
lab_stop tidegate
# By policy, on whatever leg.
LAB_REDIRECT=gre LAB_DEPLOYMENT=static
lab_stop router
lab_router "$(lab_policy | grep -v '^in = ')" || die "no router"
begun
check "static: the gateway joins" t_gateway "$DATA"
touch "$LAB_STATE/joined"
check "static: the loop is noticed" lab_wait 8 looped
wait "$job"
check "the session without the gateway goes on or breaks, and does not hang" grep -qE 'answered|broken' "$LAB_STATE/session.out"
check "static: nothing goes around any more" quiet
check "static: the gateway is alive" lab_alive tidegate
