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
# A session that began without the gateway, and speaks when it has joined.
SPEAKS='f.sock.settimeout(6)
try:
    f.cmd("NOOP")
    print("answered")
except (TimeoutError, ConnectionResetError):
    print("broken")'
# By MAC address, and redirected where it leaves the router: what is returned comes back again.
LAB_REDIRECT=l2
lab_stop router
lab_router "$(lab_group | sed 's/^redirect_in = .*/redirect_out = ["to-server"]/')" || die "no router"
t_held "$SPEAKS"
check "L2: the gateway joins" t_gateway "$DATA"
t_go
check "L2: the loop is noticed" lab_wait 8 looped
check "the session without the gateway goes on or breaks, and does not hang" t_held_says 'answered|broken'
check "L2: nothing goes around any more" quiet
check "L2: the gateway is alive" lab_alive tidegate
lab_stop tidegate
# By policy, on whatever leg.
LAB_REDIRECT=gre LAB_DEPLOYMENT=static
lab_stop router
lab_router "$(lab_policy | grep -v '^in = ')" || die "no router"
t_held "$SPEAKS"
check "static: the gateway joins" t_gateway "$DATA"
t_go
check "static: the loop is noticed" lab_wait 8 looped
check "the session without the gateway goes on or breaks, and does not hang" t_held_says 'answered|broken'
check "static: nothing goes around any more" quiet
check "static: the gateway is alive" lab_alive tidegate
